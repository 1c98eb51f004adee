// What the sampling kernel asks of the machine, by name: threads, warps, clusters, conversions.
// kernels/cuda/simt_emulation.h offers the same on a CPU, for tests. Sealed: includes nothing
// outside this folder.
//   SPLITS (blocks that share a row: a cluster)
#pragma once

#include "hopper.cuh"
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
/// A meeting in two parts: what this thread did before arriving is seen by whoever has waited.
__device__ __forceinline__ void arrive_cluster() {
#if SPLITS > 1
  asm volatile("barrier.cluster.arrive.release;" ::: "memory");
#endif
}
__device__ __forceinline__ void wait_cluster() {
#if SPLITS > 1
  asm volatile("barrier.cluster.wait.acquire;" ::: "memory");
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
__device__ __forceinline__ uint32_t warp_largest(uint32_t value) {
  return __reduce_max_sync(0xffffffffu, value);
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
/// Counts one in `bins[bin]`, in the one behind the last if there is no such bin: without a branch.
__device__ __forceinline__ void count_in(uint32_t* bins, uint32_t bin, uint32_t num_bins) {
  atomicAdd(bins + (bin < num_bins ? bin : num_bins), 1u);
}
__device__ __forceinline__ void fetch_add(uint64_t* at, uint64_t value) {
  atomicAdd(reinterpret_cast<unsigned long long*>(at), value);
}
__device__ __forceinline__ uint32_t bits_of(float x) { return __float_as_uint(x); }
__device__ __forceinline__ float float_of(uint32_t bits) { return __uint_as_float(bits); }
__device__ __forceinline__ float fused_toward_zero(float a, float b, float c) {
  return __fmaf_rz(a, b, c);
}
/// A NaN wins.
__device__ __forceinline__ float most_of(float a, float b) {
  float out;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(out) : "f"(a), "f"(b));
  return out;
}
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

/// Arrives at a meeting at which nothing is handed over.
__device__ __forceinline__ void arrive_cluster_idly() {
#if SPLITS > 1
  asm volatile("barrier.cluster.arrive.relaxed;" ::: "memory");
#endif
}

// Values that blocks push into each other's shared memory. The receiver's `arrival`, at the same
// place in every block, counts their bytes; it is prepared as for a copy.
#if SPLITS > 1
__device__ __forceinline__ void push_to(uint64_t* at, int rank, uint64_t value, uint64_t* arrival) {
  asm volatile(
      "{\n.reg .b32 to, counted;\n"
      "mapa.shared::cluster.u32 to, %0, %3;\nmapa.shared::cluster.u32 counted, %1, %3;\n"
      "st.async.shared::cluster.mbarrier::complete_tx::bytes.b64 [to], %2, [counted];\n}\n" ::"r"(
          shared_address(at)),
      "r"(shared_address(arrival)), "l"(value), "r"(rank)
      : "memory");
}
__device__ __forceinline__ void expect_pushes(uint64_t* arrival, uint32_t bytes) {
  barrier_expect(arrival, bytes);
}
__device__ __forceinline__ void await_pushes(uint64_t* arrival, uint32_t parity) {
  asm volatile(
      "{\n"
      ".reg .pred done;\n"
      "again:\n"
      "mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 done, [%0], %1;\n"
      "@done bra finished;\n"
      "bra again;\n"
      "finished:\n"
      "}\n" ::"r"(shared_address(arrival)),
      "r"(parity)
      : "memory");
}
/// What the block has done before it met is seen by whoever waits for this thread's pushes.
__device__ __forceinline__ void order_pushes() {
  asm volatile("fence.acq_rel.cluster;" ::: "memory");
}
#else
__device__ __forceinline__ void push_to(uint64_t* at, int, uint64_t value, uint64_t*) {
  *at = value;
}
__device__ __forceinline__ void expect_pushes(uint64_t*, uint32_t) {}
__device__ __forceinline__ void await_pushes(uint64_t*, uint32_t) { __syncthreads(); }
__device__ __forceinline__ void order_pushes() {}
#endif

// Copies to shared memory that arrive by themselves; `arrival` is 8 bytes of shared memory. Bytes
// and addresses are multiples of 16. One thread prepares and starts, then meets the block.
#if __CUDA_ARCH__ >= 900
constexpr bool kHasCopies = true;
__device__ __forceinline__ void prepare_arrival(uint64_t* arrival) {
  barrier_init(arrival, 1);
  barrier_init_fence();
}
__device__ __forceinline__ void start_copy(void* to, const void* from, uint32_t bytes,
                                           uint64_t* arrival) {
  barrier_expect(arrival, bytes);
  if (bytes > 0) bulk_load(to, from, bytes, arrival, policy_evict_first());
}
__device__ __forceinline__ void await_copy(uint64_t* arrival) { barrier_wait(arrival, 0); }
__device__ __forceinline__ void prefetch(const void* from, uint32_t bytes) {
  asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(from), "r"(bytes) : "memory");
}
#else
constexpr bool kHasCopies = false;
__device__ __forceinline__ void prepare_arrival(uint64_t*) {}
__device__ __forceinline__ void start_copy(void*, const void*, uint32_t, uint64_t*) {}
__device__ __forceinline__ void await_copy(uint64_t*) {}
__device__ __forceinline__ void prefetch(const void*, uint32_t) {}
#endif
