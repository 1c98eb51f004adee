// norm, add_norm and quantize of any width, over any extents: a block a row, which it reads again
// for each pass. What norm_rows.cuh keeps in registers is faster wherever it fits.
//   X_T Y_T WEIGHT_T BIAS_T SUM_T OUT_T, NORM (0 none, 1 RMS, 2 layer), ADD, QUANT, HAS_BIAS, EPS,
//   WEIGHT_OFFSET; the including source defines index_t, outer_extent, axis_extent
#pragma once

#include "general.cuh"

inline constexpr int kThreads = 256;

struct NormRow {
  const X_T* x;
  const SUM_T* sum;
  const WEIGHT_T* weight;
  const BIAS_T* bias;
  float mean, scale;

  __device__ float raw(index_t i) const { return ADD ? to_float(sum[i]) : to_float(x[i]); }
  __device__ float normed(index_t i) const {
    if (NORM == 0) return raw(i);
    const float b = HAS_BIAS ? to_float(bias[i]) : 0.0f;
    return (raw(i) - mean) * scale * (WEIGHT_OFFSET + to_float(weight[i])) + b;
  }
};

__device__ __forceinline__ void scale_row(NormRow& row, index_t width, float* scratch) {
  row.mean = 0;
  if (NORM == 2) {
    float sum = 0;
    for (index_t i = threadIdx.x; i < width; i += kThreads) sum += row.raw(i);
    row.mean = row_reduce<SumOf, kThreads>(sum, scratch) / static_cast<float>(width);
  }
  float square = 0;
  for (index_t i = threadIdx.x; i < width; i += kThreads) {
    square += (row.raw(i) - row.mean) * (row.raw(i) - row.mean);
  }
  square = row_reduce<SumOf, kThreads>(square, scratch);
  row.scale = 1.0f / sqrtf(square / static_cast<float>(width) + EPS);
}

extern "C" __global__ void __launch_bounds__(kThreads)
    norm_any(const X_T* x, const Y_T* y, const WEIGHT_T* weight, const BIAS_T* bias, SUM_T* sums,
             OUT_T* out, float* scales, const int* symbols) {
  __shared__ float scratch[32];
  allow_next_kernel();
  await_last_kernel();
  const index_t rows = outer_extent(symbols), width = axis_extent(symbols);
  for (index_t at = blockIdx.x; at < rows; at += gridDim.x) {
    NormRow row = {x + at * width, sums + at * width, weight, bias, 0, 1};
    if (ADD) {  // a thread reads back what it wrote itself
      for (index_t i = threadIdx.x; i < width; i += kThreads) {
        narrow(to_float(row.x[i]) + to_float(y[at * width + i]), sums[at * width + i]);
      }
    }
    if (NORM != 0) scale_row(row, width, scratch);
    float divisor = 1;
    if (QUANT) {
      float largest = 0;
      for (index_t i = threadIdx.x; i < width; i += kThreads) {
        largest = LargestOf()(fabsf(row.normed(i)), largest);
      }
      divisor = row_reduce<LargestOf, kThreads>(largest, scratch) / 448.0f;
      if (divisor == 0.0f) divisor = 1.0f;
      if (threadIdx.x == 0) scales[at] = divisor;
    }
    for (index_t i = threadIdx.x; i < width; i += kThreads) {
      narrow(QUANT ? row.normed(i) / divisor : row.normed(i), out[at * width + i]);
    }
  }
}
