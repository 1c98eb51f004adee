// JSON as Python's json.dumps writes it, for the filter `tojson`; and JSON in as values.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "text/chat/runtime.h"
#include "text/chat/value.h"

namespace ramjet::text::chat {

struct JsonStyle {
  bool ensure_ascii = false;
  bool is_indented = false;
  bool sort_keys = false;
  std::string indent;  // of one level
  std::string item_separator = ", ";
  std::string key_separator = ": ";
};

/// TypeError for what is no JSON: undefined, generators, keys that are no scalars, ...
std::string dump_json_text(Runtime& rt, const Value& v, const JsonStyle& style);

/// Borrows the document's strings. Invalid UTF-8 becomes U+FFFD; too deep a document is an error.
Value value_from_json(Runtime& rt, const nlohmann::ordered_json& json);

}  // namespace ramjet::text::chat
