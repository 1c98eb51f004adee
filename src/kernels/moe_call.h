// The operands of a moe op by role, and one expert's part of a stacked one. Borrows the call.
#pragma once

#include <cstdint>
#include <span>

#include "base/check.h"
#include "kernels/kernel.h"

namespace ramjet::kernels {

/// [E, ..] -> [..] of one expert, in the order of the checkpoint or packed: experts follow each
/// other whole, for a packed one's rows are a multiple of what its layout pads to.
inline TensorView of_expert(const TensorView& stacked, int64_t expert) {
  TensorView one = stacked;
  one.shape = Shape(stacked.shape.dims().subspan(1));
  one.data = static_cast<std::byte*>(stacked.data) + expert * one.bytes();
  return one;
}

/// One of an expert's two products.
struct MoeProduct {
  const MatmulDesc* desc = nullptr;
  const TensorView* b = nullptr;         // [E, N, K]
  const TensorView* scales = nullptr;    // f32[E, N] where quantized
  std::span<const TensorView> operands;  // [E, columns], of the epilogue
};

struct MoeCall {
  MoeProduct up, down;
  const TensorView* x = nullptr;
  const int32_t* ids = nullptr;    // [tokens, k]
  const float* weights = nullptr;  // [tokens, k]
  int64_t tokens = 0, k = 0, experts = 0;
  int64_t width = 0, hidden = 0, columns = 0;  // of x, of up's result, of the result

  explicit MoeCall(const KernelCall& call)
      : x(&call.inputs[0]),
        ids(call.inputs[3].as<int32_t>()),
        weights(call.inputs[4].as<float>()),
        tokens(x->shape[0]),
        k(call.inputs[3].shape[1]),
        experts(call.inputs[1].shape[0]),
        width(x->shape[1]),
        columns(call.outputs[0].shape[1]) {
    const auto& desc = std::get<MoeDesc>(*call.attrs);
    const bool scaled = desc.up.quant != WeightQuant::kNone;
    const size_t first = scaled ? 7 : 5;
    const size_t of_up = desc.up.epilogue.empty()
                             ? 0
                             : static_cast<size_t>(desc.up.epilogue.num_inputs -
                                                   static_cast<int>(desc.up.accumulators));
    up = {&desc.up, &call.inputs[1], scaled ? &call.inputs[5] : nullptr,
          call.inputs.subspan(first, of_up)};
    down = {&desc.down, &call.inputs[2], scaled ? &call.inputs[6] : nullptr,
            call.inputs.subspan(first + of_up)};
    hidden = call.inputs[1].shape[1] / desc.up.accumulators;
    // A router chose them: compiler/check_programs.h sees to that in loaded engines.
    for (int64_t i = 0; i < tokens * k; ++i) {
      CHECK(ids[i] >= 0 && ids[i] < experts, "moe: an expert that does not exist");
    }
  }

  TensorView token_row(int64_t token) const {
    std::byte* const data = static_cast<std::byte*>(x->data);
    return {data + token * width * dtype_bytes(x->dtype), x->dtype, {1, width}};
  }
};

}  // namespace ramjet::kernels
