// What the sampling kernel asks of the machine, by name: threads, warps, clusters, conversions.
// kernels/cuda/simt_emulation.h offers the same on a CPU, for tests. Sealed: includes nothing
// outside this folder.
//   SPLITS (blocks that share a row: a cluster)
#pragma once

#include "rows.cuh"

__device__ __forceinline__ int thread_index() { return static_cast<int>(threadIdx.x); }
__device__ __forceinline__ int block_index() { return static_cast<int>(blockIdx.x); }
__device__ __forceinline__ char* shared_memory() {
  extern __shared__ __align__(16) char memory[];
  return memory;
}
__device__ __forceinline__ void meet_block() { __syncthreads(); }

/// All threads of all blocks of the row; orders their shared and global memory.
__device__ __forceinline__ void meet_cluster() {
#if SPLITS > 1
  asm volatile("barrier.cluster.arrive.release;\nbarrier.cluster.wait.acquire;" ::: "memory");
#else
  __syncthreads();
#endif
}
/// The place of `pointer`, to this block's shared memory, in that of another block of the cluster.
template <class T>
__device__ __forceinline__ T* at_rank(T* pointer, int rank) {
#if SPLITS > 1
  uint64_t out;
  asm("mapa.u64 %0, %1, %2;" : "=l"(out) : "l"(reinterpret_cast<uint64_t>(pointer)), "r"(rank));
  return reinterpret_cast<T*>(out);
#else
  return pointer;
#endif
}

template <class T>
__device__ __forceinline__ T shuffle(T value, int lane) {
  return __shfl_sync(0xffffffffu, value, lane);
}
template <class T>
__device__ __forceinline__ T shuffle_xor(T value, int mask) {
  return __shfl_xor_sync(0xffffffffu, value, mask);
}
template <class T>
__device__ __forceinline__ T shuffle_up(T value, int distance) {
  return __shfl_up_sync(0xffffffffu, value, static_cast<unsigned>(distance));
}
__device__ __forceinline__ uint32_t ballot(bool value) { return __ballot_sync(0xffffffffu, value); }
__device__ __forceinline__ uint32_t warp_total(uint32_t value) {
  return __reduce_add_sync(0xffffffffu, value);
}
__device__ __forceinline__ int lowest_bit(uint32_t bits) {
  return __ffs(static_cast<int>(bits)) - 1;
}
__device__ __forceinline__ int count_bits(uint32_t bits) { return __popc(bits); }
__device__ __forceinline__ int leading_zeros(uint32_t bits) {
  return __clz(static_cast<int>(bits));
}

__device__ __forceinline__ uint32_t fetch_add(uint32_t* at, uint32_t value) {
  return atomicAdd(at, value);
}
__device__ __forceinline__ uint32_t bits_of(float x) { return __float_as_uint(x); }
__device__ __forceinline__ float float_of(uint32_t bits) { return __uint_as_float(bits); }
__device__ __forceinline__ float add_toward_zero(float a, float b) { return __fadd_rz(a, b); }
__device__ __forceinline__ float fused(float a, float b, float c) { return __fmaf_rn(a, b, c); }
/// Never fused with its neighbours.
__device__ __forceinline__ float product_of(float a, float b) { return __fmul_rn(a, b); }
__device__ __forceinline__ float sum_of(float a, float b) { return __fadd_rn(a, b); }
__device__ __forceinline__ float quotient_of(float a, float b) { return __fdiv_rn(a, b); }
__device__ __forceinline__ uint64_t high_product(uint64_t a, uint64_t b) {
  return __umul64hi(a, b);
}
__device__ __forceinline__ float power_of_two(float x) {
  float out;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(out) : "f"(x));
  return out;
}
__device__ __forceinline__ float natural_log(float x) { return logf(x); }

struct alignas(16) Four {
  float x[4];
};
