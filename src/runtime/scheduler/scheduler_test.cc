// Simulation: thousands of random sequences against a random machine, with every plan checked.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>

#include "base/clock.h"
#include "runtime/scheduler/scheduler.h"

namespace ramjet::runtime {
namespace {

struct Machine {
  int64_t num_blocks = 64;
  int64_t block_tokens = 4;
  int64_t window = 0;
  SchedulerConfig scheduler;
  bool prefix_caching = true;
};

Machine random_machine(std::mt19937& rng) {
  Machine m;
  m.num_blocks = 24 + rng() % 120;
  m.block_tokens = rng() % 2 == 0 ? 4 : 8;
  m.window = rng() % 4 == 0 ? 12 : 0;
  m.scheduler.max_batch_size = 1 + rng() % 12;
  m.scheduler.max_num_tokens = m.scheduler.max_batch_size + rng() % 48;
  m.scheduler.max_logit_rows = m.scheduler.max_batch_size + rng() % 8;
  m.scheduler.capacity = static_cast<CapacityPolicy>(rng() % 3);
  m.scheduler.batching = rng() % 5 == 0 ? BatchingMode::kStatic : BatchingMode::kInFlight;
  m.prefix_caching = rng() % 4 != 0;
  return m;
}

SequenceSpec random_spec(std::mt19937& rng, const Machine& m) {
  SequenceSpec spec;
  const size_t length = 1 + rng() % 50;
  const auto family = static_cast<int32_t>(rng() % 3);
  for (size_t i = 0; i < length; ++i) {
    spec.tokens.push_back(i < 20 ? family : static_cast<int32_t>(rng() % 5));
  }
  spec.max_output = 1 + rng() % 30;
  spec.fanout = static_cast<int>(1 + rng() % 3);
  spec.fanout = std::min<int>(spec.fanout, static_cast<int>(m.scheduler.max_batch_size));
  spec.priority = static_cast<int>(rng() % 3);
  if (rng() % 6 == 0) spec.logits_from = static_cast<int64_t>(rng() % length);
  return spec;
}

class Simulation {
 public:
  Simulation(uint32_t seed, const Machine& machine)
      : rng_(seed),
        machine_(machine),
        blocks_({machine.num_blocks, machine.block_tokens, machine.window, machine.prefix_caching}),
        scheduler_(machine.scheduler, &blocks_) {}

  // Runs `count` sequences to their end; returns a hash of all plans.
  uint64_t run(int count) {
    int added = 0, idle_steps = 0;
    for (int step = 0; step < 200000; ++step) {
      while (added < count && rng_() % 3 == 0) {
        SequenceSpec spec = random_spec(rng_, machine_);
        const auto prompt = static_cast<int64_t>(spec.tokens.size());
        if (scheduler_.blocks_needed(spec, prompt) > machine_.num_blocks) continue;
        ++added;
        live_.insert(scheduler_.add(std::move(spec)));
      }
      if (!live_.empty() && rng_() % 40 == 0) finish(*live_.begin());  // a cancel
      clock_.advance_ns(1000);
      const StepPlan& plan = scheduler_.schedule(clock_.now_ns());
      check(plan);
      if (testing::Test::HasFailure()) return 0;
      idle_steps = plan.items.empty() ? idle_steps + 1 : 0;
      EXPECT_LT(idle_steps, 200) << "no progress";
      if (plan.items.empty()) {
        if (added == count && live_.empty()) break;
        if (live_.empty() || idle_steps < 200) continue;
        return 0;
      }
      rng_() % 50 == 0 ? fail() : succeed();
      const Status integrity = scheduler_.check_integrity();
      EXPECT_TRUE(integrity.ok()) << integrity.error().message;
      if (testing::Test::HasFailure()) return 0;
    }
    EXPECT_TRUE(live_.empty() && scheduler_.idle());
    EXPECT_EQ(blocks_.available(), machine_.num_blocks);
    if (machine_.scheduler.capacity == CapacityPolicy::kGuaranteedNoEvict) {
      EXPECT_EQ(scheduler_.counters().preemptions, faulted_) << "only faults may restart sequences";
    }
    return trace_;
  }

  uint64_t preemptions() const { return scheduler_.counters().preemptions; }

 private:
  void finish(SeqId id) {
    scheduler_.finish(id);
    live_.erase(id);
  }

  void check(const StepPlan& plan) {
    int64_t tokens = 0, rows = 0;
    std::set<SeqId> seen;
    bool prefill = false, decode = false;
    for (const PlanItem& item : plan.items) {
      EXPECT_TRUE(seen.insert(item.sequence).second) << "a sequence is planned twice";
      const Sequence& s = scheduler_.sequence(item.sequence);
      EXPECT_EQ(s.state, SequenceState::kRunning);
      EXPECT_EQ(item.start, scheduler_.computed(item.sequence));
      EXPECT_GT(item.count, 0);
      EXPECT_LE(item.start + item.count, s.known());
      EXPECT_GE(item.rows(), item.start + item.count == s.known() ? 1 : 0);
      const auto table = static_cast<int64_t>(blocks_.blocks(s.table).size());
      EXPECT_GE(table * machine_.block_tokens, item.start + item.count) << "no room for the chunk";
      (s.output_tokens() > 0 && item.count == 1 ? decode : prefill) = true;
      tokens += item.count;
      rows += item.rows();
      trace_ = trace_ * 1000003 +
               static_cast<uint64_t>(item.sequence * 4096 + item.start * 64 + item.count);
    }
    if (machine_.scheduler.batching == BatchingMode::kStatic && faulted_ == 0) {
      EXPECT_FALSE(prefill && decode) << "a static batch mixes its phases";
    }
    EXPECT_EQ(tokens, plan.tokens);
    EXPECT_EQ(rows, plan.rows);
    EXPECT_LE(tokens, machine_.scheduler.max_num_tokens);
    EXPECT_LE(rows, machine_.scheduler.max_logit_rows);
    EXPECT_LE(scheduler_.num_running(), machine_.scheduler.max_batch_size);
  }

  void succeed() {
    const std::vector<PlanItem> items = scheduler_.plan().items;
    scheduler_.complete();
    for (const PlanItem& item : items) {
      if (item.start + item.count < scheduler_.sequence(item.sequence).known()) continue;
      std::vector<SeqId> samples = {item.sequence};
      while (scheduler_.sequence(item.sequence).spec.fanout > 1) {
        samples.push_back(scheduler_.fork(item.sequence));
        live_.insert(samples.back());
      }
      for (const SeqId id : samples) {
        const Sequence& s = scheduler_.sequence(id);
        const bool ends = s.output_tokens() + 1 >= s.spec.max_output || rng_() % 30 == 0;
        ends ? finish(id) : scheduler_.append(id, static_cast<int32_t>(rng_() % 4));
      }
    }
  }

  void fail() {
    const std::vector<PlanItem> items = scheduler_.plan().items;
    const uint64_t before = scheduler_.counters().preemptions;
    scheduler_.fail_step();
    faulted_ += scheduler_.counters().preemptions - before;
    for (const PlanItem& item : items) finish(item.sequence);
  }

  std::mt19937 rng_;
  Machine machine_;
  FakeClock clock_;
  kv::BlockManager blocks_;
  Scheduler scheduler_;
  std::set<SeqId> live_;
  uint64_t trace_ = 0;
  uint64_t faulted_ = 0;
};

TEST(Scheduler, RandomMachinesServeEverySequence) {
  uint64_t preemptions = 0;
  for (uint32_t seed = 1; seed <= 60; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 rng(seed);
    const Machine machine = random_machine(rng);
    Simulation first(seed, machine), second(seed, machine);
    const uint64_t trace = first.run(120);
    ASSERT_FALSE(HasFailure());
    EXPECT_EQ(second.run(120), trace) << "the same calls gave other plans";
    preemptions += first.preemptions();
  }
  EXPECT_GT(preemptions, 100u) << "the simulation must exercise preemption";
}

SchedulerConfig small_config() {
  SchedulerConfig config;
  config.max_batch_size = 4;
  config.max_num_tokens = 16;
  config.max_logit_rows = 16;
  return config;
}

SequenceSpec spec_of(std::vector<int32_t> tokens, int64_t max_output = 8, int priority = 0) {
  SequenceSpec spec;
  spec.tokens = std::move(tokens);
  spec.max_output = max_output;
  spec.priority = priority;
  return spec;
}

std::vector<SeqId> planned(const StepPlan& plan) {
  std::vector<SeqId> ids;
  for (const PlanItem& item : plan.items) ids.push_back(item.sequence);
  return ids;
}

TEST(Scheduler, DecodesComeBeforeChunksOfALongPrompt) {
  kv::BlockManager blocks({64, 4, 0, true});
  Scheduler scheduler(small_config(), &blocks);
  const SeqId a = scheduler.add(spec_of({1, 2, 3}));
  EXPECT_EQ(planned(scheduler.schedule(0)), std::vector<SeqId>{a});
  scheduler.complete();
  scheduler.append(a, 9);
  const SeqId b = scheduler.add(spec_of(std::vector<int32_t>(40, 7)));
  const StepPlan& plan = scheduler.schedule(0);
  EXPECT_EQ(plan.items, (std::vector<PlanItem>{{a, 3, 1, 3}, {b, 0, 15, 15}}));
  scheduler.complete();
  scheduler.append(a, 9);
  EXPECT_EQ(scheduler.schedule(0).items, (std::vector<PlanItem>{{a, 4, 1, 4}, {b, 15, 15, 30}}));
}

TEST(Scheduler, APrefixBeingComputedIsWaitedFor) {
  kv::BlockManager blocks({64, 4, 0, true});
  Scheduler scheduler(small_config(), &blocks);
  std::vector<int32_t> tokens(24, 5);
  const SeqId a = scheduler.add(spec_of(tokens));
  tokens.push_back(6);
  const SeqId b = scheduler.add(spec_of(tokens));
  const SeqId c = scheduler.add(spec_of({1, 2}));
  scheduler.schedule(0);
  EXPECT_EQ(planned(scheduler.plan()), (std::vector<SeqId>{a}));
  scheduler.complete();  // 16 of a's 24
  EXPECT_EQ(planned(scheduler.schedule(0)), (std::vector<SeqId>{a, c}))
      << "c overtakes b, which waits";
  scheduler.complete();
  scheduler.append(a, 1), scheduler.append(c, 1);
  EXPECT_EQ(planned(scheduler.schedule(0)), (std::vector<SeqId>{a, c, b}));
  EXPECT_EQ(scheduler.sequence(b).cached_tokens, 24);
  EXPECT_EQ(scheduler.plan().items.back(), (PlanItem{b, 24, 1, 24}));
}

TEST(Scheduler, TheLastInOrderIsPreemptedAndRestartsWithItsTokens) {
  kv::BlockManager blocks({4, 4, 0, true});
  SchedulerConfig config = small_config();
  config.capacity = CapacityPolicy::kOvercommit;
  Scheduler scheduler(config, &blocks);
  const SeqId a = scheduler.add(spec_of({1, 2, 3}, 12));
  const SeqId b = scheduler.add(spec_of({4, 5, 6}, 12));
  bool preempted = false;
  for (int i = 0; i < 12; ++i) {
    const std::vector<PlanItem> items = scheduler.schedule(0).items;
    for (const SeqId id : scheduler.plan().preempted) {
      EXPECT_EQ(id, b);
      preempted = true;
    }
    scheduler.complete();
    for (const PlanItem& item : items) {
      if (scheduler.sequence(item.sequence).output_tokens() < 11) {
        scheduler.append(item.sequence, 10 + i);
      } else {
        scheduler.finish(item.sequence);
      }
    }
  }
  EXPECT_TRUE(preempted);
  EXPECT_EQ(scheduler.sequence(a).state, SequenceState::kFree);
  EXPECT_EQ(scheduler.sequence(b).prompt_tokens, 3);
  EXPECT_GT(scheduler.sequence(b).output_tokens(), 0) << "generated tokens are kept";
  EXPECT_EQ(planned(scheduler.schedule(0)), std::vector<SeqId>{b});
}

TEST(Scheduler, AHigherPriorityPushesOutALowerOne) {
  kv::BlockManager blocks({4, 4, 0, true});
  Scheduler scheduler(small_config(), &blocks);
  const SeqId low = scheduler.add(spec_of(std::vector<int32_t>(12, 1), 4, 0));
  scheduler.schedule(0);
  scheduler.complete();
  scheduler.append(low, 1);
  const SeqId same = scheduler.add(spec_of(std::vector<int32_t>(12, 2), 4, 0));
  EXPECT_EQ(planned(scheduler.schedule(0)), std::vector<SeqId>{low});
  scheduler.complete();
  scheduler.append(low, 1);
  const SeqId high = scheduler.add(spec_of(std::vector<int32_t>(12, 3), 4, 1));
  EXPECT_EQ(planned(scheduler.schedule(0)), std::vector<SeqId>{high});
  EXPECT_EQ(scheduler.sequence(low).state, SequenceState::kWaiting);
  EXPECT_EQ(scheduler.sequence(same).state, SequenceState::kWaiting);
}

TEST(Scheduler, GuaranteedNoEvictAdmitsOnlyWhatIsSureToFinish) {
  kv::BlockManager blocks({8, 4, 0, true});
  SchedulerConfig config = small_config();
  config.capacity = CapacityPolicy::kGuaranteedNoEvict;
  Scheduler scheduler(config, &blocks);
  const SeqId a = scheduler.add(spec_of({1, 2, 3, 4}, 13));  // 16 computed tokens: 4 blocks
  const SeqId b = scheduler.add(spec_of({5, 6, 7, 8}, 17));  // 5 blocks
  EXPECT_EQ(planned(scheduler.schedule(0)), std::vector<SeqId>{a});
  scheduler.finish(a);
  EXPECT_EQ(planned(scheduler.schedule(0)), std::vector<SeqId>{b});
}

TEST(Scheduler, AStaticBatchRunsToItsEndBeforeTheNext) {
  kv::BlockManager blocks({64, 4, 0, true});
  SchedulerConfig config = small_config();
  config.batching = BatchingMode::kStatic;
  config.max_batch_size = 2;
  Scheduler scheduler(config, &blocks);
  const SeqId a = scheduler.add(spec_of({1}, 4));
  const SeqId b = scheduler.add(spec_of({2}, 4));
  const SeqId c = scheduler.add(spec_of({3}, 4));
  EXPECT_EQ(planned(scheduler.schedule(0)), (std::vector<SeqId>{a, b}));
  scheduler.complete();
  scheduler.append(a, 1);
  scheduler.finish(b);
  EXPECT_EQ(planned(scheduler.schedule(0)), std::vector<SeqId>{a}) << "b's slot stays empty";
  scheduler.complete();
  scheduler.finish(a);
  EXPECT_EQ(planned(scheduler.schedule(0)), std::vector<SeqId>{c});
}

TEST(Scheduler, DeadlinesAreReported) {
  kv::BlockManager blocks({64, 4, 0, true});
  Scheduler scheduler(small_config(), &blocks);
  SequenceSpec spec = spec_of({1});
  spec.deadline_ns = 500;
  const SeqId a = scheduler.add(std::move(spec));
  scheduler.add(spec_of({2}));
  std::vector<SeqId> expired;
  EXPECT_EQ(scheduler.next_deadline_ns(), 500);
  scheduler.expired(499, &expired);
  EXPECT_TRUE(expired.empty());
  scheduler.expired(500, &expired);
  EXPECT_EQ(expired, std::vector<SeqId>{a});
  scheduler.finish(a);
  EXPECT_EQ(scheduler.next_deadline_ns(), 0);
}

TEST(Scheduler, APausedSequenceIsNeitherRunNorWaitedFor) {
  kv::BlockManager blocks({64, 4, 0, true});
  Scheduler scheduler(small_config(), &blocks);
  const std::vector<int32_t> tokens(24, 5);
  const SeqId a = scheduler.add(spec_of(tokens));
  const SeqId b = scheduler.add(spec_of(tokens));
  scheduler.schedule(0);
  scheduler.complete();
  scheduler.set_paused(a, true);
  EXPECT_EQ(planned(scheduler.schedule(0)), std::vector<SeqId>{b});
  EXPECT_EQ(scheduler.plan().items[0].start, 16) << "what a has computed is shared";
}

}  // namespace
}  // namespace ramjet::runtime
