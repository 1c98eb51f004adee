// Generation: one client request's sequences, from submit to their end. Gathers the executor's
// events, turns them into deltas on a worker, and tells a listener.
//
// Thread-safe. It keeps itself alive until the executor's last event of each prompt has come; the
// listener is called from one worker at a time, in order, and gets exactly one on_end().
#pragma once

#include <ramjet/request.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "server/metrics/server_metrics.h"
#include "server/model_host.h"
#include "server/openai/sequence_text.h"
#include "server/worker_pool.h"

namespace ramjet::server {

struct Usage {
  int prompt_tokens = 0;
  int completion_tokens = 0;
  int cached_tokens = 0;
  int reasoning_tokens = 0;  // of the completion
};

class GenerationListener {
 public:
  virtual ~GenerationListener() = default;
  /// Before the first delta of the choices of that prompt, if they were asked for.
  virtual void on_prompt_logprobs(int prompt, std::vector<PositionLogprobs> logprobs) = 0;
  virtual void on_delta(Delta delta, const Usage& usage) = 0;
  /// `error` unless all choices finished. `cancelled`: cancel() was called, nobody listens.
  virtual void on_end(const std::optional<Error>& error, bool cancelled, const Usage& usage) = 0;
};

struct GenerationSpec {
  std::vector<std::vector<int32_t>> prompts;
  std::vector<size_t> text_offsets;  // one a prompt: characters echoed before its choices' text
  Request request;                   // all but prompt_ids; n sequences a prompt
  TextOptions text;
  std::shared_ptr<const OutputPlan> plan;  // with the sequences; null: text as it is
  bool no_output = false;                  // the one token asked for is not shown: max_tokens was 0
  double start_s = 0;                      // arrival by the steady clock
};

/// What a generation borrows from its server.
struct GenerationServices {
  const ModelHost& host;
  ServerMetrics& metrics;
  WorkerPool& workers;
};

class Generation : public std::enable_shared_from_this<Generation> {
 public:
  Generation(GenerationSpec spec, const GenerationServices& services);

  /// Submits every prompt, or none: if one is refused, the others are cancelled. Choice index is
  /// prompt * n + sequence. No event is delivered before listen().
  Status submit();
  /// Starts the delivery. Call once, after submit() succeeded.
  void listen(std::shared_ptr<GenerationListener> listener);
  /// Frees the sequences' memory within one step. May be called at any time, from any thread.
  void cancel();

 private:
  struct Event {
    int prompt;
    double time_s;
    RequestOutput output;
  };
  struct PromptState {
    uint64_t id = 0;
    bool ended = false;            // nothing more of it matters
    bool logprobs_wanted = false;  // and not yet there: other sequences' events wait
    int open = 0;                  // sequences that go on
    std::vector<Event> deferred;
    double queue_s = 0;
    int cached_tokens = 0;
  };
  struct SequenceState {
    explicit SequenceState(SequenceText t) : text(std::move(t)) {}
    SequenceText text;
    double first_s = 0;
    double last_s = 0;
  };

  void enqueue(int prompt, RequestOutput output);
  void drain();
  void process(Event event);
  bool ended_by_text(const Event& event) const;
  void process_sequence(Event& event);
  void measure_tokens(const Event& event, SequenceState& sequence);
  void measure_end(const SequenceState& sequence, const PromptState& prompt, double time_s);
  void fail(const Error& error);
  void finish(const std::optional<Error>& error);
  void cancel_open_prompts();

  const GenerationSpec spec_;
  const GenerationServices services_;
  std::shared_ptr<GenerationListener> listener_;  // with the exchange's callback
  std::atomic<bool> cancelled_{false};

  std::mutex mutex_;  // of the next three
  std::vector<Event> events_;
  bool listening_ = false;
  bool draining_ = false;

  // Of the worker that drains, after submit().
  std::vector<PromptState> prompts_;
  std::vector<SequenceState> sequences_;
  Usage usage_;
  int open_prompts_ = 0;
  bool finished_ = false;
  std::mutex ids_mutex_;  // cancel() reads the ids while submit() writes them
  std::vector<uint64_t> ids_;
};

double steady_s();

}  // namespace ramjet::server
