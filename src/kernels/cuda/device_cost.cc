#include "kernels/cuda/device_cost.h"

#include <algorithm>
#include <cmath>

#include "kernels/cuda/gemm_sm90.h"
#include "kernels/op_work.h"

namespace ramjet::kernels::cuda {
namespace {

constexpr double kLaunchUs = 2;

struct GemmPieces {
  int64_t tile = 0, parts = 1;
  int64_t together = 1;  // blocks of a cluster
  int64_t count = 0, k_blocks = 0;
  int64_t fetched = 0;  // bytes of a k block
  double bytes = 0;     // from memory
};

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

/// Tiles that are whole, or cut into equal parts by clusters: a block has one piece at a time, so
/// what counts is how many waves there are and how much of the chip the pieces occupy.
double gemm_sm90_pieces_us(const GemmPieces& p, const DeviceFacts& facts) {
  constexpr double kL2Tbps = 0.08, kAllL2Tbps = 0.058;  // of a multiprocessor
  constexpr double kGigahertz = 1.6, kEfficiency = 0.85, kJoinUs = 1, kJoinTbps = 0.1;
  const int64_t width = facts.multiprocessors / p.together * p.together;
  const int64_t waves = ceil_div(p.count, width);
  const double busy = static_cast<double>(p.count) / static_cast<double>(waves);
  const double memory = p.bytes / facts.tbps * facts.multiprocessors / busy;
  const double l2 = static_cast<double>(p.count * p.k_blocks * p.fetched) /
                    std::min(busy * kL2Tbps, kAllL2Tbps * facts.multiprocessors);
  const double cycles = static_cast<double>(std::max(4 * p.tile, 128 + 2 * p.tile));
  const double math = static_cast<double>(waves * p.k_blocks) * cycles / (kGigahertz * 1e-3);
  double us = kLaunchUs + std::max({memory, l2, math / kEfficiency}) * 1e-6;
  if (p.parts > 1) {
    us +=
        kJoinUs + 512.0 * static_cast<double>(p.tile * (p.parts - 1) / p.parts) / kJoinTbps * 1e-6;
  }
  return us;
}

/// Both parts of a batch cost what their share of it does; a plausible batch has one alone.
bool decodes(const OpDesc& desc, std::span<const int64_t> symbols) {
  return batch_shape(desc, symbols).queries == 1;
}

double split_decode_us(const OpWork& work, const DeviceFacts& facts) {
  constexpr double kJoinUs = 5;  // partial sums of a sequence meet in one block
  return kJoinUs + work.bytes / (0.85 * facts.tbps) * 1e-6;
}

double any_us(const OpWork& work, const DeviceFacts& facts) {
  constexpr double kTflops = 1;
  return kLaunchUs + std::max(work.flops / kTflops, work.bytes / (0.25 * facts.tbps)) * 1e-6;
}

}  // namespace

double gemm_sm90_cost(const OpDesc& desc, const Tactic& tactic, const DeviceFacts& facts,
                      std::span<const int64_t> symbols) {
  constexpr int64_t kBlockW = 128, kRowBytes = 128;
  constexpr double kL2TbpsOfUnit = 0.058, kGigahertz = 1.6, kEfficiency = 0.85;
  const TensorType& b = desc.inputs[1];
  const int64_t tile = tactic.variant & kGemmTileMask;
  const bool slim = (tactic.variant & kGemmSlimBit) != 0;
  const bool cluster = (tactic.variant & kGemmClusterBit) != 0;
  const int64_t tokens = std::max<int64_t>(desc.inputs[0].dims[0].evaluate(symbols), 1);
  const int64_t k_blocks = ceil_div(b.dims[1].offset * dtype_bytes(b.dtype), kRowBytes);
  const int64_t blocks = ceil_div(b.dims[0].offset, kBlockW) * ceil_div(tokens, tile) * k_blocks;
  const double l2_tbps = kL2TbpsOfUnit * facts.multiprocessors;
  const double memory = op_work(desc, symbols).bytes / facts.tbps;
  const int64_t fetched = kBlockW + (cluster ? tile / 2 : tile);  // rows a k block of a block
  if ((tactic.variant & kGemmRowsBit) != 0) {
    // Nothing is joined; a second tile of tokens would read W again.
    constexpr double kSpared = 1.0;
    const double us = memory * 1e-6 + kLaunchUs - kSpared;
    return tokens <= tile ? us : 8 * us * static_cast<double>(ceil_div(tokens, tile));
  }
  if (const int64_t parts = tactic.variant >> kGemmPartsShift & kGemmPartsMask; parts > 0) {
    const int64_t pieces = blocks / k_blocks * parts;
    double us =
        gemm_sm90_pieces_us({tile, parts, cluster ? 2 * parts : parts, pieces,
                             ceil_div(k_blocks, parts), fetched * kRowBytes, memory * facts.tbps},
                            facts);
    if (slim) us -= 0.7;  // it starts beside its predecessor
    // A cut that leaves more than one wave helps nothing. Worth timing are the tile that just holds
    // the tokens and, of many, the two largest.
    constexpr double kNotTimed = 3;
    const bool sensible =
        tokens > 128 ? tile >= 128 : tile >= tokens && (tile < 2 * tokens || tile == 8);
    // Nor is a last wave worth a thought that comes after many.
    const int64_t most = parts == 1 ? int64_t{8} * facts.multiprocessors : facts.multiprocessors;
    const bool wave = pieces <= most;
    return sensible && wave ? us : kNotTimed * us;
  }
  const double l2 = static_cast<double>(blocks * fetched * kRowBytes) / l2_tbps;
  // Cycles of a k block: 4 a token of products, or the operands' way through shared memory.
  const double cycles = static_cast<double>(std::max(4 * tile, 128 + 2 * tile));
  const double a_unit = static_cast<double>(blocks) / facts.multiprocessors;
  const double math = std::max(a_unit, 1.0) * cycles / (kGigahertz * 1e-3) / kEfficiency;
  // Runs of k blocks that end within a tile leave sums of 4 bytes, written and read.
  const double join =
      2.0 * 4 * static_cast<double>(facts.multiprocessors * kBlockW * tile) / l2_tbps;
  double us = (std::max({memory, l2, math}) + join) * 1e-6 + kLaunchUs;
  // A slim block starts beside its predecessor, with fewer bytes in flight later. Clusters are
  // for products of many tokens.
  const bool early = tile <= 32 || b.dtype == DType::kF8E4M3;
  if (slim) us += 0.02 * us * static_cast<double>(tile) / 64 - (early ? 0.7 : 0);
  if (cluster) us = tokens > 256 ? us + 1 : 1.15 * us + 1;
  // Segments are summed from zero each, and more sums meet.
  constexpr double kSegments = 1.03;
  if ((tactic.variant & kGemmFixedBit) != 0) us *= kSegments;
  return us;
}

double moe_sm90_cost(const OpDesc& desc, const Tactic& tactic, const DeviceFacts& facts,
                     std::span<const int64_t> symbols) {
  constexpr int64_t kBlockW = 128, kRowBytes = 128;
  constexpr double kJoinUs = 5, kStreamed = 1.05;
  const int64_t tile = tactic.variant & kGemmTileMask;
  const bool whole = tactic.variant >> kGemmPartsShift == 1;
  const double slots =
      static_cast<double>(std::max<int64_t>(desc.inputs[3].shape(symbols).elements(), 1));
  const auto experts = static_cast<double>(desc.inputs[1].dims[0].offset);
  const double active = experts * (1 - std::pow(1 - 1 / experts, slots));
  // Groups differ: half a tile more than their mean fills, but no fewer than one each.
  const double filled = slots / active / static_cast<double>(tile);
  const auto tiles = static_cast<int64_t>(std::ceil(active * std::max(1.0, filled + 0.5)));
  double us = 3 * kLaunchUs;
  for (const size_t weight : {1, 2}) {
    const TensorType& b = desc.inputs[weight];
    const int64_t rows = b.dims[1].offset, row_bytes = b.dims[2].offset * dtype_bytes(b.dtype);
    GemmPieces pieces{tile,
                      1,
                      1,
                      ceil_div(rows, kBlockW) * tiles,
                      ceil_div(row_bytes, kRowBytes),
                      (kBlockW + tile) * kRowBytes,
                      active * static_cast<double>(rows * row_bytes)};
    const double in_waves = gemm_sm90_pieces_us(pieces, facts);
    // Cut anywhere: every multiprocessor has as much, and some wait for others.
    const double share =
        static_cast<double>(pieces.count) /
        static_cast<double>(ceil_div(pieces.count, facts.multiprocessors) * facts.multiprocessors);
    us += whole ? in_waves : kJoinUs + kStreamed * in_waves * share;
  }
  // Where memory decides, a tile no larger than its tokens.
  constexpr double kTileRows = 2048;
  return us * (1 + static_cast<double>(tile) / kTileRows);
}

double attention_cost(const OpDesc& desc, const Tactic& tactic, const DeviceFacts& facts,
                      std::span<const int64_t> symbols) {
  const OpWork work = op_work(desc, symbols);
  const bool cluster = tactic.variant > 1;
  const BatchShape batch = batch_shape(desc, symbols);
  if (batch.queries == 1) {
    // Sums that meet in a cluster are early, but a sequence has eight blocks and no more.
    const double alone = split_decode_us(work, facts);
    if (!cluster) return alone;
    return batch.sequences <= 2 ? 0.75 * alone : 2 * alone;
  }
  const AttentionDesc& d = *attention_desc_of(desc);
  const double share = d.kv_dtype == DType::kF8E4M3 ? 0.6 : 0.75;  // of the peak
  const double us =
      kLaunchUs +
      std::max(work.bytes / facts.tbps, work.flops / (share * facts.bf16_tflops)) * 1e-6;
  // Prompts alone do not tell the two apart, but beside them any number of sequences decodes.
  return cluster ? 4 * us : us;
}

double attention_fixed_cost(const OpDesc& desc, const Tactic&, const DeviceFacts& facts,
                            std::span<const int64_t> symbols) {
  const OpWork work = op_work(desc, symbols);
  constexpr double kShare = 0.65, kUsOfKey = 0.01;  // a block reads a sequence's keys by itself
  const BatchShape batch = batch_shape(desc, symbols);
  const double alone = batch.queries == 1 ? kUsOfKey * static_cast<double>(batch.keys) : 0;
  return kLaunchUs + std::max({alone, work.bytes / (0.85 * facts.tbps) * 1e-6,
                               work.flops / (kShare * facts.bf16_tflops) * 1e-6});
}

double attention_split_cost(const OpDesc& desc, const Tactic&, const DeviceFacts& facts,
                            std::span<const int64_t> symbols) {
  const OpWork work = op_work(desc, symbols);
  return decodes(desc, symbols) ? split_decode_us(work, facts) : any_us(work, facts);
}

double attention_any_cost(const OpDesc& desc, const Tactic&, const DeviceFacts& facts,
                          std::span<const int64_t> symbols) {
  return any_us(op_work(desc, symbols), facts);
}

double row_cost(const OpDesc& desc, const Tactic& tactic, const DeviceFacts& facts,
                std::span<const int64_t> symbols) {
  // Few threads a row: the latency of one is longer, and more of them are in flight.
  const bool many = tactic.variant == kManyRows;
  return (many ? 1.5 : 1) * kLaunchUs +
         floor_us(op_work(desc, symbols), facts) / (many ? 0.85 : 0.6);
}

double general_cost(const OpDesc& desc, const Tactic&, const DeviceFacts& facts,
                    std::span<const int64_t> symbols) {
  return 4 * (kLaunchUs + floor_us(op_work(desc, symbols), facts));
}

double matmul_fma_cost(const OpDesc& desc, const Tactic& tactic, const DeviceFacts& facts,
                       std::span<const int64_t> symbols) {
  constexpr double kTflops = 10;
  return general_cost(desc, tactic, facts, symbols) + op_work(desc, symbols).flops / kTflops * 1e-6;
}

}  // namespace ramjet::kernels::cuda
