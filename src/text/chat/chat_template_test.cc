// The interface: errors and their lines, limits, hostile templates, time.
#include "text/chat/chat_template.h"

#include <gtest/gtest.h>

#include <thread>

#include "base/json.h"

namespace ramjet::text {
namespace {

Result<std::string> render(const std::string& source, const std::string& context = "{}",
                           const RenderOptions& options = {}) {
  auto compiled = ChatTemplate::compile(source);
  if (!compiled.ok()) return compiled.error();
  return compiled->render(parse_ordered_json(context).value(), options);
}

std::string repeat(const std::string& s, int n) {
  std::string out;
  for (int i = 0; i < n; ++i) out += s;
  return out;
}

TEST(ChatTemplate, SyntaxErrorNamesTheLine) {
  const auto t = ChatTemplate::compile("ok\n\n{% if x %}\n{{ 1 + }}");
  ASSERT_FALSE(t.ok());
  EXPECT_EQ(t.error().code, ErrorCode::kInvalidArgument);
  EXPECT_NE(t.error().message.find("line 4"), std::string::npos) << t.error().message;
}

TEST(ChatTemplate, RuntimeErrorNamesTheLineAndTheThing) {
  const auto got =
      render("a\n\n{{ messages[0].content.x.y }}", R"({"messages":[{"content":"c"}]})");
  ASSERT_FALSE(got.ok());
  EXPECT_EQ(got.error().message, "chat template: 'str object' has no attribute 'x' (line 3)");
}

TEST(ChatTemplate, RaisedMessageComesOutAsItStands) {
  const auto got = render("{{ raise_exception('Only user and assistant roles!') }}");
  ASSERT_FALSE(got.ok());
  EXPECT_EQ(got.error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(got.error().message, "Only user and assistant roles!");
}

TEST(ChatTemplate, OtherTemplatesFailWhereTheyAreReached) {
  for (const std::string tag :
       {"include 'x'", "include 'x' ignore missing with context", "import 'x' as y", "extends 'x'",
        "from 'x' import y, z as w without context"}) {
    const auto got = render("{% " + tag + " %}");
    ASSERT_FALSE(got.ok()) << tag;
    EXPECT_EQ(got.error().message,
              "no loader for this environment specified: a chat template stands alone");
    EXPECT_EQ(*render("a{% if false %}{% " + tag + " %}{% endif %}b"), "ab") << tag;
  }
}

// As Python's pprint.pformat prints it.
TEST(ChatTemplate, PrettyPrints) {
  const auto pretty = [](const std::string& v) { return *render("{{ v|pprint }}", v); };
  EXPECT_EQ(pretty(R"({"v":{"b":1,"a":[null,"x"]}})"), "{'a': [None, 'x'], 'b': 1}");
  const std::string forty(40, 'y'),
      words = "lorem ipsum dolor sit amet consectetur adipiscing elit sed do eiusmod";
  EXPECT_EQ(pretty(R"({"v":{"k":[")" + forty + R"(","b"],"a":")" + forty + R"("}})"),
            "{'a': '" + forty + "',\n 'k': ['" + forty + "', 'b']}");
  EXPECT_EQ(pretty(R"({"v":")" + words + " " + words + R"("})"),
            "('lorem ipsum dolor sit amet consectetur adipiscing elit sed do eiusmod lorem '\n"
            " 'ipsum dolor sit amet consectetur adipiscing elit sed do eiusmod')");
}

TEST(ChatTemplate, RefusesAContextThatIsNoObject) {
  EXPECT_EQ(render("x", "[1]").error().code, ErrorCode::kInvalidArgument);
}

TEST(ChatTemplate, InvalidUtf8) {
  EXPECT_FALSE(ChatTemplate::compile("a\xFF").ok());
  OrderedJson context;
  context["s"] = "a\xC3(\xE2\x82";
  const auto got = ChatTemplate::compile("{{ s }}|{{ s | length }}")->render(context);
  EXPECT_EQ(got.value(), "a\xEF\xBF\xBD(\xEF\xBF\xBD\xEF\xBF\xBD|5");
}

/// 20,000 names, and as many ifs that each might assign them.
std::string names_and_branches() {
  std::string out;
  for (int i = 0; i < 20000; ++i) out += "{{ a" + std::to_string(i) + " }}{% if x %}{% endif %}";
  return out;
}

struct Hostile {
  const char* name;
  std::string source;
};

class HostileTemplate : public testing::TestWithParam<Hostile> {};

TEST_P(HostileTemplate, IsAnErrorAndNoHarm) {
  const auto got = render(GetParam().source);
  ASSERT_FALSE(got.ok()) << got->substr(0, 100);
  EXPECT_FALSE(got.error().message.empty());
}

INSTANTIATE_TEST_SUITE_P(
    All, HostileTemplate,
    testing::Values(
        Hostile{"Parens", "{{ " + repeat("(", 100000) + "1" + repeat(")", 100000) + " }}"},
        Hostile{"Lists", "{{ " + repeat("[", 100000) + repeat("]", 100000) + " }}"},
        Hostile{"Unary", "{{ " + repeat("-", 100000) + "1 }}"},
        Hostile{"Not", "{{ " + repeat("not ", 100000) + "1 }}"},
        Hostile{"Plus", "{{ 1" + repeat(" + 1", 100000) + " }}"},
        Hostile{"Filters", "{{ 1" + repeat("|int", 100000) + " }}"},
        Hostile{"Attributes", "{{ x" + repeat(".a", 100000) + " }}"},
        Hostile{"Else", "{{ " + repeat("1 if 0 else ", 100000) + "1 }}"},
        Hostile{"Ifs", repeat("{% if 1 %}", 100000) + repeat("{% endif %}", 100000)},
        Hostile{"Fors", repeat("{% for x in [1] %}", 5000) + repeat("{% endfor %}", 5000)},
        Hostile{"ManyNames", names_and_branches()},
        Hostile{"ManyArguments", "{{ f(" + repeat("1,", 100000) + ") }}"},
        Hostile{"Wrap", "{{ ('a' * 10**7) | wordwrap(1) }}"},
        Hostile{"LongString", "{{ 'a' * 10**9 }}"}, Hostile{"LongList", "{{ [1] * 10**10 }}"},
        Hostile{"LongRange", "{{ range(10**12) | list }}"},
        Hostile{"BigPower", "{{ 9 ** 9 ** 9 }}"},
        Hostile{
            "Doubling",
            "{% set ns = namespace(s='ab') %}{% for i in range(99) %}{% set ns.s = ns.s ~ ns.s %}"
            "{% endfor %}"},
        Hostile{"DoublingList",
                "{% set ns = namespace(s=[1]) %}{% for i in range(99) %}"
                "{% set ns.s = ns.s + ns.s %}{% endfor %}"},
        Hostile{"SharedTree",
                "{% set ns = namespace(s=[1]) %}{% for i in range(99) %}"
                "{% set ns.s = [ns.s, ns.s] %}{% endfor %}{{ ns.s }}"},
        Hostile{"DeepList",
                "{% set ns = namespace(s=[]) %}{% for i in range(99999) %}"
                "{% set ns.s = [ns.s] %}{% endfor %}{{ ns.s }}"},
        Hostile{"DeepTuple",
                "{% set ns = namespace(s=()) %}{% for i in range(99999) %}"
                "{% set ns.s = (ns.s,) %}{% endfor %}{{ ns.s == ns.s }}"},
        Hostile{"Cycle", "{% set ns = namespace() %}{% set ns.a = ns %}{{ ns }}"},
        Hostile{"Recursion", "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}"},
        Hostile{"CallerRecursion",
                "{% macro m() %}{% call m() %}{{ caller() }}{% endcall %}{% endmacro %}{{ m() }}"},
        Hostile{"LoopRecursion", "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}"},
        Hostile{"Steps",
                "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}"
                "{% endfor %}"},
        Hostile{"NestedMaps",
                "{% set ns = namespace(s=[1]) %}{% for i in range(99999) %}"
                "{% set ns.s = ns.s | map('int') %}{% endfor %}{{ ns.s | list }}"},
        Hostile{"NestedSelects",
                "{% set ns = namespace(s=[1]) %}{% for i in range(99999) %}"
                "{% set ns.s = ns.s | select %}{% endfor %}{{ ns.s | list }}"},
        Hostile{"NestedUniques",
                "{% set ns = namespace(s=[1]) %}{% for i in range(99999) %}"
                "{% set ns.s = ns.s | unique %}{% endfor %}{{ ns.s | list }}"},
        Hostile{"WideFormat", "{{ '%99999999999d' % 1 }}"},
        Hostile{"WidePercent", "{{ '%999999999d' % 1 }}"},
        Hostile{"WideFormatSpec", "{{ '{:999999999}'.format(1) }}"},
        Hostile{"Precise", "{{ '%.999999999f' % 1.0 }}"},
        Hostile{"WideCenter", "{{ 'a'.center(10**12) }}"},
        Hostile{"WideFill", "{{ 'a' | indent(10**10) }}"},
        Hostile{"Zfill", "{{ '1'.zfill(10**15) }}"},
        Hostile{"Tabs", "{{ '\\t'.expandtabs(10**12) }}"},
        Hostile{"Batch", "{{ [1] | batch(10**12, 0) | list }}"},
        Hostile{"Slice", "{{ [1] | slice(10**12) | list }}"},
        Hostile{"Replace", "{{ ('a' * 10**6).replace('a', 'b' * 10**6) }}"},
        Hostile{"Time", "{{ strftime_now('%999999999Y') }}"},
        Hostile{"SearchBack",
                "{% set a = 'a' * 10**7 %}{% set b = 'b' + 'a' * 10**6 %}"
                "{% for i in range(1000) %}{{ a.rfind(b) }}{% endfor %}"},
        Hostile{"StripSet", "{% set b = 'b' * 10**7 + 'a' %}{{ ('a' * 10**7).strip(b) }}"}),
    [](const auto& info) { return std::string(info.param.name); });

TEST(ChatTemplateLimits, EachIsNamed) {
  RenderOptions options;
  options.limits.max_output_bytes = 1000;
  auto got = render("{% for i in range(1000) %}xxx{% endfor %}", "{}", options);
  ASSERT_FALSE(got.ok());
  EXPECT_EQ(got.error().code, ErrorCode::kResourceExhausted);
  EXPECT_NE(got.error().message.find("max_output_bytes"), std::string::npos);

  options = {};
  options.limits.max_steps = 1000;
  got = render("{% for i in range(1000) %}{% endfor %}", "{}", options);
  EXPECT_NE(got.error().message.find("max_steps"), std::string::npos);

  options = {};
  options.limits.max_memory_bytes = 1 << 20;
  got = render("{{ 'a' * 2000000 }}", "{}", options);
  EXPECT_NE(got.error().message.find("max_memory_bytes"), std::string::npos);

  options = {};
  options.limits.max_depth = 10;
  const std::string recursion =
      "{% macro f(n) %}{% if n > 0 %}{{ f(n - 1) }}{% endif %}{% endmacro %}";
  EXPECT_TRUE(render(recursion + "{{ f(8) }}", "{}", options).ok());
  EXPECT_FALSE(render(recursion + "{{ f(20) }}", "{}", options).ok());
}

TEST(ChatTemplateLimits, AppendingToOneStringStaysLinear) {
  // Each step copies what was there: 40,000 times 4 MB in the end, if it were not for the arena.
  const auto got = render(
      "{% set ns = namespace(s='') %}{% for i in range(40000) %}{% set ns.s = ns.s + 'x' * 100 %}"
      "{% endfor %}{{ ns.s | length }}");
  ASSERT_TRUE(got.ok()) << got.error().message;
  EXPECT_EQ(*got, "4000000");
}

TEST(ChatTemplateLimits, DeepContextIsAnError) {
  OrderedJson deep = 1;
  for (int i = 0; i < 1000; ++i) deep = OrderedJson::array({std::move(deep)});
  OrderedJson context;
  context["x"] = std::move(deep);
  EXPECT_FALSE(ChatTemplate::compile("{{ x }}")->render(context).ok());
}

TEST(ChatTemplate, AppendedStringsDoNotShareTheirTails) {
  EXPECT_EQ(render("{% set a = 'x' + y %}{% set b = a + '1' %}{% set c = a + '2' %}"
                   "{% set d = b + '3' %}{% set e = b + '4' %}{{ [a, b, c, d, e] }}",
                   R"({"y":"y"})")
                .value(),
            "['xy', 'xy1', 'xy2', 'xy13', 'xy14']");
}

TEST(ChatTemplate, RendersFromManyThreads) {
  const auto compiled = ChatTemplate::compile(
      "{% macro m(x) %}<{{ x }}>{% endmacro %}{% for i in range(50) %}{{ m(i) }}{% endfor %}");
  ASSERT_TRUE(compiled.ok());
  const OrderedJson context = OrderedJson::object();
  const std::string wanted = compiled->render(context).value();
  std::vector<std::thread> threads;
  std::vector<int> same(4);
  for (size_t t = 0; t < same.size(); ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 20; ++i) same[t] += compiled->render(context).value() == wanted;
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(same, std::vector<int>(4, 20));
}

TEST(TemplateTime, ReadsIso) {
  const auto t = TemplateTime::from_iso("2024-02-29T01:02:03.5+05:30");
  ASSERT_TRUE(t.ok());
  EXPECT_EQ(t->microsecond, 500000);
  EXPECT_EQ(t->utc_offset_s, 19800);
  EXPECT_TRUE(TemplateTime::from_iso("2024-07-26").ok());
  EXPECT_TRUE(TemplateTime::from_iso("2024-07-26 10:00Z").ok());
  for (const char* bad : {"", "2024", "2024-13-01", "2023-02-29", "2024-07-26T25:00", "2024-07-26x",
                          "2024-07-26T10:00:00+5", "2024-07-26T10:00:00 "}) {
    EXPECT_FALSE(TemplateTime::from_iso(bad).ok()) << bad;
  }
}

TEST(TemplateTime, FormatsAsPython) {
  RenderOptions options;
  options.now = TemplateTime::from_iso("2024-07-05T09:08:07.000042+02:00").value();
  EXPECT_EQ(render("{{ strftime_now('%a %A %b %B %d %j %H:%M:%S.%f %p %I %y %U %z %Z %%') }}", "{}",
                   options)
                .value(),
            "Fri Friday Jul July 05 187 09:08:07.000042 AM 09 24 26 +0200 UTC+02:00 %");
  options.now->utc_offset_s.reset();
  EXPECT_EQ(render("{{ strftime_now('[%z%Z]') }}", "{}", options).value(), "[]");
}

}  // namespace
}  // namespace ramjet::text
