// reduce and softmax along one axis of [outer, extent, inner]. A line is what is reduced; its
// elements lie `inner` apart. Rows (inner is 1): a warp or a block a line. Columns: a block has 32
// neighbouring lines, eight threads each.
//   X_T OUT_T, LINE_THREADS (32 or 256; rows), COLUMNS, VEC (elements an access; rows), KIND (0
//   sum, 1 mean, 2 max, 3 min, 4 softmax); the including source defines index_t, outer_extent,
//   axis_extent, inner_extent
#pragma once

#include "general.cuh"

inline constexpr int kThreads = 256;
inline constexpr int kParts = COLUMNS ? 8 : LINE_THREADS;  // threads of a line
inline constexpr int kLines = kThreads / kParts;

/// A NaN wins.
struct MaxOf {
  __device__ float operator()(float a, float b) const { return a > b || a != a ? a : b; }
  __device__ static float none() { return -plus_infinity(); }
};
struct MinOf {
  __device__ float operator()(float a, float b) const { return a < b || a != a ? a : b; }
  __device__ static float none() { return plus_infinity(); }
};
/// Ignores NaN, as softmax's shift does.
struct TopOf {
  __device__ float operator()(float a, float b) const { return fmaxf(a, b); }
  __device__ static float none() { return -plus_infinity(); }
};
struct TotalOf {
  __device__ float operator()(float a, float b) const { return a + b; }
  __device__ static float none() { return 0; }
};

struct Line {
  index_t first;   // element
  index_t stride;  // between elements
  index_t extent;  // 0 for a line beyond the last
  int part;        // this thread's place among those of the line
};

template <class Op>
__device__ __forceinline__ float line_reduce(float value, float* scratch) {
  const int thread = static_cast<int>(threadIdx.x);
  if (COLUMNS) {
    scratch[thread] = value;
    __syncthreads();
    value = scratch[thread % 32];
#pragma unroll
    for (int i = 1; i < kParts; ++i) value = Op()(value, scratch[i * 32 + thread % 32]);
    __syncthreads();
    return value;
  }
#pragma unroll
  for (int step = 16; step > 0; step >>= 1) {
    value = Op()(value, __shfl_xor_sync(0xffffffffu, value, step));
  }
  if (kParts == 32) return value;
  if (thread % 32 == 0) scratch[thread / 32] = value;
  __syncthreads();
  value = scratch[0];
#pragma unroll
  for (int i = 1; i < kThreads / 32; ++i) value = Op()(value, scratch[i]);
  __syncthreads();
  return value;
}

/// Calls `use` with VEC neighbouring elements of the line, and where they lie, until it ends.
template <class Use>
__device__ __forceinline__ void for_line(const X_T* x, const Line& line, Use use) {
#pragma unroll 4
  for (index_t e = line.part * VEC; e < line.extent; e += kParts * VEC) {
    const index_t at = line.first + e * line.stride;
    float values[VEC];
    load_chunk<VEC>(x + at, values);
    use(values, at);
  }
}

template <class Op>
__device__ __forceinline__ float partial(const X_T* x, const Line& line) {
  float value = Op::none();
  for_line(x, line, [&](const float(&values)[VEC], index_t) {
#pragma unroll
    for (int i = 0; i < VEC; ++i) value = Op()(value, values[i]);
  });
  return value;
}

template <class Op>
__device__ __forceinline__ void reduce_line(const X_T* x, OUT_T* out, const Line& line,
                                            index_t extent, bool valid, index_t at,
                                            float* scratch) {
  float value = line_reduce<Op>(partial<Op>(x, line), scratch);
  if (KIND == 1) value /= static_cast<float>(extent);
  if (KIND >= 2 && extent == 0) value = 0;
  if (valid && line.part == 0) narrow(value, out[at]);
}

__device__ __forceinline__ void softmax_line(const X_T* x, OUT_T* out, const Line& line,
                                             float* scratch) {
  const float top = line_reduce<TopOf>(partial<TopOf>(x, line), scratch);
  float sum = 0;
  for_line(x, line, [&](const float(&values)[VEC], index_t) {
#pragma unroll
    for (int i = 0; i < VEC; ++i) sum += expf(values[i] - top);
  });
  sum = line_reduce<TotalOf>(sum, scratch);
  for_line(x, line, [&](const float(&values)[VEC], index_t at) {
    float shares[VEC];
#pragma unroll
    for (int i = 0; i < VEC; ++i) shares[i] = expf(values[i] - top) / sum;
    store_pack<VEC>(out + at, shares);
  });
}

extern "C" __global__ void __launch_bounds__(kThreads)
    axis_lines(const X_T* x, OUT_T* out, const int* symbols) {
  __shared__ float scratch[kThreads];
  allow_next_kernel();
  await_last_kernel();
  const index_t extent = axis_extent(symbols), inner = inner_extent(symbols);
  const index_t lines = outer_extent(symbols) * inner;
  const int thread = static_cast<int>(threadIdx.x);
  const int own = COLUMNS ? thread % 32 : thread / kParts;
  for (index_t first = index_t(blockIdx.x) * kLines; first < lines;
       first += index_t(gridDim.x) * kLines) {
    const index_t at = first + own;
    const bool valid = at < lines;
    Line line;
    line.first = COLUMNS ? at / inner * (extent * inner) + at % inner : at * extent;
    line.stride = COLUMNS ? inner : 1;
    line.extent = valid ? extent : 0;
    line.part = COLUMNS ? thread / 32 : thread % kParts;
    if (KIND <= 1) {
      reduce_line<TotalOf>(x, out, line, extent, valid, at, scratch);
    } else if (KIND == 2) {
      reduce_line<MaxOf>(x, out, line, extent, valid, at, scratch);
    } else if (KIND == 3) {
      reduce_line<MinOf>(x, out, line, extent, valid, at, scratch);
    } else {
      softmax_line(x, out, line, scratch);
    }
  }
}
