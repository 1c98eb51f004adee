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

/// What all choices of a node share, by candidate: the weight's layout and, where it is wanted,
/// the order of sums. Empty: the candidate is not to be chosen.
std::vector<std::string> kinds_of(Candidates candidates, const kernels::OpDesc& desc,
                                  bool one_order) {
  std::vector<std::string> kinds;
  for (const Tactic* tactic : candidates) {
    std::string kind(tactic->weight_layout);
    if (one_order && tactic->sum_order != nullptr) kind += "|" + tactic->sum_order(desc, *tactic);
    const bool left_out = one_order ? tactic->sum_order == nullptr : tactic->invariant_only;
    kinds.push_back(left_out ? "" : std::move(kind));
  }
  return kinds;
}

/// One row a bucket, with what the cost model expects.
std::vector<Row> expected_rows(Candidates candidates, const kernels::OpDesc& desc,
                               const Chooser& chooser) {
  const int16_t symbol = choice_symbol(desc);
  const int64_t most = desc.symbols.empty() ? 1 : desc.symbols[static_cast<size_t>(symbol)].max;
  const bool model = chooser.facts && has_cost_model(candidates);
  const std::vector<std::string> kinds = kinds_of(candidates, desc, chooser.one_order);
  std::vector<Row> rows;
  for (int64_t upto : buckets(most, chooser.facts.has_value())) {
    Row row{upto, symbols_at(desc.symbols, upto), Times(candidates.size()), {}};
    double best = 0, best_chosen = 0;  // of all, and of those that may be chosen
    const auto take = [](double& least, double us) {
      least = least == 0 ? us : std::min(least, us);
    };
    for (size_t i = 0; model && i < candidates.size(); ++i) {
      if (candidates[i]->cost_us == nullptr) continue;
      double& us = row.times[i].us;
      us = candidates[i]->cost_us(desc, *candidates[i], *chooser.facts, row.values);
      take(best, us);
      if (!kinds[i].empty()) take(best_chosen, us);
    }
    for (size_t i = 0; model && i < candidates.size(); ++i) {
      Time& time = row.times[i];
      const double rival = kinds[i].empty() ? best : best_chosen;
      time.hopeful = time.us == 0 || time.us <= kExpectedHopeless * rival;
      if (time.us == 0) time.us = kUnknown * best;
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

bool is_timed(Candidates candidates, const kernels::OpDesc& desc, const Chooser& chooser) {
  return chooser.timer != nullptr && candidates.size() > 1 && chooser.timer->can_time(desc.op);
}

/// Another program's work may have met one candidate alone: where the preferred one loses, it and
/// the winner are timed again, in turn.
Status time_again(Candidates candidates, const kernels::OpDesc& desc,
                  std::span<const int64_t> values, TacticTimer& timer, Times& times) {
  constexpr int kRounds = 2;
  if (!times[0].measured || candidates[0]->cost_us != nullptr) return ok_status();
  for (int round = 0; round < kRounds; ++round) {
    size_t best = 0;
    for (size_t i = 1; i < times.size(); ++i) {
      if (times[i].measured && times[i].us < kNoise * times[best].us) best = i;
    }
    if (best == 0) break;
    for (const size_t i : {size_t{0}, best}) {
      ASSIGN_OR_RETURN(const auto us, timer.again(*candidates[i], desc, values));
      if (!us) return ok_status();
      times[i].us = std::min(times[i].us, *us);
    }
  }
  return ok_status();
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
  RETURN_IF_ERROR(time_again(candidates, desc, row.values, timer, times));
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

using Kinds = std::span<const std::string>;

size_t fastest(Candidates candidates, Kinds kinds, const Times& times, std::string_view kind) {
  std::optional<size_t> best;
  for (size_t i = 0; i < candidates.size(); ++i) {
    if (kinds[i] != kind) continue;
    const double noise = times[i].measured && candidates[i]->cost_us == nullptr ? kNoise : 1;
    if (!best || times[i].us < noise * times[*best].us) best = i;
  }
  return *best;
}

/// The kind with the lowest sum of logarithms of its best times; ties go to the first.
std::string_view best_kind(Candidates candidates, Kinds kinds, std::span<const Row> rows) {
  std::map<std::string_view, double> score;
  std::string_view best;
  for (const std::string& kind : kinds) {
    if (kind.empty() || score.contains(kind)) continue;
    if (best.empty()) best = kind;
    double sum = 0;
    for (const Row& row : rows) {
      sum += std::log(row.times[fastest(candidates, kinds, row.times, kind)].us);
    }
    score[kind] = sum;
  }
  const double noise = std::log(kNoise) * static_cast<double>(rows.size());
  for (const auto& [kind, sum] : score) {
    if (sum < score[best] + noise) best = kind;
  }
  return best;
}

/// What the order of sums costs in a bucket where `chosen` runs.
OrderCost order_cost(Candidates candidates, const Row& row, size_t chosen) {
  OrderCost cost{row.upto, row.times[chosen].us, row.times[chosen].us};
  for (size_t i = 0; i < candidates.size(); ++i) {
    if (!candidates[i]->invariant_only) cost.free_us = std::min(cost.free_us, row.times[i].us);
  }
  return cost;
}

engine::TacticChoice choice(Candidates candidates, const Row& row, size_t best) {
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
  NodeChoice result{choice_symbol(desc), {}, {}};
  const std::vector<std::string> kinds = kinds_of(candidates, desc, chooser.one_order);
  const auto first = std::ranges::find_if(kinds, [](const auto& kind) { return !kind.empty(); });
  if (first == kinds.end()) {
    return unsupported("no tactic of {} has an order of sums that is the same in every batch",
                       op_name(desc.op));
  }
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
    const auto preferred = static_cast<size_t>(first - kinds.begin());
    result.choices = {{rows.back().upto, std::string(candidates[preferred]->name), 0, {}, {}}};
    return result;
  }
  // Shapes beyond the budget run what the model says, or what won at the largest that was timed.
  const int64_t most = rows.back().upto;
  if (!model) rows.resize(done);
  const std::string_view kind = best_kind(candidates, kinds, rows);
  for (const Row& row : rows) {
    const size_t best = fastest(candidates, kinds, row.times, kind);
    if (chooser.one_order) result.costs.push_back(order_cost(candidates, row, best));
    engine::TacticChoice made = choice(candidates, row, best);
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
