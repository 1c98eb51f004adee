#include "compiler/tactics/choose.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <string_view>

namespace ramjet::compiler {
namespace {

using kernels::Tactic;

/// A preferred tactic gives way only to one that is faster by more than the noise.
constexpr double kNoise = 0.97;
/// A candidate this much slower than the best is not timed at larger shapes.
constexpr double kHopeless = 3;
/// Nor one that the cost model thinks this much slower.
constexpr double kExpectedHopeless = 2;
/// What the cost model knows nothing of comes after what it knows.
constexpr double kUnknown = 8;

struct Time {
  double us = 0;
  bool measured = false;
  bool hopeful = true;  // worth timing
};
using Times = std::vector<Time>;  // by candidate
using Candidates = std::span<const Tactic* const>;

struct Row {  // one bucket
  int64_t upto = 0;
  std::vector<int64_t> values;  // of the symbols
  Times times;
  std::vector<engine::Candidate> baselines;
};

/// Values of all symbols at a bucket of one: the others follow it within their ranges.
std::vector<int64_t> symbols_at(std::span<const Symbol> symbols, int64_t bucket) {
  std::vector<int64_t> values;
  for (const Symbol& symbol : symbols) {
    values.push_back(std::clamp(bucket, std::max<int64_t>(symbol.min, 1), symbol.max));
  }
  return values;
}

bool has_cost_model(Candidates candidates) {
  return std::any_of(candidates.begin(), candidates.end(),
                     [](const Tactic* tactic) { return tactic->cost_us != nullptr; });
}

/// One row a bucket, with what the cost model expects.
std::vector<Row> expected_rows(Candidates candidates, const kernels::OpDesc& desc,
                               const Chooser& chooser) {
  const int16_t symbol = choice_symbol(desc);
  const int64_t most = desc.symbols.empty() ? 1 : desc.symbols[static_cast<size_t>(symbol)].max;
  const bool model = chooser.facts && has_cost_model(candidates);
  std::vector<Row> rows;
  for (int64_t upto : buckets(most, chooser.facts.has_value())) {
    Row row{upto, symbols_at(desc.symbols, upto), Times(candidates.size()), {}};
    double best = 0;
    for (size_t i = 0; model && i < candidates.size(); ++i) {
      if (candidates[i]->cost_us == nullptr) continue;
      double& us = row.times[i].us;
      us = candidates[i]->cost_us(desc, *candidates[i], *chooser.facts, row.values);
      best = best == 0 ? us : std::min(best, us);
    }
    for (size_t i = 0; model && i < candidates.size(); ++i) {
      Time& time = row.times[i];
      time.hopeful = time.us == 0 || time.us <= kExpectedHopeless * best;
      if (time.us == 0) time.us = kUnknown * best;
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

bool is_timed(Candidates candidates, const kernels::OpDesc& desc, const Chooser& chooser) {
  return chooser.timer != nullptr && candidates.size() > 1 && chooser.timer->can_time(desc.op);
}

/// Measures a bucket, given the one before (null at the first). False once the budget is spent.
Result<bool> time_row(Candidates candidates, const kernels::OpDesc& desc, const Row* before,
                      TacticTimer& timer, Row& row) {
  const auto least = [](const Times& times) {
    double us = 0;
    for (const Time& time : times) {
      if (time.us > 0) us = us == 0 ? time.us : std::min(us, time.us);
    }
    return us;
  };
  const double best_before = before != nullptr ? least(before->times) : 0;
  // What the cost model does not know is judged by the smaller shape.
  const auto hopeful = [&](size_t i) {
    if (candidates[i]->cost_us != nullptr || best_before == 0) return row.times[i].hopeful;
    return before->times[i].us <= kHopeless * best_before;
  };
  Times times(candidates.size());
  size_t left = 0;
  for (size_t i = 0; i < candidates.size(); ++i) left += hopeful(i) ? 1 : 0;
  if (left == 1 && before != nullptr && !has_cost_model(candidates)) {
    row.times = before->times;  // nothing is left to compare
    for (Time& time : row.times) time.measured = false;
    return true;
  }
  for (size_t i = 0; i < candidates.size(); ++i) {
    if (!hopeful(i)) continue;
    ASSIGN_OR_RETURN(const auto us, timer.us(*candidates[i], desc, row.values));
    if (!us) return false;
    times[i] = {*us, true, true};
  }
  const double best = least(times), expected = least(row.times);
  for (size_t i = 0; i < candidates.size(); ++i) {
    if (times[i].measured) continue;
    // As much slower as the model, or the smaller shape, says.
    const double slower = candidates[i]->cost_us != nullptr ? row.times[i].us / expected
                                                            : before->times[i].us / best_before;
    times[i] = {best * std::max(slower, kExpectedHopeless), false, false};
  }
  row.times = std::move(times);
  row.baselines = timer.baselines(desc, row.values);
  return true;
}

size_t fastest(Candidates candidates, const Times& times, std::string_view layout) {
  std::optional<size_t> best;
  for (size_t i = 0; i < candidates.size(); ++i) {
    if (candidates[i]->weight_layout != layout) continue;
    const double noise = times[i].measured && candidates[i]->cost_us == nullptr ? kNoise : 1;
    if (!best || times[i].us < noise * times[*best].us) best = i;
  }
  return *best;
}

/// The layout with the lowest sum of logarithms of its best times; ties go to the first.
std::string_view best_layout(Candidates candidates, std::span<const Row> rows) {
  std::map<std::string_view, double> score;
  for (const Tactic* tactic : candidates) {
    if (score.contains(tactic->weight_layout)) continue;
    double sum = 0;
    for (const Row& row : rows) {
      sum += std::log(row.times[fastest(candidates, row.times, tactic->weight_layout)].us);
    }
    score[tactic->weight_layout] = sum;
  }
  std::string_view best = candidates[0]->weight_layout;
  const double noise = std::log(kNoise) * static_cast<double>(rows.size());
  for (const auto& [layout, sum] : score) {
    if (sum < score[best] + noise) best = layout;
  }
  return best;
}

engine::TacticChoice choice(Candidates candidates, const Row& row, std::string_view layout) {
  const size_t best = fastest(candidates, row.times, layout);
  engine::TacticChoice result{row.upto, std::string(candidates[best]->name), 0, {}, {}};
  if (row.times[best].measured) result.us = row.times[best].us;
  for (size_t i = 0; i < candidates.size(); ++i) {
    if (!row.times[i].measured) continue;
    result.candidates.push_back({std::string(candidates[i]->name), row.times[i].us});
  }
  result.candidates.insert(result.candidates.end(), row.baselines.begin(), row.baselines.end());
  return result;
}

}  // namespace

std::vector<int64_t> buckets(int64_t most, bool fine) {
  constexpr int64_t kFineFrom = 16, kCoarseFrom = 512;
  std::vector<int64_t> values;
  for (int64_t value = 1; value < most; value *= 2) {
    values.push_back(value);
    if (!fine || value < 2 * kFineFrom) continue;
    const int64_t parts = value < kCoarseFrom ? 4 : 2;
    // 32, 48, 64, 80, .. at first: half a power of two is a whole tile there.
    for (int64_t part = 1; part < parts; ++part) {
      const int64_t between = value + part * value / parts;
      if (between % kFineFrom == 0 && between < most) values.push_back(between);
    }
  }
  values.push_back(most);
  return values;
}

int16_t choice_symbol(const kernels::OpDesc& desc) {
  int16_t symbol = -1;
  for (const auto* types : {&desc.outputs, &desc.inputs}) {
    for (const TensorType& type : *types) {
      for (const Dim& dim : type.dims) {
        if (!dim.fixed() && (symbol < 0 || dim.symbol < symbol)) symbol = dim.symbol;
      }
    }
    if (symbol >= 0) return symbol;
  }
  return 0;
}

std::vector<TimingJob> timing_jobs(Candidates candidates, const kernels::OpDesc& desc,
                                   const Chooser& chooser) {
  std::vector<TimingJob> jobs;
  if (!is_timed(candidates, desc, chooser)) return jobs;
  const std::vector<Row> rows = expected_rows(candidates, desc, chooser);
  for (size_t i = 0; i < candidates.size(); ++i) {
    TimingJob job{candidates[i], &desc, {}};
    for (const Row& row : rows) {
      if (row.times[i].hopeful) job.values.push_back(row.values);
    }
    if (!job.values.empty()) jobs.push_back(std::move(job));
  }
  return jobs;
}

Result<NodeChoice> choose_tactics(Candidates candidates, const kernels::OpDesc& desc,
                                  const Chooser& chooser) {
  NodeChoice result{choice_symbol(desc), {}};
  std::vector<Row> rows = expected_rows(candidates, desc, chooser);
  const bool timed = is_timed(candidates, desc, chooser);
  const bool model = chooser.facts && candidates.size() > 1 && has_cost_model(candidates);
  size_t done = 0;
  for (; timed && done < rows.size(); ++done) {
    const Row* before = done == 0 ? nullptr : &rows[done - 1];
    ASSIGN_OR_RETURN(const bool measured,
                     time_row(candidates, desc, before, *chooser.timer, rows[done]));
    if (!measured) break;
  }
  if (done == 0 && !model) {
    result.choices = {{rows.back().upto, std::string(candidates[0]->name), 0, {}, {}}};
    return result;
  }
  // Shapes beyond the budget run what the model says, or what won at the largest that was timed.
  const int64_t most = rows.back().upto;
  if (!model) rows.resize(done);
  const std::string_view layout = best_layout(candidates, rows);
  for (const Row& row : rows) {
    engine::TacticChoice made = choice(candidates, row, layout);
    // Ranges that nothing was measured in are one where they choose alike.
    const auto silent = [](const engine::TacticChoice& c) { return c.candidates.empty(); };
    const bool same = !result.choices.empty() && silent(made) && silent(result.choices.back()) &&
                      result.choices.back().tactic == made.tactic;
    if (same) result.choices.pop_back();
    result.choices.push_back(std::move(made));
  }
  result.choices.back().upto = most;
  return result;
}

}  // namespace ramjet::compiler
