// FakeSession: a session for tests, with a real paged cache and no model.
//
// Each cache cell keeps a token, its position and the hash of its history. A step reads the whole
// visible history of every sequence back through the block table that it was given, and fails if
// a cell does not hold that sequence's own past; so wrong blocks, positions, copies and lengths are
// found. Logits are a pure function of the history (row_of). Single-threaded.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <utility>
#include <vector>

#include "base/result.h"
#include "runtime/session/session.h"

namespace ramjet::runtime {

class FakeSession final : public Session {
 public:
  struct Options {
    bool verify = true;     // read everything back
    bool constant = false;  // logits are left at zero: for measuring the loop alone
    std::function<Status(int64_t step, const StepBatch&)> hook;  // runs first; may fail the step
  };

  FakeSession(SessionInfo info, Options options)
      : info_(std::move(info)),
        options_(std::move(options)),
        cells_(static_cast<size_t>(info_.num_blocks * info_.block_tokens)),
        logits_(static_cast<size_t>(info_.max_logit_rows * info_.vocab_size)) {}

  /// A small model: vocabulary 61, blocks of 4 tokens, eos 0.
  static SessionInfo small_info(int64_t num_blocks) {
    SessionInfo info;
    info.vocab_size = 61;
    info.max_seq_len = 96;
    info.max_batch_size = 16;
    info.max_num_tokens = 64;
    info.max_logit_rows = 32;
    info.block_tokens = 4;
    info.max_blocks = 24;
    info.num_blocks = num_blocks;
    info.eos_ids = {0};
    info.device = "fake";
    return info;
  }

  const SessionInfo& info() const override { return info_; }

  static uint64_t chain(uint64_t history, int32_t token) {
    uint64_t x = history * 0x9E3779B97F4A7C15u + static_cast<uint32_t>(token) + 1;
    x ^= x >> 30, x *= 0xBF58476D1CE4E5B9u, x ^= x >> 27, x *= 0x94D049BB133111EBu;
    return x ^ x >> 31;
  }
  /// The logits after a history: between -4 and 4.
  static void fill_row(uint64_t history, std::span<float> row) {
    for (size_t v = 0; v < row.size(); ++v) {
      const uint64_t bits = chain(history ^ 0xABCDEFu, static_cast<int32_t>(v));
      row[v] = static_cast<float>(bits >> 40) * (8.0f / 16777216.0f) - 4.0f;
    }
  }
  static std::vector<float> row_of(std::span<const int32_t> history, int64_t vocab_size) {
    uint64_t hash = 0;
    for (const int32_t token : history) hash = chain(hash, token);
    std::vector<float> row(static_cast<size_t>(vocab_size));
    fill_row(hash, row);
    return row;
  }

  Result<std::span<const float>> step(const StepBatch& batch) override {
    ++steps_;
    if (options_.hook) RETURN_IF_ERROR(options_.hook(steps_, batch));
    if (options_.constant) {
      return std::span<const float>(logits_).first(batch.logit_rows.size() * vocab());
    }
    for (const BlockCopy& copy : batch.copies) RETURN_IF_ERROR(copy_block(copy));
    histories_.assign(batch.token_ids.size(), 0);
    for (size_t s = 0; s < batch.kv_len.size(); ++s) RETURN_IF_ERROR(run_sequence(batch, s));
    for (size_t r = 0; r < batch.logit_rows.size(); ++r) {
      fill_row(histories_[static_cast<size_t>(batch.logit_rows[r])],
               std::span(logits_).subspan(r * vocab(), vocab()));
    }
    return std::span<const float>(logits_).first(batch.logit_rows.size() * vocab());
  }
  int64_t steps() const { return steps_; }

 private:
  struct Cell {
    int32_t token = -1;
    int32_t position = -1;
    uint64_t history = 0;
    int64_t written = 0;  // step
  };

  size_t vocab() const { return static_cast<size_t>(info_.vocab_size); }

  Status copy_block(const BlockCopy& copy) {
    if (copy.from < 0 || copy.to < 0 || copy.from >= info_.num_blocks ||
        copy.to >= info_.num_blocks) {
      return internal_error("copy of block {} to {}", copy.from, copy.to);
    }
    const auto size = static_cast<size_t>(info_.block_tokens);
    for (size_t i = 0; i < size; ++i) {
      cells_[static_cast<size_t>(copy.to) * size + i] =
          cells_[static_cast<size_t>(copy.from) * size + i];
    }
    return ok_status();
  }

  Cell& cell(const StepBatch& batch, size_t s, int64_t position) {
    const auto at = s * static_cast<size_t>(info_.max_blocks) +
                    static_cast<size_t>(position / info_.block_tokens);
    const int64_t block = batch.block_table[at];
    return cells_[static_cast<size_t>(block * info_.block_tokens + position % info_.block_tokens)];
  }

  Status run_sequence(const StepBatch& batch, size_t s) {
    const auto begin = static_cast<size_t>(batch.query_start[s]);
    const auto end = static_cast<size_t>(batch.query_start[s + 1]);
    const int64_t start = batch.positions[begin];
    if (end <= begin || start + static_cast<int64_t>(end - begin) != batch.kv_len[s]) {
      return internal_error("sequence {}: positions from {} do not end at kv_len {}", s, start,
                            batch.kv_len[s]);
    }
    if (options_.verify) RETURN_IF_ERROR(verify_history(batch, s, start));
    uint64_t history = start == 0 ? 0 : cell(batch, s, start - 1).history;
    for (size_t i = begin; i < end; ++i) {
      const int64_t position = start + static_cast<int64_t>(i - begin);
      if (batch.positions[i] != position) return internal_error("sequence {}: a gap", s);
      history = chain(history, batch.token_ids[i]);
      histories_[i] = history;
      Cell& c = cell(batch, s, position);
      if (c.written == steps_) {
        return internal_error("sequence {}: position {} shares a cell with another", s, position);
      }
      c = {batch.token_ids[i], static_cast<int32_t>(position), history, steps_};
    }
    return ok_status();
  }

  Status verify_history(const StepBatch& batch, size_t s, int64_t start) {
    int64_t first = 0;
    if (info_.window > 0) first = start - info_.window + 1 > 0 ? start - info_.window + 1 : 0;
    for (int64_t p = first; p < start; ++p) {
      const Cell& c = cell(batch, s, p);
      const bool begins = p == first && p > 0;  // what precedes the window is not visible
      const uint64_t before = p == 0 ? 0 : begins ? 0 : cell(batch, s, p - 1).history;
      if (c.position != p || (!begins && c.history != chain(before, c.token))) {
        return internal_error(
            "sequence {}: cell of position {} holds position {} of another "
            "history",
            s, p, c.position);
      }
    }
    return ok_status();
  }

  SessionInfo info_;
  Options options_;
  std::vector<Cell> cells_;
  std::vector<float> logits_;
  std::vector<uint64_t> histories_;  // of each query token
  int64_t steps_ = 0;
};

}  // namespace ramjet::runtime
