#include "text/grammar/grammar.h"

#include <gtest/gtest.h>
#include <ramjet/forced_tokens.h>

#include <random>

#include "text/grammar/grammar_impl.h"
#include "text/grammar/token_mask.h"

namespace ramjet::text {
namespace {

GrammarPtr compiled(const std::string& spec) {
  auto grammar = compile_grammar(spec);
  EXPECT_TRUE(grammar.ok()) << spec << ": " << grammar.error().message;
  return grammar.ok() ? *grammar : nullptr;
}

bool accepts(const std::string& spec, std::string_view text) {
  const GrammarPtr g = compiled(spec);
  const auto accepted = g->accepts(text);
  EXPECT_TRUE(accepted.ok()) << accepted.error().message;
  return accepted.ok() && *accepted;
}

bool generates(const std::string& spec, std::string_view text) {
  const auto generated = compiled(spec)->generates(text);
  EXPECT_TRUE(generated.ok()) << generated.error().message;
  return generated.ok() && *generated;
}

std::string refused(const std::string& schema) {
  GrammarProblem problem;
  const auto grammar = compile_grammar(spec::json_schema(schema), &problem);
  EXPECT_FALSE(grammar.ok()) << schema;
  return problem.keyword;
}

TEST(Grammar, AnObjectMayComeInAnyOrderAndSpacing) {
  const std::string s = spec::json_schema(
      R"({"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"string"}},
          "required":["a"],"additionalProperties":false})");
  EXPECT_TRUE(accepts(s, R"({"a":1})"));
  EXPECT_TRUE(accepts(s, " {\n \"b\" : \"\\u00e9\", \"a\":1.0e0 } "));
  EXPECT_FALSE(accepts(s, R"({"b":"x"})"));
  EXPECT_FALSE(accepts(s, R"({"a":1.5})"));
  EXPECT_FALSE(accepts(s, R"({"a":1,"c":2})"));
  EXPECT_FALSE(accepts(s, R"({"a":1,"a":2})")) << "a key twice";
  EXPECT_FALSE(accepts(s, R"({"a":1,})"));
  EXPECT_TRUE(generates(s, R"({"a": 1, "b": "x"})"));
  EXPECT_FALSE(generates(s, R"({"b":"x","a":1})")) << "a model keeps the schema's order";
  EXPECT_FALSE(generates(s, R"({"a":1.0})"));
}

TEST(Grammar, CombinatorsAreExact) {
  const std::string one = spec::json_schema(R"({"oneOf":[{"type":"integer"},{"minimum":2}]})");
  EXPECT_TRUE(accepts(one, "1"));
  EXPECT_TRUE(accepts(one, "2.5"));
  EXPECT_FALSE(accepts(one, "3"));
  EXPECT_FALSE(accepts(one, "1.5"));
  const std::string no =
      spec::json_schema(R"({"not":{"type":"object","properties":{"foo":{"type":"string"}}}})");
  EXPECT_TRUE(accepts(no, "1"));
  EXPECT_TRUE(accepts(no, R"({"foo":1})"));
  EXPECT_FALSE(accepts(no, R"({"foo":"x"})"));
  EXPECT_FALSE(accepts(no, "{}"));
  const std::string tree = spec::json_schema(
      R"({"$ref":"#/$defs/t","$defs":{"t":{"type":"object","properties":{"v":{"type":"number"},
          "kids":{"type":"array","items":{"$ref":"#/$defs/t"}}},"required":["v"],
          "unevaluatedProperties":false}}})");
  EXPECT_TRUE(generates(tree, R"({"v":1,"kids":[{"v":2},{"v":-3.5e7,"kids":[]}]})"));
  EXPECT_FALSE(accepts(tree, R"({"v":1,"kids":[{"x":2}]})"));
}

TEST(Grammar, AKeyThatIsTakenIsNotBegun) {
  const std::string s = spec::json_schema(
      R"({"type":"object","patternProperties":{"^p[ab]?$":{"type":"null"}},
          "additionalProperties":false})");
  EXPECT_TRUE(generates(s, R"({"p":null,"pa":null,"pb":null})"));
  const GrammarPtr grammar = compiled(s);
  Machine& machine = grammar->impl().canonical;
  MachineState state = machine.start(grammar->impl().entry);
  for (const char byte : std::string_view(R"({"pa":null,"p)")) {
    state = machine.step(state, static_cast<uint8_t>(byte));
  }
  ASSERT_FALSE(state.empty());
  EXPECT_TRUE(machine.step(state, 'a').empty()) << "it could only come twice";
  EXPECT_FALSE(machine.step(state, 'b').empty());
  EXPECT_FALSE(machine.step(state, '"').empty());
}

TEST(Grammar, NumbersAndSetsAreKeptWithinTheirBounds) {
  const std::string n = spec::json_schema(
      R"({"type":"number","minimum":-2.5,"exclusiveMaximum":13,"multipleOf":0.5})");
  for (const char* text : {"-2.5", "0", "12.5", "-0.5"}) EXPECT_TRUE(generates(n, text)) << text;
  for (const char* text : {"-3", "13", "0.25", "12.75"}) EXPECT_FALSE(accepts(n, text)) << text;
  EXPECT_TRUE(accepts(n, "125e-1"));
  const std::string set =
      spec::json_schema(R"({"type":"array","uniqueItems":true,"items":{"enum":["a","b",1]}})");
  EXPECT_TRUE(generates(set, R"(["a",1,"b"])"));
  EXPECT_FALSE(generates(set, R"(["a","a"])"));
  EXPECT_FALSE(accepts(set, R"([1, 1.0])"));
}

TEST(Grammar, WhatCannotBeEnforcedIsNamed) {
  EXPECT_EQ(refused(R"({"$ref":"http://example.com/s.json"})"), "$ref");
  EXPECT_EQ(refused(R"({"pattern":"(a)\\1"})"), "pattern");
  EXPECT_EQ(refused(R"({"format":"idn-hostname"})"), "format");
  EXPECT_EQ(refused(R"({"not":{"uniqueItems":true}})"), "uniqueItems");
  EXPECT_EQ(refused(R"({"$ref":"#"})"), "$ref") << "a loop without an end";
  EXPECT_EQ(refused(R"({"type":"strong"})"), "type");
  EXPECT_EQ(refused(R"({"maxLength":1000000})"), "maxLength");
  EXPECT_EQ(refused(R"({"pattern":"((a{1000}){1000}){1000}"})"), "pattern");
  EXPECT_FALSE(compiled(spec::json_schema("false"))->can_generate().ok());
}

TEST(Grammar, RegularExpressionsAndChoicesMatchWhole) {
  EXPECT_TRUE(accepts(spec::regex("[a-z]+(-\\d{2,3})?"), "abc-12"));
  EXPECT_FALSE(accepts(spec::regex("[a-z]+(-\\d{2,3})?"), "abc-1"));
  EXPECT_TRUE(accepts(spec::regex("\\p{Lu}é*"), "Éééé"));
  EXPECT_FALSE(compile_grammar(spec::regex("a(")).ok());
  EXPECT_TRUE(accepts(spec::choice({"yes", "no"}), "no"));
  EXPECT_FALSE(accepts(spec::choice({"yes", "no"}), "n"));
}

TEST(Grammar, EbnfRecursesAndKnowsUnicode) {
  const std::string s = spec::ebnf(R"g(# sums
root ::= sum "\n"?
sum  ::= term ("+" term)*
term ::= [0-9]{1,3} | "(" sum ")" | [α-ω])g");
  EXPECT_TRUE(accepts(s, "(1+22)+ω"));
  EXPECT_FALSE(accepts(s, "(1+22"));
  EXPECT_FALSE(accepts(s, "1234"));
  EXPECT_FALSE(accepts(s, "Ω"));
  GrammarProblem problem;
  EXPECT_FALSE(compile_grammar(spec::ebnf("root ::= root \"a\" | \"b\""), &problem).ok());
  EXPECT_EQ(problem.keyword, "ebnf");
  EXPECT_FALSE(compile_grammar(spec::ebnf("root ::= other")).ok());
  EXPECT_FALSE(compiled(spec::ebnf("root ::= \"a\" root"))->can_generate().ok());
}

TEST(Grammar, PiecesArePutTogether) {
  const std::string call =
      spec::sequence({spec::json_schema(R"({"type":"object","properties":{"x":{"type":"integer"}},
                             "required":["x"],"additionalProperties":false})"),
                      spec::literal("</call>")});
  const std::string s = spec::triggered({{"<call>", call}}, false, false);
  EXPECT_TRUE(accepts(s, "just text with < and <cal"));
  EXPECT_TRUE(accepts(s, "first <call>{\"x\":1}</call> then <call>{\"x\":2}</call>"));
  EXPECT_FALSE(accepts(s, "first <call>{\"y\":1}</call>"));
  EXPECT_FALSE(accepts(s, "first <call>{\"x\":1}"));
  const std::string must = spec::triggered({{"<call>", call}}, true, true);
  EXPECT_FALSE(accepts(must, "only text"));
  EXPECT_FALSE(accepts(must, "<call>{\"x\":1}</call> and more"));
  EXPECT_TRUE(accepts(spec::repeat(spec::literal("ab"), 2, 3), "ababab"));
  EXPECT_FALSE(accepts(spec::repeat(spec::literal("ab"), 2, 3), "ab"));
}

/// What is forced must be allowed, and every allowed token must agree with its text.
void expect_forced(const TokenMask& mask, const TokenTrie& trie,
                   const std::vector<int32_t>& allowed, size_t* count) {
  std::vector<int32_t> ids;
  dynamic_cast<ForcedTokens&>(*mask.clone()).forced(64, &ids);
  const auto walker = mask.clone();
  std::string text;
  for (const int32_t id : ids) {
    EXPECT_TRUE(walker->accept(id)) << id;
    text += trie.bytes(id);
  }
  for (const int32_t id : text.empty() ? std::vector<int32_t>{} : allowed) {
    const std::string_view token = trie.bytes(id);
    EXPECT_TRUE(!token.empty() && text.starts_with(token)) << text << " against " << token;
  }
  *count += ids.size();
}

/// Random walks: at each place the mask must be what trying every token says.
TEST(TokenMask, EqualsTryingEveryToken) {
  const auto tokenizer = Tokenizer::load("models/demo");
  if (!tokenizer.ok()) GTEST_SKIP() << tokenizer.error().message;
  const int32_t vocab = (*tokenizer)->vocab_size();
  const int32_t end = (*tokenizer)->special_ids().empty() ? 0 : (*tokenizer)->special_ids()[0];
  const auto trie =
      std::make_shared<const TokenTrie>(**tokenizer, vocab, std::vector<int32_t>{end});
  const std::vector<std::string> specs{
      spec::json_object(),
      spec::json_schema(R"({"type":"object","properties":{"name":{"type":"string","maxLength":9},
          "n":{"type":"integer","minimum":10,"maximum":222},"k":{"enum":["x","yy",null]},
          "set":{"type":"array","items":{"type":"boolean"},"uniqueItems":true}},
          "required":["n"]})"),
      spec::regex("(the|a)( [a-z]+){1,3}\\."),
      spec::ebnf("root ::= (\"é\" | [a-f] root)+"),
      spec::json_schema(R"({"type":"object","properties":{"p":{"type":"null"},"s":{"const":1}},
          "patternProperties":{"^[ab]{0,2}$":{"type":"boolean"}},"additionalProperties":false})"),
      spec::json_schema(R"({"type":"array","minItems":1,"maxItems":1,"items":{"anyOf":[
          {"type":"object","additionalProperties":{"enum":[0,true]}},
          {"type":"object","properties":{"the":{}},"additionalProperties":{"type":"string"}}]}})"),
  };
  std::mt19937 random(7);
  size_t forced = 0;
  for (const std::string& spec : specs) {
    const GrammarPtr grammar = compiled(spec);
    auto mask = make_token_mask(grammar, trie);
    ASSERT_TRUE(mask.ok()) << mask.error().message;
    std::string text;
    for (int step = 0; step < 12 && !(*mask)->finished(); ++step) {
      std::vector<uint32_t> bits(trie->words());
      ASSERT_TRUE((*mask)->fill(bits));
      std::vector<int32_t> allowed;
      for (int32_t id = 0; id < vocab; ++id) {
        const bool set = (bits[static_cast<size_t>(id) / 32] >> (id % 32) & 1) != 0;
        if (set) allowed.push_back(id);
        if (set || id % 8 == step % 8) {
          EXPECT_EQ((*mask)->clone()->accept(id), set) << spec << " after " << text << " id " << id;
        }
      }
      ASSERT_FALSE(allowed.empty());
      expect_forced(**mask, *trie, allowed, &forced);
      const int32_t id = allowed[random() % allowed.size()];
      if (id == end) {
        EXPECT_TRUE(*grammar->generates(text)) << text;
        break;
      }
      ASSERT_TRUE((*mask)->accept(id));
      text += (*tokenizer)->token_bytes(id);
    }
  }
  EXPECT_GT(forced, 10u);
}

TEST(TokenMask, ForcedTextIsTheTokenizersOwnTokens) {
  const auto tokenizer = Tokenizer::load("models/demo");
  if (!tokenizer.ok()) GTEST_SKIP() << tokenizer.error().message;
  const auto trie = std::make_shared<const TokenTrie>(**tokenizer, (*tokenizer)->vocab_size(),
                                                      std::vector<int32_t>{0});
  const auto forced = [&](const std::string& spec) {
    std::string text;
    std::vector<int32_t> ids;
    const auto mask = make_token_mask(compiled(spec), trie);
    dynamic_cast<ForcedTokens&>(**mask).forced(64, &ids);
    for (const int32_t id : ids) text += (*tokenizer)->token_bytes(id);
    return std::pair(ids, text);
  };
  const std::string story = "once there was a small house";
  const auto [ids, text] = forced(spec::literal(story));
  EXPECT_EQ(text, story);
  EXPECT_EQ(ids, (*tokenizer)->encode(story, {.add_special_tokens = false}).value());
  // A token that crosses the end of what is forced stays the model's choice.
  const auto [head, head_text] = forced(spec::regex("once there wa[sy]+"));
  EXPECT_TRUE(std::string("once there wa").starts_with(head_text));
  EXPECT_GE(head_text.size(), 5u) << head_text;
  EXPECT_TRUE(forced(spec::choice({"\xc3\xa9", "\xc3\xa8"})).second.size() <= 1);
  EXPECT_TRUE(forced(spec::regex("[ab]c")).first.empty());
}

TEST(TokenMask, SpecialTokensStandWhereTheirTextIsNamed) {
  const auto tokenizer = Tokenizer::load("models/demo");
  if (!tokenizer.ok()) GTEST_SKIP() << tokenizer.error().message;
  const int32_t special = (*tokenizer)->token_id("<|system|>").value();
  const auto trie = std::make_shared<const TokenTrie>(**tokenizer, (*tokenizer)->vocab_size(),
                                                      std::vector<int32_t>{0});
  const std::string plain = spec::triggered(
      {{"<|system|>", spec::json_schema(R"({"enum":["<|system|>"]})")}}, false, true);
  const auto with = make_token_mask(compiled(spec::with_special({"<|system|>"}, plain)), trie);
  const auto without = make_token_mask(compiled(plain), trie);
  std::vector<uint32_t> bits(trie->words());
  const auto allowed = [&](TokenMask& mask) {
    EXPECT_TRUE(mask.fill(bits));
    return (bits[static_cast<size_t>(special) / 32] >> (special % 32) & 1) != 0;
  };
  EXPECT_FALSE(allowed(**without));
  EXPECT_TRUE(allowed(**with));
  ASSERT_TRUE((*with)->accept(special));
  EXPECT_FALSE(allowed(**with));
  const std::vector<int32_t> quote =
      (*tokenizer)->encode("\"", {.add_special_tokens = false}).value();
  ASSERT_TRUE((*with)->accept(quote.at(0)));
  EXPECT_FALSE(allowed(**with)) << "never within JSON";
  EXPECT_FALSE((*with)->clone()->accept(special));
}

/// The mask after `text`, token by token from the automaton alone.
std::vector<uint32_t> mask_by_stepping(const Grammar& grammar, const TokenTrie& trie,
                                       std::string_view text) {
  Machine& machine = grammar.impl().canonical;
  MachineState at = machine.start(grammar.impl().entry);
  for (const char byte : text) at = machine.step(at, static_cast<uint8_t>(byte));
  std::vector<uint32_t> bits(trie.words());
  const auto set = [&bits](int32_t id) { bits[static_cast<size_t>(id) / 32] |= 1u << (id % 32); };
  std::vector<MachineState> path{at};
  const auto& nodes = trie.nodes();
  for (uint32_t i = 0; i < nodes.size();) {
    grammar.impl().pool.renew();
    path.resize(nodes[i].depth);
    MachineState next = machine.step(path.back(), nodes[i].byte);
    if (next.empty()) {
      i = nodes[i].after;
      continue;
    }
    for (uint32_t t = nodes[i].tokens_begin; t < nodes[i].tokens_end; ++t) set(trie.tokens()[t]);
    path.push_back(std::move(next));
    ++i;
  }
  if (machine.accepting(at)) {
    for (const int32_t end : trie.end_ids()) set(end);
  }
  return bits;
}

TEST(TokenMask, DISABLED_DeepLargeVocabulary) {
  const auto tokenizer = Tokenizer::load("../shared/data/tokenizers/llama3");
  if (!tokenizer.ok()) GTEST_SKIP() << tokenizer.error().message;
  const auto trie =
      std::make_shared<const TokenTrie>(**tokenizer, (*tokenizer)->vocab_size(),
                                        std::vector<int32_t>{(*tokenizer)->vocab_size() - 1});
  const std::string specs[] = {
      spec::json_object(),
      spec::json_schema(R"({"type":"object","properties":{"name":{"type":"string","maxLength":30},
          "mail":{"type":"string","format":"email"},"n":{"type":"number","minimum":-5,"maximum":222},
          "k":{"enum":["ab","abc",null,{"x":[1]}]}},"required":["n","k"]})"),
      spec::json_schema(R"({"type":"array","items":{"type":"object","properties":{"id":{"type":
          "integer"}},"additionalProperties":{"type":"boolean"}},"minItems":3})"),
      spec::regex("([A-Z][a-z]+ ){2,5}\\d{4}-\\d\\d"),
      spec::triggered({{"<call>", spec::json_object()}}, true, false)};
  std::mt19937 random(11);
  for (const std::string& spec : specs) {
    const GrammarPtr grammar = compiled(spec);
    const auto mask = make_token_mask(grammar, trie);
    ASSERT_TRUE(mask.ok()) << mask.error().message;
    std::string text;
    for (int step = 0; step < 30 && !(*mask)->finished(); ++step) {
      std::vector<uint32_t> bits(trie->words());
      ASSERT_TRUE((*mask)->fill(bits));
      ASSERT_EQ(bits, mask_by_stepping(*grammar, *trie, text)) << spec << " after " << text;
      std::vector<int32_t> allowed;
      for (int32_t id = 0; id < trie->vocab_size(); ++id) {
        const bool set = (bits[static_cast<size_t>(id) / 32] >> (id % 32) & 1) != 0;
        if (set && trie->bytes(id).size() <= 3) allowed.push_back(id);
      }
      if (allowed.empty()) break;
      const int32_t id = allowed[random() % allowed.size()];
      if (trie->bytes(id).empty()) break;  // the end
      ASSERT_TRUE((*mask)->accept(id));
      text += trie->bytes(id);
    }
  }
}

}  // namespace
}  // namespace ramjet::text
