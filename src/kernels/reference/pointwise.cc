#include <vector>

#include "base/thread_pool.h"
#include "kernels/reference/reference.h"

namespace ramjet::kernels::reference {

int64_t broadcast_index(const Shape& operand, const Shape& out, int64_t flat) {
  int64_t index = 0, stride = 1;
  for (int i = 1; i <= out.rank(); ++i) {
    const int64_t extent = out[out.rank() - i];
    const int64_t coordinate = flat % extent;
    flat /= extent;
    if (i > operand.rank()) continue;
    const int64_t own = operand[operand.rank() - i];
    if (own != 1) index += coordinate * stride;
    stride *= own;
  }
  return index;
}

void pointwise(const KernelCall& call) {
  const PointwiseProgram& program = std::get<PointwiseDesc>(*call.attrs).program;
  const Shape& out = call.outputs[0].shape;
  call.pool->parallel_for(out.elements(), 1024, [&](int64_t begin, int64_t end, int) {
    std::vector<float> values(call.inputs.size()), results(call.outputs.size());
    for (int64_t flat = begin; flat < end; ++flat) {
      for (size_t i = 0; i < call.inputs.size(); ++i) {
        const TensorView& operand = call.inputs[i];
        values[i] = load(operand, broadcast_index(operand.shape, out, flat));
      }
      program.evaluate(values, results);
      for (size_t i = 0; i < results.size(); ++i) store(call.outputs[i], flat, results[i]);
    }
  });
}

}  // namespace ramjet::kernels::reference
