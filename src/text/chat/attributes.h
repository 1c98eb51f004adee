// Attribute, item and slice access by the rules of jinja2's immutable sandbox.
//
// Free functions; none throws for a name that does not exist: that is an undefined value.
#pragma once

#include <cstdint>
#include <string_view>

#include "text/chat/runtime.h"
#include "text/chat/value.h"

namespace ramjet::text::chat {

/// The methods of Python's built-in types. kUnsafe stands for those the sandbox refuses.
enum class Method : uint8_t {
  kUnsafe,
  kUnsupported,  // exists in Python, not here; calling it says so
  kProperty,     // a number's real, imag, ...
  // str
  kCapitalize,
  kCasefold,
  kCenter,
  kCount,
  kEndswith,
  kExpandtabs,
  kFind,
  kFormat,
  kFormatMap,
  kIndex,
  kIsalnum,
  kIsalpha,
  kIsascii,
  kIsdecimal,
  kIsdigit,
  kIsidentifier,
  kIslower,
  kIsnumeric,
  kIsprintable,
  kIsspace,
  kIstitle,
  kIsupper,
  kJoin,
  kLjust,
  kLower,
  kLstrip,
  kPartition,
  kRemoveprefix,
  kRemovesuffix,
  kReplace,
  kRfind,
  kRindex,
  kRjust,
  kRpartition,
  kRsplit,
  kRstrip,
  kSplit,
  kSplitlines,
  kStartswith,
  kStrip,
  kSwapcase,
  kTitle,
  kUpper,
  kZfill,
  kEscape,
  kUnescape,
  kStriptags,
  // dict
  kCopy,
  kGet,
  kItems,
  kKeys,
  kValues,
  kFromkeys,
  // numbers
  kBitLength,
  kBitCount,
  kIsInteger,
  kConjugate,
  // loop, cycler
  kCycle,
  kChanged,
  kNext,
  kReset,
};

/// obj.name: the attribute first, then the item.
Value get_attribute(Runtime& rt, const Value& object, std::string_view name);
/// obj[key]: the item first, then (for a string) the attribute.
Value get_item(Runtime& rt, const Value& object, const Value& key);
/// obj[start:stop:step]; a missing part is kMissing. TypeError for what cannot be sliced.
struct SliceBounds {
  Value start;
  Value stop;
  Value step;
};
Value get_slice(Runtime& rt, const Value& object, const SliceBounds& bounds);
/// The attribute alone; kMissing when the type has none of that name.
Value find_attribute(Runtime& rt, const Value& object, std::string_view name);

void set_namespace_item(Runtime& rt, Namespace& ns, std::string_view name, const Value& value);

}  // namespace ramjet::text::chat
