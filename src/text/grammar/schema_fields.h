// Reading the keywords of a schema object with their types checked. Throws Refusal.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string_view>

namespace ramjet::text {

[[noreturn]] void bad_schema(const char* keyword, std::string_view wants);
/// Null if absent.
const nlohmann::ordered_json* find_field(const nlohmann::ordered_json& json, const char* keyword);
const nlohmann::ordered_json* find_list(const nlohmann::ordered_json& json, const char* keyword);
const nlohmann::ordered_json* find_map(const nlohmann::ordered_json& json, const char* keyword);
std::optional<int64_t> find_count(const nlohmann::ordered_json& json, const char* keyword);

}  // namespace ramjet::text
