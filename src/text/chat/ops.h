// Python's operations on values: truth, equality, order, membership, arithmetic, text, iteration.
//
// Free functions; each throws RenderError where Python raises. Names follow Python's words.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "text/chat/runtime.h"
#include "text/chat/value.h"

namespace ramjet::text::chat {

/// The name of the value's Python type: "str", "NoneType", "dict_items", ...
std::string_view type_name(const Value& v);
[[noreturn]] void raise_undefined(const Value& undefined);
/// Throws when `v` is undefined, as Undefined's operators do.
inline void require_defined(const Value& v) {
  if (v.is_undefined()) raise_undefined(v);
}

bool truthy(Runtime& rt, const Value& v);
bool equals(Runtime& rt, const Value& a, const Value& b);
bool is_same(const Value& a, const Value& b);  // Python's `is`
enum class Order { kLess, kLessEqual, kGreater, kGreaterEqual };
bool compare(Runtime& rt, const Value& a, const Value& b, Order order);
inline bool less(Runtime& rt, const Value& a, const Value& b) {
  return compare(rt, a, b, Order::kLess);
}
bool contains(Runtime& rt, const Value& container, const Value& item);

enum class BinaryOp : uint8_t { kAdd, kSub, kMul, kDiv, kFloorDiv, kMod, kPow };
Value binary(Runtime& rt, BinaryOp op, const Value& a, const Value& b);
Value negate(Runtime& rt, const Value& v);
Value plus(Runtime& rt, const Value& v);
/// Python's round(v, digits).
Value round_number(Runtime& rt, const Value& v, int64_t digits);
Value power(Runtime& rt, const Value& a, const Value& b);

/// isinstance(v, int): its value.
Int integral(const Value& v);
/// The value of a number; throws OverflowError for nothing (128-bit integers fit a double).
double real(const Value& v);
/// For indices and counts: an int that fits 64 bits, clamped; TypeError otherwise.
int64_t index_of(const Value& v);
std::string_view require_text(const Value& v, std::string_view what);
/// float -> int; ValueError for NaN, OverflowError for infinities, an Error beyond 128 bits.
Int truncate_float(double d);

void append_repr(Runtime& rt, std::string& out, const Value& v);
void append_str(Runtime& rt, std::string& out, const Value& v);
void append_text_repr(std::string& out, std::string_view text);
std::string int_to_text(Int value, int base = 10);
std::string float_repr(double d);
/// str(v): strings come back as they are (less the markup flag).
Value to_str(Runtime& rt, const Value& v);
/// markupsafe.soft_str: as to_str, but a string keeps its flag.
inline Value soft_str(Runtime& rt, const Value& v) { return v.is_string() ? v : to_str(rt, v); }
std::string repr(Runtime& rt, const Value& v);
/// &, <, >, ' and " as HTML entities, unless already markup.
Value escape_html(Runtime& rt, const Value& v);

/// len(v); none where Python raises TypeError.
std::optional<int64_t> try_length(Runtime& rt, const Value& v);
int64_t length(Runtime& rt, const Value& v);
bool is_iterable(const Value& v);
/// iter(v); TypeError for what cannot be iterated.
Iterator* iterate(Runtime& rt, const Value& v);
/// list(v) as a sequence of the arena; shares the items of lists and tuples.
const Seq* collect(Runtime& rt, const Value& v);
/// reversed(v), or null where Python raises TypeError.
Iterator* reverse_iterate(Runtime& rt, const Value& v);
Iterator* iterate_items(Runtime& rt, const Value* items, size_t size);

/// TypeError for a key that cannot be hashed.
uint64_t hash_value(Runtime& rt, const Value& v);
bool is_hashable(const Value& v);
/// The value of a key, or null. The key must be hashable.
const Value* dict_find(Runtime& rt, const Dict& dict, const Value& key);
const Value* dict_find(const Dict& dict, std::string_view key);
Value dict_view_item(Runtime& rt, const Value& view, uint32_t i);

/// Builds a dict in Python's way: the last value of a key wins, the first place is kept.
class DictBuilder {
 public:
  explicit DictBuilder(Runtime& rt) : rt_(rt) {}
  void set(const Value& key, const Value& value);
  /// True if the key was new.
  bool add(const Value& key, const Value& value);
  const Value* find(const Value& key) const;
  size_t size() const { return size_; }
  Value dict();

 private:
  uint32_t* slot_of(const Value& key, uint64_t hash) const;
  void grow();

  Runtime& rt_;
  Value* keys_ = nullptr;
  Value* values_ = nullptr;
  uint64_t* hashes_ = nullptr;
  uint32_t* slots_ = nullptr;
  uint32_t size_ = 0;
  uint32_t capacity_ = 0;
  uint32_t slot_mask_ = 0;
};

}  // namespace ramjet::text::chat
