// printf-style formatting: `"%s: %d" % (name, n)` and the filter `format`.
#pragma once

#include "text/chat/runtime.h"
#include "text/chat/value.h"

namespace ramjet::text::chat {

Value percent_format(Runtime& rt, const Value& format, const Value& arguments);

}  // namespace ramjet::text::chat
