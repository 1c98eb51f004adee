// What a server and its executor's process say to each other, and the field lists of all of it.
//
// The server owns the requests: it names them (Request::tag) and decides what becomes of them when
// the process is lost. Plain functions; include this in .cc files only.
#pragma once

#include <ramjet/executor.h>

#include <string>
#include <string_view>

#include "server/supervise/wire.h"

namespace ramjet::server {

enum class Message : uint32_t {
  // To the executor.
  kStart = 1,  // uint32_t incarnation, ExecutorConfig
  kSubmit,     // Request
  kCancel,     // uint64_t tag, int32_t index (-1: all)
  // From it.
  kReady,     // ExecutorStats
  kFailed,    // Error: there will be no executor
  kAccepted,  // uint64_t tag
  kRefused,   // uint64_t tag, Error
  kStarted,   // std::vector<uint64_t> tags, whose first step is about to run
  kOutputs,   // uint64_t tag, RequestOutput; as many as there are
  kStatus,    // ExecutorStats, std::optional<Error> health
  kFault,     // Error: the device is lost
  // To the executor.
  kResetPrefixCache,  // nothing
};

template <>
inline constexpr auto kLastOf<FinishReason> = FinishReason::kError;
template <>
inline constexpr auto kLastOf<ErrorCode> = ErrorCode::kInternal;
template <>
inline constexpr auto kLastOf<CapacityPolicy> = CapacityPolicy::kGuaranteedNoEvict;
template <>
inline constexpr auto kLastOf<BatchingMode> = BatchingMode::kStatic;

template <class A>
void fields(A& a, Of<A, Error>& v) {
  a(v.code, v.message);
}
template <class A>
void fields(A& a, Of<A, TokenLogprob>& v) {
  a(v.id, v.logprob, v.rank);
}
template <class A>
void fields(A& a, Of<A, PositionLogprobs>& v) {
  a(v.chosen, v.top);
}
template <class A>
void fields(A& a, Of<A, RequestOutput>& v) {
  a(v.index, v.ids, v.logprobs, v.prompt_logprobs, v.finish, v.stop_id, v.error);
  a(v.prompt_tokens, v.cached_tokens, v.queue_s, v.last);
}
/// But for the mask, which is code and stays where it is.
template <class A>
void fields(A& a, Of<A, LogitControls>& v) {
  a(v.repetition_penalty, v.presence_penalty, v.frequency_penalty);
  a(v.bias, v.allowed_ids, v.bad_words);
}
template <class A>
void fields(A& a, Of<A, StopConditions>& v) {
  a(v.max_tokens, v.min_tokens, v.stop_ids, v.ignore_eos);
}
template <class A>
void fields(A& a, Of<A, SamplingParams>& v) {
  a(v.temperature, v.top_k, v.top_p, v.min_p, v.seed, v.logprobs, v.prompt_logprobs);
  a(v.controls, v.stop);
}
template <class A>
void fields(A& a, Of<A, Request>& v) {
  a(v.prompt_ids, v.sampling, v.n, v.priority, v.deadline_s, v.cache_salt, v.label, v.tag);
  a(v.grammar, v.turn);
}
template <class A>
void fields(A& a, Of<A, ExecutorConfig>& v) {
  a(v.kv_bytes, v.kv_fraction, v.max_batch_size, v.max_num_tokens, v.max_queue, v.num_threads);
  a(v.capacity, v.batching, v.prefix_caching, v.step_deadline_s);
}
template <class A>
void fields(A& a, Of<A, ExecutorStats>& v) {
  a(v.requests_running, v.requests_waiting);
  a(v.kv_blocks_total, v.kv_blocks_active, v.kv_blocks_cached, v.block_tokens, v.kv_bytes);
  a(v.prompt_tokens, v.generation_tokens, v.prefix_queries, v.prefix_hits, v.preemptions);
  a(v.integrity_checks, v.integrity_errors, v.restarts, v.steps, v.slot_steps, v.batched_tokens);
  a(v.kv_live_token_steps, v.kv_reserved_token_steps, v.steps_by_tokens);
  a(v.busy_s, v.device_busy_s, v.device);
}

/// Appends a whole message.
template <class... T>
void put_message(std::string& out, Message type, const T&... values) {
  const size_t at = begin_frame(out, static_cast<uint32_t>(type));
  Encoder encode(out);
  encode(values...);
  end_frame(out, at);
}

/// Reads a whole payload. kCorrupt if it is not exactly these values.
template <class... T>
Status get_message(const Frame& frame, T&... values) {
  Decoder decode(frame.payload);
  decode(values...);
  if (decode.ok() && decode.done()) return ok_status();
  return corrupt("message {} of {} bytes does not parse", frame.type, frame.payload.size());
}

}  // namespace ramjet::server
