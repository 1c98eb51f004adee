#include <vector>

#include "kernels/reference/reference.h"

namespace ramjet::kernels::reference {

void lora(const KernelCall& call) {
  const TensorView &x = call.inputs[0], &out = call.outputs[0];
  const int64_t slots = call.inputs[2].elements(), width = x.shape[1], columns = out.shape[1];
  for (int64_t row = 0; row < x.shape[0]; ++row) {
    const int64_t slot = call.inputs[1].as<int32_t>()[row];
    const bool none = slot < 0 || slot >= slots;
    const double scale = none ? 0 : call.inputs[2].as<float>()[slot];
    int64_t first = row * columns;
    for (size_t i = 3; i < call.inputs.size(); i += 2) {
      const TensorView &a = call.inputs[i], &b = call.inputs[i + 1];
      const int64_t rank = a.shape[1], n = b.shape[2];
      std::vector<double> inner(static_cast<size_t>(rank));
      for (int64_t r = 0; r < rank && !none; ++r) {
        double& sum = inner[static_cast<size_t>(r)];
        for (int64_t k = 0; k < width; ++k) {
          sum += double{load(x, row * width + k)} * load(a, (slot * rank + r) * width + k);
        }
      }
      for (int64_t c = 0; c < n; ++c) {
        double sum = 0;
        for (int64_t r = 0; r < rank && !none; ++r) {
          sum += inner[static_cast<size_t>(r)] * load(b, (slot * rank + r) * n + c);
        }
        store(out, first + c, static_cast<float>(scale * sum));
      }
      first += n;
    }
  }
}

}  // namespace ramjet::kernels::reference
