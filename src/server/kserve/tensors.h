// Tensors of the protocol: JSON or raw bytes in, JSON values out, and back.
//
// Free functions without state.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/openai/api_error.h"

namespace ramjet::server::kserve {

/// The elements of an input as a flat array, from its "data" or from the raw bytes behind the JSON;
/// `raw` is shortened by what was taken.
std::optional<ApiError> tensor_values(const nlohmann::ordered_json& tensor, std::string_view& raw,
                                      nlohmann::ordered_json& values);

/// An output under construction.
struct OutputTensor {
  std::string name;
  std::string datatype;  // BYTES, FP32 or INT32
  std::vector<std::string> texts;
  std::vector<double> numbers;
};
/// Its JSON; with `binary`, the elements are appended to `raw`.
nlohmann::ordered_json tensor_json(const OutputTensor& tensor, bool binary, std::string& raw);

}  // namespace ramjet::server::kserve
