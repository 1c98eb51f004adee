// JSON texts in one form, and spelled.
#pragma once

#include <string>
#include <string_view>

namespace ramjet::text {

/// Equal for equal JSON values: members sorted, numbers in one form. Empty if it does not parse.
std::string canonical_json(std::string_view text);
/// The JSON spelling of a key, with quotes.
std::string quoted_json(const std::u32string& key);
/// As to_code_points(), but three bytes may be a surrogate.
std::u32string to_code_points_lenient(std::string_view text);

}  // namespace ramjet::text
