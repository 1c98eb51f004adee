// Value: one Python value of a rendering template, and the objects it may point at.
//
// Values are 16-byte handles, copied freely. What they point at lies in the Runtime's arena, in
// the compiled Program or in the caller's JSON, all of which outlive a rendering; nothing is ever
// freed alone. Sequences and dicts never change once made (the sandbox forbids it), so substrings
// and slices share storage. Strings are valid UTF-8. One rendering belongs to one thread.
#pragma once

#include <cstdint>
#include <string_view>

namespace ramjet::text::chat {

__extension__ typedef __int128 Int;  // arithmetic happens in 128 bits; a result beyond is an error

enum class Kind : uint8_t {
  kMissing,  // an unset variable; templates never see it
  kUndefined,
  kNone,
  kBool,
  kInt,     // fits in 64 bits
  kBigInt,  // does not
  kFloat,
  kString,
  kList,
  kTuple,
  kDict,
  kDictView,
  kRange,
  kIterator,  // a Python generator: consumed once
  kMethod,
  kFunction,
  kMacro,
  kNamespace,
  kLoop,
  kCycler,
  kJoiner,
};

enum class Method : uint8_t;    // attributes.h
enum class Function : uint8_t;  // globals.h
struct Undefined;
struct Seq;
struct Dict;
struct Range;
struct BoundMethod;
struct Macro;
struct Namespace;
struct Loop;
struct Cycler;
struct Joiner;
class Iterator;

struct Value {
  static constexpr uint8_t kMarkup = 1;    // a string that `safe` or `escape` made
  static constexpr uint8_t kViewKeys = 0;  // of kDictView
  static constexpr uint8_t kViewValues = 1;
  static constexpr uint8_t kViewItems = 2;
  static constexpr uint8_t kGroup = 1;  // a tuple that groupby made

  Kind kind = Kind::kMissing;
  uint8_t flags = 0;
  uint32_t size = 0;  // bytes of a string
  union {
    int64_t integer = 0;
    bool boolean;
    double real;
    const char* chars;
    const Int* big;
    const Undefined* undefined;
    const Seq* seq;
    const Dict* dict;
    const Range* range;
    const BoundMethod* method;
    Function function;
    const Macro* macro;
    Iterator* iterator;
    Namespace* ns;
    Loop* loop;
    Cycler* cycler;
    Joiner* joiner;
    const void* address;
  };

  static Value none() { return of(Kind::kNone); }
  static Value of_bool(bool b) {
    Value v = of(Kind::kBool);
    v.boolean = b;
    return v;
  }
  static Value of_int(int64_t i) {
    Value v = of(Kind::kInt);
    v.integer = i;
    return v;
  }
  static Value of_float(double d) {
    Value v = of(Kind::kFloat);
    v.real = d;
    return v;
  }
  /// Borrows the bytes, which must outlive the rendering. At most 4 GiB (Runtime sees to it).
  static Value of_text(std::string_view text, uint8_t flags = 0) {
    Value v = of(Kind::kString);
    v.flags = flags;
    v.size = static_cast<uint32_t>(text.size());
    v.chars = text.data();
    return v;
  }
  static Value of_object(Kind kind, const void* object, uint8_t flags = 0) {
    Value v = of(kind);
    v.flags = flags;
    v.address = object;
    return v;
  }
  static Value of_function(Function f) {
    Value v = of(Kind::kFunction);
    v.function = f;
    return v;
  }

  bool is(Kind k) const { return kind == k; }
  bool is_string() const { return kind == Kind::kString; }
  bool is_undefined() const { return kind == Kind::kUndefined; }
  bool is_sequence() const { return kind == Kind::kList || kind == Kind::kTuple; }
  /// int or bool, as isinstance(x, int) says
  bool is_integral() const {
    return kind == Kind::kInt || kind == Kind::kBool || kind == Kind::kBigInt;
  }
  bool is_number() const { return is_integral() || kind == Kind::kFloat; }
  bool is_markup() const { return is_string() && (flags & kMarkup) != 0; }
  std::string_view text() const { return {chars, size}; }

 private:
  static Value of(Kind kind) {
    Value v;
    v.kind = kind;
    return v;
  }
};

/// What an undefined value was looked up as; makes the message of the error it raises when used.
struct Undefined {
  std::string_view hint;  // the whole message, if not empty
  Value name;
  Value object;            // kMissing: `name` is a variable
  bool is_unsafe = false;  // the sandbox refused the attribute
};

struct Seq {
  const Value* items = nullptr;
  uint32_t size = 0;
  uint32_t depth = 1;  // of nested containers

  const Value* begin() const { return items; }
  const Value* end() const { return items + size; }
};

struct Dict {
  const Value* keys = nullptr;
  const Value* values = nullptr;
  const uint32_t* slots = nullptr;  // open addressing; null for small dicts
  uint32_t size = 0;
  uint32_t slot_mask = 0;
  uint32_t depth = 1;
};

struct Range {
  Int start = 0;
  Int stop = 0;
  Int step = 1;
  int64_t size = 0;
  Int at(int64_t i) const { return start + step * i; }
};

struct BoundMethod {
  Value self;
  Method method;
  std::string_view name;
};

/// Yields values once. Lives in the arena: its destructor never runs.
class Iterator {
 public:
  virtual bool next(Value* out) = 0;

 protected:
  ~Iterator() = default;
};

struct Namespace {
  struct Item {
    std::string_view name;
    Value value;
  };
  Item* items = nullptr;
  uint32_t size = 0;
  uint32_t capacity = 0;
};

struct Cycler {
  const Seq* items;
  uint32_t position = 0;
};

struct Joiner {
  Value separator;
  bool is_used = false;
};

}  // namespace ramjet::text::chat
