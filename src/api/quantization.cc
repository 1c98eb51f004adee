#include "api/quantization.h"

#include <cmath>

#include "base/log.h"
#include "checkpoint/fp8_scales.h"
#include "tensor/half.h"

namespace ramjet::api {
namespace {

void log_content(const checkpoint::Fp8Content& content, WeightQuant quant) {
  if (quant != WeightQuant::kFp8Channel) {
    log_info("the checkpoint has {} fp8 weights: widened, quantize {}", content.weights(),
             quantize_name(quant));
    return;
  }
  const int kept = content.per_tensor + content.per_row;
  if (kept > content.e5m2) {
    log_info(
        "fp8 checkpoint: weights with one scale a tensor ({}) or a row ({}) are kept as they "
        "are",
        content.per_tensor, content.per_row);
  }
  if (content.per_block > 0) {
    log_info(
        "fp8 checkpoint: {} weights with a scale for each {} x {} block are widened and quantized "
        "again with one a row; kernels that read block scales are future work",
        content.per_block, content.block_rows, content.block_cols);
  }
  if (content.e5m2 > 0) {
    log_info("fp8 checkpoint: {} weights in e5m2 are quantized again to e4m3", content.e5m2);
  }
  if (content.static_activations) {
    log_info("fp8 checkpoint: activations are scaled a token at a time, not by its input_scale");
  }
}

}  // namespace

Result<std::optional<WeightQuant>> parse_quantize(const std::string& name) {
  if (name == "auto") return std::optional<WeightQuant>();
  if (name == "none") return std::optional(WeightQuant::kNone);
  if (name == "int8") return std::optional(WeightQuant::kInt8Channel);
  if (name == "fp8") return std::optional(WeightQuant::kFp8Channel);
  return invalid_argument("quantize '{}': known are auto, none, int8 and fp8", name);
}

std::string quantize_name(WeightQuant quant) {
  switch (quant) {
    case WeightQuant::kInt8Channel: return "int8";
    case WeightQuant::kFp8Channel: return "fp8";
    default: return "none";
  }
}

Status plan_quantization(const BuildOptions& options, const checkpoint::Checkpoint& checkpoint,
                         compiler::CompileOptions& compile) {
  ASSIGN_OR_RETURN(const auto asked, parse_quantize(options.quantize));
  ASSIGN_OR_RETURN(const checkpoint::Fp8Content content, checkpoint::find_fp8(checkpoint));
  const bool fp8 = content.weights() > 0 ||
                   (checkpoint.tensor_names().empty() && checkpoint::promises_fp8(checkpoint));
  compile.quant = asked.value_or(fp8 ? WeightQuant::kFp8Channel : WeightQuant::kNone);
  if (content.weights() > 0) log_content(content, compile.quant);
  if (compile.quant != WeightQuant::kFp8Channel) return ok_status();
  if (content.weights() > 0) {
    compile.unquantized.insert(compile.unquantized.end(), content.floats.begin(),
                               content.floats.end());
  }
  return ok_status();
}

double cache_scale(const checkpoint::Checkpoint& checkpoint, const std::string& attention,
                   char which) {
  for (const std::string& name : {fmt::format("{}.{}_proj.{}_scale", attention, which, which),
                                  fmt::format("{}.{}_scale", attention, which)}) {
    if (!checkpoint.has_tensor(name)) continue;
    const Result<TensorView> view = checkpoint.tensor(name);
    if (!view.ok() || view->shape.elements() != 1) continue;
    double scale = 0;
    if (view->dtype == DType::kF32) scale = view->as<float>()[0];
    if (view->dtype == DType::kBf16) scale = bf16_to_f32(view->as<bf16_t>()[0]);
    if (view->dtype == DType::kF16) scale = f16_to_f32(view->as<f16_t>()[0]);
    if (std::isfinite(scale) && scale > 0) return scale;
  }
  return 1;
}

}  // namespace ramjet::api
