#include <cmath>
#include <vector>

#include "base/thread_pool.h"
#include "kernels/reference/reference.h"

namespace ramjet::kernels::reference {
namespace {

/// One token to e4m3, by its largest magnitude / 448; zeros by 1.
void quantize_row(std::span<const float> values, const TensorView& out, const TensorView& scales,
                  int64_t row) {
  float largest = 0;
  for (float v : values) largest = std::fabs(v) > largest || std::isnan(v) ? std::fabs(v) : largest;
  float scale = largest / 448.0f;
  if (scale == 0.0f) scale = 1.0f;
  scales.as<float>()[row] = scale;
  const int64_t base = row * static_cast<int64_t>(values.size());
  for (size_t i = 0; i < values.size(); ++i) {
    store(out, base + static_cast<int64_t>(i), values[i] / scale);
  }
}

/// Normalizes one row; `bias` may be empty. `outs`: the result, and scales if it is quantized.
void norm_row(const NormDesc& desc, std::span<const TensorView> x_weight_bias,
              std::span<const TensorView> outs, int64_t row) {
  const TensorView& x = x_weight_bias[0];
  const int64_t width = x.shape.back(), base = row * width;
  double mean = 0, square = 0;
  if (desc.kind == NormKind::kLayer) {
    for (int64_t i = 0; i < width; ++i) mean += load(x, base + i);
    mean /= static_cast<double>(width);
  }
  for (int64_t i = 0; i < width; ++i) {
    const double centred = load(x, base + i) - mean;
    square += centred * centred;
  }
  const double scale = 1 / std::sqrt(square / static_cast<double>(width) + desc.eps);
  const bool quantized = desc.quant == ActivationQuant::kFp8Token;
  std::vector<float> values(quantized ? static_cast<size_t>(width) : 0);
  for (int64_t i = 0; i < width; ++i) {
    const double weight = desc.weight_offset + load(x_weight_bias[1], i);
    const double bias = x_weight_bias.size() > 2 ? load(x_weight_bias[2], i) : 0.0;
    const double normed = (load(x, base + i) - mean) * scale;
    const auto value = static_cast<float>(normed * weight + bias);
    if (quantized) {
      values[static_cast<size_t>(i)] = value;
    } else {
      store(outs[0], base + i, value);
    }
  }
  if (quantized) quantize_row(values, outs[0], outs[1], row);
}

}  // namespace

void norm(const KernelCall& call) {
  const auto& desc = std::get<NormDesc>(*call.attrs);
  call.pool->parallel_for(call.inputs[0].shape.rows(), 1, [&](int64_t row, int64_t, int) {
    norm_row(desc, call.inputs, call.outputs, row);
  });
}

void add_norm(const KernelCall& call) {
  const auto& desc = std::get<NormDesc>(*call.attrs);
  const TensorView& sum = call.outputs[0];
  const int64_t width = sum.shape.back();
  call.pool->parallel_for(sum.shape.rows(), 1, [&](int64_t row, int64_t, int) {
    for (int64_t i = row * width; i < (row + 1) * width; ++i) {
      store(sum, i, load(call.inputs[0], i) + load(call.inputs[1], i));
    }
    // Of the sum as stored, so that fused and unfused graphs agree.
    TensorView operands[3] = {sum, call.inputs[2], {}};
    if (call.inputs.size() > 3) operands[2] = call.inputs[3];
    const std::span<const TensorView> all(operands);
    norm_row(desc, all.first(call.inputs.size() - 1), call.outputs.subspan(1), row);
  });
}

void quantize(const KernelCall& call) {
  const TensorView& x = call.inputs[0];
  const int64_t width = x.shape.back();
  call.pool->parallel_for(x.shape.rows(), 1, [&](int64_t row, int64_t, int) {
    std::vector<float> values(static_cast<size_t>(width));
    for (int64_t i = 0; i < width; ++i) values[static_cast<size_t>(i)] = load(x, row * width + i);
    quantize_row(values, call.outputs[0], call.outputs[1], row);
  });
}

}  // namespace ramjet::kernels::reference
