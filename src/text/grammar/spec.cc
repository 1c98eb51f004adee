// From a spec to a net.
#include <algorithm>

#include "base/json.h"
#include "text/grammar/grammar_impl.h"
#include "text/grammar/regex.h"

namespace ramjet::text {
namespace {

constexpr int kMaxDepth = 50;
constexpr int kMaxRepeat = 10'000;
constexpr size_t kMaxTags = 256;

[[noreturn]] void bad(const std::string& what) {
  throw Refusal{invalid_argument("{}", what), "spec"};
}

std::string text_of(const OrderedJson& json, const char* name) {
  if (!json.is_string()) bad(std::string("'") + name + "' must be a string");
  return json.get<std::string>();
}

int32_t build_json(GrammarImpl& g, const OrderedJson& schema, int32_t next) {
  const auto number = static_cast<int32_t>(g.documents.size());
  g.documents.push_back(
      std::make_unique<SchemaExpander>(std::make_unique<OrderedJson>(schema), g.pool, number));
  return g.net.json(g.documents.back()->root(), next);
}

int32_t build_language(GrammarImpl& g, Dfa dfa, int32_t next) {
  return g.net.text(std::make_shared<const Dfa>(std::move(dfa)), next);
}

int32_t build_choice(GrammarImpl& g, const OrderedJson& list, int32_t next) {
  if (!list.is_array() || list.empty()) bad("'choice' must be a non-empty array of strings");
  std::vector<std::u32string> texts;
  for (const OrderedJson& item : list) texts.push_back(to_code_points(text_of(item, "choice")));
  return build_language(g, must(compile_choice(texts), "choice"), next);
}

int32_t build_repeat(GrammarImpl& g, const OrderedJson& json, int32_t next, int depth) {
  if (!json.is_object() || !json.contains("of")) bad("'repeat' must have 'of'");
  const int64_t min = json.value("min", int64_t{0});
  const int64_t max = json.value("max", int64_t{-1});
  if (min < 0 || min > kMaxRepeat || max > kMaxRepeat || (max >= 0 && max < min)) {
    bad("'repeat' has impossible limits");
  }
  // One rule, called as often as need be.
  const int32_t rule = build_spec(g, json["of"], kReturnNode, depth + 1);
  int32_t entry = next;
  if (max < 0) {
    NetNode loop;
    loop.kind = NetNode::Kind::kSplit;
    entry = g.net.add(std::move(loop));
    const int32_t again = g.net.call(rule, entry);
    g.net.at(entry).targets = {again, next};
  } else {
    for (int64_t i = min; i < max; ++i) entry = g.net.split({g.net.call(rule, entry), next});
  }
  for (int64_t i = 0; i < min; ++i) entry = g.net.call(rule, entry);
  return entry;
}

std::string literal_pattern(const std::string& text) {
  std::string out;
  for (const char32_t c : to_code_points(text)) out += fmt::format("\\u{{{:x}}}", uint32_t{c});
  return out;
}

/// Free text; from the first end of a trigger on, what its tag says.
int32_t build_triggered(GrammarImpl& g, const OrderedJson& json, int32_t next, int depth) {
  const auto tags = json.is_object() ? json.find("tags") : json.end();
  if (!json.is_object() || tags == json.end() || !tags->is_array() || tags->empty() ||
      tags->size() > kMaxTags) {
    bad("'triggered' must have 1 to 256 'tags'");
  }
  std::string any;
  for (const OrderedJson& tag : *tags) {
    if (!tag.is_object() || !tag.contains("trigger") || !tag.contains("then")) {
      bad("each tag must have 'trigger' and 'then'");
    }
    const std::string trigger = text_of(tag["trigger"], "trigger");
    if (trigger.empty()) bad("a trigger must not be empty");
    any += (any.empty() ? "(?:" : "|") + literal_pattern(trigger);
  }
  any += ")";
  const Dfa free = must(compile_regex(any, RegexMatch::kPart), "trigger").complement();
  const Dfa before =
      must(compile_regex(any + "[\\s\\S]", RegexMatch::kPart), "trigger").complement();
  const bool once = json.value("once", false);
  NetNode split;
  split.kind = NetNode::Kind::kSplit;
  const int32_t loop = g.net.add(std::move(split));
  std::vector<int32_t> targets;
  for (const OrderedJson& tag : *tags) {
    const std::string end = literal_pattern(tag["trigger"].get<std::string>()) + "$";
    const Dfa ends = must(compile_regex(end, RegexMatch::kPart), "trigger");
    const int32_t then = build_spec(g, tag["then"], once ? next : loop, depth + 1);
    targets.push_back(build_language(g, must(Dfa::both(ends, before), "trigger"), then));
  }
  const int32_t tagged = g.net.split(targets);
  const int32_t quiet = build_language(g, free, next);
  g.net.at(loop).targets = {tagged, quiet};
  return json.value("required", false) ? tagged : loop;
}

int32_t build_special(GrammarImpl& g, const OrderedJson& json, int32_t next, int depth) {
  if (!json.is_object() || !json.contains("of") || !json.contains("tokens") ||
      !json["tokens"].is_array() || json["tokens"].size() > kMaxTags) {
    bad("'special' must have 'of' and at most 256 'tokens'");
  }
  for (const OrderedJson& text : json["tokens"]) g.specials.push_back(text_of(text, "tokens"));
  return build_spec(g, json["of"], next, depth + 1);
}

}  // namespace

int32_t build_spec(GrammarImpl& g, const OrderedJson& spec, int32_t next, int depth) {
  if (depth > kMaxDepth) bad("a grammar's pieces are nested too deeply");
  if (!spec.is_object() || spec.size() != 1) bad("a grammar must be an object with one member");
  const std::string& kind = spec.begin().key();
  const OrderedJson& value = spec.begin().value();
  if (kind == "json_schema") return build_json(g, value, next);
  if (kind == "json_object") return build_json(g, {{"type", "object"}}, next);
  if (kind == "regex") {
    return build_language(
        g, must(compile_regex(text_of(value, "regex"), RegexMatch::kWhole), "regex"), next);
  }
  if (kind == "ebnf") return build_ebnf(g.net, text_of(value, "ebnf"), next);
  if (kind == "choice") return build_choice(g, value, next);
  if (kind == "literal") return g.net.bytes(text_of(value, "literal"), next);
  if (kind == "repeat") return build_repeat(g, value, next, depth);
  if (kind == "special") return build_special(g, value, next, depth);
  if (kind == "triggered") return build_triggered(g, value, next, depth);
  if (kind != "sequence" && kind != "any_of") bad("'" + kind + "' is no kind of grammar");
  if (!value.is_array()) bad("'" + kind + "' must be an array");
  if (kind == "sequence") {
    for (size_t i = value.size(); i > 0; --i) next = build_spec(g, value[i - 1], next, depth + 1);
    return next;
  }
  std::vector<int32_t> targets;
  for (const OrderedJson& part : value) targets.push_back(build_spec(g, part, next, depth + 1));
  if (targets.empty()) bad("'any_of' must not be empty");
  return g.net.split(std::move(targets));
}

}  // namespace ramjet::text
