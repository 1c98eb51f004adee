// Device code of the labs over products: random operands, a naive product from tiled weights and a
// comparison with it, of all tokens or a sample of them.
#pragma once

namespace ramjet::lab {

inline constexpr const char* kGemmOracle = R"CUDA(
#include "types.cuh"
__device__ uint32_t mix(uint64_t x) {
  x ^= x >> 33; x *= 0xff51afd7ed558ccdull; x ^= x >> 33; x *= 0xc4ceb9fe1a85ec53ull; x ^= x >> 33;
  return (uint32_t)x;
}
__device__ float uniform(uint64_t i, uint64_t seed) {
  return (mix(i * 0x9e3779b97f4a7c15ull + seed) >> 8) * (2.0f / 16777216.0f) - 1.0f;
}
extern "C" __global__ void fill_bf16(bf16_t* out, uint64_t n, uint64_t seed, float scale) {
  for (uint64_t i = blockIdx.x * (uint64_t)blockDim.x + threadIdx.x; i < n; i += (uint64_t)gridDim.x * blockDim.x)
    out[i] = to_bf16(uniform(i, seed) * scale);
}
extern "C" __global__ void fill_e4m3(uint8_t* out, uint64_t n, uint64_t seed, float scale) {
  for (uint64_t i = blockIdx.x * (uint64_t)blockDim.x + threadIdx.x; i < n; i += (uint64_t)gridDim.x * blockDim.x)
    out[i] = pack_e4m3(uniform(i, seed) * scale, 0.0f) & 0xff;
}
extern "C" __global__ void fill_f32(float* out, uint64_t n, uint64_t seed) {
  for (uint64_t i = blockIdx.x * (uint64_t)blockDim.x + threadIdx.x; i < n; i += (uint64_t)gridDim.x * blockDim.x)
    out[i] = 0.75f + 0.25f * uniform(i, seed);
}
__device__ float widen(const uint8_t* p, uint64_t i, int fp8) {
  if (!fp8) return to_float(reinterpret_cast<const bf16_t*>(p)[i]);
  uint32_t half2;
  asm("cvt.rn.f16x2.e4m3x2 %0, %1;" : "=r"(half2) : "h"((uint16_t)p[i]));
  float f;
  asm("{.reg .b16 l, h; mov.b32 {l, h}, %1; cvt.f32.f16 %0, l;}" : "=f"(f) : "r"(half2));
  return f;
}
__device__ uint64_t tiled(uint64_t row, uint64_t byte, uint64_t k_bytes) {
  uint64_t tile = row / 64 * ((k_bytes + 127) / 128) + byte / 128, r = row % 64, unit = byte % 128 / 16;
  return (tile * 64 + r) * 128 + (unit ^ (r % 8)) * 16 + byte % 16;
}
// The token of a row of the reference: one of each `step`, at changing places.
__device__ int sample(int row, int step) { return row * step + row % step; }
// y[t, n] naively from the tiled weights; gated pairs rows r and r + 8.
extern "C" __global__ void oracle(const uint8_t* w, const uint8_t* x, const float* sw, const float* sx,
                                  const bf16_t* residual, float* y, int n, int k, int tokens, int fp8, int gated, int stride, int step) {
  int out_n = gated ? n / 2 : n;
  uint64_t i = blockIdx.x * (uint64_t)blockDim.x + threadIdx.x;
  if (i >= (uint64_t)out_n * (tokens / step)) return;
  int t = sample(i / out_n, step), o = i % out_n;
  int size = fp8 ? 1 : 2;
  float sums[2] = {0, 0};
  for (int p = 0; p < 1 + gated; ++p) {
    int row = gated ? o / 8 * 16 + o % 8 + 8 * p : o;
    float sum = 0;
    for (int c = 0; c < k; ++c)
      sum += widen(w, tiled(row, (uint64_t)c * size, (uint64_t)k * size) / size, fp8) * widen(x, (uint64_t)t * k + c, fp8);
    sums[p] = fp8 ? sum * sw[gated ? o / 16 * 32 + o % 16 + 16 * p : o] * sx[t] : sum;
  }
  float v = gated ? sums[0] / (1.0f + __expf(-sums[0])) * sums[1] : sums[0];
  y[i] = v + (residual && !gated ? to_float(residual[(uint64_t)t * stride + o]) : 0.0f);
}
// Over the sampled rows the sum of squares of the difference and of ref; NaN anywhere
extern "C" __global__ void compare(const bf16_t* y, const float* ref, uint64_t n, double* out, int out_n, int tokens, int step) {
  double d2 = 0, r2 = 0; unsigned bad = 0;
  for (uint64_t i = blockIdx.x * (uint64_t)blockDim.x + threadIdx.x; i < n; i += (uint64_t)gridDim.x * blockDim.x) {
    float a = to_float(y[i]);
    if (!(a == a)) ++bad;
    int t = i / out_n, row = t / step;
    if (row >= tokens / step || t != sample(row, step)) continue;
    float b = ref[(uint64_t)row * out_n + i % out_n];
    if (a == a) d2 += (double)(a - b) * (a - b), r2 += (double)b * b;
  }
  atomicAdd(out, d2); atomicAdd(out + 1, r2); atomicAdd(out + 2, (double)bad);
}
)CUDA";

}  // namespace ramjet::lab
