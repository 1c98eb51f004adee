// The compiler: a graph becomes an engine. A pipeline of passes, each one class, one file, one
// text test; each can be switched off, is timed, and is followed by the verifier.
#pragma once

#include <ramjet/engine.h>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "engine/manifest.h"
#include "ir/graph.h"
#include "kernels/registry.h"
#include "tensor/held_tensor.h"

namespace ramjet::compiler {

/// What the elements of a stored matrix are to be multiplied with: one scale for each block of
/// rows by columns. `values` (f32, bf16 or f16) has one row a row of blocks; borrowed.
struct WeightScale {
  TensorView values;
  int64_t block_rows = 1;
  int64_t block_cols = 1;
};

/// Where weight bytes come from: a checkpoint, a user's network, or nowhere (dummy weights).
/// Both must be thread-safe; views are row-major, of any float dtype.
class WeightSource {
 public:
  virtual ~WeightSource() = default;
  virtual Result<TensorView> view(std::string_view name) const = 0;
  /// view() of a tensor that may be converted for the while: its memory goes with the holder.
  virtual Result<HeldTensor> hold(std::string_view name) const {
    ASSIGN_OR_RETURN(const TensorView mapped, view(name));
    return HeldTensor{mapped, nullptr};
  }
  /// The scales of a tensor of eight-bit floats; none for all others.
  virtual Result<std::optional<WeightScale>> scale(std::string_view) const {
    return std::optional<WeightScale>();
  }
};

/// Ranks that the program is split over.
struct Parallel {
  int tp = 1;
  int pp = 1;
};

struct CompileOptions {
  kernels::Target target;
  Parallel parallel;
  WeightQuant quant = WeightQuant::kNone;  // of constant matmul weights
  std::vector<std::string> unquantized;    // sources of weights that fp8 leaves in floats
  bool tune = true;
  bool batch_invariant = false;  // one order of sums an op, in every bucket
  BuildOptions::Weights weights = BuildOptions::Weights::kCheckpoint;
  std::vector<std::string> disabled_passes;
  int num_threads = 0;
  std::function<void(std::string_view stage, double share)> progress;
};

/// What a fixed order of sums costs up to a size: of the tactic chosen, and of the fastest.
struct OrderCost {
  int64_t upto = 0;
  double us = 0, free_us = 0;
};

/// The tactics of a node, by the value of one of the program's symbols.
struct NodeChoice {
  int16_t symbol = 0;
  std::vector<engine::TacticChoice> choices;  // as in engine::LaunchRecord
  std::vector<OrderCost> costs;               // of a batch-invariant engine
};

/// What a pass may read beside the graph, and what it may tell those after it.
struct PassContext {
  const CompileOptions* options = nullptr;
  std::map<ir::NodeId, NodeChoice> choices;  // of the tactics pass
  bool tuned = false;
  std::string machine;           // that it was tuned on
  std::vector<PassTime> phases;  // of passes that have some, "tactics.time"
  std::vector<InvariantCost> invariant_costs;
};

class Pass {
 public:
  virtual ~Pass() = default;
  virtual std::string_view name() const = 0;
  /// Must leave a graph that verify() accepts. Returns whether it changed anything.
  virtual Result<bool> run(ir::Graph& graph, PassContext& context) = 0;
  /// Passes without which no engine can be emitted cannot be switched off.
  virtual bool required() const { return false; }
};

/// All graph passes in order: canonicalise, shard, quantize, fuse_*, tactics, weight_layout.
std::vector<std::unique_ptr<Pass>> standard_passes();
std::unique_ptr<Pass> make_pass(std::string_view name);

/// Runs the passes of `context.options` over the graph; one PassTime each. Errors: kInvalidArgument
/// for a disabled pass that does not exist or cannot be switched off.
Result<std::vector<PassTime>> run_passes(ir::Graph& graph, PassContext& context);

/// Everything of a manifest that is not the graph's business, filled by the caller (model, limits,
/// KV groups, provenance's source and options); compile() adds programs, weights and pass times.
/// `assets` become sections. Writes `path` whole or not at all.
Result<BuildReport> compile(ir::Graph graph, const WeightSource& weights, engine::Manifest manifest,
                            const std::map<std::string, std::string>& assets,
                            const std::string& path, const CompileOptions& options);

}  // namespace ramjet::compiler
