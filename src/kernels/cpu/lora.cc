#include "kernels/cpu/lora.h"

#include <algorithm>

#include "kernels/registry.h"

namespace ramjet::kernels::cpu {
namespace {

constexpr int64_t kMaxSlots = 1 << 12;

int64_t aligned(int64_t bytes) { return (bytes + 63) / 64 * 64; }

/// The workspace, part by part: rows, tiles, the start of each slot's rows, inner.
struct Layout {
  int64_t tiles = 0, starts = 0, inner = 0, bytes = 0;
  Layout(int64_t tokens, int64_t slots, int64_t inner_width) {
    tiles = aligned(tokens * 4);
    starts = tiles + aligned(tokens * static_cast<int64_t>(sizeof(LoraTile)));
    inner = starts + aligned((slots + 2) * 4);
    bytes = inner + aligned(tokens * inner_width * 4);
  }
};

int64_t most(const Dim& dim, std::span<const Symbol> symbols) {
  if (dim.fixed()) return dim.offset;
  return dim.offset + dim.factor * symbols[static_cast<size_t>(dim.symbol)].max;
}

}  // namespace

bool lora_ok(const OpDesc& desc) {
  if (!reference_tactic(OpKind::kLora)->supports(desc)) return false;
  const DType dtype = desc.inputs[0].dtype;
  const auto same = [dtype](const TensorType& type) { return type.dtype == dtype; };
  return same(desc.outputs[0]) && std::ranges::all_of(desc.inputs.subspan(3), same) &&
         desc.inputs[2].dims[0].offset <= kMaxSlots;
}

int64_t lora_workspace(const OpDesc& desc) {
  int64_t inner_width = 0;
  for (size_t i = 3; i < desc.inputs.size(); i += 2) inner_width += desc.inputs[i].dims[1].offset;
  return Layout(most(desc.inputs[0].dims[0], desc.symbols), desc.inputs[2].dims[0].offset,
                inner_width)
      .bytes;
}

LoraPlan plan_lora(const KernelCall& call, int32_t tile_rows) {
  LoraPlan plan;
  const std::span<const int32_t> slots = call.inputs[1].span<int32_t>();
  const auto count = static_cast<int32_t>(call.inputs[2].elements());
  // 0: none, else the slot and one.
  const auto group_of = [count](int32_t slot) { return slot < 0 || slot >= count ? 0 : slot + 1; };
  plan.idle = std::ranges::all_of(slots, [&](int32_t slot) { return group_of(slot) == 0; });
  if (plan.idle) return plan;
  for (size_t i = 3; i < call.inputs.size(); i += 2) plan.inner_width += call.inputs[i].shape[1];
  const Layout layout(std::ssize(slots), count, plan.inner_width);
  std::byte* const memory = call.workspace.data();
  auto* const rows = reinterpret_cast<int32_t*>(memory);
  auto* const tiles = reinterpret_cast<LoraTile*>(memory + layout.tiles);
  auto* const ends = reinterpret_cast<int32_t*>(memory + layout.starts);
  plan.inner = reinterpret_cast<float*>(memory + layout.inner);
  std::fill(ends, ends + count + 2, 0);
  for (const int32_t slot : slots) ++ends[group_of(slot) + 1];
  for (int32_t group = 0; group <= count; ++group) ends[group + 1] += ends[group];
  for (size_t row = 0; row < slots.size(); ++row) {
    rows[ends[group_of(slots[row])]++] = static_cast<int32_t>(row);
  }
  size_t made = 0;
  for (int32_t group = 0, at = 0; group <= count; ++group) {
    for (; at < ends[group]; at += tiles[made++].count) {
      tiles[made] = {at, std::min(tile_rows, ends[group] - at), group - 1};
    }
  }
  plan.rows = rows;
  plan.tiles = {tiles, made};
  return plan;
}

}  // namespace ramjet::kernels::cpu
