#include <vector>

#include "base/thread_pool.h"
#include "kernels/reference/reference.h"

namespace ramjet::kernels::reference {
namespace {

struct Operands {
  const TensorView& a;
  const TensorView& b;
  const float* scales;        // of b's rows
  const float* token_scales;  // of a's rows
  std::span<const TensorView> prologue;
  std::span<const TensorView> epilogue;
};

Operands split_operands(const MatmulDesc& desc, std::span<const TensorView> inputs) {
  const bool scaled = desc.quant != WeightQuant::kNone;
  const bool tokens = desc.quant == WeightQuant::kFp8Channel;
  const size_t first = tokens ? 4 : scaled ? 3 : 2;
  const auto prologue = static_cast<size_t>(desc.prologue_operands);
  return {inputs[0],
          inputs[1],
          scaled ? inputs[2].as<float>() : nullptr,
          tokens ? inputs[3].as<float>() : nullptr,
          inputs.subspan(first, prologue),
          inputs.subspan(first + prologue)};
}

float prologue_at(const MatmulDesc& desc, const Operands& in, int64_t flat) {
  const float element = load(in.a, flat);
  if (desc.prologue.empty()) return element;
  std::vector<float> values{element};
  for (const TensorView& operand : in.prologue) {
    values.push_back(load(operand, broadcast_index(operand.shape, in.a.shape, flat)));
  }
  float result = 0;
  desc.prologue.evaluate(values, {&result, 1});
  return result;
}

/// First element of the b that row block `batch` of a multiplies, batch extents broadcast.
int64_t weight_offset(const TensorView& b, const Shape& out, int64_t batch) {
  if (b.shape.rank() <= 2) return 0;
  Shape outer_b, outer_out;
  for (int i = 0; i + 2 < b.shape.rank(); ++i) outer_b.push_back(b.shape[i]);
  for (int i = 0; i + 2 < out.rank(); ++i) outer_out.push_back(out[i]);
  const int64_t matrix = b.shape[b.shape.rank() - 1] * b.shape[b.shape.rank() - 2];
  return broadcast_index(outer_b, outer_out, batch) * matrix;
}

void finish_element(const MatmulDesc& desc, const Operands& in, const KernelCall& call,
                    std::span<const float> accumulators, int64_t flat) {
  if (desc.epilogue.empty()) {
    store(call.outputs[0], flat, accumulators[0]);
    return;
  }
  std::vector<float> values(accumulators.begin(), accumulators.end());
  for (const TensorView& operand : in.epilogue) {
    values.push_back(load(operand, broadcast_index(operand.shape, call.outputs[0].shape, flat)));
  }
  std::vector<float> results(call.outputs.size());
  desc.epilogue.evaluate(values, results);
  for (size_t i = 0; i < results.size(); ++i) store(call.outputs[i], flat, results[i]);
}

}  // namespace

void matmul(const KernelCall& call) {
  const auto& desc = std::get<MatmulDesc>(*call.attrs);
  const Operands in = split_operands(desc, call.inputs);
  const Shape& out = call.outputs[0].shape;
  const int64_t columns = out.back(), depth = in.a.shape.back();
  const int64_t rows = out.rows();
  const int64_t rows_a_batch = out.rank() >= 2 ? out[out.rank() - 2] : 1;
  const int64_t b_rows = in.b.shape[in.b.shape.rank() - (desc.transpose_b ? 2 : 1)];
  if (rows == 0 || columns == 0) return;
  call.pool->parallel_for(rows, 1, [&](int64_t row, int64_t, int) {
    std::vector<float> a(static_cast<size_t>(depth));
    for (int64_t k = 0; k < depth; ++k) {
      a[static_cast<size_t>(k)] = prologue_at(desc, in, row * depth + k);
    }
    const int64_t origin = weight_offset(in.b, out, row / rows_a_batch);
    std::vector<float> accumulators(static_cast<size_t>(desc.accumulators));
    for (int64_t n = 0; n < columns; ++n) {
      for (int64_t j = 0; j < desc.accumulators; ++j) {
        const int64_t w = weight_row(desc.accumulators, j, n, columns);
        double sum = 0;
        for (int64_t k = 0; k < depth; ++k) {
          const int64_t at = desc.transpose_b ? w * depth + k : k * b_rows + w;
          sum += double{a[static_cast<size_t>(k)]} * double{load(in.b, origin + at)};
        }
        if (in.scales != nullptr) sum *= double{in.scales[w]};
        if (in.token_scales != nullptr) sum *= double{in.token_scales[row]};
        accumulators[static_cast<size_t>(j)] = static_cast<float>(sum);
      }
      finish_element(desc, in, call, accumulators, row * columns + n);
    }
  });
}

}  // namespace ramjet::kernels::reference
