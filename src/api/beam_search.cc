#include <ramjet/beam_search.h>

#include <algorithm>
#include <cmath>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>

#include "base/clock.h"
#include "base/result.h"

namespace ramjet {
namespace {

constexpr int kMaxWidth = 32;
constexpr int kMaxTop = 64;  // log-probabilities a request may ask for

struct OpenBeam {
  std::vector<int32_t> ids;  // of the output
  float score = 0;           // sum of log-probabilities
};

struct Candidate {
  size_t beam = 0;
  int32_t id = 0;
  float score = 0;
  bool finished = false;
};

/// One request's search: what transformers keeps in its tensors, without what is never read.
class Search {
 public:
  explicit Search(const BeamRequest& request) : request_(request), open_{OpenBeam{}} {}

  bool done() const { return done_; }
  const std::vector<OpenBeam>& open() const { return open_; }
  const BeamRequest& request() const { return request_; }
  /// Continuations that a step looks at: enough to go on if all that can end do.
  int kept() const {
    return std::max<int>(2, 1 + static_cast<int>(request_.eos_ids.size())) * request_.width;
  }

  /// `tops`: the best continuations of each open beam with their log-probabilities.
  void advance(const std::vector<std::vector<TokenLogprob>>& tops) {
    std::vector<Candidate> candidates = best_of(tops);
    const int length = static_cast<int>(open_[0].ids.size()) + 1;
    bool all_finished = true;
    for (Candidate& c : candidates) {
      c.finished = is_eos(c.id) || length >= request_.max_tokens;
      all_finished &= c.finished;
    }
    std::vector<OpenBeam> next;
    for (size_t i = 0; i < candidates.size(); ++i) {
      const Candidate& c = candidates[i];
      std::vector<int32_t> ids = open_[c.beam].ids;
      ids.push_back(c.id);
      if (!c.finished) {
        if (std::ssize(next) < request_.width) next.push_back({std::move(ids), c.score});
      } else if (static_cast<int>(i) < request_.width) {  // others may not take a place
        finished_.push_back({std::move(ids), c.score / penalty(length), is_eos(c.id)});
      }
    }
    std::stable_sort(finished_.begin(), finished_.end(),
                     [](const Beam& a, const Beam& b) { return a.score > b.score; });
    const bool full = std::ssize(finished_) >= request_.width;
    if (full) finished_.resize(static_cast<size_t>(request_.width));
    open_ = std::move(next);
    done_ = all_finished || open_.empty() || (full && ends(length));
  }

  std::vector<Beam> results() const {
    const auto count = std::min(finished_.size(), static_cast<size_t>(request_.count));
    return {finished_.begin(), finished_.begin() + static_cast<ptrdiff_t>(count)};
  }

 private:
  bool is_eos(int32_t id) const {
    return std::find(request_.eos_ids.begin(), request_.eos_ids.end(), id) !=
           request_.eos_ids.end();
  }
  float penalty(int length) const {
    return static_cast<float>(std::pow(static_cast<double>(length), request_.length_penalty));
  }
  std::vector<Candidate> best_of(const std::vector<std::vector<TokenLogprob>>& tops) const {
    std::vector<Candidate> all;
    for (size_t beam = 0; beam < tops.size(); ++beam) {
      for (const TokenLogprob& top : tops[beam]) {
        all.push_back({beam, top.id, open_[beam].score + top.logprob, false});
      }
    }
    std::stable_sort(all.begin(), all.end(),
                     [](const Candidate& a, const Candidate& b) { return a.score > b.score; });
    if (std::ssize(all) > kept()) all.resize(static_cast<size_t>(kept()));
    return all;
  }
  /// With as many finished as are kept: can the best open beam still beat the worst of them?
  bool ends(int length) const {
    if (request_.early_stopping == EarlyStopping::kYes) return true;
    const bool longest =
        request_.early_stopping == EarlyStopping::kNever && request_.length_penalty > 0;
    const float possible = open_[0].score / penalty(longest ? request_.max_tokens : length);
    return !(possible > finished_.back().score);
  }

  const BeamRequest& request_;
  std::vector<OpenBeam> open_;  // the best first
  std::vector<Beam> finished_;  // likewise, at most width
  bool done_ = false;
};

/// What one step waits for. Shared by the caller and the events on their way to it.
struct Answers {
  std::mutex mutex;
  std::condition_variable changed;
  size_t missing = 0;
  std::vector<std::vector<std::vector<TokenLogprob>>> tops;  // of each search's open beams
  std::optional<Error> error;
};

class Step {
 public:
  Step(Executor& executor, std::vector<Search>& searches)
      : executor_(executor),
        searches_(searches),
        answers_(std::make_shared<Answers>()) {}  // owners: this and the callbacks

  Status run(double timeout_s) {
    answers_->tops.resize(searches_.size());
    for (size_t i = 0; i < searches_.size(); ++i) {
      if (searches_[i].done()) continue;
      answers_->tops[i].resize(searches_[i].open().size());
      answers_->missing += searches_[i].open().size();
    }
    Status status = submit_all();
    if (status.ok()) status = wait(timeout_s);
    if (!status.ok()) {
      for (const uint64_t id : submitted_) executor_.cancel(id);
      return status;
    }
    for (size_t i = 0; i < searches_.size(); ++i) {
      if (!searches_[i].done()) searches_[i].advance(answers_->tops[i]);
    }
    return ok_status();
  }

 private:
  Status submit_all() {
    for (size_t i = 0; i < searches_.size(); ++i) {
      const Search& search = searches_[i];
      for (size_t beam = 0; beam < search.open().size() && !search.done(); ++beam) {
        Request request;
        request.prompt_ids = search.request().prompt_ids;
        const std::vector<int32_t>& ids = search.open()[beam].ids;
        request.prompt_ids.insert(request.prompt_ids.end(), ids.begin(), ids.end());
        request.sampling.temperature = 0;
        request.sampling.logprobs = search.kept();
        request.sampling.stop.max_tokens = 1;
        request.sampling.stop.ignore_eos = true;
        ASSIGN_OR_RETURN(const uint64_t id, executor_.submit(std::move(request), taker(i, beam)));
        submitted_.push_back(id);
      }
    }
    return ok_status();
  }

  OutputCallback taker(size_t search, size_t beam) const {
    return [answers = answers_, search, beam](RequestOutput&& output) {
      const std::lock_guard lock(answers->mutex);
      if (output.error) answers->error = std::move(output.error);
      if (!output.logprobs.empty()) {
        answers->tops[search][beam] = std::move(output.logprobs[0].top);
      }
      if (!output.last) return;
      --answers->missing;
      answers->changed.notify_one();
    };
  }

  Status wait(double timeout_s) {
    std::unique_lock lock(answers_->mutex);
    const bool all = answers_->changed.wait_for(lock, std::chrono::duration<double>(timeout_s),
                                                [&] { return answers_->missing == 0; });
    if (answers_->error) return *answers_->error;
    if (all) return ok_status();
    return make_error(ErrorCode::kDeadlineExceeded, "the beam search did not end in time");
  }

  Executor& executor_;
  std::vector<Search>& searches_;
  std::shared_ptr<Answers> answers_;
  std::vector<uint64_t> submitted_;
};

Status check(const BeamRequest& request, size_t index) {
  if (request.width < 1 || request.width > kMaxWidth || Search(request).kept() > kMaxTop) {
    return invalid_argument(
        "beam request {}: width {} with {} end ids; width * (1 + end ids) is at most {}, and width "
        "at most {}",
        index, request.width, request.eos_ids.size(), kMaxTop, kMaxWidth);
  }
  if (request.count < 1 || request.count > request.width) {
    return invalid_argument("beam request {}: count {} of {} beams", index, request.count,
                            request.width);
  }
  if (request.max_tokens < 1 || !std::isfinite(request.length_penalty)) {
    return invalid_argument(
        "beam request {}: max_tokens {} must be at least 1, length_penalty {} "
        "a number",
        index, request.max_tokens, request.length_penalty);
  }
  return ok_status();
}

}  // namespace

Result<std::vector<std::vector<Beam>>> beam_search(Executor& executor,
                                                   std::span<const BeamRequest> requests,
                                                   double timeout_s) {
  std::vector<Search> searches;
  for (size_t i = 0; i < requests.size(); ++i) {
    RETURN_IF_ERROR(check(requests[i], i));
    searches.emplace_back(requests[i]);
  }
  const double start = SteadyClock::instance().now_s();
  const auto open = [&] {
    return std::any_of(searches.begin(), searches.end(), [](const Search& s) { return !s.done(); });
  };
  while (open()) {
    const double left = timeout_s - (SteadyClock::instance().now_s() - start);
    if (left <= 0) {
      return make_error(ErrorCode::kDeadlineExceeded, "the beam search did not end within {} s",
                        timeout_s);
    }
    RETURN_IF_ERROR(Step(executor, searches).run(left));
  }
  std::vector<std::vector<Beam>> results;
  for (const Search& search : searches) results.push_back(search.results());
  return results;
}

}  // namespace ramjet
