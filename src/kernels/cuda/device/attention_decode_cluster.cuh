// Decode by clusters of eight blocks, each a sequence and KV head: for one or two sequences, whose
// time is latency. Included by attention_decode.cuh where ATT_CLUSTER = 8.
#pragma once

/// Adds the sums of all warps of a cluster, read where they lie. A thread takes a block's four
/// warps, eight neighbours the eight blocks; every block finishes a slice of the output.
__device__ __forceinline__ void finish_cluster(const AttentionArguments& a, const Piece& p,
                                               const float* scratch, int stride, int rank) {
  static_assert(ATT_CLUSTER == 8 && kDecodeWarps == 4, "one load a warp, one lane a block");
  const uint32_t here = static_cast<uint32_t>(__cvta_generic_to_shared(scratch));
  uint32_t there;
  asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(here), "r"(threadIdx.x % 8));
  const auto load = [&](int warp, int i) {
    float x;
    asm volatile("ld.shared::cluster.f32 %0, [%1];"
                 : "=f"(x)
                 : "r"(there + (warp * stride + i) * 4));
    return x;
  };
  for (int i = rank * 16 + threadIdx.x / 8; i < kSumUnits; i += 128) {
    const int row = i / (ATT_PAD / 4);
    float4 v[kDecodeWarps];
    float top[kDecodeWarps], sum[kDecodeWarps];
#pragma unroll
    for (int w = 0; w < kDecodeWarps; ++w) {
      asm volatile("ld.shared::cluster.v4.f32 {%0, %1, %2, %3}, [%4];"
                   : "=f"(v[w].x), "=f"(v[w].y), "=f"(v[w].z), "=f"(v[w].w)
                   : "r"(there + (w * stride + i * 4) * 4));
      top[w] = load(w, kRows * ATT_PAD + row);
      sum[w] = load(w, kRows * ATT_PAD + kRows + row);
    }
    float most = fmaxf(fmaxf(top[0], top[1]), fmaxf(top[2], top[3]));
#pragma unroll
    for (int d = 4; d > 0; d /= 2) most = fmaxf(most, __shfl_xor_sync(~0u, most, d));
    float4 out = make_float4(0, 0, 0, 0);
    float total = 0;
#pragma unroll
    for (int w = 0; w < kDecodeWarps; ++w) {
      const float weight = exp2_fast(top[w] - most);
      total += sum[w] * weight;
      out.x += v[w].x * weight, out.y += v[w].y * weight;
      out.z += v[w].z * weight, out.w += v[w].w * weight;
    }
#pragma unroll
    for (int d = 4; d > 0; d /= 2) {
      total += __shfl_xor_sync(~0u, total, d);
      out.x += __shfl_xor_sync(~0u, out.x, d), out.y += __shfl_xor_sync(~0u, out.y, d);
      out.z += __shfl_xor_sync(~0u, out.z, d), out.w += __shfl_xor_sync(~0u, out.w, d);
    }
    if (threadIdx.x % 8 == 0) {
      total += row_sink(a, p, row, most);
      store_output(a, p, row, i % (ATT_PAD / 4) * 4, out, ATT_V_SCALE / total);
    }
  }
}

/// A cluster a sequence and pair. Nothing goes through memory.
extern "C" __global__ void __launch_bounds__(kDecodeWarps * 32, 1)
    attention_decode_cluster(const uint8_t* q, const int* query_start, const int* kv_len,
                             const int* block_table, const int* sequences, const uint8_t* cache,
                             uint8_t* out SINKS_PARAMETER) {
  extern __shared__ __align__(1024) uint4 shared[];
  allow_next_kernel();
  const AttentionArguments a = {q,         query_start, kv_len,         block_table,
                                sequences, cache,       out SINKS_VALUE};
  const int rank = blockIdx.x % ATT_CLUSTER, item = blockIdx.x / ATT_CLUSTER;
  Piece p;
  p.sequence = item / kPairs, p.pair = item % kPairs;
  const int count = p.sequence < *sequences ? decode_tiles(a, p.sequence) : 0;
  if (count == 0) return await_last_kernel();  // all blocks of the cluster
  constexpr int kRing = STAGES * kStageUnits;
  uint4* ring = shared + threadIdx.x / 32 * kRing;
  float* scratch = reinterpret_cast<float*>(shared);
  p.row = query_start[p.sequence];
  p.keys = kv_len[p.sequence];
  p.first_key = first_visible(p.keys - 1);
  const int tile0 = p.first_key / kTileKeys;
  p.first_tile = tile0 + count * rank / ATT_CLUSTER;
  p.last_tile = tile0 + count * (rank + 1) / ATT_CLUSTER;
  start_copies<true>(a, p, ring);
  const LastKey late(a, p);
  await_last_kernel();
  late.copy(ring);
  Sums s;
  attend_piece(a, p, ring, s, true);
  leave_sums(s, scratch + threadIdx.x / 32 * (kRing * 4));
  asm volatile("barrier.cluster.arrive.release;\nbarrier.cluster.wait.acquire;" ::: "memory");
  finish_cluster(a, p, scratch, kRing * 4, rank);
  // Sums stay until every block has read them.
  asm volatile("barrier.cluster.arrive.relaxed;\nbarrier.cluster.wait;" ::: "memory");
}
