#include "server/kserve/tensors.h"

#include <cstring>

#include "base/json.h"
#include "server/http/message.h"

namespace ramjet::server::kserve {
namespace {

constexpr size_t kMaxElements = 1 << 22;

ApiError wrong(const std::string& name, const std::string& what) {
  return bad_request(name, "input '" + name + "': " + what);
}

size_t element_bytes(std::string_view datatype) {
  if (datatype == "BOOL" || datatype == "INT8" || datatype == "UINT8") return 1;
  if (datatype == "INT16" || datatype == "UINT16") return 2;
  if (datatype == "INT32" || datatype == "UINT32" || datatype == "FP32") return 4;
  if (datatype == "INT64" || datatype == "UINT64" || datatype == "FP64") return 8;
  return 0;
}

template <class T>
T load(const char* bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof(value));
  return value;
}

OrderedJson element(std::string_view datatype, const char* bytes) {
  if (datatype == "BOOL") return *bytes != 0;
  if (datatype == "INT8") return load<int8_t>(bytes);
  if (datatype == "UINT8") return load<uint8_t>(bytes);
  if (datatype == "INT16") return load<int16_t>(bytes);
  if (datatype == "UINT16") return load<uint16_t>(bytes);
  if (datatype == "INT32") return load<int32_t>(bytes);
  if (datatype == "UINT32") return load<uint32_t>(bytes);
  if (datatype == "INT64") return load<int64_t>(bytes);
  if (datatype == "UINT64") return load<uint64_t>(bytes);
  // As it is written in decimal: 0.7f is 0.7, not 0.699999988.
  if (datatype == "FP32") return std::stod(fmt::format("{}", load<float>(bytes)));
  return load<double>(bytes);
}

/// BYTES: each element's length in four bytes, and it.
std::optional<ApiError> read_texts(const std::string& name, std::string_view bytes,
                                   OrderedJson& values) {
  while (!bytes.empty()) {
    if (bytes.size() < 4) return wrong(name, "its binary data ends within a length");
    const auto length = load<uint32_t>(bytes.data());
    bytes.remove_prefix(4);
    if (length > bytes.size()) {
      return wrong(name,
                   fmt::format("an element wants {} bytes, {} are left", length, bytes.size()));
    }
    if (!is_valid_utf8(bytes.substr(0, length))) return wrong(name, "an element is not UTF-8");
    values.push_back(std::string(bytes.substr(0, length)));
    bytes.remove_prefix(length);
  }
  return std::nullopt;
}

std::optional<ApiError> read_raw(const std::string& name, std::string_view datatype,
                                 std::string_view bytes, OrderedJson& values) {
  if (datatype == "BYTES") return read_texts(name, bytes, values);
  const size_t width = element_bytes(datatype);
  if (bytes.size() % width != 0) {
    return wrong(name, fmt::format("{} bytes are no whole number of {}", bytes.size(), datatype));
  }
  for (size_t i = 0; i < bytes.size(); i += width) {
    values.push_back(element(datatype, bytes.data() + i));
  }
  return std::nullopt;
}

/// Nested arrays, row by row.
bool flatten(const OrderedJson& data, int depth, OrderedJson& values) {
  if (!data.is_array()) {
    values.push_back(data);
    return values.size() <= kMaxElements;
  }
  if (depth > 8) return false;
  for (const OrderedJson& item : data) {
    if (!flatten(item, depth + 1, values)) return false;
  }
  return true;
}

bool fits(const OrderedJson& value, std::string_view datatype) {
  if (datatype == "BYTES") return value.is_string();
  if (datatype == "BOOL") return value.is_boolean() || value.is_number_integer();
  if (datatype.starts_with("FP")) return value.is_number();
  return value.is_number_integer();
}

template <class T>
void append(T value, std::string& raw) {
  raw.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

/// Of "shape"; -1 if it is none.
int64_t element_count(const OrderedJson& tensor) {
  const auto shape = tensor.find("shape");
  if (shape == tensor.end() || !shape->is_array()) return -1;
  int64_t count = 1;
  for (const OrderedJson& extent : *shape) {
    if (!extent.is_number_integer()) return -1;
    const auto value = extent.get<int64_t>();
    if (value < 0 || value > static_cast<int64_t>(kMaxElements)) return -1;
    count *= value;
    if (count > static_cast<int64_t>(kMaxElements)) return -1;
  }
  return count;
}

std::string text_member(const OrderedJson& object, const char* key) {
  const auto it = object.find(key);
  return it != object.end() && it->is_string() ? it->get<std::string>() : std::string();
}

/// "binary_data_size" among the parameters; none if the data is in the JSON.
std::optional<uint64_t> raw_size(const OrderedJson& tensor) {
  const auto parameters = tensor.find("parameters");
  if (parameters == tensor.end() || !parameters->is_object()) return std::nullopt;
  const auto size = parameters->find("binary_data_size");
  if (size == parameters->end() || !size->is_number_unsigned()) return std::nullopt;
  return size->get<uint64_t>();
}

}  // namespace

std::optional<ApiError> tensor_values(const OrderedJson& tensor, std::string_view& raw,
                                      OrderedJson& values) {
  const std::string name = text_member(tensor, "name");
  const std::string datatype = text_member(tensor, "datatype");
  if (name.empty()) return bad_request("inputs", "an input has no 'name'");
  if (datatype != "BYTES" && element_bytes(datatype) == 0) {
    return wrong(name, "the datatype '" + datatype +
                           "' is not taken; BYTES, BOOL, INT8 to INT64, UINT8 to UINT64, FP32 and "
                           "FP64 are");
  }
  values = OrderedJson::array();
  if (const auto size = raw_size(tensor)) {
    if (*size > raw.size()) {
      return wrong(name,
                   fmt::format("it wants {} bytes of binary data, {} are left", *size, raw.size()));
    }
    if (auto error = read_raw(name, datatype, raw.substr(0, *size), values)) return error;
    raw.remove_prefix(*size);
  } else {
    const auto data = tensor.find("data");
    if (data == tensor.end()) return wrong(name, "it has neither 'data' nor binary data");
    if (!flatten(*data, 0, values)) return wrong(name, "its data is nested too deeply or too long");
  }
  for (const OrderedJson& value : values) {
    if (!fits(value, datatype)) return wrong(name, "an element is not " + datatype);
  }
  const int64_t count = element_count(tensor);
  if (count < 0) return wrong(name, "its 'shape' must be an array of numbers");
  if (static_cast<size_t>(count) != values.size()) {
    return wrong(name,
                 fmt::format("its shape has {} elements, {} are given", count, values.size()));
  }
  return std::nullopt;
}

OrderedJson tensor_json(const OutputTensor& tensor, bool binary, std::string& raw) {
  const bool texts = tensor.datatype == "BYTES";
  const size_t count = texts ? tensor.texts.size() : tensor.numbers.size();
  OrderedJson json = {{"name", tensor.name}, {"datatype", tensor.datatype}};
  json["shape"] = OrderedJson::array({count});
  if (!binary) {
    OrderedJson data = OrderedJson::array();
    for (const std::string& text : tensor.texts) data.push_back(text);
    for (const double number : tensor.numbers) {
      if (tensor.datatype == "INT32") {
        data.push_back(static_cast<int64_t>(number));
      } else {
        data.push_back(number);
      }
    }
    json["data"] = std::move(data);
    return json;
  }
  const size_t before = raw.size();
  for (const std::string& text : tensor.texts) {
    append(static_cast<uint32_t>(text.size()), raw);
    raw += text;
  }
  for (const double number : tensor.numbers) {
    if (tensor.datatype == "INT32") {
      append(static_cast<int32_t>(number), raw);
    } else {
      append(static_cast<float>(number), raw);
    }
  }
  json["parameters"] = {{"binary_data_size", raw.size() - before}};
  return json;
}

}  // namespace ramjet::server::kserve
