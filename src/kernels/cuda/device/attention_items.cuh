// The work of attention_prefill.cuh: tiles of queries of a head, or of the heads of a KV head, and
// splits of their keys. Included where its constants are known.
#pragma once

#include "attention_tiles.cuh"

struct Item {
  int sequence, head, kv_head, row, tokens, position, keys, first_tile, last_tile;
  int first_slot, slot, slots;  // of splits that have blocks of their own; 0 slots: of none

  /// The split that holds the last tile, and the one before a split.
  __device__ __forceinline__ Item part() const {
    Item it = *this;
    if (SPLIT_TILES > 0) it.first_tile = later((last_tile - 1) / kSplitTiles * kSplitTiles);
    return it;
  }
  __device__ __forceinline__ Item before(const Item& whole) const {
    Item it = whole;
    it.last_tile = first_tile;
    return it.part();
  }
  __device__ __forceinline__ int later(int tile) const {
    return tile > first_tile ? tile : first_tile;
  }
};

/// Pieces of a sequence's work, a head: its tiles of queries or, `split`, the splits of its keys if
/// it has one tile.
__device__ __forceinline__ int pieces_of(const AttentionArguments& a, int s, bool split) {
  const int rows = a.query_start[s + 1] - a.query_start[s];
  if (rows == 1 && ATT_ROWS != 0) return 0;
  if (!split || rows > kTileTokens || rows == 0) return (rows + kTileTokens - 1) / kTileTokens;
  const int keys = a.kv_len[s], first = first_visible(keys - rows) / TILE_KEYS;
  return (keys - 1) / TILE_KEYS / kSplitTiles - first / kSplitTiles + 1;
}

/// pieces[s]: those of the sequences before s; by the whole block. Returns their number.
__device__ int find_pieces(const AttentionArguments& a, int count, bool split, int* pieces) {
  return sums_before(count, pieces, [&](int s) { return pieces_of(a, s, split); });
}

/// The work of this step: pieces by sequence, and whether splits have blocks of their own.
struct Work {
  const int* pieces;
  int total, sequences;
  bool split;
  __device__ __forceinline__ int items() const { return total * kItemHeads; }
};

__device__ __forceinline__ Item item_at(const AttentionArguments& a, const Work& work, int index) {
  Item it;
  const int piece = work.total - 1 - index / kItemHeads;
  it.head = index % kItemHeads * kPack;
  it.kv_head = it.head / kGroup;
  int low = 0, high = work.sequences;
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    (work.pieces[middle] <= piece ? low : high) = middle;
  }
  it.sequence = low;
  const int start = a.query_start[low], end = a.query_start[low + 1];
  const int nth = piece - work.pieces[low];
  const bool split = SPLIT_TILES > 0 && work.split && end - start <= kTileTokens;
  it.row = split ? start : start + nth * kTileTokens;
  it.tokens = end - it.row < kTileTokens ? end - it.row : kTileTokens;
  it.keys = a.kv_len[low];
  it.position = it.keys - (end - it.row);
  it.first_tile = first_visible(it.position) / TILE_KEYS;
  it.last_tile = (it.position + it.tokens - 1) / TILE_KEYS + 1;
  it.slots = 0;
  if (split) {
    const int first = it.first_tile / kSplitTiles, here = first + nth;
    const int count = (it.last_tile - 1) / kSplitTiles - first + 1;
    it.first_slot = work.pieces[low], it.slot = nth, it.slots = count > 1 ? count : 0;
    it.first_tile = it.later(here * kSplitTiles);
    if ((here + 1) * kSplitTiles < it.last_tile) it.last_tile = (here + 1) * kSplitTiles;
  }
  return it;
}

/// Token of the tile that a row of it is for; rows without one share another's.
__device__ __forceinline__ int token_of(int row) {
  if (kPack == 1) return row;
  const int token = row % 64 / kPack;
  return row / 64 * kGroupTokens + (token < kGroupTokens ? token : 0);
}
