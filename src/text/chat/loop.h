// Loop: the `loop` variable of a for statement.
#pragma once

#include <cstdint>

#include "text/chat/runtime.h"
#include "text/chat/value.h"

namespace ramjet::text::chat {

struct Recursion;  // interpreter.h: how a recursive loop renders itself

struct Loop {
  Iterator* iterator = nullptr;
  Value source;  // its len() is the loop's length where it has one
  int64_t index0 = -1;
  int64_t length = -1;  // -1: not known yet
  int64_t depth0 = 0;
  Value current;
  Value before;
  Value after;    // looked ahead; kMissing when nothing was
  Value changed;  // the tuple of the last changed() call
  const Recursion* recursion = nullptr;
};

bool loop_next(Loop& loop, Value* out);
int64_t loop_length(Runtime& rt, Loop& loop);
bool loop_is_last(Loop& loop);
/// An attribute of `loop` that is no method; kMissing when there is none of that name.
Value loop_attribute(Runtime& rt, Loop& loop, std::string_view name);
Iterator* iterate_loop(Runtime& rt, const Value& loop);

}  // namespace ramjet::text::chat
