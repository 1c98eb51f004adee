// Python's arithmetic. Integers are computed in 128 bits and refused beyond.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>

#include "text/chat/ops.h"
#include "text/chat/percent_format.h"

namespace ramjet::text::chat {
namespace {

std::string_view op_name(BinaryOp op) {
  switch (op) {
    case BinaryOp::kAdd: return "+";
    case BinaryOp::kSub: return "-";
    case BinaryOp::kMul: return "*";
    case BinaryOp::kDiv: return "/";
    case BinaryOp::kFloorDiv: return "//";
    case BinaryOp::kMod: return "%";
    case BinaryOp::kPow: return "** or pow()";
  }
  return "";
}

[[noreturn]] void int_overflow() {
  fail("integer result needs more than 128 bits, which templates here do not support");
}

Value checked(Runtime& rt, bool overflowed, Int value) {
  if (overflowed) int_overflow();
  return rt.integer(value);
}

Int floor_div(Int a, Int b) {
  const Int q = a / b;
  return (a % b != 0 && ((a < 0) != (b < 0))) ? q - 1 : q;
}

Value int_power(Runtime& rt, Int base, Int exponent) {
  Int result = 1;
  for (; exponent > 0; exponent >>= 1) {
    if ((exponent & 1) != 0 && __builtin_mul_overflow(result, base, &result)) int_overflow();
    if (exponent > 1 && __builtin_mul_overflow(base, base, &base)) int_overflow();
  }
  return rt.integer(result);
}

Value int_op(Runtime& rt, BinaryOp op, Int a, Int b) {
  Int r = 0;
  switch (op) {
    case BinaryOp::kAdd: return checked(rt, __builtin_add_overflow(a, b, &r), r);
    case BinaryOp::kSub: return checked(rt, __builtin_sub_overflow(a, b, &r), r);
    case BinaryOp::kMul: return checked(rt, __builtin_mul_overflow(a, b, &r), r);
    default: break;
  }
  if (b == 0)
    fail("{}", op == BinaryOp::kDiv ? "division by zero" : "integer division or modulo by zero");
  if (b == -1) {
    // The smallest integer has no positive twin.
    if (op == BinaryOp::kMod) return Value::of_int(0);
    if (op == BinaryOp::kFloorDiv) return checked(rt, __builtin_sub_overflow(Int{0}, a, &r), r);
  }
  if (op == BinaryOp::kDiv) {
    return Value::of_float(
        static_cast<double>(static_cast<long double>(a) / static_cast<long double>(b)));
  }
  if (op == BinaryOp::kFloorDiv) return rt.integer(floor_div(a, b));
  return rt.integer(a - floor_div(a, b) * b);
}

double float_mod(double a, double b) {
  double m = std::fmod(a, b);
  if (m == 0) return std::copysign(0.0, b);
  return (b < 0) != (m < 0) ? m + b : m;
}

double float_floor_div(double a, double b) {
  double m = std::fmod(a, b);
  double d = (a - m) / b;
  if (m != 0 && (b < 0) != (m < 0)) d -= 1.0;
  if (d == 0) return std::copysign(0.0, a / b);
  const double f = std::floor(d);
  return d - f > 0.5 ? f + 1.0 : f;
}

Value float_op(BinaryOp op, double a, double b) {
  switch (op) {
    case BinaryOp::kAdd: return Value::of_float(a + b);
    case BinaryOp::kSub: return Value::of_float(a - b);
    case BinaryOp::kMul: return Value::of_float(a * b);
    default: break;
  }
  if (b == 0) {
    fail("{}", op == BinaryOp::kDiv   ? "float division by zero"
               : op == BinaryOp::kMod ? "float modulo"
                                      : "float floor division by zero");
  }
  if (op == BinaryOp::kDiv) return Value::of_float(a / b);
  return Value::of_float(op == BinaryOp::kMod ? float_mod(a, b) : float_floor_div(a, b));
}

Value repeat(Runtime& rt, const Value& v, Int count) {
  if (count > INT64_MAX || count < INT64_MIN) {
    fail("cannot fit 'int' into an index-sized integer");
  }
  count = std::max<Int>(count, 0);
  if (v.is_string()) {
    if (v.size == 0) count = 0;
    rt.check_size(count > INT32_MAX ? Int{INT64_MAX} : count * v.size);
    std::string out;
    rt.charge_bytes(static_cast<size_t>(count) * v.size);
    out.reserve(static_cast<size_t>(count) * v.size);
    for (Int i = 0; i < count; ++i) out += v.text();
    return rt.text(out, v.flags);
  }
  const Seq& seq = *v.seq;
  if (seq.size == 0) count = 0;
  rt.check_size(count > INT32_MAX ? Int{INT64_MAX} : count * seq.size, sizeof(Value));
  const auto total = static_cast<size_t>(count) * seq.size;
  rt.charge(static_cast<int64_t>(total));
  Value* items = rt.allocate_values(total);
  for (size_t i = 0; i < total; i += seq.size) std::copy(seq.begin(), seq.end(), items + i);
  return rt.sequence(v.kind, items, total);
}

Value join_sequences(Runtime& rt, const Value& a, const Value& b) {
  const size_t total = size_t{a.seq->size} + b.seq->size;
  rt.charge(static_cast<int64_t>(total));
  Value* items = rt.allocate_values(total);
  std::copy(a.seq->begin(), a.seq->end(), items);
  std::copy(b.seq->begin(), b.seq->end(), items + a.seq->size);
  return rt.sequence(a.kind, items, total);
}

Value add_strings(Runtime& rt, const Value& a, const Value& b) {
  if (((a.flags | b.flags) & Value::kMarkup) == 0) return rt.concat(a.text(), b.text());
  return rt.concat(escape_html(rt, a).text(), escape_html(rt, b).text(), Value::kMarkup);
}

bool can_repeat(const Value& v) { return v.is_string() || v.is_sequence(); }

}  // namespace

Int integral(const Value& v) {
  if (v.is(Kind::kBool)) return v.boolean ? 1 : 0;
  if (v.is(Kind::kBigInt)) return *v.big;
  return v.integer;
}

double real(const Value& v) {
  return v.is(Kind::kFloat) ? v.real : static_cast<double>(integral(v));
}

int64_t index_of(const Value& v) {
  if (!v.is_integral()) fail("'{}' object cannot be interpreted as an integer", type_name(v));
  return static_cast<int64_t>(std::clamp<Int>(integral(v), std::numeric_limits<int64_t>::min() + 1,
                                              std::numeric_limits<int64_t>::max()));
}

std::string_view require_text(const Value& v, std::string_view what) {
  require_defined(v);
  if (!v.is_string()) fail("{} must be str, not {}", what, type_name(v));
  return v.text();
}

Int truncate_float(double d) {
  if (std::isnan(d)) fail("cannot convert float NaN to integer");
  if (std::isinf(d)) {
    throw RenderError{ErrorCode::kInvalidArgument, "cannot convert float infinity to integer",
                      false, true};
  }
  if (std::abs(d) >= 0x1p127) int_overflow();
  return static_cast<Int>(d);
}

Value power(Runtime& rt, const Value& a, const Value& b) {
  if (a.is_integral() && b.is_integral() && integral(b) >= 0) {
    return int_power(rt, integral(a), integral(b));
  }
  const double x = real(a);
  const double y = real(b);
  if (x == 0 && y < 0) fail("0.0 cannot be raised to a negative power");
  if (x < 0 && std::isfinite(x) && std::isfinite(y) && y != std::floor(y)) {
    fail("complex numbers are not supported: {} ** {}", x, y);
  }
  const double r = std::pow(x, y);
  if (std::isinf(r) && std::isfinite(x) && std::isfinite(y)) {
    throw RenderError{ErrorCode::kInvalidArgument, "(34, 'Numerical result out of range')", false,
                      true};
  }
  return Value::of_float(r);
}

Value binary(Runtime& rt, BinaryOp op, const Value& a, const Value& b) {
  if (op == BinaryOp::kMod && a.is_string()) return percent_format(rt, a, b);
  require_defined(a);
  require_defined(b);
  if (a.is_number() && b.is_number()) {
    if (op == BinaryOp::kPow) return power(rt, a, b);
    if (a.is_integral() && b.is_integral()) return int_op(rt, op, integral(a), integral(b));
    return float_op(op, real(a), real(b));
  }
  if (op == BinaryOp::kAdd) {
    if (a.is_string() && b.is_string()) return add_strings(rt, a, b);
    if (a.is_sequence() && a.kind == b.kind) return join_sequences(rt, a, b);
    if (a.is_string()) {
      fail("can only concatenate str (not \"{}\") to str", type_name(b));
    }
  }
  if (op == BinaryOp::kMul) {
    if (can_repeat(a) && b.is_integral()) return repeat(rt, a, integral(b));
    if (can_repeat(b) && a.is_integral()) return repeat(rt, b, integral(a));
  }
  fail("unsupported operand type(s) for {}: '{}' and '{}'", op_name(op), type_name(a),
       type_name(b));
}

Value negate(Runtime& rt, const Value& v) {
  require_defined(v);
  if (v.is(Kind::kFloat)) return Value::of_float(-v.real);
  if (!v.is_integral()) fail("bad operand type for unary -: '{}'", type_name(v));
  Int r = 0;
  return checked(rt, __builtin_sub_overflow(Int{0}, integral(v), &r), r);
}

Value plus(Runtime& rt, const Value& v) {
  require_defined(v);
  if (v.is(Kind::kFloat)) return v;
  if (!v.is_integral()) fail("bad operand type for unary +: '{}'", type_name(v));
  return rt.integer(integral(v));
}

Value round_number(Runtime& rt, const Value& v, int64_t digits) {
  require_defined(v);
  if (v.is_integral()) {
    if (digits >= 0) return rt.integer(integral(v));
    if (digits < -38) return Value::of_int(0);
    Int scale = 1;
    for (int64_t i = 0; i > digits; --i) {
      if (__builtin_mul_overflow(scale, Int{10}, &scale)) return Value::of_int(0);
    }
    const Int down = floor_div(integral(v), scale);
    const Int rest = integral(v) - down * scale;
    const bool is_up = rest > scale - rest || (rest == scale - rest && (down & 1) != 0);
    return rt.integer((down + (is_up ? 1 : 0)) * scale);
  }
  if (!v.is(Kind::kFloat)) fail("type {} doesn't define __round__ method", type_name(v));
  if (!std::isfinite(v.real) || digits > 323) return v;
  if (digits < -308) return Value::of_float(std::copysign(0.0, v.real));
  if (digits < 0) {
    const double scale = std::pow(10.0, static_cast<double>(-digits));
    return Value::of_float(std::nearbyint(v.real / scale) * scale);
  }
  // printf rounds the exact decimal expansion, ties to even, as Python does.
  char buffer[800];
  std::snprintf(buffer, sizeof buffer, "%.*f", static_cast<int>(digits), v.real);
  return Value::of_float(std::strtod(buffer, nullptr));
}

}  // namespace ramjet::text::chat
