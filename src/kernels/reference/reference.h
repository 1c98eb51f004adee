// The reference implementation of every op: the oracle for all other kernels, CPU and GPU alike.
//
// Obvious code, one element after the other: operands are widened to f32 on load, sums are kept in
// f64 so that no order of summation is favoured, results are rounded once on store. Rows are
// spread over the pool; results don't depend on the number of threads. Stateless.
#pragma once

#include <algorithm>
#include <cmath>
#include <span>

#include "kernels/kernel.h"
#include "kernels/registry.h"
#include "tensor/half.h"

namespace ramjet::kernels::reference {

/// One tactic an op, in row_major layout, for every instruction set.
std::span<const Tactic> tactics();

inline float load_element(const void* data, DType dtype, int64_t i) {
  switch (dtype) {
    case DType::kF32: return static_cast<const float*>(data)[i];
    case DType::kBf16: return bf16_to_f32(static_cast<const bf16_t*>(data)[i]);
    case DType::kF16: return f16_to_f32(static_cast<const f16_t*>(data)[i]);
    case DType::kI32: return static_cast<float>(static_cast<const int32_t*>(data)[i]);
    case DType::kI8: return static_cast<float>(static_cast<const int8_t*>(data)[i]);
    case DType::kF8E4M3: return e4m3_to_f32(static_cast<const e4m3_t*>(data)[i]);
    default: CHECK(false, "the CPU has no arithmetic for this dtype");
  }
}

inline int32_t round_to_i32(float value) {
  if (std::isnan(value)) return 0;
  if (value >= 2147483648.0f) return INT32_MAX;
  if (value < -2147483648.0f) return INT32_MIN;
  return static_cast<int32_t>(std::nearbyint(value));
}

inline void store_element(void* data, DType dtype, int64_t i, float value) {
  switch (dtype) {
    case DType::kF32: static_cast<float*>(data)[i] = value; return;
    case DType::kBf16: static_cast<bf16_t*>(data)[i] = f32_to_bf16(value); return;
    case DType::kF16: static_cast<f16_t*>(data)[i] = f32_to_f16(value); return;
    case DType::kI32: static_cast<int32_t*>(data)[i] = round_to_i32(value); return;
    case DType::kF8E4M3: static_cast<e4m3_t*>(data)[i] = f32_to_e4m3(value); return;
    default: CHECK(false, "the CPU has no arithmetic for this dtype");
  }
}

inline float load(const TensorView& view, int64_t i) {
  return load_element(view.data, view.dtype, i);
}
inline void store(const TensorView& view, int64_t i, float value) {
  store_element(view.data, view.dtype, i, value);
}

/// Elements of an fp8 cache hold the value / scale; other caches know no scale.
inline double cache_scale(DType dtype, double scale) {
  return dtype == DType::kF8E4M3 ? scale : 1.0;
}
inline void store_cached(std::byte* slot, DType dtype, int64_t i, float value, double scale) {
  const auto divisor = static_cast<float>(cache_scale(dtype, scale));
  store_element(slot, dtype, i, value / divisor);
}

/// Row of a matmul's b for column n of accumulator j: two weights lie as alternate tiles of 16
/// rows.
inline int64_t weight_row(int64_t accumulators, int64_t j, int64_t n, int64_t columns) {
  if (accumulators == 1) return n;
  const int64_t tile = n / 16;
  const int64_t width = std::min<int64_t>(16, columns - tile * 16);
  return tile * 16 * accumulators + j * width + n % 16;
}

/// Flat index into `operand` of element `flat` of a tensor of shape `out` it is broadcast to.
int64_t broadcast_index(const Shape& operand, const Shape& out, int64_t flat);

void matmul(const KernelCall& call);
void pointwise(const KernelCall& call);
void norm(const KernelCall& call);
void add_norm(const KernelCall& call);
void quantize(const KernelCall& call);
void embedding(const KernelCall& call);
void gather_rows(const KernelCall& call);
void reduce(const KernelCall& call);
void softmax(const KernelCall& call);
void reshape(const KernelCall& call);
void transpose(const KernelCall& call);
void slice(const KernelCall& call);
void concat(const KernelCall& call);
void topk(const KernelCall& call);
void conv(const KernelCall& call);
void rope_table(const KernelCall& call);
void rope(const KernelCall& call);
void kv_append(const KernelCall& call);
void paged_attention(const KernelCall& call);
void qkv_rope_append(const KernelCall& call);
void attention(const KernelCall& call);
void sample(const KernelCall& call);  // updates operands 4 and 5
void resolve_tokens(const KernelCall& call);
void lora(const KernelCall& call);
void moe_route(const KernelCall& call);
void moe(const KernelCall& call);

}  // namespace ramjet::kernels::reference
