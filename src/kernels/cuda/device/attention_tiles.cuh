// Tiles of keys and values as wgmma reads them, shared by the kernels over prompts. Included where
// ATT_PAD, TILE_KEYS, kThreads and wgmma_values are known.
#pragma once

/// to[s]: the sum of own(i) of all i before s, for s below count; by the whole block. Returns the
/// sum of all.
template <class Own>
__device__ __forceinline__ int sums_before(int count, int* to, Own own) {
  __shared__ int sums[kThreads / 32];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  int total = 0;
  for (int base = 0; base < count; base += kThreads) {
    const int s = base + threadIdx.x;
    const int mine = s < count ? own(s) : 0;
    int sum = mine;
#pragma unroll
    for (int d = 1; d < 32; d *= 2) {
      const int other = __shfl_up_sync(~0u, sum, d);
      if (lane >= d) sum += other;
    }
    if (lane == 31) sums[warp] = sum;
    __syncthreads();
    int before = total;
    for (int w = 0; w < kThreads / 32; ++w) {
      if (w < warp) before += sums[w];
      total += sums[w];
    }
    if (s < count) to[s] = before + sum - mine;
    __syncthreads();
  }
  return total;
}

/// Of the 2 * count tiles of an item keys run one ahead of values, as they are used.
__device__ __forceinline__ bool values_at(int step, int count) {
  return step == 2 * count - 1 || (step > 0 && step % 2 == 0);
}
__device__ __forceinline__ int nth_at(int step, bool values) {
  return values ? (step - 1) / 2 : (step + 1) / 2;
}

/// Byte of a 16-byte unit in a tile of `rows` rows.
__device__ __forceinline__ int swizzled(int row, int unit, int rows) {
  return (unit / 8 * rows + row) * 128 + ((unit % 8) ^ (row % 8)) * 16;
}

struct Maps {
  const void *cache, *queries;
};

/// Values lie keys by dimensions: the operand is transposed, its halves of 64 dimensions the
/// leading stride, its groups of eight keys the other.
__device__ __forceinline__ void multiply_values(float (&out)[ATT_PAD / 2],
                                                const uint32_t (&w)[TILE_KEYS / 4],
                                                const uint8_t* values) {
  const uint64_t address = (shared_address(values) & 0x3ffffu) >> 4;
  const uint64_t b = address | uint64_t{TILE_KEYS * 128 / 16} << 16 | uint64_t{1024 / 16} << 32 |
                     uint64_t{1} << 62;
#pragma unroll
  for (int k = 0; k < TILE_KEYS / 16; ++k) {
    wgmma_values(out, w[k * 4], w[k * 4 + 1], w[k * 4 + 2], w[k * 4 + 3], b + k * (2048 / 16), 1);
  }
}

/// Turns of the two warpgroups in asking for products.
__device__ __forceinline__ void await_turn(int group) { named_barrier(4 + group, 256); }
__device__ __forceinline__ void pass_turn(int group) { named_barrier_arrive(5 - group, 256); }
