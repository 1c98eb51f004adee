#include "server/openai/request.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/json.h"
#include "server/openai/wire_format.h"

namespace ramjet::server {
namespace {

const ModelFacts kFacts{
    .vocab_size = 1000, .max_model_len = 100, .defaults = {.temperature = 0.7f}};

CompletionRequest completion(const std::string& fields) {
  CompletionRequest request;
  auto json = parse_ordered_json(R"({"prompt":"x")" + (fields.empty() ? "" : "," + fields) + "}");
  EXPECT_TRUE(json.ok()) << fields;
  auto error = parse_completion(*json, kFacts, request);
  EXPECT_FALSE(error) << error->message;
  return request;
}

ApiError completion_error(const std::string& body) {
  CompletionRequest request;
  auto json = parse_ordered_json(body);
  EXPECT_TRUE(json.ok()) << body;
  auto error = parse_completion(*json, kFacts, request);
  EXPECT_TRUE(error) << body;
  return error.value_or(ApiError{});
}

ApiError chat_error(const std::string& fields) {
  ChatRequest request;
  auto json = parse_ordered_json("{" + fields + "}");
  EXPECT_TRUE(json.ok()) << fields;
  auto error = parse_chat(*json, kFacts, request);
  EXPECT_TRUE(error) << fields;
  return error.value_or(ApiError{});
}

TEST(CompletionRequest, Defaults) {
  const CompletionRequest r = completion("");
  EXPECT_EQ(r.common.max_tokens, 16);
  EXPECT_EQ(r.common.n, 1);
  EXPECT_EQ(r.best_of, 1);
  EXPECT_FALSE(r.echo);
  EXPECT_FALSE(r.common.stream.stream);
  EXPECT_EQ(r.common.show.logprobs, -1);
  EXPECT_FLOAT_EQ(r.common.sampling.temperature, 0.7f);
  EXPECT_FALSE(r.common.sampling.seed);
  EXPECT_TRUE(r.common.text.skip_special);
  EXPECT_TRUE(r.common.text.add_special_tokens);
}

TEST(CompletionRequest, EveryField) {
  const CompletionRequest r = completion(R"(
    "model":"m","stream":true,"stream_options":{"include_usage":true,"continuous_usage_stats":true},
    "max_tokens":20.0,"min_tokens":3,"temperature":0,"top_p":0.5,"top_k":7,"min_p":0.1,
    "repetition_penalty":1.1,"presence_penalty":-1,"frequency_penalty":2,"seed":-5,
    "stop":["a","b"],"stop_token_ids":[5,6],"include_stop_str_in_output":true,
    "skip_special_tokens":false,"bad_words":["w"],"allowed_token_ids":[1,2],
    "logit_bias":{"10":-100,"11":2.5},"ignore_eos":true,"logprobs":4,"echo":true,"n":2,
    "priority":-3,"cache_salt":"s","request_id":"rid","return_token_ids":true,
    "truncate_prompt_tokens":9,"add_special_tokens":false,"user":"u","unknown":{"a":[1]})");
  const GenerationRequest& c = r.common;
  EXPECT_EQ(c.model, "m");
  EXPECT_TRUE(c.stream.stream && c.stream.include_usage && c.stream.continuous_usage);
  EXPECT_EQ(c.max_tokens, 20);
  EXPECT_EQ(c.sampling.stop.min_tokens, 3);
  EXPECT_EQ(c.sampling.temperature, 0);
  EXPECT_FLOAT_EQ(c.sampling.top_p, 0.5f);
  EXPECT_EQ(c.sampling.top_k, 7);
  EXPECT_FLOAT_EQ(c.sampling.min_p, 0.1f);
  EXPECT_FLOAT_EQ(c.sampling.controls.repetition_penalty, 1.1f);
  EXPECT_EQ(c.sampling.controls.presence_penalty, -1);
  EXPECT_EQ(c.sampling.controls.frequency_penalty, 2);
  EXPECT_EQ(c.sampling.seed, static_cast<uint64_t>(-5));
  EXPECT_THAT(c.text.stop, testing::ElementsAre("a", "b"));
  EXPECT_THAT(c.sampling.stop.stop_ids, testing::ElementsAre(5, 6));
  EXPECT_TRUE(c.text.include_stop);
  EXPECT_FALSE(c.text.skip_special);
  EXPECT_THAT(c.text.bad_words, testing::ElementsAre("w"));
  EXPECT_THAT(c.sampling.controls.allowed_ids, testing::ElementsAre(1, 2));
  EXPECT_THAT(c.sampling.controls.bias,
              testing::ElementsAre(testing::Pair(10, -100.f), testing::Pair(11, 2.5f)));
  EXPECT_TRUE(c.sampling.stop.ignore_eos);
  EXPECT_EQ(c.show.logprobs, 4);
  EXPECT_TRUE(r.echo);
  EXPECT_EQ(c.n, 2);
  EXPECT_EQ(r.best_of, 2);
  EXPECT_EQ(c.priority, -3);
  EXPECT_NE(c.cache_salt, 0);
  EXPECT_EQ(c.request_id, "rid");
  EXPECT_TRUE(c.show.token_ids);
  EXPECT_EQ(c.text.truncate_prompt_tokens, 9);
  EXPECT_FALSE(c.text.add_special_tokens);
}

TEST(CompletionRequest, NullsAreDefaults) {
  const CompletionRequest r = completion(
      R"("max_tokens":null,"stop":null,"logprobs":null,"temperature":null,"stream_options":null,
         "response_format":null,"suffix":null,"logit_bias":null,"n":null)");
  EXPECT_EQ(r.common.max_tokens, 16);
  EXPECT_EQ(r.common.n, 1);
}

TEST(CompletionRequest, WrongValuesNameTheField) {
  const std::pair<const char*, const char*> cases[] = {
      {R"("temperature":2.1)", "temperature"},
      {R"("temperature":-0.1)", "temperature"},
      {R"("temperature":"1")", "temperature"},
      {R"("top_p":0)", "top_p"},
      {R"("top_p":1.5)", "top_p"},
      {R"("top_k":-2)", "top_k"},
      {R"("min_p":2)", "min_p"},
      {R"("n":0)", "n"},
      {R"("n":129)", "n"},
      {R"("n":1.5)", "n"},
      {R"("n":true)", "n"},
      {R"("max_tokens":0)", "max_tokens"},
      {R"("max_tokens":-1)", "max_tokens"},
      {R"("max_tokens":1e30)", "max_tokens"},
      {R"("min_tokens":17)", "min_tokens"},
      {R"("logprobs":21)", "logprobs"},
      {R"("logprobs":true)", "logprobs"},
      {R"("prompt_logprobs":1,"stream":true)", "prompt_logprobs"},
      {R"("stream":"yes")", "stream"},
      {R"("stream_options":{})", "stream_options"},
      {R"("stream":true,"stream_options":{"include_usage":1})", "stream_options.include_usage"},
      {R"("stop":5)", "stop"},
      {R"("stop":[""])", "stop"},
      {R"("stop":["a",1])", "stop"},
      {R"("stop_token_ids":[1000])", "stop_token_ids"},
      {R"("stop_token_ids":[-1])", "stop_token_ids"},
      {R"("stop_token_ids":"1")", "stop_token_ids"},
      {R"("allowed_token_ids":[])", "allowed_token_ids"},
      {R"("logit_bias":{"x":1})", "logit_bias"},
      {R"("logit_bias":{"5":101})", "logit_bias"},
      {R"("logit_bias":{"1000":1})", "logit_bias"},
      {R"("logit_bias":{"":1})", "logit_bias"},
      {R"("logit_bias":[1])", "logit_bias"},
      {R"("repetition_penalty":0)", "repetition_penalty"},
      {R"("presence_penalty":3)", "presence_penalty"},
      {R"("truncate_prompt_tokens":0)", "truncate_prompt_tokens"},
      {R"("truncate_prompt_tokens":101)", "truncate_prompt_tokens"},
      {R"("best_of":2,"stream":true)", "best_of"},
      {R"("n":3,"best_of":2)", "best_of"},
      {R"("seed":"x")", "seed"},
      {R"("response_format":{"type":"xml"})", "response_format"},
      {R"("response_format":"json")", "response_format"},
      {R"("cache_salt":1)", "cache_salt"},
      {R"("priority":"high")", "priority"},
  };
  for (const auto& [field, param] : cases) {
    const ApiError error = completion_error(std::string(R"({"prompt":"x",)") + field + "}");
    EXPECT_EQ(error.status, 400) << field;
    EXPECT_EQ(error.param, param) << field << ": " << error.message;
  }
  EXPECT_EQ(completion_error("{}").param, "prompt");
  EXPECT_EQ(completion_error(R"({"prompt":7})").param, "prompt");
  EXPECT_EQ(completion_error(R"({"prompt":[[]  ,3]})").param, "prompt");
  EXPECT_EQ(completion_error(R"({"prompt":"x","suffix":"y"})").status, 501);
  EXPECT_EQ(completion_error(R"({"prompt":"x","use_beam_search":true})").status, 501);
}

TEST(ChatRequest, MaxCompletionTokensWins) {
  ChatRequest request;
  const auto json = parse_ordered_json(
      R"({"messages":[{"role":"user","content":"x"}],"max_tokens":5,"max_completion_tokens":9})");
  EXPECT_FALSE(parse_chat(*json, kFacts, request));
  EXPECT_EQ(request.common.max_tokens, 9);
  EXPECT_FALSE(request.common.text.add_special_tokens);
  EXPECT_TRUE(request.prompt.add_generation_prompt);
}

TEST(ChatRequest, PartsHistoryAndKwargs) {
  ChatRequest request;
  const auto json = parse_ordered_json(R"({"messages":[
      {"role":"system","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]},
      {"role":"assistant","content":null,"tool_calls":[{"id":"1","type":"function",
        "function":{"name":"f","arguments":"{broken"}}]},
      {"role":"tool","content":"42","tool_call_id":"1"},
      {"role":"assistant","content":"So"}],
      "continue_final_message":true,"chat_template_kwargs":{"enable_thinking":false},
      "reasoning_effort":"high","logprobs":true,"top_logprobs":3,"tool_choice":"none",
      "tools":[{"type":"function","function":{"name":"f"}}]})");
  const auto error = parse_chat(*json, kFacts, request);
  ASSERT_FALSE(error) << error->message;
  EXPECT_EQ(request.prompt.messages->size(), 4);
  EXPECT_TRUE(request.prompt.continue_final_message);
  EXPECT_FALSE(request.prompt.add_generation_prompt);
  EXPECT_EQ((*request.prompt.kwargs)["enable_thinking"], false);
  EXPECT_EQ((*request.prompt.kwargs)["reasoning_effort"], "high");
  EXPECT_EQ(request.common.show.logprobs, 3);
  EXPECT_EQ(request.prompt.tools, nullptr);
}

TEST(ChatRequest, WrongMessagesAreNamed) {
  EXPECT_EQ(chat_error("").param, "messages");
  EXPECT_EQ(chat_error(R"("messages":[])").param, "messages");
  EXPECT_EQ(chat_error(R"("messages":"hi")").param, "messages");
  EXPECT_EQ(chat_error(R"("messages":[1])").param, "messages[0]");
  EXPECT_EQ(chat_error(R"("messages":[{"content":"x"}])").param, "messages[0]");
  EXPECT_EQ(chat_error(R"("messages":[{"role":"user"}])").param, "messages[0]");
  EXPECT_EQ(chat_error(R"("messages":[{"role":"user","content":5}])").param, "messages[0]");
  const ApiError image = chat_error(
      R"("messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"x"}}]}])");
  EXPECT_EQ(image.status, 400);
  EXPECT_THAT(image.message, testing::HasSubstr("image_url"));
  const std::string hi = R"("messages":[{"role":"user","content":"x"}],)";
  EXPECT_EQ(chat_error(hi + R"("tools":[{"type":"function"}])").param, "tools[0]");
  EXPECT_EQ(chat_error(hi + R"("tool_choice":"maybe")").param, "tool_choice");
  EXPECT_EQ(chat_error(hi + R"("top_logprobs":2)").param, "top_logprobs");
  EXPECT_EQ(chat_error(hi + R"("logprobs":5)").param, "logprobs");
  EXPECT_EQ(chat_error(hi + R"("functions":[])").status, 501);
  EXPECT_EQ(chat_error(hi + R"("continue_final_message":true,"add_generation_prompt":true)").param,
            "continue_final_message");
}

TEST(ChatRequest, MembersAreBounded) {
  std::string many = R"("role":"user","content":"x")";
  for (int i = 0; i < 1024; ++i) many += fmt::format(R"(,"k{}":1)", i);
  EXPECT_EQ(chat_error(R"("messages":[{)" + many + "}]").param, "messages[0]");
  const std::string hi = R"("messages":[{"role":"user","content":"x"}],)";
  EXPECT_EQ(chat_error(hi + R"("chat_template_kwargs":{)" + many + "}").param,
            "chat_template_kwargs");
}

// What a request keeps for each prompt and sequence is bounded, whatever its lists repeat.
TEST(CompletionRequest, ListsOfIdsAreSets) {
  CompletionRequest request;
  const auto json = parse_ordered_json(
      R"({"prompt":"x","stop_token_ids":[9,3,9,3,9],"allowed_token_ids":[5,5,1,5]})");
  EXPECT_FALSE(parse_completion(*json, kFacts, request));
  EXPECT_EQ(request.common.sampling.stop.stop_ids, (std::vector<int32_t>{3, 9}));
  EXPECT_EQ(request.common.sampling.controls.allowed_ids, (std::vector<int32_t>{1, 5}));
}

TEST(CompletionRequest, StopStringsAreBounded) {
  std::string stops;
  for (int i = 0; i < 5; ++i)
    stops += fmt::format(R"({}"{}{}")", i > 0 ? "," : "", i, std::string(4000, 'z'));
  const ApiError error = completion_error(R"({"prompt":"x","stop":[)" + stops + "]}");
  EXPECT_EQ(error.status, 400);
  EXPECT_EQ(error.param, "stop");
  EXPECT_THAT(error.message, testing::HasSubstr("20005 bytes in all"));
}

TEST(ApiErrors, MappingFromCodes) {
  const auto status = [](ErrorCode code) { return from_error({code, "m"}, "id").status; };
  EXPECT_EQ(status(ErrorCode::kInvalidArgument), 400);
  EXPECT_EQ(status(ErrorCode::kNotFound), 404);
  EXPECT_EQ(status(ErrorCode::kUnsupported), 501);
  EXPECT_EQ(status(ErrorCode::kResourceExhausted), 429);
  EXPECT_EQ(status(ErrorCode::kUnavailable), 503);
  EXPECT_EQ(status(ErrorCode::kInternal), 500);
  EXPECT_EQ(
      error_json(bad_request("p", "a \"b\"", "c")),
      R"({"error":{"message":"a \"b\"","type":"invalid_request_error","param":"p","code":"c"}})");
  EXPECT_EQ(error_json(error_of_status(503, "x")),
            R"({"error":{"message":"x","type":"unavailable_error","param":null,"code":null}})");
}

TEST(Wire, StringsEscapeLikeTheJsonLibrary) {
  std::string out;
  const std::string text = "a\"\\\n\r\t\x01\x1f/ \xc3\xa4\xf0\x9f\x9a\x80";
  append_json_string(text, out);
  const auto back = parse_json(out);
  ASSERT_TRUE(back.ok()) << out;
  EXPECT_EQ(back->get<std::string>(), text);
}

TEST(Wire, InfiniteLogprobsStayJson) { EXPECT_EQ(finite_logprob(-INFINITY), -9999.0); }

}  // namespace
}  // namespace ramjet::server
