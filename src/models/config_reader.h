// ConfigReader: typed, range-checked access to the fields of a config.json.
//
// Borrows the JSON. An error names the field, its value and what it must be. A null field counts
// as absent, as in transformers.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace ramjet::models {

struct IntRange {
  int64_t min = 1;
  int64_t max = 1;
};

class ConfigReader {
 public:
  /// `where` is put before field names in messages: "rope_scaling.".
  explicit ConfigReader(const nlohmann::json& json, std::string where = "")
      : json_(&json), where_(std::move(where)) {}

  bool has(const char* field) const;
  const nlohmann::json& json() const { return *json_; }
  /// Without a fallback, an absent field is an error.
  Result<int64_t> integer(const char* field, IntRange range,
                          std::optional<int64_t> fallback = std::nullopt) const;
  /// In (above, max].
  Result<double> number(const char* field, double above, double max,
                        std::optional<double> fallback = std::nullopt) const;
  Result<bool> flag(const char* field, bool fallback) const;
  Result<std::string> text(const char* field, std::string_view fallback) const;
  /// A list of positive numbers of exactly `length`.
  Result<std::vector<double>> numbers(const char* field, size_t length) const;
  /// Token ids: an int, a list of ints, or absent.
  Result<std::vector<int32_t>> ids(const char* field) const;
  /// A nested object, or a reader of {} if absent.
  Result<ConfigReader> object(const char* field) const;

 private:
  Error bad(const char* field, std::string_view wanted) const;
  const nlohmann::json* find(const char* field) const;
  const nlohmann::json* json_;
  std::string where_;
};

}  // namespace ramjet::models
