#include "text/grammar/number_set.h"

#include <algorithm>
#include <charconv>

namespace ramjet::text {
namespace {

constexpr int64_t kMaxExponent = 1'000'000;
constexpr int kMaxScaledDigits = 37;
constexpr int kRealDecimals = 15;   // that are written where nothing limits them
constexpr int kIntegerDigits = 20;  // likewise before the point
constexpr int kCandidates = 64;     // multiples tried against those to avoid

Int128 power10(int n) {
  Int128 p = 1;
  for (int i = 0; i < n; ++i) p *= 10;
  return p;
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

Int128 floor_div(Int128 a, Int128 b) {
  return a / b - ((a % b != 0 && (a < 0) != (b < 0)) ? 1 : 0);
}
Int128 ceil_div(Int128 a, Int128 b) { return -floor_div(-a, b); }

Int128 gcd(Int128 a, Int128 b) {
  while (b != 0) {
    const Int128 r = a % b;
    a = b, b = r;
  }
  return a;
}

}  // namespace

std::optional<Decimal> Decimal::parse(std::string_view text) {
  Decimal out;
  size_t at = 0;
  const auto digit = [&] { return at < text.size() && is_digit(text[at]); };
  if (at < text.size() && text[at] == '-') out.negative = true, ++at;
  if (!digit()) return std::nullopt;
  if (text[at] == '0' && at + 1 < text.size() && is_digit(text[at + 1])) return std::nullopt;
  while (digit()) out.digits.push_back(text[at++]);
  if (at < text.size() && text[at] == '.') {
    ++at;
    if (!digit()) return std::nullopt;
    while (digit()) out.digits.push_back(text[at++]), --out.exponent;
  }
  if (at < text.size() && (text[at] | 0x20) == 'e') {
    ++at;
    bool down = false;
    if (at < text.size() && (text[at] == '+' || text[at] == '-')) down = text[at++] == '-';
    if (!digit()) return std::nullopt;
    int64_t e = 0;
    while (digit()) e = std::min(kMaxExponent + 1, e * 10 + (text[at++] - '0'));
    if (e > kMaxExponent) return std::nullopt;
    out.exponent += down ? -e : e;
  }
  if (at != text.size()) return std::nullopt;
  const size_t first = out.digits.find_first_not_of('0');
  if (first == std::string::npos) return Decimal{};
  out.digits.erase(0, first);
  while (out.digits.back() == '0') out.digits.pop_back(), ++out.exponent;
  return out;
}

std::optional<Int128> Decimal::scaled(int64_t scale) const {
  if (is_zero()) return Int128{0};
  const int64_t zeros = exponent + scale;
  if (zeros < 0 || zeros + std::ssize(digits) > kMaxScaledDigits) return std::nullopt;
  Int128 value = 0;
  for (const char c : digits) value = value * 10 + (c - '0');
  value *= power10(static_cast<int>(zeros));
  return negative ? -value : value;
}

int compare(const Decimal& a, const Decimal& b) {
  const auto sign = [](const Decimal& d) { return d.is_zero() ? 0 : d.negative ? -1 : 1; };
  if (sign(a) != sign(b)) return sign(a) < sign(b) ? -1 : 1;
  if (a.is_zero()) return 0;
  const int up = a.negative ? -1 : 1;
  const int64_t size_a = std::ssize(a.digits) + a.exponent;
  const int64_t size_b = std::ssize(b.digits) + b.exponent;
  if (size_a != size_b) return size_a < size_b ? -up : up;
  // Equal places before the point: as text, the shorter being padded with zeros.
  const int order = a.digits.compare(b.digits);
  return order == 0 ? 0 : order < 0 ? -up : up;
}

std::optional<bool> is_multiple(const Decimal& value, const Decimal& m) {
  if (value.is_zero()) return true;
  uint64_t unit = 0;
  if (m.digits.size() > 18) return std::nullopt;
  std::from_chars(m.digits.data(), m.digits.data() + m.digits.size(), unit);
  const int64_t zeros = value.exponent - m.exponent;
  if (zeros < 0) return false;  // its last digit lies below m's
  __extension__ using Wide = unsigned __int128;
  Wide rest = 0;
  for (const char c : value.digits) rest = (rest * 10 + static_cast<unsigned>(c - '0')) % unit;
  for (int64_t i = 0; i < zeros && rest != 0; ++i) rest = rest * 10 % unit;
  return rest == 0;
}

bool NumberRange::contains(const Decimal& value) const {
  if (low) {
    const int order = compare(value, low->value);
    if (order < 0 || (order == 0 && low->open)) return false;
  }
  if (high) {
    const int order = compare(value, high->value);
    if (order > 0 || (order == 0 && high->open)) return false;
  }
  const auto divides = [&value](const Decimal& m) { return is_multiple(value, m).value_or(false); };
  return std::all_of(multiple_of.begin(), multiple_of.end(), divides) &&
         std::none_of(not_multiple_of.begin(), not_multiple_of.end(), divides);
}

bool NumberSet::contains(const Decimal& value) const {
  return std::any_of(ranges.begin(), ranges.end(),
                     [&value](const NumberRange& r) { return r.contains(value); });
}

NumberSet NumberSet::both(const NumberSet& a, const NumberSet& b) {
  NumberSet out;
  for (const NumberRange& x : a.ranges) {
    for (const NumberRange& y : b.ranges) {
      NumberRange r = x;
      const auto tighter = [](const NumberBound& p, const NumberBound& q, int sign) {
        const int order = compare(p.value, q.value) * sign;
        return order > 0 || (order == 0 && p.open);
      };
      if (y.low && (!r.low || tighter(*y.low, *r.low, 1))) r.low = y.low;
      if (y.high && (!r.high || tighter(*y.high, *r.high, -1))) r.high = y.high;
      const auto add = [](std::vector<Decimal>& to, const std::vector<Decimal>& from) {
        for (const Decimal& d : from) {
          if (std::find(to.begin(), to.end(), d) == to.end()) to.push_back(d);
        }
      };
      add(r.multiple_of, y.multiple_of);
      add(r.not_multiple_of, y.not_multiple_of);
      if (NumberSet{{r}}.emptiness() == Emptiness::kEmpty) continue;
      if (std::find(out.ranges.begin(), out.ranges.end(), r) == out.ranges.end()) {
        out.ranges.push_back(std::move(r));
      }
    }
  }
  return out;
}

NumberSet NumberSet::either(const NumberSet& a, const NumberSet& b) {
  NumberSet out = a;
  for (const NumberRange& r : b.ranges) {
    if (r == NumberRange{}) return all();
    if (std::find(out.ranges.begin(), out.ranges.end(), r) == out.ranges.end()) {
      out.ranges.push_back(r);
    }
  }
  return out;
}

NumberSet NumberSet::complement() const {
  NumberSet out = all();
  for (const NumberRange& r : ranges) {
    NumberSet outside;
    if (r.low) {
      NumberRange below;
      below.high = NumberBound{r.low->value, !r.low->open};
      outside.ranges.push_back(std::move(below));
    }
    if (r.high) {
      NumberRange above;
      above.low = NumberBound{r.high->value, !r.high->open};
      outside.ranges.push_back(std::move(above));
    }
    for (const Decimal& m : r.multiple_of) {
      NumberRange other;
      other.not_multiple_of = {m};
      outside.ranges.push_back(std::move(other));
    }
    for (const Decimal& m : r.not_multiple_of) {
      NumberRange other;
      other.multiple_of = {m};
      outside.ranges.push_back(std::move(other));
    }
    out = both(out, outside);
  }
  return out;
}

Emptiness NumberSet::emptiness() const {
  bool unknown = false;
  for (const NumberRange& r : ranges) {
    if (r.low && r.high) {
      const int order = compare(r.low->value, r.high->value);
      if (order > 0 || (order == 0 && (r.low->open || r.high->open))) continue;
      if (order == 0 && !r.contains(r.low->value)) continue;
    }
    // A multiple of m is one of m's divisors too.
    bool contradiction = false;
    for (const Decimal& m : r.multiple_of) {
      for (const Decimal& n : r.not_multiple_of) {
        contradiction |= n.digits.size() <= 18 && is_multiple(m, n).value_or(false);
      }
    }
    if (contradiction) continue;
    const NumberGuide guide(NumberSet{{r}});
    if (!guide.nothing()) return Emptiness::kNotEmpty;
    if (r.multiple_of.empty()) unknown = true;  // an interval holds more than can be written
    // Within two bounds the guide misses nothing unless it had to give up.
    if (!r.low || !r.high || !r.not_multiple_of.empty()) unknown = true;
    for (const NumberBound* b : {r.low ? &*r.low : nullptr, r.high ? &*r.high : nullptr}) {
      if (b != nullptr && !b->value.scaled(kRealDecimals)) unknown = true;
    }
  }
  return unknown ? Emptiness::kUnknown : Emptiness::kEmpty;
}

NumberGuide::NumberGuide(const NumberSet& set) : set_(set) {
  const auto one = Decimal::parse("1");
  for (const NumberRange& r : set_.ranges) {
    const bool unbounded = !r.low && !r.high && r.not_multiple_of.empty();
    if (unbounded && r.multiple_of.empty()) any_number_ = true;
    if (unbounded && r.multiple_of.size() == 1 && r.multiple_of[0] == *one) any_integer_ = true;
    if (auto scaled = scale(r)) scaled_.push_back(std::move(*scaled));
  }
}

std::optional<NumberGuide::Scaled> NumberGuide::scale(const NumberRange& range) {
  int64_t unit_decimals = 0;
  for (const Decimal& m : range.multiple_of) {
    unit_decimals = std::max(unit_decimals, m.decimals());
  }
  int64_t scale = unit_decimals;
  for (const Decimal& m : range.not_multiple_of) scale = std::max(scale, m.decimals());
  if (range.low) scale = std::max(scale, range.low->value.decimals());
  if (range.high) scale = std::max(scale, range.high->value.decimals());
  const bool real = range.multiple_of.empty();
  if (real) scale = std::max<int64_t>(scale + 1, kRealDecimals);
  if (scale > kRealDecimals + 3) return std::nullopt;
  Scaled out;
  out.scale = static_cast<int>(scale);
  out.fraction = static_cast<int>(real ? scale : unit_decimals);
  // One value has one spelling.
  const bool point = range.low && range.high && compare(range.low->value, range.high->value) == 0;
  if (point) out.fraction = static_cast<int>(range.low->value.decimals());
  out.unit = 1;
  for (const Decimal& m : range.multiple_of) {
    const auto value = m.scaled(scale);
    if (!value || *value > power10(18)) return std::nullopt;
    out.unit = out.unit / gcd(out.unit, *value) * *value;
    if (out.unit > power10(18)) return std::nullopt;
  }
  for (const Decimal& m : range.not_multiple_of) {
    const auto value = m.scaled(scale);
    if (!value) return std::nullopt;
    out.avoid.push_back(*value);
  }
  const int digits = std::min(kIntegerDigits, kMaxScaledDigits - 1 - out.scale);
  out.high = power10(digits + out.scale) - 1;
  out.low = -out.high;
  if (range.low) {
    const auto value = range.low->value.scaled(scale);
    if (!value) return std::nullopt;
    out.low = std::max(out.low, *value + (range.low->open ? 1 : 0));
  }
  if (range.high) {
    const auto value = range.high->value.scaled(scale);
    if (!value) return std::nullopt;
    out.high = std::min(out.high, *value - (range.high->open ? 1 : 0));
  }
  return out;
}

/// A member of `s` in [low, high]?
bool NumberGuide::holds_one(const Scaled& s, Int128 low, Int128 high) {
  low = std::max(low, s.low), high = std::min(high, s.high);
  if (low > high) return false;
  Int128 value = ceil_div(low, s.unit) * s.unit;
  for (int i = 0; i < kCandidates && value <= high; ++i, value += s.unit) {
    const bool avoided =
        std::any_of(s.avoid.begin(), s.avoid.end(), [value](Int128 a) { return value % a == 0; });
    if (!avoided) return true;
  }
  return false;
}

bool NumberGuide::viable_in(const Scaled& s, std::string_view digits, bool negative) {
  const auto holds = [&s, negative](Int128 low, Int128 high) {
    return negative ? holds_one(s, -high, -low) : holds_one(s, low, high);
  };
  if (digits.empty()) return holds(0, power10(kMaxScaledDigits));
  const size_t point = digits.find('.');
  const std::string_view whole = digits.substr(0, point);
  if (whole.size() > kIntegerDigits) return false;
  Int128 value = 0;
  for (const char c : whole) value = value * 10 + (c - '0');
  if (point != std::string_view::npos) {
    const std::string_view part = digits.substr(point + 1);
    const int left = s.fraction - static_cast<int>(part.size());
    if (left < 0 || s.fraction == 0) return false;
    for (const char c : part) value = value * 10 + (c - '0');
    // What may follow are `left` digits; those beyond `fraction` stay zero.
    const Int128 step = power10(s.scale - static_cast<int>(part.size()));
    return holds(value * step, value * step + step - 1);
  }
  const Int128 one = power10(s.scale);
  if (whole == "0") return holds(0, one - 1);
  Int128 low = value * one;
  Int128 width = one;
  const Int128 most = std::max(s.high < 0 ? -s.high : s.high, s.low < 0 ? -s.low : s.low);
  while (low <= most) {
    if (holds(low, low + width - 1)) return true;
    low *= 10, width *= 10;
  }
  return false;
}

bool NumberGuide::viable(std::string_view prefix) const {
  const bool negative = prefix.starts_with('-');
  if (negative) prefix.remove_prefix(1);
  for (const Scaled& s : scaled_) {
    if (viable_in(s, prefix, negative)) return true;
    if (prefix.empty() && !negative && viable_in(s, prefix, true)) return true;
  }
  return false;
}

bool NumberGuide::member(std::string_view text) const {
  const auto value = Decimal::parse(text);
  return value && set_.contains(*value);
}

}  // namespace ramjet::text
