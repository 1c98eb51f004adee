// ApiKeys: which clients may use the server.
//
// Immutable after construction; thread-safe. Keys are kept as SHA-256 digests and compared in
// constant time, every key every time, so that timing tells nothing about them.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/http/message.h"

namespace ramjet::server {

class ApiKeys {
 public:
  explicit ApiKeys(const std::vector<std::string>& keys);

  /// Which key `Authorization: Bearer KEY` or `X-Api-Key: KEY` has; 0 where none is needed.
  std::optional<size_t> find(const HttpRequest& request) const;
  bool empty() const { return digests_.empty(); }

 private:
  using Digest = std::array<unsigned char, 32>;
  static Digest digest(std::string_view key);
  std::optional<size_t> index_of(std::string_view key) const;

  std::vector<Digest> digests_;
};

}  // namespace ramjet::server
