#include "text/chat/call_args.h"

#include <algorithm>

namespace ramjet::text::chat {

Bound::Bound(const Signature& signature, const CallArgs& args) : function_(signature.function) {
  const auto& names = signature.parameters;
  if (args.positional.size() > names.size()) {
    fail("{}() takes at most {} argument(s) ({} given)", function_, names.size(),
         args.positional.size());
  }
  std::copy(args.positional.begin(), args.positional.end(), values_.begin());
  for (const Keyword& keyword : args.keywords) {
    const auto* it = std::find(names.begin(), names.end(), keyword.name);
    if (it == names.end() || it->empty()) {
      fail("{}() got an unexpected keyword argument '{}'", function_, keyword.name);
    }
    Value& slot = values_[static_cast<size_t>(it - names.begin())];
    if (!slot.is(Kind::kMissing)) {
      fail("{}() got multiple values for argument '{}'", function_, keyword.name);
    }
    slot = keyword.value;
  }
  for (size_t i = 0; i < signature.required; ++i) {
    if (!has(i)) fail("{}() missing a required argument: {}", function_, i + 1);
  }
}

std::string_view Bound::text(size_t i, std::string_view fallback) const {
  return has(i) ? require_text(values_[i], function_) : fallback;
}

}  // namespace ramjet::text::chat
