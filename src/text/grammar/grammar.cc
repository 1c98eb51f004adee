#include "text/grammar/grammar.h"

#include <list>
#include <unordered_map>

#include "base/json.h"
#include "text/grammar/grammar_impl.h"

namespace ramjet::text {
namespace {

constexpr size_t kCacheBytes = size_t{256} << 20;
constexpr size_t kMaxSpec = size_t{4} << 20;
constexpr int kMaxSpecDepth = 200;

/// The grammars used last, by the text of their specs.
class Cache {
 public:
  GrammarPtr find(std::string_view spec) {
    const std::lock_guard lock(mutex_);
    const auto found = by_spec_.find(spec);
    if (found == by_spec_.end()) return nullptr;
    entries_.splice(entries_.begin(), entries_, found->second);
    return found->second->grammar;
  }
  void add(std::string_view spec, GrammarPtr grammar) {
    const std::lock_guard lock(mutex_);
    if (by_spec_.contains(spec)) return;
    const size_t bytes = spec.size() + grammar->impl().bytes();
    if (bytes > kCacheBytes / 4) return;
    entries_.push_front({std::string(spec), std::move(grammar), bytes});
    by_spec_.emplace(entries_.front().spec, entries_.begin());
    bytes_ += bytes;
    while (bytes_ > kCacheBytes) {
      bytes_ -= entries_.back().bytes;
      by_spec_.erase(entries_.back().spec);
      entries_.pop_back();
    }
  }

 private:
  struct Entry {
    std::string spec;
    GrammarPtr grammar;
    size_t bytes;
  };
  std::mutex mutex_;
  std::list<Entry> entries_;
  std::unordered_map<std::string_view, std::list<Entry>::iterator> by_spec_;
  size_t bytes_ = 0;
};

Cache& cache() {
  static Cache instance;
  return instance;
}

Result<bool> follow(GrammarImpl& g, Machine& machine, std::string_view text) {
  const std::lock_guard lock(g.mutex);
  try {
    g.pool.renew();
    MachineState state = machine.start(g.entry);
    for (const char byte : text) {
      state = machine.step(state, static_cast<uint8_t>(byte));
      if (state.empty()) return false;
    }
    return machine.accepting(state);
  } catch (const Refusal& refusal) {
    return refusal.error;
  } catch (const std::exception& e) {
    return internal_error("the grammar failed: {}", e.what());
  }
}

std::string dump(const OrderedJson& json) {
  return json.dump(-1, ' ', false, OrderedJson::error_handler_t::replace);
}

std::string list_of(const char* kind, const std::vector<std::string>& specs) {
  std::string out = std::string("{\"") + kind + "\":[";
  for (size_t i = 0; i < specs.size(); ++i) out += (i == 0 ? "" : ",") + specs[i];
  return out + "]}";
}

}  // namespace

namespace spec {

std::string json_schema(std::string_view schema) {
  return "{\"json_schema\":" + std::string(schema) + "}";
}
std::string json_object() { return R"({"json_object":true})"; }
std::string regex(std::string_view pattern) { return dump({{"regex", std::string(pattern)}}); }
std::string ebnf(std::string_view grammar) { return dump({{"ebnf", std::string(grammar)}}); }
std::string choice(const std::vector<std::string>& choices) { return dump({{"choice", choices}}); }
std::string literal(std::string_view text) { return dump({{"literal", std::string(text)}}); }
std::string sequence(const std::vector<std::string>& specs) { return list_of("sequence", specs); }
std::string any_of(const std::vector<std::string>& specs) { return list_of("any_of", specs); }
std::string repeat(const std::string& spec, int min, int max) {
  return "{\"repeat\":{\"of\":" + spec + ",\"min\":" + std::to_string(min) +
         ",\"max\":" + std::to_string(max) + "}}";
}
std::string triggered(const std::vector<Tag>& tags, bool required, bool once) {
  std::string out = "{\"triggered\":{\"tags\":[";
  for (size_t i = 0; i < tags.size(); ++i) {
    out += i == 0 ? "{\"trigger\":" : ",{\"trigger\":";
    out += dump(OrderedJson(tags[i].trigger)) + ",\"then\":" + tags[i].then + "}";
  }
  out += std::string("],\"required\":") + (required ? "true" : "false");
  return out + ",\"once\":" + (once ? "true" : "false") + "}}";
}
std::string with_special(const std::vector<std::string>& tokens, const std::string& spec) {
  return "{\"special\":{\"tokens\":" + dump(OrderedJson(tokens)) + ",\"of\":" + spec + "}}";
}

}  // namespace spec

GrammarImpl::GrammarImpl()
    : normal(pool,
             [this](const Expr& e) { return documents[static_cast<size_t>(e.m)]->body(e.a, e.b); }),
      whole(net, normal, false),
      canonical(net, normal, true) {}

Grammar::Grammar(std::unique_ptr<GrammarImpl> impl) : impl_(std::move(impl)) {}
Grammar::~Grammar() = default;

Result<bool> Grammar::accepts(std::string_view text) const {
  return follow(*impl_, impl_->whole, text);
}

Result<bool> Grammar::generates(std::string_view text) const {
  return follow(*impl_, impl_->canonical, text);
}

Status Grammar::can_generate() const {
  if (!impl_->net.dead(impl_->entry)) return ok_status();
  return invalid_argument("the schema or grammar allows no text that a model could write");
}

Result<GrammarPtr> compile_grammar(std::string_view spec, GrammarProblem* problem) {
  if (GrammarPtr known = cache().find(spec)) return known;
  if (spec.size() > kMaxSpec) {
    return invalid_argument("the grammar has {} bytes; {} are allowed", spec.size(), kMaxSpec);
  }
  try {
    ASSIGN_OR_RETURN(const OrderedJson json, parse_ordered_json(spec, kMaxSpecDepth));
    auto impl = std::make_unique<GrammarImpl>();
    GrammarImpl& g = *impl;
    g.entry = build_spec(g, json, kReturnNode, 0);
    g.net.check_left_recursion();
    for (size_t i = 0; i < g.net.size(); ++i) {
      const NetNode& node = g.net[static_cast<int32_t>(i)];
      if (node.kind == NetNode::Kind::kJson) g.normal.explore(node.value);
    }
    g.net.find_dead([&g](ExprId e) { return g.normal.emptiness(e) == Emptiness::kNotEmpty; });
    auto grammar = std::make_shared<const Grammar>(std::move(impl));
    cache().add(spec, grammar);
    return GrammarPtr(grammar);
  } catch (const Refusal& refusal) {
    if (problem != nullptr) problem->keyword = refusal.keyword;
    return refusal.error;
  } catch (const std::exception& e) {
    return internal_error("the grammar could not be compiled: {}", e.what());
  }
}

}  // namespace ramjet::text
