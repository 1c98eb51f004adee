// The calls that wait: generate, logits, check_integrity, drain. Every wait has an end.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <exception>

#include "runtime/executor/executor_core.h"

namespace ramjet::runtime {
namespace {

using Seconds = std::chrono::duration<double>;
constexpr int64_t kFeedBytes = int64_t{32} << 20;

// Gathers the events of one request. Shared by the waiting caller and the callback, which may
// outlive it after a timeout.
struct Gathered {
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<RequestOutput> outputs;
  bool done = false;
};

void append(RequestOutput& to, RequestOutput&& from) {
  to.request = from.request;
  to.index = from.index;
  to.ids.insert(to.ids.end(), from.ids.begin(), from.ids.end());
  std::move(from.logprobs.begin(), from.logprobs.end(), std::back_inserter(to.logprobs));
  if (!from.prompt_logprobs.empty()) to.prompt_logprobs = std::move(from.prompt_logprobs);
  to.finish = from.finish;
  to.stop_id = from.stop_id;
  to.error = std::move(from.error);
  to.prompt_tokens = from.prompt_tokens;
  to.cached_tokens = from.cached_tokens;
  to.queue_s = from.queue_s;
}

Status check_timeout(double timeout_s) {
  if (timeout_s > 0 && std::isfinite(timeout_s)) return ok_status();
  return invalid_argument("the timeout is {} s; it must be positive", timeout_s);
}

}  // namespace

Result<std::vector<RequestOutput>> ExecutorCore::generate(Request request, double timeout_s) {
  RETURN_IF_ERROR(check_timeout(timeout_s));
  auto gathered = std::make_shared<Gathered>();  // owners: this call and the callback
  gathered->outputs.resize(static_cast<size_t>(std::clamp(request.n, 1, 1 << 16)));
  ASSIGN_OR_RETURN(const uint64_t id, submit(std::move(request), [gathered](RequestOutput&& o) {
                     const std::lock_guard lock(gathered->mutex);
                     gathered->done = o.last;
                     append(gathered->outputs[static_cast<size_t>(o.index)], std::move(o));
                     if (gathered->done) gathered->changed.notify_all();
                   }));
  std::unique_lock lock(gathered->mutex);
  if (!gathered->changed.wait_for(lock, Seconds(std::min(timeout_s, 1e8)),
                                  [&] { return gathered->done; })) {
    cancel(id);
    return make_error(ErrorCode::kDeadlineExceeded, "no result within {} s", timeout_s);
  }
  for (RequestOutput& output : gathered->outputs) {
    if (output.finish == FinishReason::kError) return *output.error;
  }
  gathered->outputs.back().last = true;
  return std::move(gathered->outputs);
}

Status ExecutorCore::logits(const LogitsRequest& request,
                            const std::function<void(int, std::span<const float>)>& sink) {
  const auto length = static_cast<int>(request.ids.size());
  if (request.first_position < 0 || request.first_position >= std::max(1, length)) {
    return invalid_argument("first_position is {}; the prompt has positions 0 to {}",
                            request.first_position, length - 1);
  }
  Request inner;
  inner.prompt_ids = request.ids;
  inner.adapter = request.adapter;
  inner.sampling.stop.max_tokens = 0;
  ASSIGN_OR_RETURN(auto active, prepare(std::move(inner), {}));
  active->logits_from = request.first_position;
  // Bounds the copy that waits for the sink.
  active->max_logit_rows = std::max<int64_t>(16, kFeedBytes / (info_.vocab_size * 4));
  active->feed = std::make_shared<LogitsFeed>();
  const auto feed = active->feed;
  ASSIGN_OR_RETURN(const uint64_t id, enqueue(std::move(active)));
  Status consumed = ok_status();
  try {
    consumed = consume_feed(id, *feed, request, sink);
  } catch (const std::exception& e) {
    consumed = internal_error("the sink of logits() threw: {}", e.what());
  }
  if (!consumed.ok()) cancel(id);
  return consumed;
}

Status ExecutorCore::consume_feed(uint64_t id, LogitsFeed& feed, const LogitsRequest& request,
                                  const std::function<void(int, std::span<const float>)>& sink) {
  const auto vocab = static_cast<size_t>(info_.vocab_size);
  int position = request.first_position;
  std::vector<float> rows;
  for (bool done = false; !done;) {
    {
      std::unique_lock lock(feed.mutex);
      const auto arrived = [&] { return feed.ready || feed.done; };
      while (!feed.changed.wait_for(lock, std::chrono::seconds(1), arrived)) {
        RETURN_IF_ERROR(health());
      }
      rows.clear();
      if (feed.ready) rows.swap(feed.rows);
      feed.ready = false;
      done = feed.done;
      if (feed.error) return *feed.error;
    }
    for (size_t at = 0; at < rows.size(); at += vocab) {
      sink(position++, std::span(rows).subspan(at, vocab));
    }
    if (!done) command({Command::Kind::kResume, id, nullptr, {}, -1});
  }
  return ok_status();
}

Status ExecutorCore::load_adapter(const AdapterInfo& info,
                                  const std::function<Result<LoraWeights>()>& read) {
  ASSIGN_OR_RETURN(const AdapterRef adapter, adapters_.reserve(info));
  ASSIGN_OR_RETURN(const LoraWeights weights, read());
  RETURN_IF_ERROR(session_->set_adapter(adapter->slot, weights));
  return adapters_.publish(adapter);
}

Status ExecutorCore::check_integrity() {
  struct Answer {  // owners: this call and the command
    std::mutex mutex;
    std::condition_variable changed;
    std::optional<Status> status;
  };
  const auto answer = std::make_shared<Answer>();
  command({Command::Kind::kCall, 0, nullptr,
           [answer](StepLoop& loop) {
             Status status = loop.check_integrity();
             const std::lock_guard lock(answer->mutex);
             answer->status = std::move(status);
             answer->changed.notify_all();
           },
           -1});
  std::unique_lock lock(answer->mutex);
  if (!answer->changed.wait_for(lock, Seconds(config_.step_deadline_s + 1),
                                [&] { return answer->status.has_value(); })) {
    return Error{ErrorCode::kUnavailable, "the step loop did not answer within step_deadline_s"};
  }
  return *answer->status;
}

/// Commands keep their order, so no later request meets the old index.
Status ExecutorCore::reset_prefix_cache() {
  command(
      {Command::Kind::kCall, 0, nullptr, [](StepLoop& loop) { loop.blocks().reset_index(); }, -1});
  return ok_status();
}

Status ExecutorCore::drain(double deadline_s) {
  if (deadline_s != 0) RETURN_IF_ERROR(check_timeout(deadline_s));  // 0: cancels at once
  int64_t cancelled = 0;
  {
    std::unique_lock lock(mutex_);
    draining_ = true;
    const auto quiet = [this] { return requests_ == 0; };
    if (!quiet_.wait_for(lock, Seconds(std::min(deadline_s, 1e8)), quiet)) {
      cancelled = requests_;
      end_held(0);
      inbox_.push_back({Command::Kind::kCancelAll, 0, nullptr, {}, -1});
      wake_.notify_one();
      if (!quiet_.wait_for(lock, Seconds(config_.step_deadline_s), quiet)) {
        return make_error(ErrorCode::kDeadlineExceeded,
                          "{} requests could not be ended: the step in progress hangs", requests_);
      }
    }
  }
  publisher_.wait_delivered(config_.step_deadline_s);
  if (cancelled == 0) return ok_status();
  return make_error(ErrorCode::kDeadlineExceeded, "{} requests were cancelled after {} s",
                    cancelled, deadline_s);
}

}  // namespace ramjet::runtime
