// /score and /rerank: how well texts go together. A cross-encoder (a head of one class) reads both
// at once, and its score is the logistic function of its logit; of another encoder the score is the
// cosine of the two vectors.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "base/json.h"
#include "server/encode/encode_reply.h"
#include "server/openai/fields.h"
#include "server/openai/prepare.h"
#include "server/openai/wire_format.h"

namespace ramjet::server {
namespace {

constexpr size_t kMaxTexts = 2048;

/// first[0] with each of `second`, or first[i] with second[i].
struct TextPairs {
  std::vector<std::string> first, second;
  size_t first_of(size_t i) const { return first.size() == 1 ? 0 : i; }
};

/// The first of these fields that is there; the first of all where none is.
std::string present(const Fields& fields, std::initializer_list<const char*> names) {
  for (const char* name : names) {
    if (fields.has(name)) return name;
  }
  return *names.begin();
}

/// Strings, or objects with the string "text".
void read_texts(Fields& fields, const std::string& name, std::vector<std::string>& out) {
  const OrderedJson* json = fields.find(name);
  if (json == nullptr) return fields.fail(name, fmt::format("'{}' is required", name));
  const auto text_of = [](const OrderedJson& item) -> const OrderedJson* {
    if (item.is_string()) return &item;
    if (!item.is_object()) return nullptr;
    const auto text = item.find("text");
    return text != item.end() && text->is_string() ? &*text : nullptr;
  };
  const auto add = [&](const OrderedJson& item) {
    const OrderedJson* text = text_of(item);
    if (text == nullptr) {
      return fields.fail(name, fmt::format("'{}' must be texts, or objects with a string 'text', "
                                           "not {}",
                                           name, json_type(item)));
    }
    out.push_back(text->get<std::string>());
  };
  if (!json->is_array()) return add(*json);
  if (json->empty() || json->size() > kMaxTexts) {
    return fields.fail(
        name, fmt::format("'{}' takes 1 to {} texts, not {}", name, kMaxTexts, json->size()));
  }
  for (const OrderedJson& item : *json) add(item);
}

bool reads_pairs(const EncoderFacts& facts) {
  return facts.has_head && !facts.scores_tokens && facts.labels.size() == 1;
}

std::optional<ApiError> make_job(const ModelHost& host, const EncodeCommon& common,
                                 const TextPairs& pairs, EncodeJob& job) {
  const EncoderFacts& facts = *host.encoder();
  if (facts.has_head && !facts.scores_tokens && !reads_pairs(facts)) {
    return not_supported({}, fmt::format("this model tells {} classes apart, which is no score: "
                                         "use /classify",
                                         facts.labels.size()));
  }
  if (!reads_pairs(facts)) {
    for (const auto* texts : {&pairs.first, &pairs.second}) {
      for (const std::string& text : *texts) {
        EncoderInput& input = job.inputs.emplace_back();
        if (auto error = make_input(host, common, "text_2", {text, {}}, input)) return error;
      }
    }
    return std::nullopt;
  }
  job.kind = EncodeKind::kScores;
  for (size_t i = 0; i < pairs.second.size(); ++i) {
    EncoderInput& input = job.inputs.emplace_back();
    const std::string& first = pairs.first[pairs.first_of(i)];
    if (auto error = make_pair_input(host, common, first, pairs.second[i], input)) return error;
  }
  return std::nullopt;
}

std::vector<double> scores_of(const EncoderFacts& facts, const TextPairs& pairs, EncodeRows rows) {
  std::vector<double> scores;
  if (reads_pairs(facts)) {
    for (const auto& row : rows) scores.push_back(1 / (1 + std::exp(-double{row[0]})));
    return scores;
  }
  for (auto& row : rows) normalize(row);
  for (size_t i = 0; i < pairs.second.size(); ++i) {
    const auto& a = rows[pairs.first_of(i)];
    const auto& b = rows[pairs.first.size() + i];
    scores.push_back(std::inner_product(a.begin(), a.end(), b.begin(), 0.0));
  }
  return scores;
}

void write_scores(const std::vector<double>& scores, std::string& out) {
  OrderedJson data = OrderedJson::array();
  for (size_t i = 0; i < scores.size(); ++i) {
    data.push_back({{"index", i}, {"object", "score"}, {"score", scores[i]}});
  }
  out += R"(,"data":)" + dump(data);
}

struct RerankForm {
  int top_n = 0;  // 0: all
  bool with_documents = true;
};

void write_ranking(const RerankForm& form, const TextPairs& pairs,
                   const std::vector<double>& scores, std::string& out) {
  std::vector<size_t> order(scores.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return scores[a] > scores[b]; });
  if (form.top_n > 0) order.resize(std::min(order.size(), static_cast<size_t>(form.top_n)));
  OrderedJson results = OrderedJson::array();
  for (const size_t i : order) {
    OrderedJson result = {{"index", i}};
    if (form.with_documents) result["document"] = {{"text", pairs.second[i]}};
    result["relevance_score"] = scores[i];
    results.push_back(std::move(result));
  }
  out += R"(,"results":)" + dump(results);
}

using WriteScores =
    std::function<void(const TextPairs& pairs, const std::vector<double>& scores, std::string&)>;

/// `fields` have been read; what is common to both routes comes here.
void run(AppState& state, RequestContext context, Fields& fields, EncodeCommon common,
         std::pair<TextPairs, WriteScores> what) {
  const ModelHost& host = *state.host;
  auto& [pairs, write] = what;
  EncodeWork work;
  auto error = fields.take_error();
  if (!error) error = check_model(host, common.model);
  if (!error) error = make_job(host, common, pairs, work.job);
  if (error) return reply_error(state, context, *error);
  work.id =
      encode_id(context.request().path.ends_with("score") ? "score-" : "rerank-", context, common);
  work.model = common.model.empty() ? host.name() : common.model;
  work.write = [&host, pairs = std::move(pairs), write = std::move(write)](EncodeRows rows,
                                                                           std::string& out) {
    write(pairs, scores_of(*host.encoder(), pairs, std::move(rows)), out);
  };
  start_encoding(state, std::move(context), std::move(work));
}

void score(AppState& state, RequestContext context) {
  OrderedJson json;
  if (!begin_encoding(state, context, json)) return;
  Fields fields(json);
  EncodeCommon common;
  TextPairs pairs;
  parse_encode_common(fields, *state.host, common);
  read_texts(fields, present(fields, {"text_1", "data_1", "queries"}), pairs.first);
  read_texts(fields, present(fields, {"text_2", "data_2", "documents", "items"}), pairs.second);
  if (fields.ok() && pairs.first.size() > 1 && pairs.first.size() != pairs.second.size()) {
    fields.fail("text_1", fmt::format("'text_1' must be one text, or as many as 'text_2' has: it "
                                      "has {}, 'text_2' {}",
                                      pairs.first.size(), pairs.second.size()));
  }
  run(state, std::move(context), fields, std::move(common),
      {std::move(pairs), [](const TextPairs&, const std::vector<double>& scores, std::string& out) {
         write_scores(scores, out);
       }});
}

void rerank(AppState& state, RequestContext context) {
  OrderedJson json;
  if (!begin_encoding(state, context, json)) return;
  Fields fields(json);
  EncodeCommon common;
  TextPairs pairs;
  RerankForm form;
  parse_encode_common(fields, *state.host, common);
  read_texts(fields, "query", pairs.first);
  if (pairs.first.size() > 1) fields.fail("query", "'query' must be one text");
  read_texts(fields, "documents", pairs.second);
  fields.read("top_n", form.top_n, {0, 1e9});
  fields.read("return_documents", form.with_documents);
  run(state, std::move(context), fields, std::move(common),
      {std::move(pairs), [form](const TextPairs& texts, const std::vector<double>& scores,
                                std::string& out) { write_ranking(form, texts, scores, out); }});
}

}  // namespace

void add_score_routes(Router& router, AppState& state) {
  const auto post = [&](std::string path, void (*handler)(AppState&, RequestContext)) {
    router.add({.method = "POST",
                .pattern = std::move(path),
                .heavy = true,
                .handler = [&state, handler](RequestContext c) { handler(state, std::move(c)); }});
  };
  post("/score", score);
  post("/v1/score", score);
  post("/rerank", rerank);
  post("/v1/rerank", rerank);
  post("/v2/rerank", rerank);
}

}  // namespace ramjet::server
