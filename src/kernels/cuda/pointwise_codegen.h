// CUDA source of a PointwiseProgram.
//
// Free functions without state. The source needs device/pointwise.cuh before it.
#pragma once

#include <string>
#include <string_view>

#include "op/pointwise_program.h"

namespace ramjet::kernels::cuda {

/// "__device__ __forceinline__ void NAME(const float (&in)[I], float (&out)[O])": one element, f32
/// throughout, the program's inputs and outputs in their order. An array has at least one entry.
std::string pointwise_function(const PointwiseProgram& program, std::string_view name);

/// "bf16_t" or "float"; empty for types that generated code does not read or write.
std::string_view device_type(DType dtype);

}  // namespace ramjet::kernels::cuda
