// How attention_prefill.cuh adds the sums of splits of the keys: in one order, the last split
// first, with the same rounding wherever it is done. Included where ATT_PAD, Item and Softmax are
// known.
#pragma once

/// Sums that blocks exchange: of splits that have blocks of their own, and of a block's splits so
/// far behind them. A thread reads what the same thread of a block wrote.
struct Exchange {
  float4* sums;     // [SPLIT_SLOTS + blocks, 2, ATT_PAD / 8 + 1, 128]
  uint32_t* flags;  // [sequences, kItemHeads, 2]: splits that are there; zero between launches

  __device__ __forceinline__ float4* at(int slot, int group) const {
    return sums + (int64_t{slot} * 2 + group) * ((ATT_PAD / 8 + 1) * 128) + threadIdx.x % 128;
  }
  __device__ __forceinline__ float4* own(int group) const {
    return at(SPLIT_SLOTS + static_cast<int>(blockIdx.x), group);
  }
};

__device__ __forceinline__ void leave_sums(float4* to, const float (&out)[ATT_PAD / 2],
                                           const Softmax& m) {
#pragma unroll
  for (int c = 0; c < ATT_PAD / 8; ++c) {
    __stcg(to + c * 128, make_float4(out[c * 4], out[c * 4 + 1], out[c * 4 + 2], out[c * 4 + 3]));
  }
  __stcg(to + ATT_PAD / 8 * 128, make_float4(m.top[0], m.top[1], m.sum[0], m.sum[1]));
}

/// Adds sums of other keys. Either side may be the earlier: the result is the same.
__device__ __forceinline__ void add_sums(const float4* from, float (&out)[ATT_PAD / 2],
                                         Softmax& m) {
  constexpr float kFactor = ATT_SOFTCAP > 0 ? 1.0f : kScoreScale * kLog2E;
  const float4 stats = __ldcg(from + ATT_PAD / 8 * 128);
  const float tops[2] = {stats.x, stats.y}, sums[2] = {stats.z, stats.w};
  float theirs[2], ours[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const float most = fmaxf(tops[half], m.top[half]);
    const float base = most == -infinity() ? 0.0f : __fmul_rn(most, kFactor);
    theirs[half] = exp2_fast(__fsub_rn(__fmul_rn(tops[half], kFactor), base));
    ours[half] = exp2_fast(__fsub_rn(__fmul_rn(m.top[half], kFactor), base));
    m.top[half] = most;
    m.sum[half] =
        __fadd_rn(__fmul_rn(sums[half], theirs[half]), __fmul_rn(m.sum[half], ours[half]));
  }
#pragma unroll
  for (int c = 0; c < ATT_PAD / 8; ++c) {
    const float4 v = __ldcg(from + c * 128);
    const float add[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      float& x = out[c * 4 + i];
      x = __fadd_rn(__fmul_rn(add[i], theirs[i / 2]), __fmul_rn(x, ours[i / 2]));
    }
  }
}

__device__ __forceinline__ void take_sums(const float4* from, float (&out)[ATT_PAD / 2],
                                          Softmax& m) {
  const float4 stats = __ldcg(from + ATT_PAD / 8 * 128);
  m.top[0] = stats.x, m.top[1] = stats.y, m.sum[0] = stats.z, m.sum[1] = stats.w;
#pragma unroll
  for (int c = 0; c < ATT_PAD / 8; ++c) {
    const float4 v = __ldcg(from + c * 128);
    out[c * 4] = v.x, out[c * 4 + 1] = v.y, out[c * 4 + 2] = v.z, out[c * 4 + 3] = v.w;
  }
}

/// Leaves the sums of a split that has a block of its own; the last warpgroup to do so adds all, in
/// the order in which one block would, and returns true.
__device__ __forceinline__ bool meet(const Exchange& exchange, const Item& it, int group,
                                     float (&out)[ATT_PAD / 2], Softmax& m) {
  __shared__ uint32_t before[2];
  const int head = it.head / kPack;
  const auto slot = [&](int nth) {
    return exchange.at((it.first_slot + nth) * kItemHeads + head, group);
  };
  leave_sums(slot(it.slot), out, m);
  named_barrier(2 + group, 128);
  // The barrier orders the warpgroup's stores before this release, and the loads below after it.
  if (threadIdx.x % 128 == 0) {
    uint32_t* flag = exchange.flags + (it.sequence * kItemHeads + head) * 2 + group;
    asm volatile("atom.acq_rel.gpu.global.add.u32 %0, [%1], 1;"
                 : "=r"(before[group])
                 : "l"(flag)
                 : "memory");
    if (before[group] == static_cast<uint32_t>(it.slots - 1)) *flag = 0;
  }
  named_barrier(2 + group, 128);
  if (before[group] != static_cast<uint32_t>(it.slots - 1)) return false;
  take_sums(slot(it.slots - 1), out, m);
  for (int nth = it.slots - 2; nth >= 0; --nth) add_sums(slot(nth), out, m);
  return true;
}
