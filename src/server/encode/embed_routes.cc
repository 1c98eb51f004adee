// /v1/embeddings and /classify.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "base/json.h"
#include "server/encode/encode_reply.h"
#include "server/openai/fields.h"
#include "server/openai/prepare.h"
#include "server/openai/wire_format.h"

namespace ramjet::server {
namespace {

struct EmbeddingRequest {
  EncodeCommon common;
  std::vector<Prompt> inputs;
  int dimensions = 0;  // 0: all
  bool base64 = false;
  bool normalize = true;
};

std::optional<ApiError> parse_embedding(const OrderedJson& json, const ModelHost& host,
                                        EmbeddingRequest& out) {
  Fields fields(json);
  parse_encode_common(fields, host, out.common);
  parse_prompts(fields, "input", host.vocab_size(), out.inputs);
  fields.read("dimensions", out.dimensions, {1, static_cast<double>(host.encoder()->width)});
  fields.read("normalize", out.normalize);
  std::string format = "float";
  fields.read("encoding_format", format);
  if (format != "float" && format != "base64") {
    fields.fail("encoding_format", "'encoding_format' must be 'float' or 'base64'");
  }
  out.base64 = format == "base64";
  return fields.take_error();
}

std::optional<ApiError> make_inputs(const ModelHost& host, const EncodeCommon& common,
                                    const std::vector<Prompt>& prompts, EncodeJob& job) {
  for (const Prompt& prompt : prompts) {
    EncoderInput input;
    if (auto error = make_input(host, common, "input", prompt, input)) return error;
    job.inputs.push_back(std::move(input));
  }
  return std::nullopt;
}

void append_base64(std::string_view bytes, std::string& out) {
  static constexpr char kDigits[] =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const size_t left = std::min<size_t>(3, bytes.size() - i);
    uint32_t word = 0;
    for (size_t k = 0; k < 3; ++k) {
      word = word << 8 | (k < left ? static_cast<unsigned char>(bytes[i + k]) : 0u);
    }
    for (size_t k = 0; k < 4; ++k) {
      out += k <= left ? kDigits[word >> (18 - 6 * k) & 63] : '=';
    }
  }
}

/// As numbers that read back to the same bits; or the bits themselves, little-endian.
void append_vector(const std::vector<float>& vector, bool base64, std::string& out) {
  if (base64) {
    out += '"';
    append_base64({reinterpret_cast<const char*>(vector.data()), vector.size() * sizeof(float)},
                  out);
    out += '"';
    return;
  }
  out += '[';
  for (size_t i = 0; i < vector.size(); ++i) {
    if (i > 0) out += ',';
    // JSON knows neither infinity nor NaN.
    fmt::format_to(std::back_inserter(out), "{}", std::isfinite(vector[i]) ? vector[i] : 0.0f);
  }
  out += ']';
}

void write_embeddings(const EmbeddingRequest& request, EncodeRows rows, std::string& out) {
  out += R"(,"data":[)";
  for (size_t i = 0; i < rows.size(); ++i) {
    std::vector<float>& vector = rows[i];
    if (request.dimensions > 0) vector.resize(static_cast<size_t>(request.dimensions));
    if (request.normalize) normalize(vector);
    out += fmt::format(R"({}{{"index":{},"object":"embedding","embedding":)", i > 0 ? "," : "", i);
    append_vector(vector, request.base64, out);
    out += '}';
  }
  out += ']';
}

void embeddings(AppState& state, RequestContext context) {
  OrderedJson json;
  if (!begin_encoding(state, context, json)) return;
  const ModelHost& host = *state.host;
  EmbeddingRequest request;
  EncodeWork work;
  auto error = parse_embedding(json, host, request);
  if (!error) error = check_model(host, request.common.model);
  if (!error) error = make_inputs(host, request.common, request.inputs, work.job);
  if (error) return reply_error(state, context, *error);
  work.id = encode_id("embd-", context, request.common);
  work.model = request.common.model.empty() ? host.name() : request.common.model;
  request.inputs.clear();
  work.write = [request = std::move(request)](EncodeRows rows, std::string& out) {
    write_embeddings(request, std::move(rows), out);
  };
  start_encoding(state, std::move(context), std::move(work));
}

/// Softmax of several classes; of one, the logistic function.
std::vector<double> probabilities(const std::vector<float>& logits) {
  if (logits.size() == 1) return {1 / (1 + std::exp(-double{logits[0]}))};
  const float top = *std::max_element(logits.begin(), logits.end());
  std::vector<double> out;
  double sum = 0;
  for (const float logit : logits) sum += out.emplace_back(std::exp(double{logit} - double{top}));
  for (double& x : out) x /= sum;
  return out;
}

void write_classes(const std::vector<std::string>& labels, const EncodeRows& rows,
                   std::string& out) {
  OrderedJson data = OrderedJson::array();
  for (size_t i = 0; i < rows.size(); ++i) {
    const std::vector<double> shares = probabilities(rows[i]);
    const auto best =
        static_cast<size_t>(std::max_element(shares.begin(), shares.end()) - shares.begin());
    data.push_back({{"index", i},
                    {"label", best < labels.size() ? OrderedJson(labels[best]) : nullptr},
                    {"probs", shares},
                    {"num_classes", shares.size()}});
  }
  out += R"(,"data":)" + dump(data);
}

std::optional<ApiError> prepare_classes(const ModelHost& host, const OrderedJson& json,
                                        EncodeCommon& common, EncodeJob& job) {
  const EncoderFacts& facts = *host.encoder();
  if (!facts.has_head || facts.scores_tokens) {
    return not_supported({}, facts.has_head
                                 ? "this model classifies tokens, not texts: `ramjet classify` "
                                   "shows them"
                                 : "this model has no classification head");
  }
  Fields fields(json);
  std::vector<Prompt> prompts;
  parse_encode_common(fields, host, common);
  parse_prompts(fields, "input", host.vocab_size(), prompts);
  if (auto error = fields.take_error()) return error;
  if (auto error = check_model(host, common.model)) return error;
  job.kind = EncodeKind::kScores;
  return make_inputs(host, common, prompts, job);
}

void classify(AppState& state, RequestContext context) {
  OrderedJson json;
  if (!begin_encoding(state, context, json)) return;
  const ModelHost& host = *state.host;
  EncodeCommon common;
  EncodeWork work;
  auto error = prepare_classes(host, json, common, work.job);
  if (error) return reply_error(state, context, *error);
  work.id = encode_id("classify-", context, common);
  work.model = common.model.empty() ? host.name() : common.model;
  work.write = [&labels = host.encoder()->labels](EncodeRows rows, std::string& out) {
    write_classes(labels, rows, out);
  };
  start_encoding(state, std::move(context), std::move(work));
}

}  // namespace

void add_embed_routes(Router& router, AppState& state) {
  const auto post = [&](std::string path, void (*handler)(AppState&, RequestContext)) {
    router.add({.method = "POST",
                .pattern = std::move(path),
                .heavy = true,
                .handler = [&state, handler](RequestContext c) { handler(state, std::move(c)); }});
  };
  post("/v1/embeddings", embeddings);
  post("/classify", classify);
  post("/v1/classify", classify);
}

}  // namespace ramjet::server
