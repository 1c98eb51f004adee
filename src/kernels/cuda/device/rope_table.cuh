// rope_table: cosines and sines of a row's position, f32, a thread a frequency. The including
// source defines `frequencies` (and, for two sets, the second behind the first), the host's own
// figures; only dynamic scaling computes them here, in f64.
//   ROTARY, FACTOR (of cosine and sine), KIND (0 fixed, 1 two sets by length, 2 dynamic)
//   ORIGINAL (positions), THETA, STRETCH (dynamic), SEQ_FACTOR, SEQ_OFFSET
#pragma once

#include "rows.cuh"

__device__ __forceinline__ float frequency_of(int pair, int length) {
#if KIND == 2
  double theta = THETA;
  if (length > ORIGINAL) {
    const double stretch = STRETCH * length / ORIGINAL;
    theta *= pow(stretch - (STRETCH - 1), double(ROTARY) / (ROTARY - 2));
  }
  return static_cast<float>(pow(theta, -2.0 * pair / ROTARY));
#else
  return frequencies[KIND == 1 && length > ORIGINAL ? ROTARY / 2 + pair : pair];
#endif
}

extern "C" __global__ void __launch_bounds__(128)
    rope_table(const int* positions, const int* query_start, const int* prompt_len, float* out,
               const int* seq_symbol) {
  allow_next_kernel();
  constexpr int kHalf = ROTARY / 2;
  const int64_t at = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  const int64_t row = at / kHalf;
  const int pair = static_cast<int>(at % kHalf);
  const int sequences = static_cast<int>(extent_of<SEQ_FACTOR, SEQ_OFFSET>(seq_symbol));
  if (sequences == 0 || row >= query_start[sequences]) return await_last_kernel();
  const int position = positions[row];
  int length = 0;
  if (KIND != 0) {
    length = prompt_len[sequence_of(query_start, sequences, static_cast<int>(row))];
    length = max(length, position + 1);
  }
  const float angle = static_cast<float>(position) * frequency_of(pair, length);
  float sine, cosine;
  sincosf(angle, &sine, &cosine);
  await_last_kernel();
  out[row * ROTARY + pair] = cosine * FACTOR;
  out[row * ROTARY + kHalf + pair] = sine * FACTOR;
}
