// The registry: which tactics can run an op on a target, and how weights are laid out for them.
//
// The compiler and the runtime see kernels through this header alone. Immutable after start-up.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "kernels/device_plan.h"
#include "kernels/kernel.h"

namespace ramjet::kernels {

/// Instruction sets of the CPU path, each including those before it.
enum class Isa : uint8_t { kScalar, kAvx2, kAvx512, kAmx };

/// "cpu-scalar", "cpu-avx2", "cpu-avx512", "cpu-amx", "sm_80", "sm_89", "sm_90a".
struct Target {
  Isa isa = Isa::kScalar;
  int sm = 0;  // 0: the CPU

  bool is_gpu() const { return sm != 0; }
  std::string name() const;
  static Result<Target> parse(std::string_view name);
  /// The best this machine's CPU can run, capped by RAMJET_ISA.
  static Target host();
  /// The first GPU of this machine, if there is one that kernels exist for; RAMJET_DEVICE=cpu
  /// hides it.
  static std::optional<Target> gpu();
  /// Machine code for sm_90a runs there alone; a later sm_8x runs what an earlier one does.
  bool runs_on(const Target& machine) const;
  /// On this machine: its CPU, or its first GPU.
  bool runs_here() const;
  /// The first GPU if there is one, else the CPU.
  static Target best();
};

/// Of this machine's first GPU where the target runs on it, else of its arch's flagship.
DeviceFacts device_facts(const Target& target);

/// How a weight operand lies in the engine. Names are versioned: a changed layout is a new name.
struct WeightLayout {
  std::string_view name;  // "row_major", "cpu.n16k2.v1", ...
  /// Bytes for the logical matrix `rows` x `cols` (N x K) of `dtype`.
  int64_t (*packed_bytes)(int64_t rows, int64_t cols, DType dtype);
  /// Packs row-major [rows, cols] of `dtype` into `out` (packed_bytes).
  void (*pack)(std::span<const std::byte> source, int64_t rows, int64_t cols, DType dtype,
               std::span<std::byte> out);
};

/// One way to run an op. Plain data with static lifetime.
struct Tactic {
  std::string_view name;  // versioned and unique, e.g. "cpu.avx512.matmul_n16.v1"
  OpKind op = OpKind::kPointwise;
  Isa isa = Isa::kScalar;  // least instruction set
  int priority = 0;        // the cost model when nothing is timed: higher first
  bool (*supports)(const OpDesc& desc) = nullptr;
  /// Scratch bytes with every symbol at its maximum; null: none.
  int64_t (*workspace_bytes)(const OpDesc& desc) = nullptr;
  std::string_view weight_layout = "row_major";  // of a matmul's b and the like
  std::string_view down_layout = {};             // of a moe's second product, where it is another
  CpuKernel run = nullptr;
  int sm = 0;                    // least GPU architecture; 0: runs on the CPU
  int variant = 0;               // what the planner makes of it: a tile size, say
  DevicePlanner plan = nullptr;  // on a GPU
  /// Microseconds that the cost model expects with the symbols at these values; null: unknown.
  double (*cost_us)(const OpDesc& desc, const Tactic& tactic, const DeviceFacts& facts,
                    std::span<const int64_t> symbols) = nullptr;
  /// Names the order in which an element of the result is summed, if it depends on the desc alone:
  /// tactics of one order give the same bits, whatever else is in the step. Null: the order follows
  /// the batch, and a batch-invariant engine does without.
  std::string (*sum_order)(const OpDesc& desc, const Tactic& tactic) = nullptr;
  bool invariant_only = false;  // made for batch-invariant engines, slower than its kin
};

/// How the tactic wants an operand to lie: "row_major" but for weights.
std::string_view layout_of(const Tactic& tactic, size_t operand);
/// Tactic::sum_order of one that shares its order with no other: its name.
std::string own_sum_order(const OpDesc& desc, const Tactic& tactic);

/// Candidates for the op on the target, best priority first. On the CPU the reference tactic is the
/// last, so the list is empty only for an op that has no CPU meaning; a GPU has no such fallback.
/// `invariant`: those that are made for batch-invariant engines too.
std::vector<const Tactic*> find_tactics(const OpDesc& desc, const Target& target,
                                        bool invariant = false);
/// The tactic an engine names; null if this build has none of that name.
const Tactic* find_tactic(std::string_view name);
/// The reference implementation of an op: naive, f32 inside, the oracle for all others.
const Tactic* reference_tactic(OpKind op);
const WeightLayout* find_layout(std::string_view name);

}  // namespace ramjet::kernels
