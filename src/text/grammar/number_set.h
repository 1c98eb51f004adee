// Decimal and NumberSet: exact decimal numbers, and sets of them as schemas bound them.
//
// Values. NumberGuide says which beginnings of a plain decimal ("-12.5", no exponent) can still
// become a member; it works on numbers scaled to 128-bit integers and is immutable.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace ramjet::text {

__extension__ using Int128 = __int128;

/// digits * 10^exponent; digits without zeros at either end, empty for zero.
struct Decimal {
  bool negative = false;
  std::string digits;
  int64_t exponent = 0;

  /// A JSON number. Nothing if it is none, or its exponent is beyond a million.
  static std::optional<Decimal> parse(std::string_view text);
  bool is_zero() const { return digits.empty(); }
  bool operator==(const Decimal&) const = default;
  /// Digits after the point.
  int64_t decimals() const { return exponent < 0 ? -exponent : 0; }
  /// The value times 10^scale; nothing if that is no integer below 10^37.
  std::optional<Int128> scaled(int64_t scale) const;
};

int compare(const Decimal& a, const Decimal& b);
/// `m` is not zero. Nothing if `m` has more than 18 digits.
std::optional<bool> is_multiple(const Decimal& value, const Decimal& m);

struct NumberBound {
  Decimal value;
  bool open = false;  // the value itself is outside
  bool operator==(const NumberBound&) const = default;
};

/// All of these at once.
struct NumberRange {
  std::optional<NumberBound> low, high;
  std::vector<Decimal> multiple_of;      // of each
  std::vector<Decimal> not_multiple_of;  // of none

  bool contains(const Decimal& value) const;
  bool operator==(const NumberRange&) const = default;
};

enum class Emptiness { kEmpty, kNotEmpty, kUnknown };

struct NumberSet {
  std::vector<NumberRange> ranges;  // any of them

  static NumberSet all() { return {{NumberRange{}}}; }
  bool contains(const Decimal& value) const;
  static NumberSet both(const NumberSet& a, const NumberSet& b);
  static NumberSet either(const NumberSet& a, const NumberSet& b);
  NumberSet complement() const;
  Emptiness emptiness() const;
};

class NumberGuide {
 public:
  explicit NumberGuide(const NumberSet& set);
  /// Any number, or any integer: no text needs to be remembered.
  bool any_number() const { return any_number_; }
  bool any_integer() const { return any_integer_; }
  /// Whether what begins with `prefix` can become a member; "" and "-" are beginnings.
  bool viable(std::string_view prefix) const;
  /// Whether `text` is a member as it stands.
  bool member(std::string_view text) const;
  bool nothing() const { return !any_number_ && !any_integer_ && !viable(""); }

 private:
  struct Scaled {
    Int128 low, high;  // both ends included
    Int128 unit;
    std::vector<Int128> avoid;
    int scale;     // digits after the point of the scaled integers
    int fraction;  // that may be written
  };
  static std::optional<Scaled> scale(const NumberRange& range);
  static bool holds_one(const Scaled& s, Int128 low, Int128 high);
  static bool viable_in(const Scaled& s, std::string_view digits, bool negative);

  NumberSet set_;
  std::vector<Scaled> scaled_;
  bool any_number_ = false;
  bool any_integer_ = false;
};

}  // namespace ramjet::text
