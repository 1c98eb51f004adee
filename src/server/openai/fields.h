// Fields: typed reading of a request's JSON object. The first thing wrong is kept as an ApiError
// that names the field, what it wants and the limit; later reads then do nothing.
//
// A field that is absent or null leaves its target alone. Not thread-safe; borrows the object.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/openai/api_error.h"

namespace ramjet::server {

/// A range of numbers; `open_min` excludes its lower end.
struct Range {
  double min;
  double max;
  bool open_min = false;
};

class Fields {
 public:
  using Json = nlohmann::ordered_json;

  /// `object` must be a JSON object. `prefix` goes before names in errors ("stream_options.").
  explicit Fields(const Json& object, std::string prefix = {});

  bool ok() const { return !error_; }
  std::optional<ApiError> take_error() { return std::move(error_); }
  void fail(std::string_view name, std::string message);
  void fail(ApiError error);

  /// The value; null if absent, null or after an error.
  const Json* find(std::string_view name) const;
  bool has(std::string_view name) const { return find(name) != nullptr; }

  void read(std::string_view name, bool& out);
  void read(std::string_view name, std::string& out);
  void read(std::string_view name, float& out, Range range);
  void read(std::string_view name, int& out, Range range);
  void read(std::string_view name, int64_t& out);
  /// Array of integers in [0, limit).
  void read_ids(std::string_view name, std::vector<int32_t>& out, int32_t limit);
  /// A string or an array of strings, at most `max_count` of them.
  void read_strings(std::string_view name, std::vector<std::string>& out, size_t max_count);
  /// An object, or null if absent.
  const Json* find_object(std::string_view name);
  const Json* find_array(std::string_view name);

 private:
  const Json& object_;
  std::string prefix_;
  std::optional<ApiError> error_;
};

/// Parses a request's body. Errors: 400 for bytes that are not UTF-8, not JSON, nested too deeply,
/// or not an object.
std::optional<ApiError> parse_body(std::string_view body, nlohmann::ordered_json& out);

/// "a string", "an array", ...: for messages about types.
std::string_view json_type(const nlohmann::ordered_json& json);

}  // namespace ramjet::server
