#include "runtime/scheduler/forecast.h"

#include <gtest/gtest.h>

#include <random>

#include "runtime/scheduler/scheduler.h"

namespace ramjet::runtime {
namespace {

TEST(Forecast, ThePeakIsThatOfASimulation) {
  std::mt19937 rng(5);
  for (int round = 0; round < 200; ++round) {
    std::vector<Growth> all(1 + rng() % 20);
    int64_t branches = 0;
    for (Growth& g : all) {
      g = {static_cast<int64_t>(rng() % 60), static_cast<int64_t>(1 + rng() % 80),
           static_cast<int64_t>(1 + rng() % 3)};
      branches += g.branches;
    }
    const int64_t block_tokens = rng() % 2 == 0 ? 8 : 16;
    double peak = 0;  // with the blocks that a cache has on the average
    for (int64_t step = 0; step < 60; ++step) {
      double held = 0;
      for (const Growth& g : all) {
        if (step > g.remaining) continue;
        held += static_cast<double>(g.tokens + g.branches * step) / block_tokens + g.branches * 0.5;
      }
      peak = std::max(peak, held);
    }
    EXPECT_NEAR(static_cast<double>(peak_blocks(all, block_tokens)), peak, 1.0 + branches * 1e-9);
  }
}

TEST(Forecast, LengthsFollowWhatFinished) {
  OutputLengths lengths;
  EXPECT_EQ(lengths.expected(0, 10000), 256) << "nothing is known yet";
  EXPECT_EQ(lengths.expected(0, 100), 100);
  lengths.record(40);
  EXPECT_EQ(lengths.expected(0, 10000), 40);
  EXPECT_EQ(lengths.expected(100, 10000), 126) << "it passed the mean";
  EXPECT_EQ(lengths.expected(100, 110), 110);
  for (int i = 0; i < 400; ++i) lengths.record(80);
  EXPECT_EQ(lengths.expected(0, 10000), 80);
}

// Runs `count` sequences of `length` tokens that never stop early; preemptions and most at once.
std::pair<uint64_t, int64_t> serve(CapacityPolicy capacity, int count, int64_t length) {
  kv::BlockManager blocks({100, 4, 0, false});
  SchedulerConfig config;
  config.max_batch_size = 64, config.max_num_tokens = 64, config.max_logit_rows = 64;
  config.capacity = capacity;
  Scheduler scheduler(config, &blocks);
  for (int i = 0; i < count; ++i) {
    SequenceSpec spec;
    spec.tokens.assign(16, i);
    spec.max_output = length;
    spec.ends_early = false;
    scheduler.add(std::move(spec));
  }
  int64_t most = 0;
  while (!scheduler.idle()) {
    const std::vector<PlanItem> items = scheduler.schedule(0).items;
    most = std::max(most, scheduler.num_running());
    scheduler.complete();
    for (const PlanItem& item : items) {
      if (item.rows() == 0) continue;
      const bool ends = scheduler.sequence(item.sequence).output_tokens() + 1 == length;
      ends ? scheduler.finish(item.sequence) : scheduler.append(item.sequence, 7);
    }
  }
  return {scheduler.counters().preemptions, most};
}

TEST(Forecast, NobodyStartsWhoWouldPushOthersOut) {
  const auto [overcommitted, most_over] = serve(CapacityPolicy::kOvercommit, 60, 48);
  const auto [forecast, most] = serve(CapacityPolicy::kMaxUtilization, 60, 48);
  const auto [none, surely] = serve(CapacityPolicy::kGuaranteedNoEvict, 60, 48);
  EXPECT_GT(overcommitted, 20u);
  EXPECT_LE(forecast, 2u);
  EXPECT_EQ(none, 0u);
  EXPECT_GT(most, surely) << "those about to end make room for others' growth";
  EXPECT_GT(most_over, most);
}

}  // namespace
}  // namespace ramjet::runtime
