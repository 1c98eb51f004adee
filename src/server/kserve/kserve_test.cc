// KServe v2 over loopback, with a scripted model: tensors as JSON and as bytes, both generate
// routes, metadata, statistics, repository, and what is refused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <nlohmann/json.hpp>

#include "server/kserve/kserve.h"
#include "server/kserve/tensors.h"
#include "server/testing/running_server.h"

namespace ramjet::server {
namespace {

using Json = nlohmann::json;
using testing::HasSubstr;

constexpr const char* kInfer = "/v2/models/test-model/infer";

std::string raw_texts(const std::vector<std::string>& texts) {
  std::string out;
  for (const std::string& text : texts) {
    const auto length = static_cast<uint32_t>(text.size());
    out.append(reinterpret_cast<const char*>(&length), 4);
    out += text;
  }
  return out;
}

Json text_input(const std::vector<std::string>& texts) {
  return {
      {"name", "text_input"}, {"datatype", "BYTES"}, {"shape", {texts.size(), 1}}, {"data", texts}};
}

TEST(Kserve, TargetsAreTakenApart) {
  const auto parts = [](std::string_view rest) {
    const kserve::Target t = kserve::parse_target(rest);
    return t.model + "|" + t.version + "|" + t.action;
  };
  EXPECT_EQ(parts("m"), "m||");
  EXPECT_EQ(parts("org/m/infer"), "org/m||infer");
  EXPECT_EQ(parts("org/m/versions/2/generate_stream"), "org/m|2|generate_stream");
  EXPECT_EQ(parts("m/versions/1"), "m|1|");
}

TEST(Kserve, MetadataConfigHealthAndRepository) {
  Running r = start({});
  RawClient client(r.port());
  EXPECT_EQ(Json::parse(client.get("/v2").body)["name"], "ramjet");
  EXPECT_EQ(client.get("/v2/health/live").status, 200);
  EXPECT_EQ(client.get("/v2/health/ready").status, 200);
  EXPECT_EQ(client.get("/v2/models/test-model/ready").status, 200);
  EXPECT_EQ(client.get("/v2/models/test-model/versions/1/ready").status, 200);
  EXPECT_EQ(client.get("/v2/models/test-model/versions/7/ready").status, 404);
  EXPECT_THAT(client.get("/v2/models/nope").body, HasSubstr("nope"));
  const Json metadata = Json::parse(client.get("/v2/models/test-model").body);
  EXPECT_EQ(metadata["versions"], Json({"1"}));
  EXPECT_EQ(metadata["inputs"][0]["name"], "text_input");
  const Json config = Json::parse(client.get("/v2/models/test-model/config").body);
  EXPECT_EQ(config["output"][0]["data_type"], "TYPE_STRING");
  EXPECT_EQ(Json::parse(client.post("/v2/repository/index", "").body)[0]["state"], "READY");
  EXPECT_EQ(client.post("/v2/repository/models/test-model/load", "{}").status, 200);
  EXPECT_EQ(client.post("/v2/repository/models/nope/load", "{}").status, 404);
  EXPECT_EQ(client.post("/v2/repository/models/test-model/unload", "{}").status, 501);
  r.backend->healthy = false;
  EXPECT_EQ(client.get("/v2/health/live").status, 200);
  EXPECT_EQ(client.get("/v2/health/ready").status, 503);
}

TEST(Kserve, InfersTensorsInJson) {
  Running r = start({});
  RawClient client(r.port());
  const auto tensor = [](const char* name, const char* datatype, const Json& value) {
    return Json{{"name", name}, {"datatype", datatype}, {"shape", {1, 1}}, {"data", {{value}}}};
  };
  const Json body = {{"id", "7"},
                     {"inputs",
                      {text_input({"a"}), tensor("max_tokens", "INT32", 64),
                       tensor("temperature", "FP32", 0.5), tensor("stop_words", "BYTES", ""),
                       tensor("random_seed", "UINT64", 3), tensor("stream", "BOOL", false)}},
                     {"outputs", {{{"name", "text_output"}}, {{"name", "finish_reason"}}}}};
  const RawResponse response = client.post(kInfer, body.dump());
  ASSERT_EQ(response.status, 200) << response.body;
  const Json json = Json::parse(response.body);
  EXPECT_EQ(json["id"], "7");
  EXPECT_EQ(json["model_name"], "test-model");
  EXPECT_EQ(json["outputs"][0], Json({{"name", "text_output"},
                                      {"datatype", "BYTES"},
                                      {"shape", {1}},
                                      {"data", {"Hello, w\xc3\xb6rld!"}}}));
  EXPECT_EQ(json["outputs"][1]["data"][0], "stop");
  const Json stats = Json::parse(client.get("/v2/models/test-model/stats").body)["model_stats"][0];
  EXPECT_EQ(stats["inference_stats"]["success"]["count"], 1);
  EXPECT_GT(stats["inference_stats"]["success"]["ns"], 0);
}

TEST(Kserve, InfersTensorsInBytes) {
  Running r = start({});
  RawClient client(r.port());
  const int32_t limit = 64;
  const std::string texts = raw_texts({"one", "two"});
  const std::string raw = texts + std::string(reinterpret_cast<const char*>(&limit), 4);
  const Json head = {{"inputs",
                      {{{"name", "text_input"},
                        {"datatype", "BYTES"},
                        {"shape", {2, 1}},
                        {"parameters", {{"binary_data_size", texts.size()}}}},
                       {{"name", "max_tokens"},
                        {"datatype", "INT32"},
                        {"shape", {1}},
                        {"parameters", {{"binary_data_size", 4}}}}}},
                     {"parameters", {{"binary_data_output", true}}}};
  const auto header = [](size_t length) {
    return "Inference-Header-Content-Length: " + std::to_string(length) + "\r\n";
  };
  const std::string text = head.dump();
  const RawResponse response = client.post(kInfer, text + raw, header(text.size()));
  ASSERT_EQ(response.status, 200) << response.body;
  const size_t length = std::stoul(response.headers.at("inference-header-content-length"));
  const Json json = Json::parse(response.body.substr(0, length));
  EXPECT_EQ(json["outputs"][0]["shape"], Json({2}));
  EXPECT_EQ(response.body.substr(length),
            raw_texts({"Hello, w\xc3\xb6rld!", "Hello, w\xc3\xb6rld!"}));
  for (const auto& [wrong, size] : {std::pair{text + raw.substr(1), text.size()},
                                    {text + raw + "x", text.size()},
                                    {text, text.size() + 1}}) {
    EXPECT_EQ(client.post(kInfer, wrong, header(size)).status, 400);
  }
}

TEST(Kserve, GeneratesWholeAndStreamed) {
  Running r = start({});
  RawClient client(r.port());
  const std::string body =
      R"({"text_input":"Hi","max_tokens":64,"parameters":{"temperature":0,"stop_words":["wö"],)"
      R"("return_log_probs":false,"return_finish_reason":true}})";
  const Json whole = Json::parse(client.post("/v2/models/test-model/generate", body).body);
  EXPECT_EQ(whole["text_output"], "Hello, ");
  EXPECT_EQ(whole["finish_reason"], "stop");
  EXPECT_EQ(whole["model_version"], "1");
  std::string text;
  const auto events =
      sse_data(client.post("/v2/models/test-model/versions/1/generate_stream", body).body);
  for (const std::string& event : events) text += Json::parse(event)["text_output"];
  EXPECT_EQ(text, "Hello, ");
  EXPECT_EQ(Json::parse(events.back())["finish_reason"], "stop");
  const std::string echo = R"({"text_input":"Hi","max_tokens":64,"exclude_input_in_output":false})";
  EXPECT_EQ(Json::parse(client.post("/v2/models/test-model/generate", echo).body)["text_output"],
            "HiHello, w\xc3\xb6rld!");
}

TEST(Kserve, RefusesByName) {
  Running r = start({});
  RawClient client(r.port());
  const auto refused = [&](const Json& body, const std::string& path = kInfer) {
    const RawResponse response = client.post(path, body.dump());
    EXPECT_GE(response.status, 400) << body;
    return Json::parse(response.body)["error"].get<std::string>();
  };
  const auto with = [](const Json& tensor) {
    return Json{{"inputs", {text_input({"a"}), tensor}}};
  };
  EXPECT_THAT(refused({{"inputs", 3}}), HasSubstr("'inputs'"));
  EXPECT_THAT(refused({{"inputs", Json::array()}}), HasSubstr("text_input"));
  EXPECT_THAT(refused(with({{"name", "x"}, {"datatype", "FP16"}, {"shape", {1}}, {"data", {1}}})),
              HasSubstr("FP16"));
  EXPECT_THAT(
      refused(with({{"name", "max_tokens"}, {"datatype", "INT32"}, {"shape", {2}}, {"data", {1}}})),
      HasSubstr("2 elements, 1 are given"));
  EXPECT_THAT(
      refused(
          with({{"name", "max_tokens"}, {"datatype", "INT32"}, {"shape", {2}}, {"data", {1, 2}}})),
      HasSubstr("one value for all prompts"));
  EXPECT_THAT(refused(with(
                  {{"name", "temperature"}, {"datatype", "FP32"}, {"shape", {1}}, {"data", {-1}}})),
              HasSubstr("temperature"));
  EXPECT_THAT(
      refused(with({{"name", "beam_width"}, {"datatype", "INT32"}, {"shape", {1}}, {"data", {4}}})),
      HasSubstr("beam_width"));
  EXPECT_THAT(refused({{"inputs", {text_input({"a"})}}, {"outputs", {{{"name", "logits"}}}}}),
              HasSubstr("logits"));
  EXPECT_THAT(refused({{"text_input", "a"}, {"stream", true}}, "/v2/models/test-model/generate"),
              HasSubstr("generate_stream"));
  EXPECT_THAT(refused({{"text_input", "a"}}, "/v2/models/other/generate"), HasSubstr("other"));
  EXPECT_EQ(client.post(kInfer, "{", "Content-Encoding: gzip\r\n").status, 415);
  EXPECT_EQ(Json::parse(client.get("/v2/models/stats")
                            .body)["model_stats"][0]["inference_stats"]["success"]["count"],
            0);
}

}  // namespace
}  // namespace ramjet::server
