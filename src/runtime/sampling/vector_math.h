// Passes over a row of logits. Pure functions; thread-safe.
//
// Each is compiled for several instruction sets and chosen at start-up. Sums use a fixed number of
// lanes, so that every machine gives the same bits.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace ramjet::runtime {

struct RowMax {
  float value = 0;
  bool has_nan = false;
};

/// A sum over each kSumBlock elements, for walking to a position.
inline constexpr int64_t kSumBlock = 512;

RowMax row_max(std::span<const float> x);
/// The lowest index of `value`, or -1.
int32_t index_of(std::span<const float> x, float value);
/// w[i] = exp((x[i] - max) * scale), 0 below exp(-87); returns the sum, and sums of blocks.
double exp_row(std::span<const float> x, float max, float scale, std::span<float> w,
               std::vector<double>* block_sums);
/// Elements before x[id] in the order (value descending, index ascending).
int64_t rank_before(std::span<const float> x, int32_t id);

struct Candidate {
  float x = 0;
  int32_t id = 0;
  float w = 0;
};

/// The order of likelihood: value descending, then id ascending.
constexpr bool more_likely(const Candidate& a, const Candidate& b) {
  return a.x != b.x ? a.x > b.x : a.id < b.id;
}

/// Indices with w[i] >= bound, ascending; bound must be positive.
void collect_at_least(std::span<const float> x, std::span<const float> w, float bound,
                      std::vector<Candidate>* out);
/// The k most likely elements above minus infinity (fewer if there are fewer), in no order.
void select_top_k(std::span<const float> x, int64_t k, std::vector<Candidate>* out);
struct MassScratch {
  std::vector<double> buckets;
  std::vector<Candidate> list;
};
/// The last element of the shortest prefix, in order of likelihood, whose weights reach `mass`.
/// Weights are exp((x - max) * scale). `list` must not be empty.
Candidate select_mass(std::span<const Candidate> list, double mass, float max, float scale,
                      MassScratch* scratch);

}  // namespace ramjet::runtime
