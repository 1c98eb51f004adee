// ApiKeys: which clients may use the server.
//
// Immutable after construction; thread-safe. Keys are kept as SHA-256 digests and compared in
// constant time, every key every time, so that timing tells nothing about them.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "server/http/message.h"

namespace ramjet::server {

class ApiKeys {
 public:
  explicit ApiKeys(const std::vector<std::string>& keys);

  /// True if no key is needed, or if `Authorization: Bearer KEY` or `X-Api-Key: KEY` has one.
  bool admits(const HttpRequest& request) const;
  bool empty() const { return digests_.empty(); }

 private:
  using Digest = std::array<unsigned char, 32>;
  static Digest digest(std::string_view key);
  bool knows(std::string_view key) const;

  std::vector<Digest> digests_;
};

}  // namespace ramjet::server
