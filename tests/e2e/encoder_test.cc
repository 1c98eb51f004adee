// Encoders against `transformers`: hidden rows, pooled vectors and class scores, alone and packed.
#include <ramjet/encoder.h>

#include <gmock/gmock.h>

#include "golden.h"

namespace ramjet::e2e {
namespace {

constexpr float kTolerance = 1e-3f;

struct EncoderGolden {
  EncoderInput input;
  std::vector<float> first, last, mean, scores;
};

std::vector<EncoderGolden> read_encoder_goldens(const std::string& folder) {
  std::vector<EncoderGolden> goldens;
  Result<Json> json = read_json_file(folder + "/goldens.json");
  EXPECT_TRUE(json.ok()) << folder;
  for (const Json& item : (*json)["inputs"]) {
    EncoderGolden golden{{item["ids"], item["token_types"]},
                         item["hidden"][0].get<std::vector<float>>(),
                         item["hidden"][1].get<std::vector<float>>(),
                         item["mean"].get<std::vector<float>>(),
                         {}};
    if (item.contains("scores")) golden.scores = item["scores"].get<std::vector<float>>();
    goldens.push_back(std::move(golden));
  }
  return goldens;
}

std::vector<EncoderInput> inputs_of(const std::vector<EncoderGolden>& goldens) {
  std::vector<EncoderInput> inputs;
  for (const EncoderGolden& golden : goldens) inputs.push_back(golden.input);
  return inputs;
}

float furthest(std::span<const float> a, std::span<const float> b) {
  EXPECT_EQ(a.size(), b.size());
  float worst = 0;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    worst = std::max(worst, std::fabs(a[i] - b[i]));
  }
  return worst;
}

class EncoderModels : public testing::TestWithParam<std::string> {
 protected:
  std::string folder() const { return "tests/data/encoders/" + GetParam(); }
  std::unique_ptr<Encoder> make(const BuildOptions& options) {
    auto engine = build_and_load(folder(), options);
    if (!engine.ok()) {
      ADD_FAILURE() << engine.error().message;
      return nullptr;
    }
    auto encoder = Encoder::create(*engine);
    if (!encoder.ok()) {
      ADD_FAILURE() << encoder.error().message;
      return nullptr;
    }
    return std::move(*encoder);
  }
  void expect_goldens(Encoder& encoder, const std::vector<EncoderGolden>& goldens) {
    const auto inputs = inputs_of(goldens);
    const auto means = encoder.embed(inputs, {.pooling = Pooling::kMean});
    const auto firsts = encoder.embed(inputs, {.pooling = Pooling::kFirst});
    const auto lasts = encoder.embed(inputs, {.pooling = Pooling::kLast});
    ASSERT_TRUE(means.ok() && firsts.ok() && lasts.ok()) << means.error().message;
    ASSERT_EQ(means->size(), goldens.size());
    const auto scores = encoder.scores(inputs);
    ASSERT_EQ(scores.ok(), !goldens[0].scores.empty());
    for (size_t i = 0; i < goldens.size(); ++i) {
      EXPECT_LE(furthest((*means)[i], goldens[i].mean), kTolerance) << i;
      EXPECT_LE(furthest((*firsts)[i], goldens[i].first), kTolerance) << i;
      EXPECT_LE(furthest((*lasts)[i], goldens[i].last), kTolerance) << i;
      if (scores.ok()) EXPECT_LE(furthest((*scores)[i], goldens[i].scores), kTolerance) << i;
    }
  }
};

TEST_P(EncoderModels, F32EqualsTransformersPackedAndInSteps) {
  const auto goldens = read_encoder_goldens(folder());
  ASSERT_GE(goldens.size(), 4u);
  const auto encoder = make(f32_options());
  ASSERT_NE(encoder, nullptr);
  expect_goldens(*encoder, goldens);
  BuildOptions narrow = f32_options();  // several steps, most of one input
  narrow.max_num_tokens = 96;
  narrow.max_batch_size = 2;
  const auto stepwise = make(narrow);
  ASSERT_NE(stepwise, nullptr);
  expect_goldens(*stepwise, goldens);
}

TEST_P(EncoderModels, OtherPrecisionsStayClose) {
  const auto goldens = read_encoder_goldens(folder());
  for (const char* form : {"bf16", "int8"}) {
    BuildOptions options = f32_options();
    if (std::string(form) == "bf16") options.dtype = form;
    if (std::string(form) == "int8") options.quantize = form;
    const auto encoder = make(options);
    ASSERT_NE(encoder, nullptr);
    const auto vectors =
        encoder->embed(inputs_of(goldens), {.pooling = Pooling::kMean, .normalize = true});
    ASSERT_TRUE(vectors.ok()) << vectors.error().message;
    for (size_t i = 0; i < goldens.size(); ++i) {
      double dot = 0, length = 0;
      for (size_t k = 0; k < goldens[i].mean.size(); ++k) {
        dot += double{(*vectors)[i][k]} * double{goldens[i].mean[k]};
        length += double{goldens[i].mean[k]} * double{goldens[i].mean[k]};
      }
      EXPECT_GT(dot / std::sqrt(length), 0.99) << form << ", input " << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Goldens, EncoderModels,
                         testing::Values("bert", "bert-classes", "bert-tokens", "roberta-classes",
                                         "distilbert-classes"),
                         [](const auto& info) { return slug(info.param); });

TEST(Encoders, WithEachPassOff) {
  const std::string folder = "tests/data/encoders/bert-classes";
  const auto goldens = read_encoder_goldens(folder);
  BuildOptions options = f32_options();
  const std::string path = testing::TempDir() + "/encoder-passes.engine";
  Result<BuildReport> report = build_engine(folder, path, options);
  ASSERT_TRUE(report.ok()) << report.error().message;
  for (const PassTime& pass : report->passes) {
    options.disabled_passes = {pass.name};
    auto engine = build_and_load(folder, options);
    if (!engine.ok()) continue;  // required ones say so: Family.F32WithEachPassOff
    auto encoder = Encoder::create(*engine);
    ASSERT_TRUE(encoder.ok()) << encoder.error().message;
    const auto scores = (*encoder)->scores(inputs_of(goldens));
    ASSERT_TRUE(scores.ok()) << scores.error().message;
    EXPECT_LE(furthest(scores->back(), goldens.back().scores), kTolerance) << pass.name;
  }
}

TEST(Encoders, WhatIsWrongIsNamed) {
  using testing::HasSubstr;
  auto engine = build_and_load("tests/data/encoders/bert", f32_options());
  ASSERT_TRUE(engine.ok()) << engine.error().message;
  auto encoder = Encoder::create(*engine);
  ASSERT_TRUE(encoder.ok()) << encoder.error().message;
  const auto message = [&](EncoderInput input) {
    const auto result = (*encoder)->embed({&input, 1}, {});
    return result.ok() ? std::string("ok") : result.error().message;
  };
  EXPECT_THAT(message({{}, {}}), HasSubstr("0 tokens, it must be 1 to 96"));
  EXPECT_THAT(message({std::vector<int32_t>(97, 5), {}}), HasSubstr("97 tokens"));
  EXPECT_THAT(message({{5, 128}, {}}), HasSubstr("id 128"));
  EXPECT_THAT(message({{5, 6}, {0}}), HasSubstr("1 token types"));
  EXPECT_THAT(message({{5, 6}, {0, 2}}), HasSubstr("token type 2"));
  const EncoderInput one{{5}, {}};
  const auto scores = (*encoder)->scores({&one, 1});
  ASSERT_FALSE(scores.ok());
  EXPECT_THAT(scores.error().message, HasSubstr("no classification head"));
  const auto executor = Executor::create(*engine, {});
  ASSERT_FALSE(executor.ok());
  EXPECT_THAT(executor.error().message, HasSubstr("encoder"));
  auto decoder = build_and_load("tests/data/models/llama", f32_options());
  ASSERT_TRUE(decoder.ok()) << decoder.error().message;
  const auto refused = Encoder::create(*decoder);
  ASSERT_FALSE(refused.ok());
  EXPECT_THAT(refused.error().message, HasSubstr("no encoder"));
}

}  // namespace
}  // namespace ramjet::e2e
