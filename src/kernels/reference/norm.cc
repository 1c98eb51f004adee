#include "base/thread_pool.h"
#include "kernels/reference/reference.h"

namespace ramjet::kernels::reference {
namespace {

/// Normalizes one row; `bias` may be empty.
void norm_row(const NormDesc& desc, std::span<const TensorView> x_weight_bias,
              const TensorView& out, int64_t row) {
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
  for (int64_t i = 0; i < width; ++i) {
    const double weight = desc.weight_offset + load(x_weight_bias[1], i);
    const double bias = x_weight_bias.size() > 2 ? load(x_weight_bias[2], i) : 0.0;
    const double normed = (load(x, base + i) - mean) * scale;
    store(out, base + i, static_cast<float>(normed * weight + bias));
  }
}

}  // namespace

void norm(const KernelCall& call) {
  const auto& desc = std::get<NormDesc>(*call.attrs);
  call.pool->parallel_for(call.inputs[0].shape.rows(), 1, [&](int64_t row, int64_t, int) {
    norm_row(desc, call.inputs, call.outputs[0], row);
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
    norm_row(desc, all.first(call.inputs.size() - 1), call.outputs[1], row);
  });
}

}  // namespace ramjet::kernels::reference
