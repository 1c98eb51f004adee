#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <ramjet/functional.h>

#include <cmath>
#include <random>

#include "base/thread_pool.h"
#include "compiler/compiler.h"
#include "compiler/emit/materialise.h"
#include "compiler/memory/plan.h"
#include "compiler/program_builder.h"
#include "compiler/rewrite.h"
#include "compiler/tactics/choose.h"
#include "compiler/test_engine.h"
#include "engine/dummy_weights.h"
#include "ir/network.h"
#include "tensor/half.h"

namespace ramjet::compiler {
namespace {

using ::testing::HasSubstr;

TEST(ProgramBuilder, FoldsAndShares) {
  ProgramBuilder builder;
  const auto x = builder.input(7);
  const auto program = PointwiseProgram::parse(
                           "1: r1=const(2) r2=const(3) r3=add(r1,r2) r4=mul(r0,r3) r5=mul(r0,r3) "
                           "r6=add(r4,r5) r7=const(1) r8=div(r6,r7) -> r8,r4")
                           .value();
  const auto out = builder.apply(program, std::vector{x});
  const auto built = builder.finish(out);
  EXPECT_EQ(built.program.text(), "1: r1=const(5) r2=mul(r0,r1) r3=add(r2,r2) -> r3,r2");
  EXPECT_EQ(built.inputs, std::vector<int64_t>{7});
  const int64_t reserved[] = {3};
  EXPECT_EQ(builder.finish(out, reserved).inputs, (std::vector<int64_t>{3, 7}));
}

TEST(MemoryPlan, LiveRangesDoNotOverlap) {
  std::mt19937 random(1);
  for (int round = 0; round < 200; ++round) {
    std::vector<LiveRange> ranges;
    uint64_t floor = 0;
    for (int i = 0; i < 40; ++i) {
      const int64_t first = static_cast<int64_t>(random() % 60);
      ranges.push_back({first, first + static_cast<int64_t>(random() % 8), random() % 5000});
    }
    const Packing packing = pack_ranges(ranges);
    for (size_t i = 0; i < ranges.size(); ++i) {
      EXPECT_EQ(packing.offsets[i] % 64, 0u);
      EXPECT_LE(packing.offsets[i] + ranges[i].bytes, packing.arena_bytes);
      for (size_t k = 0; k < i; ++k) {
        const bool live = ranges[i].first <= ranges[k].last && ranges[k].first <= ranges[i].last;
        const bool overlap = packing.offsets[i] < packing.offsets[k] + ranges[k].bytes &&
                             packing.offsets[k] < packing.offsets[i] + ranges[i].bytes;
        EXPECT_FALSE(live && overlap) << round << ": " << i << " and " << k;
      }
    }
    for (int64_t at = 0; at < 70; ++at) {
      uint64_t live = 0;
      for (const LiveRange& r : ranges) live += at >= r.first && at <= r.last ? r.bytes : 0;
      floor = std::max(floor, live);
    }
    EXPECT_LE(packing.arena_bytes, 2 * floor + 4096) << "of a floor of " << floor;
  }
}

TEST(MemoryPlan, ReshapesAreViewsWhereTheyCanBe) {
  const auto graph = ir::parse(R"(graph "main" {
  symbol t 1..2..4
  %x = input : f32[t, 8]
  %a = softmax(%x) "a" : f32[t, 8]
  %b = reshape(%a) "b" : f32[t, 2, 4]
  %c = softmax(%b) "c" : f32[t, 2, 4]
  %d = reshape(%c) "d" : f32[t, 8]
  %e = reshape(%x) "e" : f32[t, 4, 2]
  output "d" = %d
  output "e" = %e
})");
  ASSERT_TRUE(graph.ok()) << graph.error().message;
  const MemoryPlan plan = plan_memory(*graph, {{0, 100}});
  const auto node = [&](std::string_view name) {
    for (ir::NodeId id : graph->order()) {
      if (graph->node(id).name == name) return static_cast<size_t>(id);
    }
    return size_t{99};
  };
  EXPECT_TRUE(plan.is_view[node("b")]);
  EXPECT_TRUE(plan.is_view[node("d")]) << "c writes the output itself";
  EXPECT_FALSE(plan.is_view[node("e")]) << "an input is copied to an output";
  EXPECT_EQ(
      plan.places[static_cast<size_t>(graph->result(static_cast<ir::NodeId>(node("c"))))].space,
      engine::Space::kOutput);
  EXPECT_EQ(plan.slots.size(), 2u) << "a and the workspace";
}

TEST(Rewrite, IndirectPathsRespectTheCache) {
  const auto graph = ir::parse(R"(graph "main" {
  symbol t 1..2..4
  symbol s 1..1..2
  %x = input : f32[t, 8]
  %q = input : i32[s+1]
  %l = input : i32[s]
  %b = input : i32[s, 2]
  %k = pointwise(%x) {program="1: r1=exp(r0) -> r1"} "k" : f32[t, 8]
  kv_append(%k, %x, %q, %l, %b) {num_heads=1 num_kv_heads=1 head_dim=8 v_head_dim=8} "append"
  %a = paged_attention(%x, %q, %l, %b) {num_heads=1 num_kv_heads=1 head_dim=8 v_head_dim=8} "a" : f32[t, 8]
  %y = pointwise(%a, %k) {program="2: r2=add(r0,r1) -> r2"} "y" : f32[t, 8]
  output "y" = %y
})");
  ASSERT_TRUE(graph.ok()) << graph.error().message;
  const auto& order = graph->order();
  EXPECT_TRUE(has_indirect_path(*graph, order[0], order[3])) << "through the cache";
  EXPECT_FALSE(has_indirect_path(*graph, order[2], order[3]));
}

// Weights ------------------------------------------------------------------------------------

std::vector<float> ramp(int64_t count, float step = 1) {
  std::vector<float> values(static_cast<size_t>(count));
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i) * step;
  return values;
}

ir::Value weight_value(TensorType type, ir::WeightRecipe recipe) {
  return {.kind = ir::Value::Kind::kWeight,
          .name = "w",
          .type = std::move(type),
          .recipe = std::move(recipe)};
}

std::vector<float> made(const ir::Value& value, const WeightSource* source) {
  auto result = materialise(value, source);
  EXPECT_TRUE(result.ok()) << (result.ok() ? "" : result.error().message);
  return result.ok() ? test::decode(result->bytes, value.type.dtype) : std::vector<float>{};
}

TEST(Materialise, TransposesStacksAndConverts) {
  test::MapSource source;
  source.set("a", {2, 3}, ramp(6));
  source.set("b", {1, 3}, {10, 11, 12}, DType::kBf16);
  EXPECT_EQ(
      made(weight_value({DType::kF32, {3, 2}}, {.sources = {"a"}, .transpose = true}), &source),
      (std::vector<float>{0, 3, 1, 4, 2, 5}));
  const ir::WeightRecipe stack{.sources = {"a", "b"}, .combine = ir::WeightRecipe::Combine::kStack};
  EXPECT_EQ(made(weight_value({DType::kBf16, {3, 3}}, stack), &source),
            (std::vector<float>{0, 1, 2, 3, 4, 5, 10, 11, 12}));
  const auto wrong = materialise(weight_value({DType::kF32, {4, 3}}, stack), &source);
  ASSERT_FALSE(wrong.ok());
  EXPECT_THAT(wrong.error().message, HasSubstr("3 rows"));
  const auto absent = materialise(weight_value({DType::kF32, {4}}, {.sources = {"c"}}), &source);
  ASSERT_FALSE(absent.ok());
  EXPECT_EQ(absent.error().code, ErrorCode::kNotFound);
}

TEST(Materialise, TakesRowsOfATensorThatHoldsSeveral) {
  test::MapSource source;
  source.set("qkv", {6, 2}, ramp(12));
  source.set("conv", {2, 6}, ramp(12));
  source.set("v", {1, 2}, {50, 51});
  ir::WeightRecipe recipe{.sources = {"qkv"}, .rows = {{.first = 2, .count = 2}}};
  EXPECT_EQ(made(weight_value({DType::kF32, {2, 2}}, recipe), &source),
            (std::vector<float>{4, 5, 6, 7}));
  recipe.rows = {{.first = 1, .count = 4, .run = 2, .stride = 3}};
  EXPECT_EQ(made(weight_value({DType::kF32, {4, 2}}, recipe), &source),
            (std::vector<float>{2, 3, 4, 5, 8, 9, 10, 11}));
  const ir::WeightRecipe transposed{
      .sources = {"conv"}, .rows = {{.first = 4, .count = 2}}, .transpose = true};
  EXPECT_EQ(made(weight_value({DType::kBf16, {2, 2}}, transposed), &source),
            (std::vector<float>{4, 10, 5, 11}));
  const ir::WeightRecipe stack{.sources = {"qkv", "v"},
                               .rows = {{.first = 5, .count = 1}, {}},
                               .combine = ir::WeightRecipe::Combine::kStack};
  EXPECT_EQ(made(weight_value({DType::kF32, {2, 2}}, stack), &source),
            (std::vector<float>{10, 11, 50, 51}));
  recipe.rows = {{.first = 3, .count = 4}};
  const auto beyond = materialise(weight_value({DType::kF32, {4, 2}}, recipe), &source);
  ASSERT_FALSE(beyond.ok());
  EXPECT_THAT(beyond.error().message, HasSubstr("'qkv' has 6 rows"));
}

TEST(Materialise, InterleavesTilesOf16Rows) {
  test::MapSource source;
  source.set("g", {20, 1}, ramp(20));
  source.set("u", {20, 1}, ramp(20, -1));
  const auto rows =
      made(weight_value({DType::kF32, {40, 1}},
                        {.sources = {"g", "u"}, .combine = ir::WeightRecipe::Combine::kInterleave}),
           &source);
  ASSERT_EQ(rows.size(), 40u);
  EXPECT_EQ(rows[15], 15);
  EXPECT_EQ(rows[16], -0.0f);
  EXPECT_EQ(rows[31], -15);
  EXPECT_EQ(rows[32], 16);  // the last tile has four rows of each
  EXPECT_EQ(rows[35], 19);
  EXPECT_EQ(rows[36], -16);
  EXPECT_EQ(rows[39], -19);
}

using Recipe = ir::WeightRecipe;

TEST(Materialise, ExpertsFromTensorsOfTheirOwnOrStacked) {
  test::MapSource source;
  source.set("g0", {1, 2}, {0, 1});
  source.set("u0", {1, 2}, {2, 3});
  source.set("g1", {1, 2}, {4, 5});
  source.set("u1", {1, 2}, {6, 7});
  const TensorType type{DType::kF32, {2, 2, 2}};
  const Recipe own{
      .sources = {"g0", "u0", "g1", "u1"}, .combine = Recipe::Combine::kInterleave, .experts = 2};
  EXPECT_EQ(made(weight_value(type, own), &source), ramp(8));

  source.set("halves", {2, 2, 2}, ramp(8));
  Recipe stacked{
      .sources = {"halves", "halves"}, .combine = Recipe::Combine::kInterleave, .experts = 2};
  stacked.rows = {{.first = 0, .count = 1}, {.first = 1, .count = 1}};
  EXPECT_EQ(made(weight_value(type, stacked), &source), ramp(8));

  // Rows of gate and up alternate, and lie as columns.
  source.set("columns", {2, 2, 4}, ramp(16));
  stacked.sources = {"columns", "columns"};
  stacked.rows = {{.first = 0, .count = 2, .run = 1, .stride = 2},
                  {.first = 1, .count = 2, .run = 1, .stride = 2}};
  stacked.transpose = true;
  EXPECT_EQ(made(weight_value({DType::kF32, {2, 4, 2}}, stacked), &source),
            (std::vector<float>{0, 4, 2, 6, 1, 5, 3, 7, 8, 12, 10, 14, 9, 13, 11, 15}));

  source.set("bias", {2, 4}, ramp(8));
  const Recipe bias{
      .sources = {"bias"}, .rows = {{.first = 1, .count = 2, .run = 1, .stride = 2}}, .experts = 2};
  EXPECT_EQ(made(weight_value({DType::kF32, {2, 2}}, bias), &source),
            (std::vector<float>{1, 3, 5, 7}));

  const auto wrong = materialise(
      weight_value({DType::kF32, {3, 2, 2}}, {.sources = {"halves"}, .experts = 3}), &source);
  ASSERT_FALSE(wrong.ok());
  EXPECT_THAT(wrong.error().message, HasSubstr("wants [3, ..]"));
}

TEST(Materialise, FourBitFloatsWithExponents) {
  test::MapSource source;
  // One expert of one row of 32: codes 0 .. 15 twice, times 2^1.
  std::vector<float> blocks;
  for (int i = 0; i < 16; ++i)
    blocks.push_back(static_cast<float>((2 * i + 1) % 16 * 16 + 2 * i % 16));
  source.set("w_blocks", {1, 1, 1, 16}, blocks, DType::kU8);
  source.set("w_scales", {1, 1, 1}, {128}, DType::kU8);
  const auto row = made(
      weight_value({DType::kF32, {1, 1, 32}}, {.sources = {"w_blocks"}, .experts = 1}), &source);
  ASSERT_EQ(row.size(), 32u);
  const std::vector<float> half = {0, 1, 2, 3, 4, 6, 8, 12};
  for (size_t i = 0; i < 32; ++i) {
    EXPECT_EQ(std::abs(row[i]), half[i % 8]) << i;
    EXPECT_EQ(std::signbit(row[i]), i % 16 >= 8) << i;
  }
  source.set("w_scales", {1, 1, 1}, {255}, DType::kU8);
  EXPECT_FALSE(
      materialise(weight_value({DType::kF32, {1, 1, 32}}, {.sources = {"w_blocks"}, .experts = 1}),
                  &source)
          .ok());
}

TEST(Materialise, QuantizesRows) {
  test::MapSource source;
  source.set("a", {2, 4}, {1, -2, 0.5f, 0, 0, 0, 0, 0});
  ir::WeightRecipe recipe{.sources = {"a"}, .quant = WeightQuant::kInt8Channel};
  const auto values = materialise(weight_value({DType::kI8, {2, 4}}, recipe), &source);
  ASSERT_TRUE(values.ok());
  std::vector<int> integers;
  for (std::byte b : values->bytes) integers.push_back(static_cast<int8_t>(b));
  EXPECT_EQ(integers, (std::vector<int>{64, -127, 32, 0, 0, 0, 0, 0}));
  recipe.part = ir::WeightRecipe::Part::kScales;
  EXPECT_EQ(made(weight_value({DType::kF32, {2}}, recipe), &source),
            (std::vector<float>{2.0f / 127, 0}));
  source.set("a", {2, 4}, {1, INFINITY, 0, 0, 0, 0, 0, 0});
  EXPECT_FALSE(materialise(weight_value({DType::kF32, {2}}, recipe), &source).ok());
}

TEST(Materialise, QuantizesRowsToFp8) {
  std::vector<float> values = {1, -2, 0.5f, 0, 0, 0, 0, 0};
  for (int i = 0; i < 4096; ++i)
    values.push_back(std::ldexp(std::sin(static_cast<float>(i)), i % 24));
  test::MapSource source;
  source.set("a", {2, 4}, {1, -2, 0.5f, 0, 0, 0, 0, 0});
  ir::WeightRecipe recipe{.sources = {"a"}, .quant = WeightQuant::kFp8Channel};
  const auto exact = materialise(weight_value({DType::kF8E4M3, {2, 4}}, recipe), &source);
  ASSERT_TRUE(exact.ok()) << exact.error().message;
  EXPECT_EQ(test::decode(exact->bytes, DType::kF8E4M3),
            (std::vector<float>{224, -448, 112, 0, 0, 0, 0, 0}));
  recipe.part = ir::WeightRecipe::Part::kScales;
  EXPECT_EQ(made(weight_value({DType::kF32, {2}}, recipe), &source),
            (std::vector<float>{2.0f / 448, 0}));
  // The vector form is the definition of tensor/half.h, at every magnitude.
  source.set("b", {1, 4104}, values);
  recipe = {.sources = {"b"}, .quant = WeightQuant::kFp8Channel};
  const auto many = materialise(weight_value({DType::kF8E4M3, {1, 4104}}, recipe), &source);
  ASSERT_TRUE(many.ok()) << many.error().message;
  float most = 0;
  for (float v : values) most = std::max(most, std::fabs(v));
  const float inverse = 1.0f / (most / 448.0f);
  for (size_t i = 0; i < values.size(); ++i) {
    ASSERT_EQ(static_cast<uint8_t>(many->bytes[i]), f32_to_e4m3(values[i] * inverse)) << values[i];
  }
}

/// Scales beside a tensor, as checkpoints of eight-bit floats have them.
class ScaledSource final : public WeightSource {
 public:
  test::MapSource tensors;
  std::map<std::string, WeightScale, std::less<>> scales;
  Result<TensorView> view(std::string_view name) const override { return tensors.view(name); }
  Result<std::optional<WeightScale>> scale(std::string_view name) const override {
    const auto it = scales.find(name);
    return it == scales.end() ? std::nullopt : std::optional<WeightScale>(it->second);
  }
};

TEST(Materialise, Fp8OfACheckpointIsKeptOrScaledAgain) {
  ScaledSource source;
  source.tensors.set("w", {2, 4}, {1, 2, 3, 4, 5, 6, 7, 8}, DType::kF8E4M3);
  source.tensors.set("one", {1}, {0.5f});
  source.tensors.set("rows", {2, 1}, {0.5f, 0.25f}, DType::kBf16);
  source.tensors.set("blocks", {1, 2}, {1, 10});
  const auto use = [&](const std::string& name, int64_t rows, int64_t cols) {
    source.scales["w"] = {source.tensors.view(name).value(), rows, cols};
  };
  ir::WeightRecipe fp8{.sources = {"w"}, .quant = WeightQuant::kFp8Channel};
  ir::WeightRecipe scales = fp8;
  scales.part = ir::WeightRecipe::Part::kScales;
  const ir::Value values = weight_value({DType::kF8E4M3, {2, 4}}, fp8);
  const std::vector<float> stored = {1, 2, 3, 4, 5, 6, 7, 8};
  use("one", 2, 4);
  EXPECT_EQ(made(values, &source), stored);
  EXPECT_EQ(made(weight_value({DType::kF32, {2}}, scales), &source),
            (std::vector<float>{0.5f, 0.5f}));
  use("rows", 1, 4);
  EXPECT_EQ(made(values, &source), stored);
  EXPECT_EQ(made(weight_value({DType::kF32, {2}}, scales), &source),
            (std::vector<float>{0.5f, 0.25f}));
  EXPECT_EQ(made(weight_value({DType::kBf16, {2, 4}}, {.sources = {"w"}}), &source),
            (std::vector<float>{0.5f, 1, 1.5f, 2, 1.25f, 1.5f, 1.75f, 2}));
  use("blocks", 2, 2);  // rows 1 2 30 40 and 5 6 70 80: other scales, so other values
  EXPECT_EQ(made(weight_value({DType::kF32, {2}}, scales), &source),
            (std::vector<float>{40.0f / 448, 80.0f / 448}));
  EXPECT_EQ(made(values, &source), (std::vector<float>{11, 22, 320, 448, 28, 32, 384, 448}));
  use("blocks", 1, 4);
  EXPECT_EQ(made(values, &source), stored) << "two scales for two rows";
  use("one", 1, 4);
  const auto few = materialise(values, &source);
  ASSERT_FALSE(few.ok());
  EXPECT_THAT(few.error().message, HasSubstr("has 1 f32 scales for blocks of 1 x 4"));
}

TEST(Materialise, E5m2IsQuantizedAgain) {
  test::MapSource source;
  source.set("w", {1, 3}, {1024, -1.25f, 0});
  source.tensors["w"].dtype = DType::kF8E5M2;
  source.tensors["w"].bytes = {std::byte{0x64}, std::byte{0xbd}, std::byte{0}};
  const ir::WeightRecipe fp8{.sources = {"w"}, .quant = WeightQuant::kFp8Channel};
  EXPECT_EQ(made(weight_value({DType::kF8E4M3, {1, 3}}, fp8), &source),
            (std::vector<float>{448, -0.5625f, 0}));
  EXPECT_EQ(made(weight_value({DType::kF32, {1, 3}}, {.sources = {"w"}}), &source),
            (std::vector<float>{1024, -1.25f, 0}));
}

TEST(Materialise, DummiesHaveTheirDistribution) {
  const auto values = made(weight_value({DType::kF32, {100, 200}}, {.sources = {"x"}}), nullptr);
  double sum = 0, square = 0;
  for (float v : values) sum += v, square += static_cast<double>(v) * v;
  EXPECT_NEAR(sum / 20000, 0, 0.001);
  EXPECT_NEAR(std::sqrt(square / 20000), 0.02, 0.001);
  EXPECT_NEAR(made(weight_value({DType::kF32, {4}}, {.sources = {"x"}}), nullptr)[3], 1, 0.1);
  EXPECT_EQ(engine::dummy_kind("q.bias", 1), engine::DummyKind::kMatrix);
  std::vector<float> part(10);
  engine::fill_dummy(std::as_writable_bytes(std::span(part)), DType::kF32, engine::dummy_seed("w"),
                     engine::DummyKind::kMatrix, 50);
  EXPECT_TRUE(std::equal(part.begin(), part.end(), values.begin() + 50));
}

// Whole builds -------------------------------------------------------------------------------

CompileOptions quick() {
  CompileOptions options;
  options.target = kernels::Target::host();
  options.tune = false;
  options.num_threads = 2;
  return options;
}

TEST(Compile, BuildsOneKernelForAnMlp) {
  Network net("main");
  net.set_profile("rows", {1, 4, 8});
  const Tensor x = net.input("x", DType::kF32, {"rows", 3});
  const Tensor w = net.weight("w", DType::kF32, {3, 2}), b = net.weight("b", DType::kF32, {2});
  net.mark_output("y", relu(matmul(x, w) + b));
  test::MapSource source;
  source.set("w", {3, 2}, {1, 2, 3, 4, 5, 6});
  source.set("b", {2}, {-20, 1});
  const test::TemporaryFile path("mlp.engine");
  const auto report =
      compile(net.impl().graph, source, {}, {{"tokenizer", "abc"}}, path.path(), quick());
  ASSERT_TRUE(report.ok()) << report.error().message;
  const auto file = engine::EngineFile::open(path.path(), engine::EngineFile::Verify::kChecksums);
  ASSERT_TRUE(file.ok()) << file.error().message;
  EXPECT_EQ(file->asset("tokenizer"), "abc");
  ASSERT_EQ(file->manifest().programs[0].records.size(), 1u);
  EXPECT_EQ(file->manifest().programs[0].records[0].fused,
            (std::vector<std::string>{"w", "add", "relu"}));
  ThreadPool pool(1);
  const auto outputs = test::run_engine(
      *file, {{DType::kF32, {2, 3}, test::encode({1, 1, 1, 2, 2, 2}, DType::kF32)}}, {2}, pool);
  EXPECT_EQ(test::decode(outputs[0].bytes, DType::kF32), (std::vector<float>{0, 13, 0, 25}));
}

TEST(Compile, CopiesOutputsThatNoKernelMakes) {
  Network net;
  const Tensor x = net.input("x", DType::kI32, {3});
  const Tensor w = net.weight("w", DType::kF32, {2});
  net.mark_output("a", x);
  net.mark_output("b", x);
  net.mark_output("w", w);
  test::MapSource source;
  source.set("w", {2}, {5, 6});
  const test::TemporaryFile path("copy.engine");
  const auto report = compile(net.impl().graph, source, {}, {}, path.path(), quick());
  ASSERT_TRUE(report.ok()) << report.error().message;
  const auto file = engine::EngineFile::open(path.path());
  ASSERT_TRUE(file.ok());
  ThreadPool pool(1);
  const int32_t ids[] = {7, 8, 9};
  const auto bytes = std::as_bytes(std::span(ids));
  const auto outputs =
      test::run_engine(*file, {{DType::kI32, {3}, {bytes.begin(), bytes.end()}}}, {}, pool);
  EXPECT_EQ(outputs[1].bytes, outputs[0].bytes);
  EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), outputs[0].bytes.begin()));
  EXPECT_EQ(test::decode(outputs[2].bytes, DType::kF32), (std::vector<float>{5, 6}));
}

TEST(Compile, TunesAndRemembers) {
  Network net;
  net.set_profile("rows", {1, 4, 64});
  const Tensor x = net.input("x", DType::kBf16, {"rows", 256});
  net.mark_output("y", matmul(x, net.weight("w", DType::kBf16, {256, 256}), true));
  CompileOptions options = quick();
  options.tune = true;
  options.weights = BuildOptions::Weights::kDummyStored;
  const test::TemporaryFile path("tuned.engine");
  const auto report = compile(net.impl().graph, test::MapSource(), {}, {}, path.path(), options);
  ASSERT_TRUE(report.ok()) << report.error().message;
  const auto file = engine::EngineFile::open(path.path());
  ASSERT_TRUE(file.ok());
  const auto& record = file->manifest().programs[0].records[0];
  EXPECT_EQ(record.choices.back().upto, 64);
  EXPECT_EQ(record.choices[0].us > 0, report->tuned) << "only a choice among several is timed";
  for (const auto& choice : record.choices) {
    EXPECT_NE(kernels::find_tactic(choice.tactic), nullptr);
    if (record.choices.size() > 1)
      EXPECT_THAT(choice.tactic, ::testing::Not(HasSubstr("reference")));
  }
}

TEST(Compile, RefusesWhatItCannotBuild) {
  const test::TemporaryFile path("refused.engine");
  auto message = [&](auto&& define, CompileOptions options) {
    Network net;
    define(net);
    const auto report = compile(net.impl().graph, test::MapSource(), {}, {}, path.path(), options);
    return report.ok() ? std::string() : report.error().message;
  };
  const auto plain = [](Network& net) {
    net.mark_output("y", relu(net.input("x", DType::kF32, {4})));
  };
  EXPECT_EQ(message(plain, quick()), "");
  EXPECT_THAT(
      message([](Network& net) { net.mark_output("y", relu(net.input("x", DType::kF32, {"n"}))); },
              quick()),
      HasSubstr("symbol 'n' has no profile"));
  EXPECT_THAT(message([](Network& net) { net.input("x", DType::kF32, {4}); }, quick()),
              HasSubstr("no output"));
  CompileOptions options = quick();
  options.parallel.tp = 2;
  EXPECT_THAT(message(plain, options), HasSubstr("one rank"));
  options = quick();
  options.disabled_passes = {"fuse_everything"};
  EXPECT_THAT(message(plain, options), HasSubstr("there is no pass 'fuse_everything'"));
  options.disabled_passes = {"tactics"};
  EXPECT_THAT(message(plain, options), HasSubstr("cannot be switched off"));
  EXPECT_THAT(message(
                  [](Network& net) {
                    const Tensor x = net.input("x", DType::kF32, {4, 4});
                    net.mark_output("y", matmul(x, net.weight("absent", DType::kF32, {4, 4})));
                  },
                  quick()),
              HasSubstr("absent"));
}

TEST(Choose, BucketsDoubleUpToTheMaximum) {
  EXPECT_EQ(buckets(20, false), (std::vector<int64_t>{1, 2, 4, 8, 16, 20}));
  EXPECT_EQ(buckets(1, false), std::vector<int64_t>{1});
  EXPECT_EQ(buckets(200, true),
            (std::vector<int64_t>{1, 2, 4, 8, 16, 32, 48, 64, 80, 96, 112, 128, 160, 192, 200}));
}

}  // namespace
}  // namespace ramjet::compiler
