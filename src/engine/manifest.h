// The manifest: everything an engine says about itself, as plain C++ values.
//
// On disk it is a FlatBuffer (engine/manifest.fbs, docs/formats/engine.md); encode and decode are
// exact inverses. decode() verifies every index and range, so that whoever holds a Manifest may
// trust it: tensors lie inside the arena or the weights, tactics are not resolved yet.
#pragma once

#include <ramjet/engine.h>

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "op/descriptors.h"
#include "op/dim.h"
#include "op/launch.h"
#include "op/op_kind.h"

namespace ramjet::engine {

/// Where a tensor of a program lives.
enum class Space : uint8_t {
  kArena,   // index: slot of Program::arena
  kWeight,  // index: Manifest::weights
  kInput,   // index: Program::inputs; bound by the caller each run
  kOutput,  // index: Program::outputs; bound by the caller each run
};

struct TensorRef {
  Space space = Space::kArena;
  int32_t index = 0;
  TensorType type;
  bool operator==(const TensorRef&) const = default;
};

/// A range of the arena. Slots whose lifetimes do not meet may overlap.
struct ArenaSlot {
  uint64_t offset = 0;  // bytes, 64-aligned
  uint64_t bytes = 0;   // with every symbol at its maximum
  bool operator==(const ArenaSlot&) const = default;
};

struct Candidate {  // what tuning saw
  std::string tactic;
  double us = 0;
  bool operator==(const Candidate&) const = default;
};

/// For values of the record's symbol up to `upto`, run `tactic`.
struct TacticChoice {
  int64_t upto = 0;
  std::string tactic;
  double us = 0;  // measured; 0: chosen by the cost model
  std::vector<Candidate> candidates;
  std::vector<DeviceLaunch> launches;  // on a GPU; `module` indexes Manifest::kernels
  bool operator==(const TacticChoice&) const = default;
};

/// One kernel call of a step.
struct LaunchRecord {
  OpKind op = OpKind::kPointwise;
  std::string name;                // "layers.0.mlp.down"
  std::vector<std::string> fused;  // graph nodes it replaced
  std::string attrs;               // op/fields.h text
  std::vector<TensorRef> inputs;
  std::vector<TensorRef> outputs;
  int32_t workspace = -1;             // arena slot, or -1
  std::vector<TacticChoice> choices;  // ascending upto; at least one
  int16_t symbol = 0;                 // of the program: its value in a step picks the choice
  bool operator==(const LaunchRecord&) const = default;

  /// Index of the choice for a step with these values of the program's symbols.
  size_t choice_at(std::span<const int64_t> symbols) const {
    const auto at = static_cast<size_t>(symbol);
    const int64_t value = at < symbols.size() ? symbols[at] : 0;
    for (size_t i = 0; i + 1 < choices.size(); ++i) {
      if (value <= choices[i].upto) return i;
    }
    return choices.size() - 1;
  }
};

struct Binding {  // a named input or output
  std::string name;
  TensorType type;
  bool operator==(const Binding&) const = default;
};

struct Program {
  std::string name;  // "main", "draft", ...
  std::vector<Symbol> symbols;
  std::vector<Binding> inputs;
  std::vector<Binding> outputs;
  std::vector<ArenaSlot> arena;
  uint64_t arena_bytes = 0;
  std::vector<LaunchRecord> records;
  bool operator==(const Program&) const = default;
};

struct WeightEntry {
  std::string name;
  TensorType type;      // logical; no symbols
  std::string layout;   // kernels::WeightLayout
  uint64_t offset = 0;  // within the weights section, 64-aligned; unused with a seed
  uint64_t bytes = 0;   // packed
  uint64_t seed = 0;    // not 0: dummy weights, generated at load
  bool operator==(const WeightEntry&) const = default;
};

/// Machine code of one module, in section "kernels".
struct KernelImage {
  std::string name;     // for messages and profiles
  uint64_t offset = 0;  // within the section, 64-aligned
  uint64_t bytes = 0;
  bool operator==(const KernelImage&) const = default;
};

/// A group of layers that share a block table and a cache geometry.
struct KvGroup {
  int64_t num_layers = 0;
  int64_t num_kv_heads = 0;
  int64_t head_dim = 0;
  int64_t v_head_dim = 0;
  int64_t window = 0;  // 0: all
  DType dtype = DType::kBf16;
  bool operator==(const KvGroup&) const = default;
  int64_t block_bytes(int64_t block_tokens) const {  // of one layer
    return block_tokens * num_kv_heads * (head_dim + v_head_dim) * dtype_bytes(dtype);
  }
};

struct Provenance {
  std::string ramjet_version;
  std::string target;   // "cpu-avx512"
  std::string machine;  // the processor it was tuned on; empty: not tuned
  std::string source;   // hash of the checkpoint's content
  std::string options;  // the build options, as text
  std::vector<PassTime> passes;
  double build_seconds = 0;
};

struct Manifest {
  ModelInfo model;
  EngineLimits limits;
  std::string dtype;     // of activations
  std::string quantize;  // "none", "int8", "fp8"
  int tp = 1;
  int pp = 1;
  std::vector<KvGroup> kv_groups;
  std::vector<Program> programs;
  std::vector<WeightEntry> weights;
  std::map<std::string, std::string> facts;  // open-ended, for inspect
  Provenance provenance;
  std::vector<KernelImage> kernels;
  uint64_t flags_bytes = 0;  // of zeroed words that launches share (LaunchArgKind::kFlags)
};

/// Every index, range, extent and size, with symbols at their maximum. kCorrupt names the place.
/// Left to the runtime: that ops, tactics and layouts exist and take these operands.
Status verify_manifest(const Manifest& manifest);
std::string encode_manifest(const Manifest& manifest);
Result<Manifest> decode_manifest(std::string_view bytes);

}  // namespace ramjet::engine
