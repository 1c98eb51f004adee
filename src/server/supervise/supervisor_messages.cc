// What the executor's process says, and what becomes of it.
#include <algorithm>
#include <iterator>

#include "base/log.h"
#include "server/supervise/messages.h"
#include "server/supervise/supervisor.h"

namespace ramjet::server {

Status Supervisor::handle(const Frame& frame) {
  switch (static_cast<Message>(frame.type)) {
    case Message::kReady: return on_ready(frame);
    case Message::kStatus: return on_status(frame);
    case Message::kAccepted: return on_verdict(frame, true);
    case Message::kRefused: return on_verdict(frame, false);
    case Message::kStarted: return on_started(frame);
    case Message::kOutputs: return on_outputs(frame);
    case Message::kFailed:
    case Message::kFault: {
      Error error;
      RETURN_IF_ERROR(get_message(frame, error));
      const bool again = was_ready_ && frame.type == static_cast<uint32_t>(Message::kFailed);
      if (!again) return error;
      // Clients are told of it, and what it says may name files.
      log_error("the executor cannot be made again: {}", error.message);
      return Error{ErrorCode::kUnavailable, "no new executor could be made; the log says why"};
    }
    default: return corrupt("message {} is not for a server", frame.type);
  }
}

Status Supervisor::on_ready(const Frame& frame) {
  ExecutorStats stats;
  RETURN_IF_ERROR(get_message(frame, stats));
  if (was_ready_) log_info("the executor is ready again");
  was_ready_ = true;
  const std::lock_guard lock(mutex_);
  stats_ = std::move(stats);
  state_ = State::kReady;
  trouble_.reset();
  for (const auto& [id, request] : requests_) send_request(*request);
  changed_.notify_all();
  return ok_status();
}

Status Supervisor::on_status(const Frame& frame) {
  ExecutorStats stats;
  std::optional<Error> health;
  RETURN_IF_ERROR(get_message(frame, stats, health));
  const std::lock_guard lock(mutex_);
  if (state_ != State::kReady) return corrupt("statistics of an executor that is not ready");
  stats_ = std::move(stats);
  trouble_ = std::move(health);  // watch() acts on it
  return ok_status();
}

Status Supervisor::on_verdict(const Frame& frame, bool accepted) {
  uint64_t tag = 0;
  Error error;
  RETURN_IF_ERROR(accepted ? get_message(frame, tag) : get_message(frame, tag, error));
  std::vector<Ending> endings;
  {
    const std::lock_guard lock(mutex_);
    const auto found = requests_.find(tag);
    if (found == requests_.end()) return ok_status();
    const PendingPtr request = found->second;
    const bool awaited = std::exchange(request->awaited, false);
    if (!accepted) {
      requests_.erase(found);
      if (awaited) {
        request->refused = std::move(error);
        --open_;
      } else {
        endings.push_back({request, FinishReason::kError, std::move(error)});
      }
    }
    if (awaited) changed_.notify_all();
  }
  end_all(std::move(endings));
  return ok_status();
}

Status Supervisor::on_started(const Frame& frame) {
  std::vector<uint64_t> tags;
  RETURN_IF_ERROR(get_message(frame, tags));
  const std::lock_guard lock(mutex_);
  for (const uint64_t tag : tags) {
    const auto found = requests_.find(tag);
    if (found == requests_.end()) continue;
    found->second->begun = true;
    found->second->request = {};  // it will not be sent again
  }
  return ok_status();
}

// Outputs are gathered while there is more to read; deliver_gathered() passes them on.
Status Supervisor::on_outputs(const Frame& frame) {
  Decoder decode(frame.payload);
  const size_t first = gathered_.size();
  std::vector<uint64_t> tags;
  while (decode.ok() && !decode.done()) {
    decode(tags.emplace_back(), gathered_.emplace_back().output);
  }
  bool strange = !decode.ok();
  const std::lock_guard lock(mutex_);
  for (size_t i = 0; i < tags.size(); ++i) {
    Gathered& gathered = gathered_[first + i];
    const RequestOutput& output = gathered.output;
    const auto found = requests_.find(tags[i]);
    if (strange || found == requests_.end()) continue;
    Pending& request = *found->second;
    if (output.index < 0 || output.index >= request.n) {
      strange = true;
      continue;
    }
    gathered.request = found->second;
    request.begun |= !output.ids.empty();
    if (!output.last) continue;
    if (std::exchange(request.awaited, false)) changed_.notify_all();
    requests_.erase(found);
  }
  if (strange) return corrupt("outputs of {} bytes do not fit", frame.payload.size());
  return ok_status();
}

// What came of several steps for a request of one sequence is one event: who is slow to read gets
// fewer, larger ones.
void Supervisor::merge_gathered() {
  for (Gathered& gathered : gathered_) {
    if (gathered.request != nullptr) gathered.request->merge_at = -1;
  }
  for (size_t i = 0; i < gathered_.size(); ++i) {
    if (gathered_[i].request == nullptr || gathered_[i].request->n > 1) continue;
    int64_t& at = gathered_[i].request->merge_at;
    if (at < 0) {
      at = static_cast<int64_t>(i);
      continue;
    }
    gathered_[static_cast<size_t>(at)].output.append(std::move(gathered_[i].output));
    gathered_[i].request = nullptr;
  }
}

void Supervisor::deliver_gathered() {
  merge_gathered();
  size_t ended = 0;
  for (Gathered& gathered : gathered_) {
    if (gathered.request == nullptr) continue;
    ended += gathered.output.last ? 1 : 0;
    deliver(*gathered.request, std::move(gathered.output));
  }
  gathered_.clear();
  if (ended > 0) settle(ended);
}

}  // namespace ramjet::server
