// Dfa: a regular language over code points, closed under the set operations.
//
// A value; states are total (a dead state is a state). Surrogates count as code points, so that
// what JSON escapes can spell can be said. Operations are bounded: kResourceExhausted beyond.
#pragma once

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace ramjet::text {

inline constexpr uint32_t kCodePoints = 0x110000;
inline constexpr size_t kMaxDfaStates = 20'000;
inline constexpr size_t kMaxDfaEntries = 4'000'000;

using CodePointRange = std::pair<uint32_t, uint32_t>;  // both ends included
/// Sorted, disjoint.
using CodePointSet = std::vector<CodePointRange>;
CodePointSet normalized(CodePointSet set);
CodePointSet complement_of(const CodePointSet& set);

class Dfa {
 public:
  /// Every text, or none.
  static Dfa all(bool accepted = true);
  static Dfa literal(std::u32string_view text);
  /// Texts of `min` to `max` code points; `max` < 0: no upper limit.
  static Result<Dfa> lengths(int64_t min, int64_t max);

  static Result<Dfa> both(const Dfa& a, const Dfa& b);
  static Result<Dfa> either(const Dfa& a, const Dfa& b);
  Dfa complement() const;

  int32_t start() const { return 0; }
  int32_t states() const { return static_cast<int32_t>(accept_.size()); }
  int32_t step(int32_t state, uint32_t code_point) const {
    return next_[static_cast<size_t>(state) * classes() + class_of(code_point)];
  }
  bool accepts(int32_t state) const { return accept_[static_cast<size_t>(state)] != 0; }
  /// Whether some text leads from here to acceptance.
  bool live(int32_t state) const { return live_[static_cast<size_t>(state)] != 0; }
  /// Whether a step by some code point of [low, high] leads to a live state.
  bool live_within(int32_t state, uint32_t low, uint32_t high) const;
  bool matches(std::u32string_view text) const;
  bool empty() const { return !live(0); }
  bool is_all() const { return states() == 1 && accepts(0); }
  /// How many texts it holds, or `limit` if there are that many or more.
  int64_t count(int64_t limit) const;
  /// The classes [low, high] of code points that a state tells apart, with their next states.
  size_t classes() const { return bounds_.size(); }
  uint32_t class_low(size_t c) const { return bounds_[c]; }
  int32_t class_step(int32_t state, size_t c) const {
    return next_[static_cast<size_t>(state) * classes() + c];
  }
  size_t bytes() const { return next_.size() * 4 + accept_.size() * 2 + bounds_.size() * 4; }

  /// For builders: `bounds[0]` is 0, `next` has a row of bounds.size() states for each state.
  Dfa(std::vector<uint32_t> bounds, std::vector<int32_t> next, std::vector<uint8_t> accept);

 private:
  size_t class_of(uint32_t code_point) const;
  void find_live();
  void minimize();

  std::vector<uint32_t> bounds_;  // class c holds the code points from bounds_[c] to the next
  std::vector<int32_t> next_;
  std::vector<uint8_t> accept_;
  std::vector<uint8_t> live_;
};

/// UTF-8 to code points; bytes that are none become U+FFFD.
std::u32string to_code_points(std::string_view text);
void put_utf8(std::string& text, uint32_t code_point);

}  // namespace ramjet::text
