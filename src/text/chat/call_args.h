// CallArgs: the arguments of one call, and Bound: them matched to a function's parameters.
//
// Both borrow; they live as long as the call.
#pragma once

#include <array>
#include <initializer_list>
#include <span>
#include <string_view>

#include "text/chat/ops.h"
#include "text/chat/runtime.h"
#include "text/chat/value.h"

namespace ramjet::text::chat {

struct Keyword {
  std::string_view name;
  Value value;
};

struct CallArgs {
  std::span<const Value> positional;
  std::span<const Keyword> keywords;
};

/// What a function takes. An empty parameter name is positional only.
struct Signature {
  std::string_view function;
  std::initializer_list<std::string_view> parameters;
  size_t required = 0;
};

class Bound {
 public:
  static constexpr size_t kMaxParameters = 6;

  /// TypeError for too few, too many, unknown or doubled arguments.
  Bound(const Signature& signature, const CallArgs& args);

  bool has(size_t i) const { return !values_[i].is(Kind::kMissing); }
  /// The argument, or kMissing.
  const Value& operator[](size_t i) const { return values_[i]; }
  Value get(size_t i, const Value& fallback) const { return has(i) ? values_[i] : fallback; }
  int64_t integer(size_t i, int64_t fallback) const {
    return has(i) ? index_of(values_[i]) : fallback;
  }
  /// As integer(), with None standing for the fallback.
  int64_t optional_integer(size_t i, int64_t fallback) const {
    return has(i) && !values_[i].is(Kind::kNone) ? index_of(values_[i]) : fallback;
  }
  std::string_view text(size_t i, std::string_view fallback = {}) const;
  bool flag(Runtime& rt, size_t i) const { return has(i) && truthy(rt, values_[i]); }

 private:
  std::array<Value, kMaxParameters> values_;
  std::string_view function_;
};

}  // namespace ramjet::text::chat
