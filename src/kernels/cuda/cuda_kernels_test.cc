// Every device kernel compiles for its targets without a GPU, within its budget of registers,
// spills and shared memory.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "device/cuda/nvrtc.h"
#include "kernels/cuda/compile_log.h"
#include "kernels/cuda/cuda_tactics.h"
#include "kernels/cuda/device_sources.h"
#include "kernels/cuda/gemm_sm90.h"
#include "kernels/cuda/pointwise_codegen.h"

namespace ramjet::kernels::cuda {
namespace {

GemmSm90Config gemm_config(bool fp8, int block_t, int accumulators) {
  GemmSm90Config config{.n = 4096, .k = 4096, .fp8 = fp8, .block_t = block_t};
  config.accumulators = accumulators;
  const std::string_view program =
      accumulators == 2 ? "2: r2=silu(r0) r3=mul(r2,r1) -> r3" : "2: r2=add(r0,r1) -> r2";
  config.epilogue = PointwiseProgram::parse(program).value();
  if (accumulators == 1) config.operands = {{.by_token = true, .by_feature = true}};
  return config;
}

Result<device::cuda::NvrtcResult> compile_gemm(const GemmSm90Config& config) {
  device::cuda::NvrtcSource source;
  source.name = "gemm";
  source.arch = "sm_90a";
  source.source = gemm_sm90_source(config);
  source.defines = gemm_sm90_defines(config);
  for (const DeviceSource& s : device_sources()) source.headers.push_back({s.name, s.text});
  return device::cuda::nvrtc_compile(source);
}

class GemmMatrix : public testing::TestWithParam<std::tuple<bool, int>> {};

TEST_P(GemmMatrix, CompilesWithinItsBudget) {
  if (auto version = device::cuda::nvrtc_version(); !version.ok()) {
    GTEST_SKIP() << version.error().message;
  }
  const auto [fp8, block_t] = GetParam();
  for (const auto& [accumulators, segments] :
       {std::pair(1, 0), std::pair(2, 0), std::pair(1, 1), std::pair(2, 4)}) {
    if (segments > 1 && block_t == 256) continue;
    GemmSm90Config config = gemm_config(fp8, block_t, accumulators);
    config.segments = segments;
    EXPECT_GE(gemm_sm90_stages(config), 4);
    EXPECT_LE(gemm_sm90_shared_bytes(config), 227u << 10);
    auto result = compile_gemm(config);
    ASSERT_TRUE(result.ok()) << result.error().message;
    const CompileLog used = read_compile_log(result->log);
    EXPECT_GT(used.registers, 0) << result->log;
    EXPECT_LE(used.registers, 168) << result->log;  // 384 threads share 65,536
    EXPECT_EQ(used.spill_bytes, 0) << result->log;
    EXPECT_EQ(result->log.find("C7508"), std::string::npos) << "setmaxnreg ignored";
    EXPECT_EQ(result->log.find("serializ"), std::string::npos) << result->log;
  }
}

INSTANTIATE_TEST_SUITE_P(Sm90, GemmMatrix,
                         testing::Combine(testing::Bool(),
                                          testing::Values(8, 16, 32, 64, 128, 256)));

/// A slim block leaves half of the registers and attention's shared memory, and never meets its
/// like.
TEST_P(GemmMatrix, SlimAndClustersCompileWithinTheirBudgets) {
  if (auto version = device::cuda::nvrtc_version(); !version.ok()) {
    GTEST_SKIP() << version.error().message;
  }
  const auto [fp8, block_t] = GetParam();
  for (const auto& [accumulators, segments] : {std::pair(1, 0), std::pair(2, 0), std::pair(1, 4)}) {
    const bool tight = block_t == 32 || block_t == 64 || block_t == 256;
    if (segments > 1 && tight) continue;  // no registers
    GemmSm90Config config = gemm_config(fp8, block_t, accumulators);
    config.segments = segments;
    const bool small = block_t <= 64;
    config.slim = small;
    config.cluster = small ? 1 : 2;
    EXPECT_GE(gemm_sm90_stages(config), 4);
    EXPECT_LE(gemm_sm90_shared_bytes(config), small ? 128u << 10 : 227u << 10);
    EXPECT_GT(2 * gemm_sm90_shared_bytes(config), 228u << 10);
    auto result = compile_gemm(config);
    ASSERT_TRUE(result.ok()) << result.error().message;
    const CompileLog used = read_compile_log(result->log);
    EXPECT_GT(used.registers, 0) << result->log;
    EXPECT_LE(used.registers * static_cast<int>(gemm_sm90_threads(config)), small ? 32768 : 65536);
    EXPECT_EQ(used.spill_bytes, 0) << result->log;
    EXPECT_EQ(result->log.find("C7508"), std::string::npos) << "setmaxnreg ignored";
    EXPECT_EQ(result->log.find("serializ"), std::string::npos) << result->log;
  }
}

/// Whole tiles and tiles cut among a cluster.
TEST_P(GemmMatrix, WholeAndCutTilesCompileWithinTheirBudgets) {
  if (auto version = device::cuda::nvrtc_version(); !version.ok()) {
    GTEST_SKIP() << version.error().message;
  }
  const auto [fp8, block_t] = GetParam();
  for (int parts : {1, 2, 4}) {
    if (block_t == 256 && parts > 1) continue;  // no room for the others' sums
    for (int accumulators : {1, 2}) {
      GemmSm90Config config = gemm_config(fp8, block_t, accumulators);
      config.parts = parts;
      if (block_t == 128 && parts == 2) config.cluster = 2;
      config.slim = parts > 1 && block_t <= 32;
      EXPECT_GE(gemm_sm90_stages(config), 3);
      EXPECT_LE(gemm_sm90_shared_bytes(config), 227u << 10);
      EXPECT_EQ(gemm_sm90_workspace_bytes(config, 132), 0);
      EXPECT_EQ(gemm_sm90_blocks_of_tile(config), 32 * parts);
      EXPECT_EQ(gemm_sm90_most_blocks(config, 132) % gemm_sm90_cluster(config), 0);
      auto result = compile_gemm(config);
      ASSERT_TRUE(result.ok()) << result.error().message;
      const CompileLog used = read_compile_log(result->log);
      EXPECT_LE(used.registers, config.slim ? 112 : 168) << result->log;
      EXPECT_EQ(used.spill_bytes, 0) << result->log << parts;
      EXPECT_EQ(result->log.find("serializ"), std::string::npos) << result->log;
    }
  }
}

/// Sums alone, or with an operand of features: the epilogue stays in registers.
TEST_P(GemmMatrix, DirectEpiloguesCompileWithinTheirBudgets) {
  if (auto version = device::cuda::nvrtc_version(); !version.ok()) {
    GTEST_SKIP() << version.error().message;
  }
  const auto [fp8, block_t] = GetParam();
  GemmSm90Config config = gemm_config(fp8, block_t, 1);
  config.fragments = false;
  EXPECT_EQ(gemm_sm90_direct(config), block_t <= 16) << "with an operand of all elements";
  config.operands = {{.by_feature = true}};
  EXPECT_TRUE(gemm_sm90_direct(config));
  config.slim = block_t <= 16;
  const unsigned room = config.slim ? 32768 : 65536;
  EXPECT_GE(gemm_sm90_stages(config), 4);
  EXPECT_LE(gemm_sm90_shared_bytes(config), config.slim ? 128u << 10 : 227u << 10);
  auto result = compile_gemm(config);
  ASSERT_TRUE(result.ok()) << result.error().message;
  const CompileLog used = read_compile_log(result->log);
  EXPECT_GT(used.registers, 0) << result->log;
  EXPECT_LE(static_cast<unsigned>(used.registers) * gemm_sm90_threads(config), room);
  EXPECT_EQ(used.spill_bytes, 0) << result->log;
  EXPECT_EQ(result->log.find("serializ"), std::string::npos) << result->log;
}

TEST(GemmEpilogue, StaysInRegistersWhereItFits) {
  const auto ways = [](const GemmSm90Config& c) {
    return std::pair(gemm_sm90_fragments(c), gemm_sm90_direct(c));
  };
  const std::pair fragments(true, false), direct(false, true), rows(false, false);
  GemmSm90Config config = gemm_config(true, 256, 1);  // with a residual
  EXPECT_EQ(ways(config), fragments);
  config.operands[0].dtype = DType::kF32;
  EXPECT_EQ(ways(config), rows);
  config.operands = {{.by_feature = true}};
  EXPECT_EQ(ways(config), fragments);
  config.block_t = 32;
  EXPECT_EQ(ways(config), direct);
  config.outputs = {DType::kF32};
  EXPECT_EQ(ways(config), rows);
  EXPECT_EQ(ways(gemm_config(true, 16, 1)), fragments);
  EXPECT_EQ(ways(gemm_config(true, 8, 1)), direct) << "half a step of tokens";
  EXPECT_EQ(ways(gemm_config(true, 64, 2)), fragments);
  EXPECT_EQ(ways(gemm_config(true, 32, 2)), direct);
}

TEST(GemmEpilogue, OddSizesAndSeveralOutputsCompile) {
  if (auto version = device::cuda::nvrtc_version(); !version.ok()) {
    GTEST_SKIP() << version.error().message;
  }
  GemmSm90Config config{.n = 61, .k = 72, .block_t = 16, .fixed_tokens = 5};
  config.epilogue =
      PointwiseProgram::parse("4: r4=add(r0,r1) r5=mul(r4,r2) r6=gelu(r5) r7=max(r6,r3) -> r7,r4")
          .value();
  config.operands = {{.dtype = DType::kF32, .by_feature = true}, {.by_token = true}, {}};
  config.outputs = {DType::kF32, DType::kBf16};
  auto result = compile_gemm(config);
  EXPECT_TRUE(result.ok()) << result.error().message;
}

/// Shares of rows: which, in how many stages, and what the compiler makes of them.
TEST(GemmRows, CompileWithinTheirBudgets) {
  EXPECT_EQ(gemm_sm90_rows(6144), 48);
  EXPECT_EQ(gemm_sm90_rows(4096), 32);
  EXPECT_EQ(gemm_sm90_rows(8192), 64);
  EXPECT_EQ(gemm_sm90_rows(28672), 0) << "more than 64 rows";
  EXPECT_EQ(gemm_sm90_rows(1160), 0) << "no whole shares";
  if (auto version = device::cuda::nvrtc_version(); !version.ok()) {
    GTEST_SKIP() << version.error().message;
  }
  for (const bool fp8 : {false, true}) {
    GemmSm90Config config = gemm_config(fp8, fp8 ? 8 : 16, 1);
    config.fragments = false;
    config.parts = 1;
    config.rows = gemm_sm90_rows(config.n);
    const bool all = gemm_rows_hold_all(config);
    config.slim = !all;
    ASSERT_TRUE(config.rows > 0 && gemm_sm90_direct(config));
    // Rounds of a ring must be the same warps' (device/gemm_rows.cuh).
    if (!all) EXPECT_EQ(gemm_sm90_stages(config) % 4, 0);
    EXPECT_LE(gemm_sm90_shared_bytes(config), all ? 227u << 10 : 126u << 10);
    EXPECT_EQ(gemm_sm90_blocks_of_tile(config) * config.rows, config.n);
    auto result = compile_gemm(config);
    ASSERT_TRUE(result.ok()) << result.error().message;
    const CompileLog used = read_compile_log(result->log);
    EXPECT_LE(used.registers, 64) << result->log;
    EXPECT_EQ(used.spill_bytes, 0) << result->log;
    EXPECT_EQ(result->log.find("serializ"), std::string::npos) << result->log;
  }
}

/// Every op is known to the code generator.
TEST(PointwiseCodegen, AllOpsCompile) {
  if (auto version = device::cuda::nvrtc_version(); !version.ok()) {
    GTEST_SKIP() << version.error().message;
  }
  PointwiseProgram program{.num_inputs = 3, .instrs = {}, .outputs = {}};
  for (int op = 0; op <= static_cast<int>(PointwiseOp::kCastF16); ++op) {
    program.instrs.push_back({static_cast<PointwiseOp>(op), 0, 1, 2, 1.5f});
    program.outputs.push_back(static_cast<int16_t>(3 + op));
  }
  device::cuda::NvrtcSource source;
  source.name = "pointwise";
  source.arch = "sm_80";
  source.source = "#include \"pointwise.cuh\"\n" + pointwise_function(program, "apply") +
                  "extern \"C\" __global__ void run(const float* x, float* y) {\n"
                  "  const float in[3] = {x[0], x[1], x[2]};\n  float out[" +
                  std::to_string(program.outputs.size()) +
                  "];\n  apply(in, out);\n  for (int i = 0; i < " +
                  std::to_string(program.outputs.size()) + "; ++i) y[i] = out[i];\n}\n";
  for (const DeviceSource& s : device_sources()) source.headers.push_back({s.name, s.text});
  const auto result = device::cuda::nvrtc_compile(source);
  EXPECT_TRUE(result.ok()) << result.error().message << source.source;
}

TEST(GemmLayout, IsABijectionIntoTiles) {
  constexpr int64_t kRows = 128, kBytes = 256;
  std::set<int64_t> seen;
  for (int64_t r = 0; r < kRows; ++r) {
    for (int64_t b = 0; b < kBytes; ++b) seen.insert(gemm_sm90_weight_offset(r, b, kBytes / 128));
  }
  EXPECT_EQ(seen.size(), static_cast<size_t>(kRows * kBytes));
  EXPECT_EQ(*seen.rbegin(), kRows * kBytes - 1);
  EXPECT_EQ(gemm_sm90_weight_offset(1, 0, 2), 128 + 16);    // unit 0 ^ 1
  EXPECT_EQ(gemm_sm90_weight_offset(0, 128, 2), 64 * 128);  // the next k block
}

TEST(GemmLayout, PairsMeetEightRowsApart) {
  std::set<int64_t> seen;
  for (int64_t feature = 0; feature < 48; ++feature) {
    // The compiler lays tiles of 16 rows of each weight in turn.
    const int64_t gate = gemm_sm90_pair_row(feature / 16 * 32 + feature % 16);
    const int64_t up = gemm_sm90_pair_row(feature / 16 * 32 + feature % 16 + 16);
    EXPECT_EQ(gate, feature / 8 * 16 + feature % 8);
    EXPECT_EQ(up, gate + 8);
    seen.insert({gate, up});
  }
  EXPECT_EQ(seen.size(), 96u);
  EXPECT_EQ(*seen.rbegin(), 95);
}

TEST(GemmLayout, PadsRowsAndColumnsWithZeros) {
  for (const WeightLayout& layout : layouts()) {
    constexpr int64_t kRows = 96, kCols = 72;  // bf16: 144 bytes a row
    const auto bytes = static_cast<size_t>(layout.packed_bytes(kRows, kCols, DType::kBf16));
    ASSERT_EQ(bytes, 128u * 256u);
    const std::vector<std::byte> source(kRows * kCols * 2, std::byte{1});
    std::vector<std::byte> out(bytes, std::byte{7});
    layout.pack(source, kRows, kCols, DType::kBf16, out);
    EXPECT_EQ(std::count(out.begin(), out.end(), std::byte{1}), kRows * kCols * 2) << layout.name;
    EXPECT_EQ(std::count(out.begin(), out.end(), std::byte{7}), 0) << layout.name;
  }
}

}  // namespace
}  // namespace ramjet::kernels::cuda
