// Building engines from checkpoints, finding cached ones, and loading them.
//
// Thread-safety: an Engine is immutable after load and may be shared.
#pragma once

#include <ramjet/dtype.h>
#include <ramjet/result.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace ramjet {

/// What the model is, as told by its checkpoint.
struct ModelInfo {
  std::string name;          // the folder's or file's name
  std::string architecture;  // "LlamaForCausalLM", or "network" for a user's graph
  int64_t parameters = 0;
  int vocab_size = 0;
  int num_layers = 0;
  int max_seq_len = 0;  // prompt + output tokens the engine admits
  std::vector<int32_t> eos_ids;
  int32_t bos_id = -1;
};

struct EngineLimits {
  int max_batch_size = 0;  // sequences in a step
  int max_num_tokens = 0;  // tokens in a step
  int block_tokens = 0;    // tokens of a KV block
};

struct BuildOptions {
  std::string dtype = "auto";     // auto (the checkpoint's), bf16, f32
  std::string quantize = "auto";  // auto (as the checkpoint), none, int8, fp8
  std::string kv_dtype = "auto";  // auto (the model's), bf16, f32, fp8
  std::string target = "auto";    // auto (the first GPU, else the CPU), or a name
  int tp = 1;
  int pp = 1;
  int max_batch_size = 256;
  int max_seq_len = 0;  // 0: the model's own
  int max_num_tokens = 2048;
  int max_loras = 0;  // adapters that an executor can hold at once; 0: none (docs/lora.md)
  int max_lora_rank = 16;
  bool tune = true;
  /// Results of a token are the same bits alone, in any batch, in any chunk of a prompt, from
  /// cached prefixes and after a pause: one order of sums for each op, somewhat slower.
  bool batch_invariant = false;
  enum class Weights { kCheckpoint, kDummySeed, kDummyStored } weights = Weights::kCheckpoint;
  std::vector<std::string> disabled_passes;  // for tests and bisection
  /// Called with a stage and the share done, 0 to 1. May be empty.
  std::function<void(std::string_view stage, double share)> progress;
};

struct PassTime {
  std::string name;
  double ms = 0;
};

/// Microseconds that the kernels of a step take in a batch-invariant engine, and would without:
/// those that the tactics were chosen by, measured or of the cost model.
struct InvariantCost {
  int64_t tokens = 0;
  double us = 0, free_us = 0;
};

struct BuildReport {
  std::string path;
  uint64_t bytes = 0;
  std::string target;
  double seconds = 0;
  std::vector<PassTime> passes;
  bool tuned = false;
  std::vector<InvariantCost> invariant_costs;  // of a batch-invariant engine for a GPU
};

/// Compiles `model` (a Hugging Face folder) into `engine_path`; the file appears whole or not at
/// all. Errors name the file, tensor or field at fault.
Result<BuildReport> build_engine(const std::string& model, const std::string& engine_path,
                                 const BuildOptions& options);

/// The path of an engine for `model`: itself if it is one, else one from the cache that fits its
/// content, this version, machine and options, else one built into the cache now.
Result<std::string> resolve_engine(const std::string& model, const BuildOptions& options);

/// The best target of this machine's CPU ("cpu-avx512"), capped by RAMJET_ISA.
std::string host_target();

class Engine {
 public:
  /// Maps and verifies the file. Errors: kCorrupt with the section, kUnsupported with the command
  /// that rebuilds an engine of another version or machine.
  static Result<std::shared_ptr<const Engine>> load(const std::string& path);
  ~Engine();

  const ModelInfo& model() const;
  const EngineLimits& limits() const;
  const std::string& path() const;
  /// What it was built for, e.g. "cpu-avx512" or "sm_90a".
  const std::string& target() const;
  /// Bytes stored beside the weights: "tokenizer", "chat_template", "generation_config",
  /// "special_tokens"; empty if the engine has none. Valid while the Engine lives.
  std::string_view asset(std::string_view name) const;

  /// Text to ids and back with the model's own tokenizer, special tokens included on the way in
  /// and left out on the way back. Errors: kUnsupported if the engine has no tokenizer.
  Result<std::vector<int32_t>> encode(std::string_view text) const;
  Result<std::string> decode(std::span<const int32_t> ids) const;

  struct Impl;
  const Impl& impl() const { return *impl_; }

 private:
  explicit Engine(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace ramjet
