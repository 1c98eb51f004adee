#include "text/chat/runtime.h"

#include <algorithm>
#include <cstring>
#include <limits>

namespace ramjet::text::chat {

void throw_error(ErrorCode code, std::string message) {
  throw RenderError{code, std::move(message)};
}

Runtime::Runtime(const RenderOptions& options)
    : options_(options),
      steps_left_(options.limits.max_steps),
      stack_top_(reinterpret_cast<uintptr_t>(__builtin_frame_address(0))) {}

void Runtime::out_of_steps() const {
  throw_error(ErrorCode::kResourceExhausted,
              fmt::format("template needs more than {} steps; shorten the chat or raise "
                          "RenderLimits::max_steps",
                          options_.limits.max_steps));
}
void Runtime::out_of_stack() const {
  throw_error(ErrorCode::kResourceExhausted,
              fmt::format("template nests deeper than {} KiB of stack allow; simplify it",
                          kMaxStackBytes >> 10));
}
void Runtime::out_of_memory(size_t bytes) const {
  throw_error(ErrorCode::kResourceExhausted,
              fmt::format("template wants {} bytes more than the {} of "
                          "RenderLimits::max_memory_bytes allow",
                          bytes, options_.limits.max_memory_bytes));
}

void Runtime::enter_call() {
  check_stack();
  if (++call_depth_ > options_.limits.max_depth) {
    throw_error(ErrorCode::kResourceExhausted,
                fmt::format("template calls macros or loops deeper than {} levels; does it recurse "
                            "without end?",
                            options_.limits.max_depth));
  }
}

void* Runtime::allocate(size_t bytes) {
  bytes = (bytes + 15) & ~size_t{15};
  if (bytes <= static_cast<size_t>(limit_ - cursor_)) [[likely]] {
    char* p = cursor_;
    cursor_ += bytes;
    return p;
  }
  return allocate_chunk(bytes);
}

void* Runtime::allocate_chunk(size_t bytes) {
  const size_t chunk = bytes > kChunkBytes / 4 ? bytes : kChunkBytes;
  if (chunk > options_.limits.max_memory_bytes ||
      used_bytes_ > options_.limits.max_memory_bytes - chunk) {
    out_of_memory(chunk);
  }
  chunks_.push_back(std::unique_ptr<char[]>(new char[chunk]));
  used_bytes_ += chunk;
  char* p = chunks_.back().get();
  if (chunk == kChunkBytes) {
    cursor_ = p + bytes;
    limit_ = p + chunk;
  }
  return p;
}

Value* Runtime::allocate_values(size_t count) {
  check_size(static_cast<Int>(count), sizeof(Value));
  auto* values = static_cast<Value*>(allocate(count * sizeof(Value)));
  for (size_t i = 0; i < count; ++i) new (values + i) Value();
  return values;
}

void Runtime::check_size(Int count, size_t bytes) const {
  const Int total = count * static_cast<Int>(bytes);
  if (total > static_cast<Int>(options_.limits.max_memory_bytes) ||
      total > std::numeric_limits<uint32_t>::max()) {
    out_of_memory(static_cast<size_t>(count < 0 ? 0 : total));
  }
}

Value Runtime::text(std::string_view copied, uint8_t flags) {
  check_size(static_cast<Int>(copied.size()));
  charge_bytes(copied.size());
  char* p = allocate_chars(copied.size());
  if (!copied.empty()) std::memcpy(p, copied.data(), copied.size());
  return Value::of_text({p, copied.size()}, flags);
}

Value Runtime::concat(std::string_view left, std::string_view right, uint8_t flags) {
  const size_t total = left.size() + right.size();
  check_size(static_cast<Int>(total));
  charge_bytes(right.size());
  const bool is_newest =
      !left.empty() && left.data() == newest_.data && left.size() == newest_.size;
  if (!is_newest || total > newest_.capacity) {
    charge_bytes(left.size());
    const size_t capacity = is_newest ? 2 * total : total;
    char* p = allocate_chars(capacity);
    if (!left.empty()) std::memcpy(p, left.data(), left.size());
    newest_ = {p, left.size(), capacity};
  }
  if (!right.empty()) std::memcpy(newest_.data + left.size(), right.data(), right.size());
  newest_.size = total;
  return Value::of_text({newest_.data, total}, flags);
}

Value Runtime::integer(Int value) {
  if (value >= std::numeric_limits<int64_t>::min() &&
      value <= std::numeric_limits<int64_t>::max()) {
    return Value::of_int(static_cast<int64_t>(value));
  }
  return Value::of_object(Kind::kBigInt, make<Int>(value));
}

Value Runtime::sequence(Kind kind, const Value* items, size_t size, uint8_t flags) {
  uint32_t depth = 0;
  for (size_t i = 0; i < size; ++i) depth = std::max(depth, value_depth(items[i]));
  charge(static_cast<int64_t>(size / 16));
  if (++depth > kMaxValueDepth) value_too_deep();
  return Value::of_object(kind, make<Seq>(items, static_cast<uint32_t>(size), depth), flags);
}

Value Runtime::sequence(Kind kind, const std::vector<Value>& items, uint8_t flags) {
  Value* copy = allocate_values(items.size());
  std::copy(items.begin(), items.end(), copy);
  return sequence(kind, copy, items.size(), flags);
}

Value Runtime::tuple2(const Value& a, const Value& b) {
  Value* items = allocate_values(2);
  items[0] = a;
  items[1] = b;
  return sequence(Kind::kTuple, items, 2);
}

Value Runtime::undefined(std::string_view name) {
  return Value::of_object(Kind::kUndefined,
                          make<Undefined>(std::string_view(), Value::of_text(name)));
}
Value Runtime::undefined(const Value& object, const Value& name) {
  return Value::of_object(Kind::kUndefined, make<Undefined>(std::string_view(), name, object));
}
Value Runtime::undefined_hint(std::string_view hint) {
  return Value::of_object(Kind::kUndefined, make<Undefined>(hint));
}

void Runtime::value_too_deep() const {
  throw_error(ErrorCode::kResourceExhausted,
              fmt::format("template nests lists and dicts deeper than {} levels", kMaxValueDepth));
}

uint32_t value_depth(const Value& v) {
  if (v.is_sequence()) return v.seq->depth;
  if (v.is(Kind::kDict) || v.is(Kind::kDictView)) return v.dict->depth;
  return 0;
}

void ListBuilder::add(const Value& v) {
  if (size_ == capacity_) {
    const size_t capacity = capacity_ == 0 ? 8 : capacity_ * 2;
    Value* grown = rt_.allocate_values(capacity);
    std::copy(items_, items_ + size_, grown);
    items_ = grown;
    capacity_ = capacity;
  }
  rt_.charge();
  items_[size_++] = v;
}

}  // namespace ramjet::text::chat
