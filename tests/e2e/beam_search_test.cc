// Beam search against transformers' generate(num_beams=..), all cases of a model in one batch.
#include <ramjet/beam_search.h>

#include <gmock/gmock.h>

#include "golden.h"

namespace ramjet::e2e {
namespace {

struct BeamCase {
  BeamRequest request;
  std::vector<Beam> beams;
  bool scored = false;
};

EarlyStopping early_of(const Json& json) {
  if (json.is_string()) return EarlyStopping::kNever;
  return json.get<bool>() ? EarlyStopping::kYes : EarlyStopping::kNo;
}

std::map<std::string, std::vector<BeamCase>> read_cases() {
  std::map<std::string, std::vector<BeamCase>> cases;
  Result<Json> json = read_json_file("tests/data/beam_goldens.json");
  EXPECT_TRUE(json.ok());
  for (const Json& item : (*json)["cases"]) {
    BeamCase made;
    made.request = {.prompt_ids = item["ids"],
                    .width = item["width"],
                    .count = item["width"],
                    .max_tokens = item["max_tokens"],
                    .length_penalty = item["length_penalty"],
                    .early_stopping = early_of(item["early_stopping"]),
                    .eos_ids = {item["eos"].get<int32_t>()}};
    for (const Json& beam : item["beams"]) {
      made.scored = !beam["score"].is_null();
      made.beams.push_back({beam["ids"], made.scored ? beam["score"].get<float>() : 0, false});
    }
    cases[item["model"]].push_back(std::move(made));
  }
  return cases;
}

TEST(BeamSearch, EqualsTransformersInBatchesOfMixedWidths) {
  int stopped = 0;
  for (const auto& [model, cases] : read_cases()) {
    auto engine = build_and_load("tests/data/models/" + model, f32_options());
    ASSERT_TRUE(engine.ok()) << engine.error().message;
    auto executor = Executor::create(*engine, {});
    ASSERT_TRUE(executor.ok()) << executor.error().message;
    std::vector<BeamRequest> requests;
    for (const BeamCase& each : cases) requests.push_back(each.request);
    const auto found = beam_search(**executor, requests, 120);
    ASSERT_TRUE(found.ok()) << found.error().message;
    ASSERT_EQ(found->size(), cases.size());
    for (size_t i = 0; i < cases.size(); ++i) {
      ASSERT_EQ((*found)[i].size(), cases[i].beams.size()) << model << " " << i;
      for (size_t k = 0; k < cases[i].beams.size(); ++k) {
        const Beam& ours = (*found)[i][k];
        EXPECT_EQ(ours.ids, cases[i].beams[k].ids) << model << ", case " << i << ", beam " << k;
        if (cases[i].scored) EXPECT_NEAR(ours.score, cases[i].beams[k].score, 1e-3);
        EXPECT_EQ(ours.stopped, ours.ids.back() == cases[i].request.eos_ids[0]);
        stopped += ours.stopped ? 1 : 0;
      }
    }
    EXPECT_GT((*executor)->stats().prefix_hits, 0u);
    EXPECT_TRUE((*executor)->check_integrity().ok());
  }
  EXPECT_GT(stopped, 10);  // the cases are about more than running to the end
}

TEST(BeamSearch, WhatIsWrongIsNamed) {
  auto engine = build_and_load("tests/data/models/llama", f32_options());
  ASSERT_TRUE(engine.ok()) << engine.error().message;
  auto executor = Executor::create(*engine, {});
  ASSERT_TRUE(executor.ok()) << executor.error().message;
  const auto message = [&](const BeamRequest& request) {
    const auto result = beam_search(**executor, {&request, 1}, 30);
    return result.ok() ? std::string("ok") : result.error().message;
  };
  using testing::HasSubstr;
  EXPECT_THAT(message({.prompt_ids = {5}, .width = 33}), HasSubstr("width 33"));
  EXPECT_THAT(message({.prompt_ids = {5}, .width = 2, .count = 3}), HasSubstr("count 3 of 2"));
  EXPECT_THAT(message({.prompt_ids = {5}, .max_tokens = 0}), HasSubstr("max_tokens 0"));
  EXPECT_THAT(message({.prompt_ids = {}}), HasSubstr("prompt"));
  EXPECT_EQ(message({.prompt_ids = {5}, .width = 2, .max_tokens = 3}), "ok");
}

}  // namespace
}  // namespace ramjet::e2e
