#include "runtime/sampling/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/result.h"
#include "runtime/sampling/philox.h"

namespace ramjet::runtime {
namespace {

// Walks to the first element at which the running sum exceeds `target`.
int32_t walk_row(std::span<const float> weights, std::span<const double> block_sums,
                 double target) {
  const auto n = static_cast<int64_t>(weights.size());
  double sum = 0;
  int64_t block = 0;
  const auto blocks = static_cast<int64_t>(block_sums.size());
  while (block + 1 < blocks && sum + block_sums[static_cast<size_t>(block)] <= target) {
    sum += block_sums[static_cast<size_t>(block++)];
  }
  int32_t last = -1;
  for (int64_t i = block * kSumBlock; i < n; ++i) {
    const float w = weights[static_cast<size_t>(i)];
    if (w <= 0) continue;
    last = static_cast<int32_t>(i);
    sum += static_cast<double>(w);
    if (sum > target) return last;
  }
  // Rounding put the target past the end: the last possible token.
  for (int64_t i = n - 1; last < 0 && i >= 0; --i) {
    if (weights[static_cast<size_t>(i)] > 0) last = static_cast<int32_t>(i);
  }
  return last;
}

int32_t walk_list(std::span<const Candidate> list, double target) {
  double sum = 0;
  for (const Candidate& c : list) {
    sum += static_cast<double>(c.w);
    if (sum > target) return c.id;
  }
  return list.back().id;
}

double mass_of(std::span<const Candidate> list) {
  double sum = 0;
  for (const Candidate& c : list) sum += static_cast<double>(c.w);
  return sum;
}

// Drops what is less likely than `least`, without branches.
void keep_from(const Candidate& least, std::vector<Candidate>* list) {
  size_t count = 0;
  for (const Candidate c : *list) {
    (*list)[count] = c;
    count += more_likely(least, c) ? 0 : 1;
  }
  list->resize(count);
}

}  // namespace

Sampler::Sampler(int64_t vocab_size, ThreadPool* pool)
    : pool_(pool), scratch_(static_cast<size_t>(pool == nullptr ? 1 : pool->size())) {
  for (Scratch& scratch : scratch_) {
    scratch.logits.resize(static_cast<size_t>(vocab_size));
    scratch.weights.resize(static_cast<size_t>(vocab_size));
  }
}

void Sampler::sample(std::span<SampleJob> jobs) {
  if (pool_ == nullptr || jobs.size() < 2) {
    for (SampleJob& job : jobs) run(job, scratch_[0]);
    return;
  }
  pool_->parallel_for(static_cast<int64_t>(jobs.size()), 1,
                      [&](int64_t begin, int64_t end, int thread) {
                        for (int64_t i = begin; i < end; ++i) {
                          run(jobs[static_cast<size_t>(i)], scratch_[static_cast<size_t>(thread)]);
                        }
                      });
}

void Sampler::run(SampleJob& job, Scratch& scratch) const {
  if (job.state != nullptr) {
    const SamplingParams& params = job.state->params();
    std::span<const float> x = job.logits;
    const int64_t output = static_cast<int64_t>(job.history.size()) - job.prompt_tokens;
    if (job.state->edits_logits(output)) {
      std::copy(x.begin(), x.end(), scratch.logits.begin());
      const Status edited = job.state->edit(job.history, job.prompt_tokens, scratch.logits);
      if (!edited.ok()) {
        job.error = edited.error();
        return;
      }
      x = scratch.logits;
    }
    const RowMax max = row_max(x);
    if (max.has_nan || max.value == std::numeric_limits<float>::infinity()) {
      job.error = internal_error("the model's logits are not finite at output token {}", output);
      return;
    }
    if (max.value == -std::numeric_limits<float>::infinity()) {
      job.error = invalid_argument(
          "no token may follow output token {}: allowed_ids, bad_words, "
          "min_tokens and the grammar exclude all of them",
          output);
      return;
    }
    if (params.temperature == 0.0f) {
      job.id = index_of(x, max.value);
    } else {
      const double uniform =
          philox_uniform(job.seed, job.state->index(), static_cast<uint64_t>(output));
      job.id = draw(x, max.value, params, uniform, scratch);
    }
  }
  if (job.top_logprobs >= 0) score(job, scratch);
}

int32_t Sampler::draw(std::span<const float> x, float max, const SamplingParams& params,
                      double uniform, Scratch& scratch) const {
  const float scale = 1.0f / std::max(params.temperature, 1e-6f);
  const auto vocab = static_cast<int64_t>(x.size());
  std::vector<Candidate>& list = scratch.list;
  if (params.top_k > 0 && params.top_k < vocab) {
    select_top_k(x, params.top_k, &list);
    std::sort(list.begin(), list.end(),
              [](const Candidate& a, const Candidate& b) { return a.id < b.id; });
    for (Candidate& c : list) c.w = std::exp((c.x - max) * scale);
    std::erase_if(list, [&](const Candidate& c) { return c.w < params.min_p; });
  } else {
    const double total = exp_row(x, max, scale, scratch.weights, &scratch.block_sums);
    if (params.top_p >= 1.0f && params.min_p <= 0.0f) {
      return walk_row(scratch.weights, scratch.block_sums, uniform * total);
    }
    // All tokens below (1 - p) / vocab together weigh less than 1 - p, so the nucleus, which is
    // a prefix in order of likelihood, lies above that bound.
    const double tail =
        0.999 * (1.0 - static_cast<double>(params.top_p)) * total / static_cast<double>(vocab);
    const float bound = params.min_p > 0 ? params.min_p : static_cast<float>(tail);
    collect_at_least(x, scratch.weights, std::max(bound, 1e-37f), &list);
  }
  if (params.top_p < 1.0f) {
    // The tokens cut off above count in the total unless min-p cut them.
    double total = mass_of(list);
    const bool tail_cut = params.min_p <= 0 && !(params.top_k > 0 && params.top_k < vocab);
    if (tail_cut) {
      total = 0;
      for (const double sum : scratch.block_sums) total += sum;
    }
    const double mass = static_cast<double>(params.top_p) * total;
    keep_from(select_mass(list, mass, max, scale, &scratch.mass), &list);
  }
  return walk_list(list, uniform * mass_of(list));
}

void Sampler::score(SampleJob& job, Scratch& scratch) const {
  const RowMax max = row_max(job.logits);
  if (max.has_nan || !std::isfinite(max.value)) {
    job.error = internal_error("the model's logits are not finite");
    return;
  }
  const double total = exp_row(job.logits, max.value, 1.0f, scratch.weights, &scratch.block_sums);
  const double log_total = static_cast<double>(max.value) + std::log(total);
  const auto entry = [&](int32_t id, int rank) {
    const double logit = static_cast<double>(job.logits[static_cast<size_t>(id)]);
    return TokenLogprob{id, static_cast<float>(logit - log_total), rank};
  };
  job.logprobs.chosen = entry(job.id, static_cast<int>(rank_before(job.logits, job.id)) + 1);
  job.logprobs.top.clear();
  if (job.top_logprobs == 0) return;
  select_top_k(job.logits, job.top_logprobs, &scratch.list);
  std::sort(scratch.list.begin(), scratch.list.end(), more_likely);
  for (size_t i = 0; i < scratch.list.size(); ++i) {
    job.logprobs.top.push_back(entry(scratch.list[i].id, static_cast<int>(i) + 1));
  }
}

}  // namespace ramjet::runtime
