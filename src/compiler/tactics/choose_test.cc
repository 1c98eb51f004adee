// What the cost model and a timer make of candidates, by bucket.
#include "compiler/tactics/choose.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <set>

#include "compiler/tactics/device_timer.h"
#include "compiler/tactics/timing_cache.h"

namespace ramjet::compiler {
namespace {

/// y[tokens or logit_rows, n] = x[.., k] w[n, k]^T.
struct MatmulCase {
  OpAttrs attrs = MatmulDesc{};
  std::vector<Symbol> symbols = {{"tokens", 1, 256, 8192}, {"logit_rows", 0, 8, 256}};
  std::vector<TensorType> inputs, outputs;

  MatmulCase(int64_t n, int64_t k, int symbol = 0, DType dtype = DType::kBf16) {
    inputs = {{dtype, {Dim::of(symbol), k}}, {dtype, {n, k}}};
    outputs = {{DType::kBf16, {Dim::of(symbol), n}}};
    if (dtype != DType::kF8E4M3) return;
    attrs = MatmulDesc{.quant = WeightQuant::kFp8Channel};
    inputs.push_back({DType::kF32, {n}});
    inputs.push_back({DType::kF32, {Dim::of(symbol)}});
  }
  kernels::OpDesc desc() const { return {OpKind::kMatmul, &attrs, inputs, outputs, symbols}; }
};

/// "8 gemm_t8 | 16 gemm_t16": the last size of each run of equal choices.
std::string text_of(const NodeChoice& choice) {
  std::string text;
  for (size_t i = 0; i < choice.choices.size(); ++i) {
    const engine::TacticChoice& c = choice.choices[i];
    if (i + 1 < choice.choices.size() && choice.choices[i + 1].tactic == c.tactic) continue;
    const size_t dot = c.tactic.find('.'), end = c.tactic.find(".v");
    text += fmt::format("{}{} {}", text.empty() ? "" : " | ", c.upto,
                        c.tactic.substr(dot + 1, end - dot - 1));
  }
  return text;
}

NodeChoice choose(const kernels::OpDesc& desc, TacticTimer* timer = nullptr) {
  const kernels::Target target{kernels::Isa::kScalar, 90};
  const auto found = kernels::find_tactics(desc, target);
  EXPECT_FALSE(found.empty());
  auto choice = choose_tactics(found, desc, {timer, kernels::DeviceFacts{}});
  EXPECT_TRUE(choice.ok()) << (choice.ok() ? "" : choice.error().message);
  return choice.ok() ? std::move(*choice) : NodeChoice{};
}

TEST(OneOrder, EveryBucketSumsAlike) {
  const kernels::Target target{kernels::Isa::kScalar, 90};
  for (const MatmulCase& product :
       {MatmulCase(28672, 8192), MatmulCase(4096, 4096), MatmulCase(6144, 4096, 0, DType::kF8E4M3),
        MatmulCase(1000, 72), MatmulCase(64, 64, 0, DType::kF32)}) {
    const kernels::OpDesc desc = product.desc();
    const auto found = kernels::find_tactics(desc, target, true);
    const auto choice = choose_tactics(found, desc, {nullptr, kernels::DeviceFacts{}, true});
    ASSERT_TRUE(choice.ok()) << choice.error().message;
    std::set<std::string> orders;
    for (const engine::TacticChoice& each : choice->choices) {
      const kernels::Tactic* tactic = kernels::find_tactic(each.tactic);
      ASSERT_NE(tactic->sum_order, nullptr) << each.tactic;
      orders.insert(tactic->sum_order(desc, *tactic));
    }
    EXPECT_EQ(orders.size(), 1u);
    EXPECT_EQ(choice->choices.back().upto, 8192);
    ASSERT_FALSE(choice->costs.empty());
    for (const OrderCost& cost : choice->costs) {
      EXPECT_GT(cost.free_us, 0);
      EXPECT_GE(cost.us, cost.free_us) << cost.upto;
    }
  }
}

template <int kUs>
double always(const kernels::OpDesc&, const kernels::Tactic&, const kernels::DeviceFacts&,
              std::span<const int64_t>) {
  return kUs;
}

TEST(OneOrder, ATacticWithoutOneIsNeverChosen) {
  const MatmulCase product(4096, 4096);
  kernels::Tactic varies{.name = "varies", .cost_us = always<1>};
  kernels::Tactic slow{.name = "slow", .cost_us = always<9>};
  const kernels::Tactic* const both[] = {&varies, &slow};
  const Chooser chooser{nullptr, kernels::DeviceFacts{}, true};
  const auto none = choose_tactics(both, product.desc(), chooser);
  ASSERT_FALSE(none.ok());
  EXPECT_EQ(none.error().code, ErrorCode::kUnsupported);
  slow.sum_order = kernels::own_sum_order;
  const auto choice = choose_tactics(both, product.desc(), chooser);
  ASSERT_TRUE(choice.ok()) << choice.error().message;
  EXPECT_EQ(text_of(*choice), "8192 slow");
  EXPECT_EQ(choice->costs[0].us, 9);
  EXPECT_EQ(choice->costs[0].free_us, 1);
}

TEST(OneOrder, WhatIsMadeForItIsNoCandidateWithout) {
  const MatmulCase product(4096, 4096);
  const kernels::OpDesc desc = product.desc();
  const kernels::Target target{kernels::Isa::kScalar, 90};
  for (const kernels::Tactic* tactic : kernels::find_tactics(desc, target)) {
    EXPECT_FALSE(tactic->invariant_only) << tactic->name;
  }
}

TEST(CostModel, TilesOfTokensFollowTheBatch) {
  // Three tiles of 128 waste less of 384 tokens than two of 256; whole tiles win where a wave of
  // them is nearly full, or where so many are cut that joining them is dear.
  const std::string large = " | 128 gemm_t128 | 256 gemm_t256 | 384 gemm_t128x2 | 8192 gemm_t256x2";
  EXPECT_EQ(text_of(choose(MatmulCase(28672, 8192).desc())),
            "8 gemm_t8s | 16 gemm_t16s | 32 gemm_t32 | 64 gemm_t64" + large);
  EXPECT_EQ(text_of(choose(MatmulCase(6144, 4096).desc())),
            "8 gemm_t8r | 16 gemm_t16r | 32 gemm_t32s | 64 gemm_t64 | 128 gemm_t128 | 256 "
            "gemm_t128x2w | 384 gemm_t128x2 | 1536 gemm_t256x2 | 2048 gemm_t256x2w | 8192 "
            "gemm_t256x2");
  EXPECT_EQ(text_of(choose(MatmulCase(28672, 4096, 0, DType::kF8E4M3).desc())),
            "8 gemm_t8s | 16 gemm_t16s | 32 gemm_t32s | 64 gemm_t64s | 128 gemm_t128 | 256 "
            "gemm_t256x2w | 384 gemm_t128x2w | 768 gemm_t256x2 | 1024 gemm_t256x2w | 8192 "
            "gemm_t256x2");
}

TEST(CostModel, NothingIsCalledMeasured) {
  for (const engine::TacticChoice& choice : choose(MatmulCase(6144, 4096).desc()).choices) {
    EXPECT_EQ(choice.us, 0);
    EXPECT_TRUE(choice.candidates.empty());
  }
}

TEST(CostModel, RowsOfLogitsHaveRangesOfTheirOwn) {
  const NodeChoice head = choose(MatmulCase(128256, 4096, 1).desc());
  EXPECT_EQ(head.symbol, 1);
  EXPECT_EQ(head.choices.back().upto, 256);
  EXPECT_EQ(head.choices.front().tactic, "sm90.gemm_t8s.v1");
}

/// Paged attention of Llama-3-8B, at most 256 sequences and 8192 tokens a step.
class AttentionCase {
 public:
  AttentionCase() {
    AttentionDesc d;
    d.num_heads = 32, d.num_kv_heads = 8, d.head_dim = d.v_head_dim = 128, d.scale = 0.088;
    attrs_ = d;
  }
  kernels::OpDesc desc() const {
    return {OpKind::kPagedAttention, &attrs_, inputs_, outputs_, symbols_};
  }

 private:
  OpAttrs attrs_;
  std::vector<Symbol> symbols_ = {{"tokens", 1, 256, 8192}, {"sequences", 1, 8, 256}};
  std::vector<TensorType> inputs_ = {{DType::kBf16, {Dim::of(0), 4096}},
                                     {DType::kI32, {Dim::of(1, 1, 1)}},
                                     {DType::kI32, {Dim::of(1)}},
                                     {DType::kI32, {Dim::of(1), 128}}};
  std::vector<TensorType> outputs_ = {{DType::kBf16, {Dim::of(0), 4096}}};
};

TEST(CostModel, PromptsTakeTheTensorCores) {
  const AttentionCase attention;
  const NodeChoice choice = choose(attention.desc());
  EXPECT_EQ(choice.choices.front().tactic, "cuda.attention_sm90_cluster.v1") << "one sequence";
  EXPECT_EQ(choice.choices.back().tactic, "cuda.attention_sm90.v2");
  for (const auto& c : choice.choices) EXPECT_NE(c.tactic, "cuda.attention_any.v1") << c.upto;
}

/// Answers from a table of tactic names, whatever the size; 0: the budget is spent.
class FakeTimer final : public TacticTimer {
 public:
  explicit FakeTimer(std::map<std::string_view, double> times) : times_(std::move(times)) {}
  bool can_time(OpKind) const override { return true; }
  Status prepare(std::span<const TimingJob>, const std::function<void(double)>&) override {
    return ok_status();
  }
  Result<std::optional<double>> us(const kernels::Tactic& tactic, const kernels::OpDesc&,
                                   std::span<const int64_t> symbols) override {
    if (symbols[0] > most) return std::optional<double>();
    asked[tactic.name].push_back(symbols[0]);
    const auto it = times_.find(tactic.name);
    return std::optional<double>(it == times_.end() ? 100 : it->second);
  }
  Result<std::optional<double>> again(const kernels::Tactic& tactic, const kernels::OpDesc& desc,
                                      std::span<const int64_t> symbols) override {
    if (quiet.empty()) return std::optional<double>();
    times_[tactic.name] = quiet.at(tactic.name);
    return us(tactic, desc, symbols);
  }
  std::vector<engine::Candidate> baselines(const kernels::OpDesc&,
                                           std::span<const int64_t>) override {
    return {{"library", 1}};
  }
  void save() const override {}
  std::string machine() const override { return "fake"; }

  int64_t most = INT64_MAX;
  std::map<std::string_view, std::vector<int64_t>> asked;
  std::map<std::string_view, double> quiet;  // what a second look sees

 private:
  std::map<std::string_view, double> times_;
};

TEST(Choose, APreferredTacticThatLosesIsTimedAgain) {
  const MatmulCase product(4096, 4096);
  const kernels::Tactic wide{.name = "wide"}, narrow{.name = "narrow"};
  const kernels::Tactic* const both[] = {&wide, &narrow};
  const auto chosen = [&](double wide_us) {
    FakeTimer timer({{"wide", 50}, {"narrow", 20}});  // something else ran beside the first
    timer.quiet = {{"wide", wide_us}, {"narrow", 19}};
    const auto choice = choose_tactics(both, product.desc(), {&timer, {}});
    EXPECT_TRUE(choice.ok()) << choice.error().message;
    return choice.ok() ? choice->choices.front().tactic : "";
  };
  EXPECT_EQ(chosen(10), "wide");
  EXPECT_EQ(chosen(40), "narrow");
}

TEST(Choose, TheFastestWinsAndLibrariesDoNot) {
  FakeTimer timer({{"sm90.gemm_t64.v2", 7}});
  const NodeChoice choice = choose(MatmulCase(4096, 4096).desc(), &timer);
  const engine::TacticChoice& at_64 = choice.choices[choice.choices.size() / 2];
  EXPECT_EQ(at_64.tactic, "sm90.gemm_t64.v2");
  EXPECT_EQ(at_64.us, 7);
  EXPECT_EQ(at_64.candidates.back().tactic, "library");
  EXPECT_EQ(at_64.candidates.back().us, 1);
}

// Timed on prompts alone both are equal; beside prompts hundreds of sequences may decode.
TEST(Choose, StepsWithPromptsAreNotForClusters) {
  FakeTimer timer({{"cuda.attention_sm90_cluster.v1", 99}});
  const AttentionCase attention;
  const NodeChoice choice = choose(attention.desc(), &timer);
  EXPECT_EQ(choice.choices.front().tactic, "cuda.attention_sm90_cluster.v1");
  for (const auto& c : choice.choices) {
    if (c.upto > 256) EXPECT_EQ(c.tactic, "cuda.attention_sm90.v2") << c.upto;
  }
}

TEST(Choose, WhatHasNoHopeIsNotTimed) {
  FakeTimer timer({});
  const MatmulCase matmul(28672, 8192);
  choose(matmul.desc(), &timer);
  EXPECT_LE(timer.asked["sm90.gemm_t8.v2"].back(), 48) << "weights are read once a tile";
  EXPECT_EQ(timer.asked["sm90.gemm_t256.v2"].back(), 8192);
  EXPECT_TRUE(timer.asked["cuda.matmul_mma.v1"].empty());
  // All that choose() asks was announced.
  const auto found = kernels::find_tactics(matmul.desc(), {kernels::Isa::kScalar, 90});
  std::map<std::string_view, size_t> announced;
  const Chooser chooser{&timer, kernels::DeviceFacts{}};
  const kernels::OpDesc desc = matmul.desc();
  for (const TimingJob& job : timing_jobs(found, desc, chooser)) {
    announced[job.tactic->name] += job.values.size();
  }
  for (const auto& [name, sizes] : timer.asked) EXPECT_EQ(announced[name], sizes.size()) << name;
}

TEST(Choose, BeyondTheBudgetTheModelDecides) {
  FakeTimer timer({});
  timer.most = 16;
  const NodeChoice choice = choose(MatmulCase(28672, 8192).desc(), &timer);
  EXPECT_GT(choice.choices[0].us, 0);
  EXPECT_EQ(choice.choices.back().us, 0);
  EXPECT_EQ(choice.choices.back().tactic, "sm90.gemm_t256x2.v1");
  EXPECT_EQ(choice.choices.back().upto, 8192);
}

TEST(DeviceTimer, LayersShareTheirWork) {
  const auto text = [](int64_t layer, double scale, int64_t window) {
    AttentionDesc d;
    d.kv_layer = layer, d.k_scale = scale, d.window = window;
    const OpAttrs attrs = d;
    return work_text({OpKind::kPagedAttention, &attrs, {}, {}, {}});
  };
  EXPECT_EQ(text(0, 1, 0), text(7, 0.25, 0));
  EXPECT_NE(text(0, 1, 0), text(0, 1, 128));
}

TEST(DeviceTimer, SaysWhatIsMissing) {
  if (kernels::Target::gpu()) GTEST_SKIP() << "this machine has a GPU";
  const auto timer = DeviceTimer::create({kernels::Isa::kScalar, 90}, 1);
  ASSERT_FALSE(timer.ok());
  EXPECT_EQ(timer.error().code, ErrorCode::kUnavailable) << timer.error().message;
}

TEST(TimingCache, KeepsTimesOfAMachine) {
  const std::string machine = testing::TempDir() + " machine of a test, driver 1.2";
  {
    TimingCache cache(machine);
    cache.add("tactic 00ff 1,2", 1.5);
    cache.save();
  }
  EXPECT_EQ(TimingCache(machine).find("tactic 00ff 1,2"), 1.5);
  EXPECT_FALSE(TimingCache(machine).find("tactic 00ff 1,3").has_value());
  EXPECT_FALSE(TimingCache(machine + "0").find("tactic 00ff 1,2").has_value());
  TimingCache nowhere("");
  nowhere.add("a 1", 2);
  nowhere.save();
  EXPECT_EQ(TimingCache("").size(), 0u);
}

}  // namespace
}  // namespace ramjet::compiler
