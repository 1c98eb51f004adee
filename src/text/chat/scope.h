// Scopes: gives every name of a parsed template its slot, by jinja2's rules.
//
// A frame (loop body, macro, with, set or filter block, ...) has variables of its own for the names
// it assigns; they start as the outer variable of that name, or unset. A name that no frame around
// it knows comes from the rendering's context. `if` makes no frame. Throws RenderError for unknown
// filters and tests outside conditions, for `break` outside a loop, and for assignments to `loop`.
#pragma once

#include "text/chat/ast.h"

namespace ramjet::text::chat {

void resolve_scopes(Program& program);

}  // namespace ramjet::text::chat
