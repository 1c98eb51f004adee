// ByteTrie: a set of byte strings with a number each, walked byte by byte.
//
// Built once, then immutable; any thread. Owns its nodes; building is linear in the strings' bytes
// once they are sorted, whatever the strings. The children of a node lie side by side, their
// bytes in an array of their own, so that a step touches little memory.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <utility>
#include <vector>

namespace ramjet::text {

class ByteTrie {
 public:
  static constexpr uint32_t kNone = 0xffffffff;
  static constexpr uint32_t kRoot = 0;
  using Entry = std::pair<std::string_view, int32_t>;

  ByteTrie() = default;
  /// Numbers are ≥ 0. Empty strings are left out; of equal strings the last counts.
  explicit ByteTrie(std::vector<Entry> entries);

  bool empty() const { return nodes_.size() <= 1; }
  /// The child of `node` by `byte`, or kNone.
  uint32_t step(uint32_t node, unsigned char byte) const {
    if (node == kRoot) return first_[byte];
    const Node& n = nodes_[node];
    const uint8_t* labels = labels_.data() + n.child;
    if (n.children <= 4) {
      for (uint32_t i = 0; i < n.children; ++i) {
        if (labels[i] == byte) return n.child + i;
      }
      return kNone;
    }
    const void* at = std::memchr(labels, byte, n.children);
    if (at == nullptr) return kNone;
    return n.child + static_cast<uint32_t>(static_cast<const uint8_t*>(at) - labels);
  }
  /// The number of the string that ends at `node`, or -1.
  int32_t value(uint32_t node) const { return nodes_[node].value; }

  /// The longest string that `text` begins with: its length (0: none) and number.
  std::pair<size_t, int32_t> longest_prefix(std::string_view text) const;

 private:
  struct Node {
    uint32_t child = 0;  // the first one
    int32_t value = -1;
    uint32_t children = 0;
  };
  std::vector<Node> nodes_{1};
  std::vector<uint8_t> labels_{0};  // by node: the byte that leads to it
  std::array<uint32_t, 256> first_ = [] {
    std::array<uint32_t, 256> none;
    none.fill(kNone);
    return none;
  }();
};

}  // namespace ramjet::text
