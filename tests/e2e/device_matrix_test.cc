// Engines for GPUs are built without one: every kernel of a whole model compiles for every
// architecture, and the engine carries it. Needs NVRTC; skipped, saying so, where there is none.
#include <gtest/gtest.h>
#include <ramjet/engine.h>

#include <filesystem>

#include "engine/engine_file.h"

namespace ramjet {
namespace {

struct Case {
  const char* target;
  const char* quantize;
  bool invariant = false;
};

class DeviceMatrix : public testing::TestWithParam<Case> {};

TEST_P(DeviceMatrix, AWholeModelCompiles) {
  const auto [target, quantize, invariant] = GetParam();
  const std::string path = testing::TempDir() + "/matrix-" + target + "-" + quantize +
                           (invariant ? "-invariant" : "") + ".engine";
  BuildOptions options;
  options.target = target;
  options.quantize = quantize;
  options.tune = false;
  options.batch_invariant = invariant;
  options.max_num_tokens = 64;
  options.max_batch_size = 16;
  options.weights = BuildOptions::Weights::kDummySeed;
  const auto report = build_engine("tests/data/models/tiny-llama", path, options);
  if (!report.ok() && report.error().code == ErrorCode::kUnavailable) {
    GTEST_SKIP() << report.error().message;
  }
  ASSERT_TRUE(report.ok()) << report.error().message;
  EXPECT_EQ(report->target, target);
  EXPECT_FALSE(report->tuned);
  EXPECT_EQ(report->invariant_costs.empty(), !invariant);
  const auto file = engine::EngineFile::open(path, engine::EngineFile::Verify::kChecksums);
  ASSERT_TRUE(file.ok()) << file.error().message;
  const engine::Manifest& manifest = file->manifest();
  EXPECT_FALSE(manifest.kernels.empty());
  ASSERT_EQ(manifest.programs.size(), 3u) << "main, sample, resolve";
  for (const engine::Program& program : manifest.programs) {
    for (const engine::LaunchRecord& record : program.records) {
      EXPECT_FALSE(record.choices[0].launches.empty()) << program.name << " " << record.name;
    }
  }
  size_t by_rows = 0;
  for (const engine::LaunchRecord& record : manifest.programs[0].records) {
    const auto& symbols = manifest.programs[0].symbols;
    by_rows += symbols[static_cast<size_t>(record.symbol)].name == "logit_rows" ? 1 : 0;
    for (const engine::TacticChoice& choice : record.choices) {
      EXPECT_FALSE(choice.launches.empty()) << record.name << " " << choice.tactic;
      EXPECT_EQ(choice.us, 0) << "nothing was measured";
    }
  }
  EXPECT_GE(by_rows, 2u) << "the last norm and the head follow the rows of logits";
  std::filesystem::remove(path);
}

INSTANTIATE_TEST_SUITE_P(Targets, DeviceMatrix,
                         testing::Values(Case{"sm_80", "none"}, Case{"sm_89", "none"},
                                         Case{"sm_90a", "none"}, Case{"sm_80", "none", true},
                                         Case{"sm_90a", "fp8", true}, Case{"sm_90a", "none", true}),
                         [](const auto& tested) {
                           return std::string(tested.param.target) + "_" + tested.param.quantize +
                                  (tested.param.invariant ? "_invariant" : "");
                         });

}  // namespace
}  // namespace ramjet
