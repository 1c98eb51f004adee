#include "compiler/tactics/choose.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <string_view>

namespace ramjet::compiler {
namespace {

using kernels::Tactic;

/// A preferred tactic gives way only to one that is faster by more than the noise.
constexpr double kNoise = 0.97;
/// A candidate this much slower than the best is not timed at larger shapes.
constexpr double kHopeless = 3;

/// One candidate at one bucket. A hopeless one is taken to stay as much slower as it was.
struct Time {
  double us = 0;
  bool measured = false;
};
using Times = std::vector<Time>;  // by candidate
using Candidates = std::span<const Tactic* const>;

/// Values of all symbols at a bucket of the first: the others follow it within their ranges.
std::vector<int64_t> symbols_at(std::span<const Symbol> symbols, int64_t bucket) {
  std::vector<int64_t> values;
  for (const Symbol& symbol : symbols) {
    values.push_back(std::clamp(bucket, std::max<int64_t>(symbol.min, 1), symbol.max));
  }
  return values;
}

size_t fastest(Candidates candidates, const Times& times, std::string_view layout) {
  std::optional<size_t> best;
  for (size_t i = 0; i < candidates.size(); ++i) {
    if (candidates[i]->weight_layout != layout) continue;
    if (!best || times[i].us < kNoise * times[*best].us) best = i;
  }
  return *best;
}

/// The layout with the lowest sum of logarithms of its best times; ties go to the first.
std::string_view best_layout(Candidates candidates, std::span<const Times> rows) {
  std::map<std::string_view, double> score;
  for (const Tactic* tactic : candidates) {
    if (score.contains(tactic->weight_layout)) continue;
    double sum = 0;
    for (const Times& times : rows) {
      sum += std::log(times[fastest(candidates, times, tactic->weight_layout)].us);
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

engine::TacticChoice choice(Candidates candidates, const Times& times, int64_t upto,
                            std::string_view layout) {
  const size_t best = fastest(candidates, times, layout);
  engine::TacticChoice result{upto, std::string(candidates[best]->name), 0, {}};
  if (times[best].measured) result.us = times[best].us;
  for (size_t i = 0; i < candidates.size(); ++i) {
    if (!times[i].measured) continue;
    result.candidates.push_back({std::string(candidates[i]->name), times[i].us});
  }
  return result;
}

/// The runtime chooses by the first symbol. A node whose extents do not follow it (the head, over
/// rows of logits) gets the one tactic that is fastest on average.
bool follows_first_symbol(const kernels::OpDesc& desc) {
  const auto follows = [](const TensorType& type) {
    return std::any_of(type.dims.begin(), type.dims.end(),
                       [](const Dim& dim) { return dim.symbol == 0; });
  };
  return std::any_of(desc.outputs.begin(), desc.outputs.end(), follows) ||
         std::any_of(desc.inputs.begin(), desc.inputs.end(), follows);
}

/// Geometric mean of each candidate's times.
Times averages(std::span<const Times> rows) {
  Times result(rows[0].size());
  for (size_t i = 0; i < result.size(); ++i) {
    double sum = 0;
    for (const Times& times : rows) sum += std::log(times[i].us);
    result[i] = {std::exp(sum / static_cast<double>(rows.size())), rows[0][i].measured};
  }
  return result;
}

/// Times at one bucket, given those at the one before (empty at the first). Empty when the budget
/// does not last for all candidates that have hope.
Times time_bucket(Candidates candidates, const kernels::OpDesc& desc, int64_t bucket,
                  const Times& before, TacticTimer& timer) {
  const auto less = [](const Time& a, const Time& b) { return a.us < b.us; };
  const double best_before =
      before.empty() ? 0 : std::min_element(before.begin(), before.end(), less)->us;
  const auto hopeful = [&](const Time& time) { return time.us <= kHopeless * best_before; };
  if (std::count_if(before.begin(), before.end(), hopeful) == 1) {
    Times same = before;  // nothing is left to compare
    for (Time& time : same) time.measured = false;
    return same;
  }
  const auto values = symbols_at(desc.symbols, bucket);
  Times times(candidates.size());
  double best = 0;
  for (size_t i = 0; i < candidates.size(); ++i) {
    if (!before.empty() && !hopeful(before[i])) continue;
    const auto us = timer.us(*candidates[i], desc, values);
    if (!us) return {};
    times[i] = {*us, true};
    best = best == 0 ? *us : std::min(best, *us);
  }
  for (size_t i = 0; i < candidates.size(); ++i) {
    if (!times[i].measured) times[i].us = best * before[i].us / best_before;
  }
  return times;
}

}  // namespace

std::vector<int64_t> buckets(std::span<const Symbol> symbols) {
  const int64_t most = symbols.empty() ? 1 : symbols[0].max;
  std::vector<int64_t> values;
  for (int64_t value = 1; value < most; value *= 2) values.push_back(value);
  values.push_back(most);
  return values;
}

std::vector<engine::TacticChoice> choose_tactics(Candidates candidates, const kernels::OpDesc& desc,
                                                 TacticTimer* timer) {
  const std::vector<int64_t> points = buckets(desc.symbols);
  std::vector<Times> rows;
  if (timer != nullptr && candidates.size() > 1 && TacticTimer::can_time(desc.op)) {
    for (int64_t point : points) {
      Times times =
          time_bucket(candidates, desc, point, rows.empty() ? Times() : rows.back(), *timer);
      if (times.empty()) break;
      rows.push_back(std::move(times));
    }
  }
  if (rows.empty()) return {{points.back(), std::string(candidates[0]->name), 0, {}}};
  const std::string_view layout = best_layout(candidates, rows);
  if (!follows_first_symbol(desc)) {
    return {choice(candidates, averages(rows), points.back(), layout)};
  }
  std::vector<engine::TacticChoice> choices;
  for (size_t i = 0; i < rows.size(); ++i) {
    choices.push_back(choice(candidates, rows[i], points[i], layout));
  }
  // Shapes beyond the budget run what won at the largest one that was timed.
  if (rows.size() < points.size()) choices.back().upto = points.back();
  return choices;
}

}  // namespace ramjet::compiler
