#include "text/chat/chat_format.h"

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "base/json.h"

namespace ramjet::text {
namespace {

ChatTemplate own_template(const std::string& name) {
  std::ifstream in("tests/data/chat/templates/" + name);
  std::stringstream text;
  text << in.rdbuf();
  return ChatTemplate::compile(text.str()).value();
}

struct Request {
  std::string messages;
  std::string tools = "null";
  std::string kwargs = "null";
  bool add_generation_prompt = true;
  bool continue_final_message = false;
};

Result<std::string> render(const ChatTemplate& chat_template, const Request& request) {
  const OrderedJson messages = parse_ordered_json(request.messages).value();
  const OrderedJson tools = parse_ordered_json(request.tools).value();
  const OrderedJson kwargs = parse_ordered_json(request.kwargs).value();
  ChatInputs inputs;
  inputs.messages = &messages;
  inputs.tools = &tools;
  inputs.kwargs = &kwargs;
  inputs.add_generation_prompt = request.add_generation_prompt;
  inputs.continue_final_message = request.continue_final_message;
  inputs.bos_token = "<s>";
  inputs.eos_token = "</s>";
  return render_chat(chat_template, inputs);
}

Result<std::string> render(const std::string& source, const Request& request) {
  return render(ChatTemplate::compile(source).value(), request);
}

TEST(RenderChat, PlainMessages) {
  EXPECT_EQ(render(own_template("small.jinja"),
                   {R"([{"role":"system","content":" S "},{"role":"user","content":"hi"}])"})
                .value(),
            "<s><|system|>\nS<|end|>\n<|user|>\nhi<|end|>\n<|assistant|>\n");
}

TEST(RenderChat, NullMembersAreDropped) {
  EXPECT_EQ(render("{% for m in messages %}{{ m }}{% endfor %}",
                   {R"([{"role":"assistant","content":null,"tool_calls":null,"x":1}])"})
                .value(),
            "{'role': 'assistant', 'x': 1}");
}

TEST(RenderChat, ReasoningHasAllNames) {
  EXPECT_EQ(render("{{ messages[0] }}", {R"([{"role":"assistant","reasoning":"r","content":"c"}])"})
                .value(),
            "{'thinking': 'r', 'role': 'assistant', 'reasoning': 'r', 'content': 'c', "
            "'reasoning_content': 'r'}");
}

TEST(RenderChat, ToolsAndDocumentsAreNoneWhereAbsent) {
  const std::string source =
      "{{ tools is none }}{{ documents is none }}{{ add_generation_prompt }}";
  const std::string messages = R"([{"role":"user","content":"x"}])";
  EXPECT_EQ(render(source, {messages}).value(), "TrueTrueTrue");
  EXPECT_EQ(render(source, {messages, "[]"}).value(), "TrueTrueTrue");
  EXPECT_EQ(render(source, {messages, "[{}]", R"({"documents":[1]})", false}).value(),
            "FalseFalseFalse");
}

TEST(RenderChat, KeywordsReachTheTemplateAndReservedOnesAreRefused) {
  const std::string messages = R"([{"role":"user","content":"x"}])";
  EXPECT_EQ(render("{{ enable_thinking }}{{ bos_token }}",
                   {messages, "null", R"({"enable_thinking":false,"bos_token":"B"})"})
                .value(),
            "FalseB");
  const auto got = render("x", {messages, "null", R"({"messages":[]})"});
  ASSERT_FALSE(got.ok());
  EXPECT_EQ(got.error().code, ErrorCode::kInvalidArgument);
}

constexpr const char* kCallMessages =
    R"([{"role":"user","content":"w"},{"role":"assistant","tool_calls":[{"id":"abcdefgh1",
        "type":"function","function":{"name":"f","arguments":"{\"city\": \"Bern\",\"n\":1.0}"}}]}])";

TEST(RenderChat, ArgumentsBecomeAnObjectWhereTheTemplateWantsOne) {
  EXPECT_EQ(render(own_template("small.jinja"), {kCallMessages}).value(),
            "<s><|user|>\nw<|end|>\n<|assistant|>\n<call>f {\"city\": \"Bern\", \"n\": 1.0}</call>"
            "</s><|end|>\n<|assistant|>\n");
}

TEST(RenderChat, ArgumentsStayTextWhereTheTemplateJoinsThem) {
  EXPECT_EQ(render(own_template("strings_only.jinja"), {kCallMessages}).value(),
            "[USER] w</s>\n[CALL]f\n{\"city\": \"Bern\",\"n\":1.0}[/CALL]\n[ASSISTANT] ");
}

/// Each of these templates fails on what OpenAI clients send, unless it is put in its words.
TEST(RenderChat, CallsOfTheHistoryNeverFail) {
  const auto history = [](const std::string& content, const std::string& arguments) {
    return Request{R"([{"role":"user","content":"w"},{"role":"assistant",)" + content +
                   R"("tool_calls":[{"id":"call_abcdef","type":"function","function":{"name":"f",
                   "arguments":)" +
                   arguments + R"(}}, null]},
                   {"role":"tool","tool_call_id":"call_abcdef","content":"ok"}])"};
  };
  const std::string items =
      "{% for m in messages %}{% for c in m.tool_calls or [] %}"
      "{% for k, v in c.function.arguments.items() %}{{ k }}={{ v }}{% endfor %}"
      "{% endfor %}{% endfor %}";
  EXPECT_EQ(render(items, history(R"("content":"",)", R"("{\"a\":1}")")).value(), "a=1");
  EXPECT_EQ(render(items, history("", R"("{broken")")).value(), "arguments={broken");
  EXPECT_EQ(render(items, history("", "null")).value(), "");
  const std::string joins =
      "{% for m in messages %}{% if m.content is none %}"
      "{{ m.tool_calls[0].function.arguments + '!' }}{% else %}"
      "{{ m.role + m.content }}{% endif %}{% endfor %}";
  EXPECT_EQ(render(joins, history("", R"({"a":1})")).value(), "userw{\"a\":1}!toolok");
  const std::string ids =
      "{# [TOOL_CALLS] #}{% for m in messages %}{% set id = m.tool_calls[0].id if "
      "m.tool_calls else m.tool_call_id %}{% if id and id|length != 9 %}"
      "{{ raise_exception('9') }}{% endif %}{{ id }}|{% endfor %}";
  const std::string shown = render(ids, history("", "{}")).value();
  ASSERT_EQ(shown.size(), 1 + 10 + 10);
  EXPECT_EQ(shown.substr(1, 10), shown.substr(11));
}

TEST(RenderChat, PartsPassWhereTheTemplateReadsThem) {
  EXPECT_EQ(
      render(own_template("small.jinja"), {R"([{"role":"user","content":[{"type":"text","text":"a"},
                        {"type":"text","text":"b"}]}])"})
          .value(),
      "<s><|user|>\nab<|end|>\n<|assistant|>\n");
}

TEST(RenderChat, PartsBecomeTextWhereTheTemplateTakesText) {
  const ChatTemplate chat_template = own_template("strings_only.jinja");
  EXPECT_EQ(render(chat_template, {R"([{"role":"user","content":[{"type":"text","text":"a"},
                                       {"type":"text","text":"b"}]}])"})
                .value(),
            "[USER] a\nb</s>\n[ASSISTANT] ");
  const auto image = render(
      chat_template, {R"([{"role":"user","content":[{"type":"image_url","image_url":{}}]}])"});
  ASSERT_FALSE(image.ok());
  EXPECT_NE(image.error().message.find("messages[0].content"), std::string::npos);
}

TEST(RenderChat, TextBecomesPartsWhereTheTemplateTakesPartsOnly) {
  EXPECT_EQ(render("{% for m in messages %}{% for p in m.content %}"
                   "{% if p.type == 'text' %}<{{ p.text }}>{% endif %}{% endfor %}{% endfor %}",
                   {R"([{"role":"user","content":"abc"}])"})
                .value(),
            "<abc>");
}

TEST(RenderChat, ContinuesTheFinalMessage) {
  const Request request = {
      R"([{"role":"user","content":"q"},{"role":"assistant","content":"A: "}])", "null", "null",
      false, true};
  EXPECT_EQ(render(own_template("small.jinja"), request).value(),
            "<s><|user|>\nq<|end|>\n<|assistant|>\nA: ");
  // A template that trims: what it leaves is continued.
  EXPECT_EQ(render("{% for m in messages %}[{{ m.content | trim }}]{% endfor %}", request).value(),
            "[q][A:");
  const auto dropped = render("{{ messages[0].content }}", request);
  ASSERT_FALSE(dropped.ok());
  EXPECT_NE(dropped.error().message.find("continue_final_message"), std::string::npos);
  Request both = request;
  both.add_generation_prompt = true;
  EXPECT_FALSE(render("x", both).ok());
}

TEST(RenderChat, WrongShapesAreErrors) {
  for (const char* messages : {"null", "{}", "[]", "[1]", "[{\"role\":\"user\"}, []]"}) {
    const auto got = render("{{ messages }}", {messages});
    ASSERT_FALSE(got.ok()) << messages;
    EXPECT_EQ(got.error().code, ErrorCode::kInvalidArgument);
  }
  EXPECT_FALSE(render("x", {R"([{"role":"user"}])", "{}"}).ok());
  EXPECT_FALSE(render("x", {R"([{"role":"user"}])", "null", "[]"}).ok());
}

}  // namespace
}  // namespace ramjet::text
