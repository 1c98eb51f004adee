// DeviceSampler: chooses the tokens of a step on the GPU by the engine's programs "sample" and
// "resolve" (op/sampling.h), and brings them to the host a step later.
//
// Takes temperature, top-k, top-p, min-p, seeds, penalties, logit bias, lists of allowed tokens,
// excluded single tokens, a minimum length and up to kMaxTopLogprobs log-probabilities; longer bad
// words and grammars are the host's. Token counts and allowed tokens of a sequence lie in its slot
// on the device: filled from its history when the slot is fresh, then counted on by the kernel.
// Owns its memory on both sides; at most two steps are under way. One thread at a time; the device
// must be current.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "device/cuda/handles.h"
#include "engine/engine_file.h"
#include "op/sampling.h"
#include "runtime/session/device_program.h"
#include "runtime/session/sampler_slots.h"
#include "runtime/session/session.h"

namespace ramjet::runtime {

class DeviceSampler {
 public:
  struct Parts {
    std::shared_ptr<const engine::EngineFile> file;  // shared with the session
    std::shared_ptr<const DeviceWeights> weights;    // likewise
    std::shared_ptr<const DeviceModules> modules;    // likewise
    uint64_t logits = 0;                             // device addresses
    uint64_t token_ids = 0;
    uint64_t flags = 0;
  };
  /// Null if the engine has no such programs.
  static Result<std::unique_ptr<DeviceSampler>> create(const Parts& parts, const SessionInfo& info);

  bool takes(const SamplingParams& params) const;
  /// Queues what a step needs, before its ids are read: puts chosen tokens in place of names.
  Status begin(const StepBatch& batch, std::span<const RowSampling> rows,
               const device::cuda::Stream& stream);
  /// Queues the choice, after the logits.
  Status finish(const device::cuda::Stream& stream);
  /// Waits for the oldest step that was finished.
  Status collect(std::span<SampledRow> rows);

 private:
  struct Flight {
    device::cuda::PinnedBuffer words;    // symbols, params, edits, as they lie on the device
    device::cuda::PinnedBuffer results;  // results, then tops
    device::cuda::Event sent, done;
    size_t rows = 0;
    std::vector<int64_t> outputs;  // of each row, before this token
    std::vector<int> logprobs;     // of each row: as in its params
  };

  DeviceSampler() = default;
  Status allocate(const engine::Program& sample);
  Status make_programs(const Parts& parts);
  Status write_row(const RowSampling& row, size_t index);
  void add_edits(const RowSampling& row);
  Status upload(Flight& flight, const device::cuda::Stream& stream);

  SessionInfo info_;
  std::unique_ptr<DeviceProgram> sample_, resolve_;
  device::cuda::DeviceBuffer memory_, chosen_, results_;
  SamplerSlots slots_;
  size_t max_rows_ = 0, max_edits_ = 0;
  size_t params_at_ = 0, edits_at_ = 0, tops_at_ = 0;  // bytes
  std::array<Flight, 2> flights_;
  size_t begun_ = 0, collected_ = 0;
  std::vector<int32_t> params_, edits_;  // of the step that is written
  std::vector<std::pair<int32_t, float>> row_edits_;
  std::vector<int64_t> sample_symbols_, resolve_symbols_;
};

}  // namespace ramjet::runtime
