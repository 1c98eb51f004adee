#include "server/openai/fields.h"

#include <cmath>
#include <utility>

#include "base/json.h"

namespace ramjet::server {
namespace {

constexpr int kMaxDepth = 64;

std::string describe(Range range) {
  if (std::isinf(range.max)) {
    return fmt::format("{} {}", range.open_min ? "above" : "at least", range.min);
  }
  return fmt::format("in {}{}, {}]", range.open_min ? "(" : "[", range.min, range.max);
}

bool contains(Range range, double value) {
  return std::isfinite(value) && value <= range.max &&
         (range.open_min ? value > range.min : value >= range.min);
}

/// 3, or 3.0, which some clients send for 3.
bool is_integer(const OrderedJson& json) {
  if (json.is_number_integer()) return true;
  if (!json.is_number_float()) return false;
  const double value = json.get<double>();
  return std::trunc(value) == value && std::abs(value) < 9e15;
}

}  // namespace

std::string_view json_type(const OrderedJson& json) {
  switch (json.type()) {
    case OrderedJson::value_t::null: return "null";
    case OrderedJson::value_t::object: return "an object";
    case OrderedJson::value_t::array: return "an array";
    case OrderedJson::value_t::string: return "a string";
    case OrderedJson::value_t::boolean: return "a boolean";
    default: return "a number";
  }
}

std::optional<ApiError> parse_body(std::string_view body, OrderedJson& out) {
  if (body.empty()) return bad_request({}, "the request has no body; a JSON object is expected");
  if (!is_valid_utf8(body)) return bad_request({}, "the request's body is not valid UTF-8");
  auto json = parse_ordered_json(body, kMaxDepth);
  if (!json.ok()) return bad_request({}, json.error().message, "invalid_json");
  out = std::move(json).value();
  if (!out.is_object()) {
    return bad_request(
        {}, fmt::format("the request's body must be a JSON object, not {}", json_type(out)));
  }
  return std::nullopt;
}

Fields::Fields(const Json& object, std::string prefix)
    : object_(object), prefix_(std::move(prefix)) {}

void Fields::fail(std::string_view name, std::string message) {
  fail(bad_request(prefix_ + std::string(name), std::move(message)));
}

void Fields::fail(ApiError error) {
  if (!error_) error_ = std::move(error);
}

const Fields::Json* Fields::find(std::string_view name) const {
  if (error_) return nullptr;
  const auto it = object_.find(std::string(name));
  return it == object_.end() || it->is_null() ? nullptr : &*it;
}

void Fields::read(std::string_view name, bool& out) {
  const Json* json = find(name);
  if (json == nullptr) return;
  if (!json->is_boolean()) {
    return fail(name,
                fmt::format("'{}{}' must be a boolean, not {}", prefix_, name, json_type(*json)));
  }
  out = json->get<bool>();
}

void Fields::read(std::string_view name, std::string& out) {
  const Json* json = find(name);
  if (json == nullptr) return;
  if (!json->is_string()) {
    return fail(name,
                fmt::format("'{}{}' must be a string, not {}", prefix_, name, json_type(*json)));
  }
  out = json->get<std::string>();
}

void Fields::read(std::string_view name, float& out, Range range) {
  const Json* json = find(name);
  if (json == nullptr) return;
  if (!json->is_number()) {
    return fail(name,
                fmt::format("'{}{}' must be a number, not {}", prefix_, name, json_type(*json)));
  }
  const double value = json->get<double>();
  if (!contains(range, value)) {
    return fail(name,
                fmt::format("'{}{}' must be {}, not {}", prefix_, name, describe(range), value));
  }
  out = static_cast<float>(value);
}

void Fields::read(std::string_view name, int& out, Range range) {
  const Json* json = find(name);
  if (json == nullptr) return;
  if (!is_integer(*json)) {
    return fail(name, fmt::format("'{}{}' must be an integer, not {}", prefix_, name,
                                  json->is_number() ? "a fraction" : json_type(*json)));
  }
  const double value = json->get<double>();
  if (!contains(range, value)) {
    return fail(name,
                fmt::format("'{}{}' must be {}, not {}", prefix_, name, describe(range), value));
  }
  out = static_cast<int>(value);
}

void Fields::read(std::string_view name, int64_t& out) {
  const Json* json = find(name);
  if (json == nullptr) return;
  if (!is_integer(*json)) {
    return fail(name, fmt::format("'{}{}' must be an integer, not {}", prefix_, name,
                                  json->is_number() ? "a fraction" : json_type(*json)));
  }
  // Unsigned values above the signed range keep their bits.
  out = json->is_number_unsigned() ? static_cast<int64_t>(json->get<uint64_t>())
                                   : json->get<int64_t>();
}

void Fields::read_ids(std::string_view name, std::vector<int32_t>& out, int32_t limit) {
  const Json* json = find_array(name);
  if (json == nullptr) return;
  for (const Json& item : *json) {
    if (!item.is_number_integer()) {
      return fail(
          name, fmt::format("'{}{}' must hold token ids, not {}", prefix_, name, json_type(item)));
    }
    const auto id = item.get<double>();
    if (id < 0 || id >= limit) {
      return fail(name, fmt::format("'{}{}' holds {}, but the vocabulary's ids are 0 to {}",
                                    prefix_, name, id, limit - 1));
    }
    out.push_back(static_cast<int32_t>(id));
  }
}

void Fields::read_strings(std::string_view name, std::vector<std::string>& out, size_t max_count) {
  const Json* json = find(name);
  if (json == nullptr) return;
  if (json->is_string()) return out.push_back(json->get<std::string>());
  if (!json->is_array()) {
    return fail(name, fmt::format("'{}{}' must be a string or an array of strings, not {}", prefix_,
                                  name, json_type(*json)));
  }
  if (json->size() > max_count) {
    return fail(name, fmt::format("'{}{}' takes at most {} strings, not {}", prefix_, name,
                                  max_count, json->size()));
  }
  for (const Json& item : *json) {
    if (!item.is_string()) {
      return fail(name,
                  fmt::format("'{}{}' must hold strings, not {}", prefix_, name, json_type(item)));
    }
    out.push_back(item.get<std::string>());
  }
}

const Fields::Json* Fields::find_object(std::string_view name) {
  const Json* json = find(name);
  if (json == nullptr || json->is_object()) return json;
  fail(name, fmt::format("'{}{}' must be an object, not {}", prefix_, name, json_type(*json)));
  return nullptr;
}

const Fields::Json* Fields::find_array(std::string_view name) {
  const Json* json = find(name);
  if (json == nullptr || json->is_array()) return json;
  fail(name, fmt::format("'{}{}' must be an array, not {}", prefix_, name, json_type(*json)));
  return nullptr;
}

}  // namespace ramjet::server
