// JSON with a depth cap. Headers use nlohmann's forward declarations through this file's twin
// <nlohmann/json_fwd.hpp>; include this only in .cc files.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "base/result.h"

namespace ramjet {

using Json = nlohmann::json;
using OrderedJson = nlohmann::ordered_json;  // keeps the order of keys

/// Parses JSON text. A document deeper than `max_depth` is refused: nlohmann's dump and
/// destructor recurse. Errors: kInvalidArgument with line and column.
Result<Json> parse_json(std::string_view text, int max_depth = 128);
Result<OrderedJson> parse_ordered_json(std::string_view text, int max_depth = 128);
Result<Json> read_json_file(const std::string& path);

/// Dumps without throwing: invalid UTF-8 becomes U+FFFD.
std::string dump_json(const Json& json, int indent = -1);

}  // namespace ramjet
