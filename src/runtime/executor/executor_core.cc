#include "runtime/executor/executor_core.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <exception>
#include <random>
#include <utility>

#include "base/check.h"
#include "base/log.h"
#include "runtime/sampling/philox.h"

namespace ramjet::runtime {
namespace {

// The loop looks again after this when something waits for an event that sends no command (a
// lease that is released): rare, so not worth a wake-up of its own.
constexpr int64_t kRetryNs = 20'000'000;
constexpr int kFailuresUntilUnhealthy = 5;
constexpr std::chrono::seconds kRestBeforeCheck{1};
constexpr double kLastEventsS = 1;  // for them to leave a process that is about to end

Result<SchedulerConfig> scheduler_config(const SessionInfo& info, const ExecutorConfig& config) {
  if (config.max_batch_size < 0 || config.max_num_tokens < 0) {
    return invalid_argument("max_batch_size {} and max_num_tokens {} must not be negative",
                            config.max_batch_size, config.max_num_tokens);
  }
  if (config.max_queue < 1) {
    return invalid_argument("max_queue is {}; it must be at least 1", config.max_queue);
  }
  if (!(config.step_deadline_s > 0)) {
    return invalid_argument("step_deadline_s is {}; it must be positive", config.step_deadline_s);
  }
  if (info.num_blocks < 1 || info.vocab_size < 1 || info.block_tokens < 1) {
    return invalid_argument("the session has {} KV blocks of {} tokens and a vocabulary of {}",
                            info.num_blocks, info.block_tokens, info.vocab_size);
  }
  SchedulerConfig result;
  const auto smaller = [](int64_t mine, int64_t theirs) {
    return mine > 0 ? std::min(mine, theirs) : theirs;
  };
  result.max_num_tokens = smaller(config.max_num_tokens, info.max_num_tokens);
  result.max_logit_rows = info.max_logit_rows;
  // Every running sequence gets its token in every step.
  result.max_batch_size = std::min({smaller(config.max_batch_size, info.max_batch_size),
                                    result.max_num_tokens, result.max_logit_rows});
  result.capacity = config.capacity;
  result.batching = config.batching;
  return result;
}

kv::BlockManagerConfig block_config(const SessionInfo& info, const ExecutorConfig& config) {
  return {info.num_blocks, info.block_tokens, info.window, config.prefix_caching};
}

}  // namespace

Result<std::unique_ptr<ExecutorCore>> ExecutorCore::create(std::unique_ptr<Session> session,
                                                           const ExecutorConfig& config,
                                                           ThreadPool* pool) {
  CHECK(session != nullptr);
  ASSIGN_OR_RETURN(const SchedulerConfig scheduler, scheduler_config(session->info(), config));
  return std::unique_ptr<ExecutorCore>(
      new ExecutorCore(std::move(session), config, scheduler, pool));
}

ExecutorCore::ExecutorCore(std::unique_ptr<Session> session, const ExecutorConfig& config,
                           const SchedulerConfig& scheduler, ThreadPool* pool)
    : session_(std::move(session)),
      info_(session_->info()),
      config_(config),
      scheduler_config_(scheduler),
      adapters_(info_.max_loras),
      loop_({session_.get(), &publisher_, pool, &SteadyClock::instance(), &config_.hooks},
            scheduler, block_config(info_, config)),
      publisher_([this](uint64_t request) { cancel(request); }, config_.hooks.on_published) {
  limits_.vocab_size = info_.vocab_size;
  limits_.max_batch_size = scheduler.max_batch_size;
  limits_.max_seq_len = std::min(info_.max_seq_len, info_.max_blocks * info_.block_tokens);
  // A sequence must fit the cache alone.
  limits_.max_seq_len = std::min(limits_.max_seq_len, info_.num_blocks * info_.block_tokens);
  std::random_device device;
  seed_counter_ = uint64_t{device()} << 32 | device();
  stats_ = loop_.stats();
  thread_ = std::thread([this] { run_loop(); });
}

ExecutorCore::~ExecutorCore() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = draining_ = true;
    end_held(0);
  }
  wake_.notify_one();
  thread_.join();
}

uint64_t ExecutorCore::draw_seed() {
  const uint64_t n = seed_counter_.fetch_add(1);
  const PhiloxBlock block = philox4x32({static_cast<uint32_t>(n), 0, 0, 1}, n);
  return uint64_t{block[0]} << 32 | block[1];
}

Result<std::unique_ptr<ActiveRequest>> ExecutorCore::prepare(Request request,
                                                             OutputCallback callback) {
  RETURN_IF_ERROR(validate_request(request, limits_));
  auto active = std::make_unique<ActiveRequest>();
  ActiveRequest& r = *active;
  r.id = next_id_.fetch_add(1);
  if (!request.adapter.empty()) {
    ASSIGN_OR_RETURN(r.adapter, adapters_.find(request.adapter));
  }
  r.max_output = resolve_max_output(request, limits_);
  r.request = std::move(request);
  r.seed = r.request.sampling.seed.value_or(draw_seed());
  r.submit_ns = SteadyClock::instance().now_ns();
  if (r.request.deadline_s > 0) {
    const double ns = std::min(r.request.deadline_s, 1e9) * 1e9;
    r.deadline_ns = r.submit_ns + static_cast<int64_t>(ns);
  }
  if (r.request.sampling.prompt_logprobs >= 0) {
    r.logits_from = 0;
    r.prompt_logprobs.resize(1);  // nothing precedes the first token
  }
  StopConditions& stop = r.request.sampling.stop;
  std::sort(stop.stop_ids.begin(), stop.stop_ids.end());  // the step loop searches them
  if (stop.min_tokens > 0) r.stop_ids = stop.stop_ids;
  if (stop.min_tokens > 0 && !stop.ignore_eos) {
    r.stop_ids.insert(r.stop_ids.end(), info_.eos_ids.begin(), info_.eos_ids.end());
  }
  std::erase_if(r.stop_ids, [this](int32_t id) { return id < 0 || id >= info_.vocab_size; });
  r.sink = std::make_shared<RequestSink>(std::move(callback));
  return active;
}

/// The states of its sequences, with copies of the mask.
Status ExecutorCore::make_states(ActiveRequest& r) {
  try {
    for (int i = 0; i < r.request.n; ++i) {
      r.states.push_back(std::make_unique<SamplingState>(&r.request.sampling, r.request.prompt_ids,
                                                         r.stop_ids, static_cast<uint32_t>(i)));
    }
  } catch (const std::exception& e) {
    return internal_error("the token mask could not be copied: {}", e.what());
  } catch (...) {
    return internal_error("the token mask could not be copied");
  }
  return ok_status();
}

Status ExecutorCore::check_blocks(const ActiveRequest& r) {
  SequenceSpec spec;
  spec.max_output = r.max_output;
  spec.fanout = r.request.n;
  const int64_t blocks =
      loop_.scheduler().blocks_needed(spec, static_cast<int64_t>(r.request.prompt_ids.size()));
  if (blocks > info_.num_blocks) {
    return invalid_argument(
        "the request may need {} KV blocks for n = {} and {} output tokens; the cache has {}: "
        "lower n or max_tokens, or give more KV memory",
        blocks, r.request.n, r.max_output, info_.num_blocks);
  }
  return ok_status();
}

/// With the mutex held.
Status ExecutorCore::check_queue() const {
  if (lost_) return *lost_;
  if (draining_) return Error{ErrorCode::kUnavailable, "the executor is draining"};
  if (inbox_sequences_ + std::ssize(held_) + stats_.requests_waiting >= config_.max_queue) {
    return make_error(ErrorCode::kResourceExhausted,
                      "the queue holds {} requests, its limit (max_queue); try again later",
                      config_.max_queue);
  }
  return ok_status();
}

Result<uint64_t> ExecutorCore::enqueue(std::unique_ptr<ActiveRequest> request) {
  RETURN_IF_ERROR(check_blocks(*request));
  RETURN_IF_ERROR(make_states(*request));
  const uint64_t id = request->id;
  {
    const std::lock_guard lock(mutex_);
    RETURN_IF_ERROR(check_queue());
    ++requests_;
    ++inbox_sequences_;
    inbox_.push_back({Command::Kind::kAdd, id, std::move(request), {}, -1});
  }
  wake_.notify_one();
  return id;
}

Result<uint64_t> ExecutorCore::submit(Request request, OutputCallback callback) {
  ASSIGN_OR_RETURN(auto active, prepare(std::move(request), std::move(callback)));
  return enqueue(std::move(active));
}

Result<uint64_t> ExecutorCore::hold(Request request, OutputCallback callback) {
  ASSIGN_OR_RETURN(auto active, prepare(std::move(request), std::move(callback)));
  RETURN_IF_ERROR(check_blocks(*active));
  const uint64_t id = active->id;
  const std::lock_guard lock(mutex_);
  RETURN_IF_ERROR(check_queue());
  ++requests_;
  held_.emplace(id, std::move(active));
  return id;
}

void ExecutorCore::release(uint64_t request, Result<std::shared_ptr<const TokenMask>> mask) {
  {
    const std::lock_guard lock(mutex_);
    const auto found = held_.find(request);
    if (found == held_.end()) return;
    std::unique_ptr<ActiveRequest> active = std::move(found->second);
    held_.erase(found);
    std::optional<Error> error;
    if (mask.ok()) {
      active->request.sampling.controls.mask = std::move(*mask);
    } else {
      error = mask.error();
    }
    if (const Status made = make_states(*active); !made.ok()) error = made.error();
    ++inbox_sequences_;
    inbox_.push_back({Command::Kind::kAdd, request, std::move(active), {}, -1});
    if (error) {
      const auto end = [request, error](StepLoop& loop) {
        loop.end(request, FinishReason::kError, error);
      };
      inbox_.push_back({Command::Kind::kCall, request, nullptr, end, -1});
    }
  }
  wake_.notify_one();
}

/// A held request, or all (0), goes to the loop to be ended there. With the mutex held.
void ExecutorCore::end_held(uint64_t request) {
  for (auto it = held_.begin(); it != held_.end();) {
    if (request != 0 && it->first != request) {
      ++it;
      continue;
    }
    if (const Status made = make_states(*it->second); !made.ok()) {
      log_error("{}", made.error().message);
    }
    ++inbox_sequences_;
    inbox_.push_back({Command::Kind::kAdd, it->first, std::move(it->second), {}, -1});
    it = held_.erase(it);
  }
}

void ExecutorCore::command(Command command) {
  {
    const std::lock_guard lock(mutex_);
    if (command.kind == Command::Kind::kCancelAll) end_held(0);
    if (command.kind == Command::Kind::kCancel && command.index < 0) end_held(command.request);
    inbox_.push_back(std::move(command));
  }
  wake_.notify_one();
}

void ExecutorCore::cancel(uint64_t request) {
  command({Command::Kind::kCancel, request, nullptr, {}, -1});
}

void ExecutorCore::cancel(uint64_t request, int index) {
  if (index >= 0) command({Command::Kind::kCancel, request, nullptr, {}, index});
}

// Sleeps until there is something to do; false when the executor ends.
bool ExecutorCore::take_commands(std::vector<Command>* commands, bool worked) {
  std::unique_lock lock(mutex_);
  const auto roused = [this] { return stopping_ || !inbox_.empty(); };
  if (!worked && !roused()) {
    beat_ns_.store(0, std::memory_order_relaxed);
    if (loop_.idle()) {
      rest(lock);
    } else {
      const int64_t deadline = loop_.ns_to_deadline();
      const int64_t ns = deadline < 0 ? kRetryNs : std::min(deadline, kRetryNs);
      wake_.wait_for(lock, std::chrono::nanoseconds(ns), roused);
    }
  }
  beat_ns_.store(SteadyClock::instance().now_ns(), std::memory_order_relaxed);
  commands->swap(inbox_);
  inbox_sequences_ = 0;
  // Counted as waiting until the next statistics, so that the queue stays bounded meanwhile.
  for (const Command& c : *commands) stats_.requests_waiting += c.add != nullptr ? 1 : 0;
  return !stopping_;
}

// Asleep until a command comes. The first idle second after work is used to check the books.
void ExecutorCore::rest(std::unique_lock<std::mutex>& lock) {
  const auto roused = [this] { return stopping_ || !inbox_.empty(); };
  if (unchecked_ && !wake_.wait_for(lock, kRestBeforeCheck, roused)) {
    unchecked_ = false;
    lock.unlock();
    const Status status = loop_.check_integrity();
    if (!status.ok()) log_error("check_integrity: {}", status.error().message);
    lock.lock();
    ++stats_.integrity_checks;
    if (!status.ok()) ++stats_.integrity_errors;
  }
  wake_.wait(lock, roused);
}

void ExecutorCore::execute(Command& command) {
  switch (command.kind) {
    case Command::Kind::kAdd: loop_.add(std::move(command.add)); break;
    case Command::Kind::kCancel:
      if (command.index >= 0) {
        loop_.cancel_index(command.request, command.index);
      } else {
        loop_.end(command.request, FinishReason::kCancelled);
      }
      break;
    case Command::Kind::kCancelAll: loop_.end_all(FinishReason::kCancelled); break;
    case Command::Kind::kResume: loop_.resume(command.request); break;
    case Command::Kind::kCall: command.call(loop_); break;
  }
}

void ExecutorCore::report() {
  ExecutorStats stats = loop_.stats();
  {
    const std::lock_guard lock(mutex_);
    stats.integrity_checks = stats_.integrity_checks;
    stats.integrity_errors = stats_.integrity_errors;
    stats_ = stats;
  }
  // After the statistics, so that who sees the last event sees it counted; before the number of
  // requests, so that who waits for that to fall to zero finds all events on their way.
  loop_.publish();
  const std::lock_guard lock(mutex_);
  int64_t queued = 0;
  for (const Command& c : inbox_) queued += c.add != nullptr ? 1 : 0;
  const int64_t before = requests_;
  requests_ = loop_.num_requests() + queued + std::ssize(held_);
  if (requests_ < before) quiet_.notify_all();
}

void ExecutorCore::run_loop() {
  std::vector<Command> commands;
  bool worked = false;
  while (take_commands(&commands, worked)) {
    for (Command& c : commands) execute(c);
    commands.clear();
    worked = loop_.step();
    unchecked_ |= worked;
    report();
    if (loop_.lost()) lose();
  }
  for (Command& c : commands) execute(c);
  loop_.end_all(FinishReason::kCancelled);
  report();
}

// The first time it tells; then it ends what came since.
void ExecutorCore::lose() {
  const Error& error = *loop_.lost();
  if (!std::exchange(told_lost_, true)) {
    log_error("{}", error.message);
    publisher_.wait_delivered(kLastEventsS);
    if (config_.hooks.on_lost) config_.hooks.on_lost(error);
  }
  {
    const std::lock_guard lock(mutex_);
    lost_ = error;
  }
  loop_.end_all(FinishReason::kError, error);
  report();
}

ExecutorStats ExecutorCore::stats() const {
  const std::lock_guard lock(mutex_);
  ExecutorStats stats = stats_;
  stats.requests_waiting += static_cast<int>(inbox_sequences_ + std::ssize(held_));
  return stats;
}

Status ExecutorCore::health() const {
  {
    const std::lock_guard lock(mutex_);
    if (lost_) return *lost_;
  }
  const int64_t now = SteadyClock::instance().now_ns();
  const int64_t beat = beat_ns_.load(std::memory_order_relaxed);
  const double silent_s = beat == 0 ? 0 : static_cast<double>(now - beat) * 1e-9;
  if (silent_s > config_.step_deadline_s) {
    return make_error(ErrorCode::kUnavailable,
                      "the step in progress has run for {:.1f} s; the limit is {:.1f} s "
                      "(step_deadline_s)",
                      silent_s, config_.step_deadline_s);
  }
  if (const int failed = loop_.failed_in_a_row(); failed >= kFailuresUntilUnhealthy) {
    return make_error(ErrorCode::kUnavailable, "the last {} steps failed", failed);
  }
  return ok_status();
}

}  // namespace ramjet::runtime
