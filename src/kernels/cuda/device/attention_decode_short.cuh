// Decode over many short sequences: a warp takes a sequence and KV head from its first key to its
// last, so that nothing is added up between warps and nobody waits for anybody. Sixteen keys at a
// time, through the warp's own ring; the next piece's first copies go out before a result is
// stored. Included by attention_decode.cuh.
#pragma once

/// The piece at `pair` of a sequence with one query token.
__device__ __forceinline__ Piece short_piece(const AttentionArguments& a, int sequence, int pair) {
  Piece p = {};
  p.sequence = sequence, p.pair = pair;
  p.row = a.query_start[sequence];
  p.keys = a.kv_len[sequence];
  p.first_key = first_visible(p.keys - 1);
  return p;
}

__device__ __forceinline__ void start_short(const AttentionArguments& a, const Piece& p,
                                            uint4* ring) {
  const int start = p.first_key / kWarpKeys * kWarpKeys;
#pragma unroll
  for (int i = 0; i < STAGES - 1; ++i) {
    if (start + i * kWarpKeys < p.keys) {
      copy_keys<false>(a, p, ring + i * kStageUnits, start + i * kWarpKeys);
    }
    commit_copies();
  }
}

__device__ __forceinline__ void attend_short(const AttentionArguments& a, const Piece& p,
                                             uint4* ring, Sums& s) {
  uint32_t q[kKSteps][4];
  load_query(a, p, q);
#pragma unroll
  for (int c = 0; c < kColumns; ++c) {
#pragma unroll
    for (int i = 0; i < 4; ++i) s.out[c][i] = 0;
  }
  s.top[0] = s.top[1] = -infinity();
  s.sum[0] = s.sum[1] = 0;
  int stage = 0;
  for (int start = p.first_key / kWarpKeys * kWarpKeys; start < p.keys; start += kWarpKeys) {
    asm volatile("cp.async.wait_group %0;" ::"n"(STAGES - 2) : "memory");
    __syncwarp();
    const int ahead = start + (STAGES - 1) * kWarpKeys;
    const int next = stage == 0 ? STAGES - 1 : stage - 1;
    if (ahead < p.keys) copy_keys<false>(a, p, ring + next * kStageUnits, ahead);
    commit_copies();
    attend_tile(p, ring + stage * kStageUnits, start, q, s);
    if (++stage == STAGES) stage = 0;
  }
}

/// A lane has neighbouring dimensions of up to two rows.
__device__ __forceinline__ void store_short(const AttentionArguments& a, const Piece& p, Sums& s) {
  const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
#pragma unroll
  for (int half = 0; half < kRowHalves; ++half) {
    s.sum[half] += __shfl_xor_sync(~0u, s.sum[half], 1);
    s.sum[half] += __shfl_xor_sync(~0u, s.sum[half], 2);
    const int row = g + half * 8, h = p.pair % kHeadTiles * 16 + row;
    if (row >= kRows || h >= kGroup) continue;
    const int of_token = p.pair / kHeadTiles * kGroup + h;
    const float scale = ATT_V_SCALE / (s.sum[half] + sink_weight(a, of_token, s.top[half]));
    const int64_t head = int64_t{p.row} * ATT_HEADS + of_token;
#pragma unroll
    for (int at = 0; at < kColumns * 2; at += 8) {
      const int i = at / 8 % 2, c = at / 16 * 8;  // columns c .. c + 7 of group 2 t + i
      const int d = dimension_of(c, t * 2 + i);
      if (d >= ATT_DIM) continue;
      uint32_t words[4];
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        words[j] = pack_bf16(s.out[c + 2 * j][half * 2 + i] * scale,
                             s.out[c + 2 * j + 1][half * 2 + i] * scale);
      }
      *reinterpret_cast<uint4*>(a.out + (head * ATT_DIM + d) * 2) =
          make_uint4(words[0], words[1], words[2], words[3]);
    }
  }
}

/// All pieces that begin within this warp's share of the units.
__device__ __forceinline__ void attend_short_pieces(const AttentionArguments& a,
                                                    const DecodeWork& work, uint4* ring) {
  const int warps = gridDim.x * kDecodeWarps;
  const int warp = blockIdx.x * kDecodeWarps + threadIdx.x / 32;
  const int begin = static_cast<int>(int64_t{work.units} * warp / warps);
  const int end = static_cast<int>(int64_t{work.units} * (warp + 1) / warps);
  if (begin >= end) return;
  int sequence = work.sequence_of(begin);
  int count = decode_tiles(a, sequence);
  int pair = (begin - work.tiles[sequence] * kPairs + count - 1) / count;
  int unit = work.tiles[sequence] * kPairs + pair * count;
  const auto settle = [&] {  // on a pair that is there
    while (unit < end && pair == kPairs) {
      count = decode_tiles(a, ++sequence);
      if (count > 0) pair = 0;
    }
  };
  settle();
  if (unit >= end) return;
  Piece p = short_piece(a, sequence, pair);
  start_short(a, p, ring);
  while (true) {
    Sums s;
    attend_short(a, p, ring, s);
    __syncwarp();  // all lanes have read what the next copies overwrite
    unit += count, ++pair;
    settle();
    const Piece done = p;
    const bool more = unit < end;
    if (more) {
      p = short_piece(a, sequence, pair);
      start_short(a, p, ring);
    }
    store_short(a, done, s);
    if (!more) return;
  }
}
