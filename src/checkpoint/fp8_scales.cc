#include "checkpoint/fp8_scales.h"

#include "base/json.h"

namespace ramjet::checkpoint {
namespace {

constexpr std::string_view kWeight = ".weight";
constexpr int64_t kDefaultBlock = 128;

bool is_fp8(DType dtype) { return dtype == DType::kF8E4M3 || dtype == DType::kF8E5M2; }

/// An object within an object; null where it is absent or no object.
const Json* object_at(const Json& json, const char* field) {
  const auto it = json.is_object() ? json.find(field) : json.end();
  return it != json.end() && it->is_object() ? &*it : nullptr;
}

/// `weight_block_size` of the configuration, else 128 x 128.
std::pair<int64_t, int64_t> block_extents(const Json& config) {
  const Json* quantization = object_at(config, "quantization_config");
  if (quantization == nullptr) return {kDefaultBlock, kDefaultBlock};
  const auto it = quantization->find("weight_block_size");
  const bool good = it != quantization->end() && it->is_array() && it->size() == 2 &&
                    (*it)[0].is_number_integer() && (*it)[1].is_number_integer() &&
                    (*it)[0].get<int64_t>() > 0 && (*it)[1].get<int64_t>() > 0;
  if (!good) return {kDefaultBlock, kDefaultBlock};
  return {(*it)[0].get<int64_t>(), (*it)[1].get<int64_t>()};
}

int64_t blocks(int64_t extent, int64_t block) { return extent / block + (extent % block != 0); }

}  // namespace

Result<std::optional<ScaleBlocks>> fp8_scales(const Checkpoint& checkpoint, std::string_view name) {
  std::optional<ScaleBlocks> none;
  if (!name.ends_with(kWeight)) return none;
  ASSIGN_OR_RETURN(const TensorView weight, checkpoint.described(name));
  if (!is_fp8(weight.dtype) || weight.shape.rank() != 2) return none;
  std::string scale_name;
  for (const char* suffix : {"_scale_inv", "_scale"}) {
    const std::string candidate = std::string(name) + suffix;
    if (checkpoint.has_tensor(candidate)) scale_name = candidate;
  }
  if (scale_name.empty()) return none;
  ASSIGN_OR_RETURN(const TensorView scale, checkpoint.tensor(scale_name));
  const int64_t rows = weight.shape[0], cols = weight.shape[1];
  const Shape& shape = scale.shape;
  if (shape.elements() == 1) return std::optional(ScaleBlocks{scale, rows, cols});
  if (shape.elements() == rows && shape[0] == rows) {
    return std::optional(ScaleBlocks{scale, 1, cols});
  }
  const auto [block_rows, block_cols] = block_extents(checkpoint.config());
  if (shape.rank() == 2 && shape[0] == blocks(rows, block_rows) &&
      shape[1] == blocks(cols, block_cols)) {
    return std::optional(ScaleBlocks{scale, block_rows, block_cols});
  }
  return invalid_argument(
      "{}: '{}' {} is neither one scale of '{}' {}, nor one a row, nor one a block of {} x {}",
      checkpoint.path(), scale_name, shape.text(), name, weight.shape.text(), block_rows,
      block_cols);
}

Result<Fp8Content> find_fp8(const Checkpoint& checkpoint) {
  Fp8Content content;
  for (const std::string& name : checkpoint.tensor_names()) {
    if (name.ends_with(".input_scale")) content.static_activations = true;
    if (!name.ends_with(kWeight)) continue;
    const Result<TensorView> view = checkpoint.described(name);
    if (!view.ok() || view->shape.rank() != 2) continue;
    if (!is_fp8(view->dtype)) {
      content.floats.push_back(name);
      continue;
    }
    if (view->dtype == DType::kF8E5M2) ++content.e5m2;
    ASSIGN_OR_RETURN(const auto scales, fp8_scales(checkpoint, name));
    if (!scales || (scales->rows == view->shape[0] && scales->cols == view->shape[1])) {
      ++content.per_tensor;
    } else if (scales->cols == view->shape[1] && scales->rows == 1) {
      ++content.per_row;
    } else {
      ++content.per_block;
      content.block_rows = scales->rows, content.block_cols = scales->cols;
    }
  }
  return content;
}

bool promises_fp8(const Checkpoint& checkpoint) {
  const Json* quantization = object_at(checkpoint.config(), "quantization_config");
  if (quantization == nullptr) return false;
  for (const char* field : {"quant_method", "quant_algo"}) {
    const auto it = quantization->find(field);
    if (it == quantization->end() || !it->is_string()) continue;
    if (*it == "fp8" || *it == "FP8" || *it == "fbgemm_fp8") return true;
  }
  return false;
}

}  // namespace ramjet::checkpoint
