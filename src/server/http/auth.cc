#include "server/http/auth.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>

namespace ramjet::server {

ApiKeys::ApiKeys(const std::vector<std::string>& keys) {
  for (const std::string& key : keys) digests_.push_back(digest(key));
}

ApiKeys::Digest ApiKeys::digest(std::string_view key) {
  Digest out;
  SHA256(reinterpret_cast<const unsigned char*>(key.data()), key.size(), out.data());
  return out;
}

bool ApiKeys::knows(std::string_view key) const {
  const Digest given = digest(key);
  int equal = 0;
  for (const Digest& known : digests_) {
    equal |= CRYPTO_memcmp(known.data(), given.data(), given.size()) == 0 ? 1 : 0;
  }
  return equal != 0;
}

bool ApiKeys::admits(const HttpRequest& request) const {
  if (digests_.empty()) return true;
  constexpr std::string_view kScheme = "bearer ";
  const std::string_view authorization = request.header("authorization");
  if (lower_case(authorization.substr(0, kScheme.size())) == kScheme) {
    std::string_view key = authorization.substr(kScheme.size());
    while (key.starts_with(' ')) key.remove_prefix(1);
    if (knows(key)) return true;
  }
  const std::string_view key = request.header("x-api-key");
  return !key.empty() && knows(key);
}

}  // namespace ramjet::server
