// Runtime: memory, limits and errors of one rendering.
//
// One thread, one rendering. Everything allocated lives until the Runtime dies. A failure is thrown
// as RenderError inside src/text/chat and becomes an Error in chat_template.cc; it never leaves.
#pragma once

#include <fmt/core.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "text/chat/chat_template.h"
#include "text/chat/value.h"

namespace ramjet::text::chat {

struct RenderError {
  ErrorCode code = ErrorCode::kInvalidArgument;
  std::string message;
  bool is_raised = false;    // by raise_exception: the message goes out as it stands
  bool is_overflow = false;  // Python's OverflowError
};

[[noreturn]] void throw_error(ErrorCode code, std::string message);
template <class... Args>
[[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) {
  throw_error(ErrorCode::kInvalidArgument, fmt::format(format, std::forward<Args>(args)...));
}

class Runtime {
 public:
  static constexpr uint32_t kMaxValueDepth = 200;  // nested lists and dicts

  explicit Runtime(const RenderOptions& options);
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;

  /// Counts work; throws when the limit of steps is reached.
  void charge(int64_t steps = 1) {
    steps_left_ -= steps;
    if (steps_left_ < 0) [[unlikely]]
      out_of_steps();
  }
  void charge_bytes(size_t bytes) { charge(static_cast<int64_t>(bytes / 32)); }
  /// Throws when the native stack that rendering may use is spent.
  void check_stack() const {
    const auto here = reinterpret_cast<uintptr_t>(__builtin_frame_address(0));
    if (stack_top_ > here && stack_top_ - here > kMaxStackBytes) [[unlikely]]
      out_of_stack();
  }
  void enter_call();
  void leave_call() { --call_depth_; }

  void* allocate(size_t bytes);
  char* allocate_chars(size_t bytes) { return static_cast<char*>(allocate(bytes)); }
  Value* allocate_values(size_t count);
  template <class T, class... Args>
  T* make(Args&&... args) {
    static_assert(std::is_trivially_destructible_v<T>, "the arena runs no destructors");
    return new (allocate(sizeof(T))) T{std::forward<Args>(args)...};
  }
  /// Throws if a result of `count` items of `bytes` each cannot be allowed.
  void check_size(Int count, size_t bytes = 1) const;

  Value text(std::string_view copied, uint8_t flags = 0);
  /// Appends in place when `left` is the newest string, so that growing one stays linear.
  Value concat(std::string_view left, std::string_view right, uint8_t flags = 0);
  Value integer(Int value);
  /// A list or tuple of values that already lie in the arena.
  Value sequence(Kind kind, const Value* items, size_t size, uint8_t flags = 0);
  Value sequence(Kind kind, const std::vector<Value>& items, uint8_t flags = 0);
  Value tuple2(const Value& a, const Value& b);
  Value undefined(std::string_view name);                   // a variable
  Value undefined(const Value& object, const Value& name);  // an attribute or item
  Value undefined_hint(std::string_view hint);
  Value iterator(Iterator* it) { return Value::of_object(Kind::kIterator, it); }

  const RenderOptions& options() const { return options_; }

 private:
  static constexpr size_t kMaxStackBytes = 2 << 20;
  static constexpr size_t kChunkBytes = 64 << 10;

  [[noreturn]] void out_of_steps() const;
  [[noreturn]] void out_of_stack() const;
  [[noreturn]] void out_of_memory(size_t bytes) const;
  [[noreturn]] void value_too_deep() const;
  void* allocate_chunk(size_t bytes);

  RenderOptions options_;
  int64_t steps_left_;
  uintptr_t stack_top_;
  int call_depth_ = 0;
  size_t used_bytes_ = 0;
  char* cursor_ = nullptr;
  char* limit_ = nullptr;
  std::vector<std::unique_ptr<char[]>> chunks_;
  struct {
    char* data = nullptr;
    size_t size = 0;
    size_t capacity = 0;
  } newest_;  // what concat() made last
};

/// Levels of nested containers in a value; 0 for a scalar.
uint32_t value_depth(const Value& v);

/// Collects values before they become a list: a std::vector whose memory counts.
class ListBuilder {
 public:
  explicit ListBuilder(Runtime& rt) : rt_(rt) {}
  void add(const Value& v);
  size_t size() const { return size_; }
  const Value* data() const { return items_; }
  Value* data() { return items_; }
  Value list() { return rt_.sequence(Kind::kList, items_, size_); }
  Value tuple() { return rt_.sequence(Kind::kTuple, items_, size_); }

 private:
  Runtime& rt_;
  Value* items_ = nullptr;
  size_t size_ = 0;
  size_t capacity_ = 0;
};

}  // namespace ramjet::text::chat
