// norm, add_norm and quantize: a row stays in the registers of a warp (short rows) or of a block,
// is read once and written once. Compiled per width:
//   X_T Y_T WEIGHT_T BIAS_T SUM_T OUT_T  element types
//   WIDTH, VEC (elements an access), ITEMS (accesses a thread), ROW_THREADS, BLOCK_ROWS
//   NORM (0 none, 1 RMS, 2 layer), ADD, QUANT, HAS_BIAS, EPS, WEIGHT_OFFSET
//   ROW_FACTOR, ROW_OFFSET: rows are ROW_FACTOR * symbol + ROW_OFFSET
#pragma once

#include "rows.cuh"

struct NormShape {
  static constexpr int kChunks = WIDTH / VEC;
  static constexpr int kThreads = ROW_THREADS * BLOCK_ROWS;
};

template <class T>
__device__ __forceinline__ void load_row(const T* row, int thread, float (&x)[ITEMS][VEC]) {
#pragma unroll
  for (int i = 0; i < ITEMS; ++i) {
    const int chunk = i * ROW_THREADS + thread;
    if (chunk < NormShape::kChunks) {
      widen(load_pack<T, VEC>(row + chunk * VEC), x[i]);
    } else {
#pragma unroll
      for (int j = 0; j < VEC; ++j) x[i][j] = 0;
    }
  }
}

/// The sum is rounded as it is stored, so that fused and unfused graphs agree.
__device__ __forceinline__ void add_row(const Y_T* y, SUM_T* sum, int thread,
                                        float (&x)[ITEMS][VEC]) {
#pragma unroll
  for (int i = 0; i < ITEMS; ++i) {
    const int chunk = i * ROW_THREADS + thread;
    if (chunk >= NormShape::kChunks) continue;
    float other[VEC];
    widen(load_pack<Y_T, VEC>(y + chunk * VEC), other);
    Pack<SUM_T, VEC> rounded;
#pragma unroll
    for (int j = 0; j < VEC; ++j) {
      narrow(x[i][j] + other[j], rounded.element[j]);
      x[i][j] = to_float(rounded.element[j]);
    }
    *reinterpret_cast<Pack<SUM_T, VEC>*>(sum + chunk * VEC) = rounded;
  }
}

__device__ __forceinline__ float row_mean(const float (&x)[ITEMS][VEC], float* scratch) {
  float sum = 0;
#pragma unroll
  for (int i = 0; i < ITEMS; ++i) {
#pragma unroll
    for (int j = 0; j < VEC; ++j) sum += x[i][j];
  }
  return row_reduce<SumOf, ROW_THREADS>(sum, scratch) / WIDTH;
}

__device__ __forceinline__ float inverse_deviation(const float (&x)[ITEMS][VEC], float mean,
                                                   int thread, float* scratch) {
  float square = 0;
#pragma unroll
  for (int i = 0; i < ITEMS; ++i) {
    if (i * ROW_THREADS + thread >= NormShape::kChunks) continue;
#pragma unroll
    for (int j = 0; j < VEC; ++j) square += (x[i][j] - mean) * (x[i][j] - mean);
  }
  square = row_reduce<SumOf, ROW_THREADS>(square, scratch);
  return 1.0f / sqrtf(square / WIDTH + EPS);
}

__device__ __forceinline__ void normalize(float (&x)[ITEMS][VEC],
                                          const Pack<WEIGHT_T, VEC> (&weight)[ITEMS],
                                          const Pack<BIAS_T, VEC> (&bias)[ITEMS], int thread,
                                          float* scratch) {
  const float mean = NORM == 2 ? row_mean(x, scratch) : 0.0f;
  const float scale = inverse_deviation(x, mean, thread, scratch);
#pragma unroll
  for (int i = 0; i < ITEMS; ++i) {
    if (i * ROW_THREADS + thread >= NormShape::kChunks) continue;
#pragma unroll
    for (int j = 0; j < VEC; ++j) {
      const float w = WEIGHT_OFFSET + to_float(weight[i].element[j]);
      const float b = HAS_BIAS ? to_float(bias[i].element[j]) : 0.0f;
      x[i][j] = (x[i][j] - mean) * scale * w + b;
    }
  }
}

/// Divides by the row's scale, largest magnitude / 448, or 1 where that is zero.
__device__ __forceinline__ float quantize_row(float (&x)[ITEMS][VEC], float* scratch) {
  float largest = 0;
#pragma unroll
  for (int i = 0; i < ITEMS; ++i) {
#pragma unroll
    for (int j = 0; j < VEC; ++j) largest = LargestOf()(fabsf(x[i][j]), largest);
  }
  float scale = row_reduce<LargestOf, ROW_THREADS>(largest, scratch) / 448.0f;
  if (scale == 0.0f) scale = 1.0f;
  // The reciprocal's product and one correction round as division does (Markstein 1990), in a tenth
  // of its instructions; scales at the ends of the range, and NaN, take the long way.
  const bool middling = scale > 1e-30f && scale < 1e30f;
  const float inverse = 1.0f / scale;
  if (middling) {
#pragma unroll
    for (int i = 0; i < ITEMS; ++i) {
#pragma unroll
      for (int j = 0; j < VEC; ++j) {
        const float quotient = x[i][j] * inverse;
        x[i][j] = fmaf(fmaf(-quotient, scale, x[i][j]), inverse, quotient);
      }
    }
  } else {
#pragma unroll
    for (int i = 0; i < ITEMS; ++i) {
#pragma unroll
      for (int j = 0; j < VEC; ++j) x[i][j] = x[i][j] / scale;
    }
  }
  return scale;
}

extern "C" __global__ void __launch_bounds__(ROW_THREADS* BLOCK_ROWS)
    norm_rows(const X_T* x_rows, const Y_T* y_rows, const WEIGHT_T* weights, const BIAS_T* biases,
              SUM_T* sums, OUT_T* out, float* scales, const int* symbol) {
  __shared__ float scratch[32];
  allow_next_kernel();
  const int thread = static_cast<int>(threadIdx.x) % ROW_THREADS;
  const int64_t row =
      int64_t{blockIdx.x} * BLOCK_ROWS + static_cast<int>(threadIdx.x) / ROW_THREADS;
  if (row >= extent_of<ROW_FACTOR, ROW_OFFSET>(symbol)) return await_last_kernel();
  Pack<WEIGHT_T, VEC> weight[ITEMS] = {};
  Pack<BIAS_T, VEC> bias[ITEMS] = {};
#pragma unroll
  for (int i = 0; i < ITEMS; ++i) {
    const int chunk = i * ROW_THREADS + thread;
    if (NORM == 0 || chunk >= NormShape::kChunks) continue;
    weight[i] = load_pack<WEIGHT_T, VEC>(weights + chunk * VEC);
    if (HAS_BIAS) bias[i] = load_pack<BIAS_T, VEC>(biases + chunk * VEC);
  }
  await_last_kernel();
  float x[ITEMS][VEC];
  load_row(x_rows + row * WIDTH, thread, x);
  if (ADD) add_row(y_rows + row * WIDTH, sums + row * WIDTH, thread, x);
  if (NORM != 0) normalize(x, weight, bias, thread, scratch);
  if (QUANT) {
    const float scale = quantize_row(x, scratch);
    if (thread == 0) scales[row] = scale;
  }
#pragma unroll
  for (int i = 0; i < ITEMS; ++i) {
    const int chunk = i * ROW_THREADS + thread;
    if (chunk < NormShape::kChunks) store_pack<VEC>(out + row * WIDTH + chunk * VEC, x[i]);
  }
}
