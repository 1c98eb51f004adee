// Every device kernel compiles for its targets without a GPU, within its budget of registers,
// spills and shared memory.
#include <gtest/gtest.h>

#include <regex>
#include <set>

#include "kernels/cuda/gemm_sm90.h"

namespace ramjet::kernels::cuda {
namespace {

struct Resources {
  int registers = 0;
  int spills = 0;
};

Resources resources_of(const std::string& log) {
  Resources out;
  std::smatch match;
  if (std::regex_search(log, match, std::regex("Used (\\d+) registers"))) {
    out.registers = std::stoi(match[1]);
  }
  if (std::regex_search(log, match, std::regex("(\\d+) bytes spill stores"))) {
    out.spills = std::stoi(match[1]);
  }
  return out;
}

class GemmMatrix : public testing::TestWithParam<std::tuple<bool, int>> {};

TEST_P(GemmMatrix, CompilesWithinItsBudget) {
  if (auto version = device::cuda::nvrtc_version(); !version.ok()) {
    GTEST_SKIP() << version.error().message;
  }
  const auto [fp8, block_t] = GetParam();
  for (bool gated : {false, true}) {
    GemmSm90Config config{.n = 4096, .k = 4096, .fp8 = fp8, .block_t = block_t};
    config.gated = gated;
    config.residual = !gated;
    EXPECT_GE(gemm_sm90_stages(config), 4);
    EXPECT_LE(gemm_sm90_shared_bytes(config), 227u << 10);
    auto result = device::cuda::nvrtc_compile(gemm_sm90_source(config));
    ASSERT_TRUE(result.ok()) << result.error().message;
    const Resources used = resources_of(result->log);
    EXPECT_GT(used.registers, 0) << result->log;
    EXPECT_LE(used.registers, 168) << result->log;  // 384 threads share 65,536
    EXPECT_EQ(used.spills, 0) << result->log;
    EXPECT_EQ(result->log.find("C7508"), std::string::npos) << "setmaxnreg ignored";
    EXPECT_EQ(result->log.find("serializ"), std::string::npos) << result->log;
  }
}

INSTANTIATE_TEST_SUITE_P(Sm90, GemmMatrix,
                         testing::Combine(testing::Bool(),
                                          testing::Values(8, 16, 32, 64, 128, 256)));

TEST(GemmLayout, IsABijectionIntoTiles) {
  constexpr int64_t kRows = 128, kBytes = 256;
  std::set<int64_t> seen;
  for (int64_t r = 0; r < kRows; ++r) {
    for (int64_t b = 0; b < kBytes; ++b) seen.insert(gemm_sm90_weight_offset(r, b, kBytes));
  }
  EXPECT_EQ(seen.size(), static_cast<size_t>(kRows * kBytes));
  EXPECT_EQ(*seen.rbegin(), kRows * kBytes - 1);
  EXPECT_EQ(gemm_sm90_weight_offset(1, 0, kBytes), 128 + 16);    // unit 0 ^ 1
  EXPECT_EQ(gemm_sm90_weight_offset(0, 128, kBytes), 64 * 128);  // the next k block
}

}  // namespace
}  // namespace ramjet::kernels::cuda
