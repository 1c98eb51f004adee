// FakeAsyncSession: FakeSession as one that chooses tokens itself and runs a step behind, for
// tests.
//
// Tokens come from the host's own sampler over FakeSession's logits, so that requests give what
// reference_generate() says. It takes what a device takes: no masks, no bad words of several
// tokens. What it knows of a sequence's past lies in the sequence's slot; a slot that does not hold
// the history that a row comes with fails the step.
#pragma once

#include <algorithm>
#include <deque>
#include <memory>
#include <vector>

#include "runtime/sampling/sampler.h"
#include "runtime/session/fake_session.h"

namespace ramjet::runtime {

class FakeAsyncSession final : public Session {
 public:
  FakeAsyncSession(SessionInfo info, FakeSession::Options options)
      : inner_(info, std::move(options)),
        sampler_(info.vocab_size, nullptr),
        slots_(static_cast<size_t>(info.max_batch_size)) {}

  std::function<Status(int64_t launch)> collect_hook;  // may fail a collect
  int64_t launches() const { return launches_; }

  const SessionInfo& info() const override { return inner_.info(); }
  Result<std::span<const float>> step(const StepBatch& batch) override {
    if (!results_.empty()) return internal_error("a step while another is under way");
    return inner_.step(batch);
  }
  bool samples(const SamplingParams& params) const override {
    const LogitControls& c = params.controls;
    const bool single = std::all_of(c.bad_words.begin(), c.bad_words.end(),
                                    [](const auto& word) { return word.size() == 1; });
    return single && c.mask == nullptr;
  }

  Status launch(const StepBatch& batch, std::span<const RowSampling> rows) override {
    if (results_.size() >= 2) return internal_error("three steps are under way");
    if (rows.size() != batch.logit_rows.size()) return internal_error("rows without parameters");
    std::vector<int32_t> ids(batch.token_ids.begin(), batch.token_ids.end());
    for (int32_t& id : ids) RETURN_IF_ERROR(resolve(id));
    StepBatch known = batch;
    known.token_ids = ids;
    ASSIGN_OR_RETURN(const std::span<const float> logits, inner_.step(known));
    std::vector<SampledRow> results(rows.size());
    for (size_t r = 0; r < rows.size(); ++r) {
      const auto vocab = static_cast<size_t>(info().vocab_size);
      RETURN_IF_ERROR(sample(rows[r], logits.subspan(r * vocab, vocab), &results[r]));
    }
    last_.clear();
    for (const SampledRow& row : results) last_.push_back(row.id);
    results_.push_back(std::move(results));
    ++launches_;
    return ok_status();
  }

  Status collect(std::span<SampledRow> rows) override {
    if (results_.empty()) return internal_error("nothing is under way");
    std::vector<SampledRow> results = std::move(results_.front());
    results_.pop_front();
    ++collected_;
    if (collect_hook) RETURN_IF_ERROR(collect_hook(collected_));
    if (results.size() != rows.size()) return internal_error("another number of rows");
    std::move(results.begin(), results.end(), rows.begin());
    return ok_status();
  }

 private:
  Status resolve(int32_t& id) const {
    if (id >= 0) return ok_status();
    const auto row = static_cast<size_t>(-1 - id);
    if (row >= last_.size()) return internal_error("row {} of {}", row, last_.size());
    id = last_[row];
    return ok_status();
  }

  /// The history that the row's slot holds, with the token that was chosen last.
  Status slot_of(const RowSampling& row, std::vector<int32_t>** slot) {
    if (row.slot < 0 || row.slot >= static_cast<int32_t>(slots_.size())) {
      return internal_error("slot {} of {}", row.slot, slots_.size());
    }
    *slot = &slots_[static_cast<size_t>(row.slot)];
    if (row.fresh) {
      if (row.history.back() < 0) return internal_error("a fresh slot with an unknown token");
      (*slot)->assign(row.history.begin(), row.history.end());
      return ok_status();
    }
    std::vector<int32_t> history(row.history.begin(), row.history.end());
    RETURN_IF_ERROR(resolve(history.back()));
    if (**slot != history) return internal_error("slot {} holds another history", row.slot);
    return ok_status();
  }

  Status sample(const RowSampling& row, std::span<const float> logits, SampledRow* result) {
    std::vector<int32_t>* slot = nullptr;
    RETURN_IF_ERROR(slot_of(row, &slot));
    const std::vector<int32_t>& history = *slot;
    std::vector<int32_t> stops = row.params->stop.stop_ids;
    if (!row.params->stop.ignore_eos) {
      stops.insert(stops.end(), info().eos_ids.begin(), info().eos_ids.end());
    }
    const auto known = std::span(history);
    const auto prompt = static_cast<size_t>(row.prompt_tokens);
    SamplingState state(row.params, known.first(prompt), stops, row.index);
    for (const int32_t id : known.subspan(prompt)) RETURN_IF_ERROR(state.accept(id));
    SampleJob job;
    job.logits = logits;
    job.state = &state;
    job.history = history;
    job.prompt_tokens = row.prompt_tokens;
    job.seed = row.seed;
    job.top_logprobs = row.params->logprobs;
    sampler_.sample(std::span(&job, 1));
    slot->push_back(job.id);
    *result = {job.id, std::move(job.logprobs), std::move(job.error)};
    return ok_status();
  }

  FakeSession inner_;
  Sampler sampler_;
  std::vector<int32_t> last_;  // of the step launched last
  std::vector<std::vector<int32_t>> slots_;
  std::deque<std::vector<SampledRow>> results_;
  int64_t launches_ = 0, collected_ = 0;
};

}  // namespace ramjet::runtime
