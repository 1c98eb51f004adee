// What the field lists of op/descriptors.h generate: equality, hash, text, and parsing.
//
// The text form is also the engine's encoding of attributes: "num_heads=32 scale=0.125", fields at
// their default left out. Floats round-trip.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "op/descriptors.h"
#include "op/op_kind.h"

namespace ramjet {

std::string attrs_text(const OpAttrs& attrs);
/// Parses the attributes of `op`: the op decides the descriptor.
Result<OpAttrs> parse_attrs(OpKind op, std::string_view text);
bool attrs_equal(const OpAttrs& a, const OpAttrs& b);
uint64_t attrs_hash(const OpAttrs& attrs);
/// A default descriptor of the op's type.
OpAttrs default_attrs(OpKind op);

}  // namespace ramjet
