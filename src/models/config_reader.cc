#include "models/config_reader.h"

#include <algorithm>
#include <cmath>

#include "base/json.h"

namespace ramjet::models {

const Json* ConfigReader::find(const char* field) const {
  if (!json_->is_object()) return nullptr;
  const auto it = json_->find(field);
  return it == json_->end() || it->is_null() ? nullptr : &*it;
}

bool ConfigReader::has(const char* field) const { return find(field) != nullptr; }

Error ConfigReader::bad(const char* field, std::string_view wanted) const {
  const Json* value = find(field);
  if (value == nullptr) {
    return invalid_argument("config: {}{} is missing, it must be {}", where_, field, wanted);
  }
  std::string shown = dump_json(*value);
  if (shown.size() > 80) shown = shown.substr(0, 77) + "...";
  return invalid_argument("config: {}{} is {}, it must be {}", where_, field, shown, wanted);
}

Result<int64_t> ConfigReader::integer(const char* field, IntRange range,
                                      std::optional<int64_t> fallback) const {
  const Json* value = find(field);
  if (value == nullptr && fallback) return *fallback;
  const auto wanted = [&] { return fmt::format("a whole number {} to {}", range.min, range.max); };
  if (value == nullptr || !value->is_number()) return bad(field, wanted());
  // Through double: exact in any range asked for here, and safe for 1e300.
  const double number = value->get<double>();
  if (!(number >= static_cast<double>(range.min) && number <= static_cast<double>(range.max)) ||
      number != std::floor(number)) {
    return bad(field, wanted());
  }
  return static_cast<int64_t>(number);
}

Result<double> ConfigReader::number(const char* field, double above, double max,
                                    std::optional<double> fallback) const {
  const Json* value = find(field);
  if (value == nullptr && fallback) return *fallback;
  const bool good = value != nullptr && value->is_number() && value->get<double>() > above &&
                    value->get<double>() <= max;
  if (!good) return bad(field, fmt::format("a number above {} and at most {}", above, max));
  return value->get<double>();
}

Result<bool> ConfigReader::flag(const char* field, bool fallback) const {
  const Json* value = find(field);
  if (value == nullptr) return fallback;
  if (!value->is_boolean()) return bad(field, "true or false");
  return value->get<bool>();
}

Result<std::string> ConfigReader::text(const char* field, std::string_view fallback) const {
  const Json* value = find(field);
  if (value == nullptr) return std::string(fallback);
  if (!value->is_string()) return bad(field, "a string");
  return value->get<std::string>();
}

Result<std::vector<double>> ConfigReader::numbers(const char* field, size_t length) const {
  const Json* value = find(field);
  const auto positive = [](const Json& v) {
    return v.is_number() && v.get<double>() > 0 && std::isfinite(v.get<double>());
  };
  if (value == nullptr || !value->is_array() || value->size() != length ||
      !std::all_of(value->begin(), value->end(), positive)) {
    return bad(field, fmt::format("a list of {} positive numbers", length));
  }
  return value->get<std::vector<double>>();
}

Result<std::vector<int32_t>> ConfigReader::ids(const char* field) const {
  const Json* value = find(field);
  std::vector<int32_t> out;
  if (value == nullptr) return out;
  const auto add = [&](const Json& id) {
    if (!id.is_number_integer() || id.get<double>() < 0 || id.get<double>() > 1 << 30) return false;
    out.push_back(id.get<int32_t>());
    return true;
  };
  const bool good = value->is_array() && value->size() <= 4096
                        ? std::all_of(value->begin(), value->end(), add)
                        : add(*value);
  if (!good) return bad(field, "a token id or a list of them");
  return out;
}

Result<ConfigReader> ConfigReader::object(const char* field) const {
  static const Json kEmpty = Json::object();
  const Json* value = find(field);
  if (value == nullptr) return ConfigReader(kEmpty, where_ + field + ".");
  if (!value->is_object()) return bad(field, "an object");
  return ConfigReader(*value, where_ + field + ".");
}

}  // namespace ramjet::models
