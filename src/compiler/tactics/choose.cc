#include "compiler/tactics/choose.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <optional>
#include <string_view>

namespace ramjet::compiler {
namespace {

using kernels::Tactic;
using Times = std::vector<std::optional<double>>;  // by candidate

/// A preferred tactic gives way only to one that is faster by more than the noise.
constexpr double kNoise = 0.97;

/// Values of all symbols at a bucket of the first: the others follow it within their ranges.
std::vector<int64_t> symbols_at(std::span<const Symbol> symbols, int64_t bucket) {
  std::vector<int64_t> values;
  for (const Symbol& symbol : symbols) {
    values.push_back(std::clamp(bucket, std::max<int64_t>(symbol.min, 1), symbol.max));
  }
  return values;
}

size_t fastest(std::span<const Tactic* const> candidates, const Times& times,
               std::string_view layout) {
  std::optional<size_t> best;
  for (size_t i = 0; i < candidates.size(); ++i) {
    if (candidates[i]->weight_layout != layout) continue;
    if (!best || (times[i] && times[*best] && *times[i] < kNoise * *times[*best])) best = i;
  }
  return *best;
}

/// The layout with the lowest sum of logarithms of its best times; ties and gaps go to the first.
std::string_view best_layout(std::span<const Tactic* const> candidates,
                             std::span<const Times> rows) {
  std::map<std::string_view, double> score;
  for (const Tactic* tactic : candidates) {
    if (score.contains(tactic->weight_layout)) continue;
    double sum = 0;
    for (const Times& times : rows) {
      const auto us = times[fastest(candidates, times, tactic->weight_layout)];
      if (us) sum += std::log(*us);
    }
    score[tactic->weight_layout] = sum;
  }
  std::string_view best = candidates[0]->weight_layout;
  for (const auto& [layout, sum] : score) {
    if (sum < score[best] + std::log(kNoise)) best = layout;
  }
  return best;
}

engine::TacticChoice choice(std::span<const Tactic* const> candidates, const Times& times,
                            int64_t upto, std::string_view layout) {
  const size_t best = fastest(candidates, times, layout);
  engine::TacticChoice result{upto, std::string(candidates[best]->name), 0, {}};
  result.us = times[best].value_or(0);
  for (size_t i = 0; i < candidates.size(); ++i) {
    if (times[i]) result.candidates.push_back({std::string(candidates[i]->name), *times[i]});
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
  Times result;
  for (size_t i = 0; i < rows[0].size(); ++i) {
    double sum = 0;
    for (const Times& times : rows) sum += std::log(*times[i]);
    result.push_back(std::exp(sum / static_cast<double>(rows.size())));
  }
  return result;
}

}  // namespace

std::vector<int64_t> buckets(std::span<const Symbol> symbols) {
  const int64_t most = symbols.empty() ? 1 : symbols[0].max;
  std::vector<int64_t> values;
  for (int64_t value = 1; value < most; value *= 2) values.push_back(value);
  values.push_back(most);
  return values;
}

std::vector<engine::TacticChoice> choose_tactics(std::span<const Tactic* const> candidates,
                                                 const kernels::OpDesc& desc, TacticTimer* timer) {
  const std::vector<int64_t> points = buckets(desc.symbols);
  if (timer == nullptr || candidates.size() < 2 || !TacticTimer::can_time(desc.op)) {
    return {{points.back(), std::string(candidates[0]->name), 0, {}}};
  }
  std::vector<Times> rows;
  for (int64_t point : points) {
    const auto values = symbols_at(desc.symbols, point);
    Times times;
    for (const Tactic* tactic : candidates) times.push_back(timer->us(*tactic, desc, values));
    // Half a row compares nothing.
    const bool whole = std::all_of(times.begin(), times.end(), [](const auto& t) { return t; });
    if (!whole) break;
    rows.push_back(std::move(times));
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
