// The functions every template can call: range, dict, namespace, cycler, joiner, raise_exception,
// strftime_now. (lipsum exists and refuses.)
#pragma once

#include <string_view>

#include "text/chat/call_args.h"

namespace ramjet::text::chat {

enum class Function : uint8_t {
  kRange,
  kDict,
  kNamespace,
  kCycler,
  kJoiner,
  kLipsum,
  kRaiseException,
  kStrftimeNow,
};

/// kMissing for an unknown name.
Value find_global(std::string_view name);
Value call_global(Runtime& rt, Function function, const CallArgs& args);

/// strftime as Python's datetime has it. Errors: kInvalidArgument for an absurd format.
std::string format_time(const TemplateTime& time, std::string_view format);

}  // namespace ramjet::text::chat
