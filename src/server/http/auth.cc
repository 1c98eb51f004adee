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

std::optional<size_t> ApiKeys::index_of(std::string_view key) const {
  const Digest given = digest(key);
  size_t found = digests_.size();
  for (size_t i = 0; i < digests_.size(); ++i) {
    const bool equal = CRYPTO_memcmp(digests_[i].data(), given.data(), given.size()) == 0;
    found = equal ? i : found;
  }
  if (found == digests_.size()) return std::nullopt;
  return found;
}

std::optional<size_t> ApiKeys::find(const HttpRequest& request) const {
  if (digests_.empty()) return 0;
  constexpr std::string_view kScheme = "bearer ";
  const std::string_view authorization = request.header("authorization");
  if (lower_case(authorization.substr(0, kScheme.size())) == kScheme) {
    std::string_view key = authorization.substr(kScheme.size());
    while (key.starts_with(' ')) key.remove_prefix(1);
    if (const auto found = index_of(key)) return found;
  }
  const std::string_view key = request.header("x-api-key");
  return key.empty() ? std::nullopt : index_of(key);
}

}  // namespace ramjet::server
