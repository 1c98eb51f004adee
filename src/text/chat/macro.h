// Macro: a callable made by a macro statement or a call block.
#pragma once

#include <string_view>

#include "text/chat/runtime.h"
#include "text/chat/value.h"

namespace ramjet::text::chat {

struct MacroNode;  // ast.h

/// The variables of one activation of the template, a macro or a recursive loop.
struct Activation {
  Activation* parent = nullptr;  // of the function around it
  Value* slots = nullptr;
};

struct Macro {
  const MacroNode* node;
  Activation* closure;
};

/// Empty for the `caller` of a call block.
std::string_view macro_name(const Macro& macro);
/// An attribute of a macro; kMissing when there is none of that name.
Value macro_attribute(Runtime& rt, const Macro& macro, std::string_view name);

}  // namespace ramjet::text::chat
