#include <ramjet/version.h>

#include <utility>

#include "base/json.h"
#include "server/app_state.h"
#include "server/kserve/kserve.h"
#include "server/openai/fields.h"
#include "server/openai/prepare.h"
#include "server/openai/reply.h"

namespace ramjet::server {
namespace {

using kserve::AnswerForm;
using kserve::Statistics;
using kserve::Target;
using StatisticsPtr = std::shared_ptr<Statistics>;  // with the routes and what runs

void answer(AppState& state, const RequestContext& context, const OrderedJson& json) {
  reply(state, context, {.body = dump(json)});
}
void refuse(AppState& state, const RequestContext& context, const ApiError& error) {
  reply(state, context, kserve::error_reply(error));
}

/// Unless the target is the model that is served, in its one version.
std::optional<ApiError> check_target(const AppState& state, const Target& target) {
  if (!state.host->has_name(target.model)) {
    return error_of_status(404, "unknown model: '" + target.model + "' is not found");
  }
  if (target.version.empty() || target.version == kserve::kVersion) return std::nullopt;
  return error_of_status(404, "model '" + target.model + "' has version 1, not " + target.version);
}

bool is_ready(AppState& state) { return !state.draining && state.host->backend().health().ok(); }

OrderedJson metadata(const Target& target) {
  return {{"name", target.model},
          {"versions", OrderedJson::array({kserve::kVersion})},
          {"platform", "ramjet"},
          {"inputs", kserve::input_specs()},
          {"outputs", kserve::output_specs()}};
}

/// Triton's model configuration has names of its own for the same.
OrderedJson config_tensors(const OrderedJson& specs, bool optional) {
  OrderedJson out = OrderedJson::array();
  for (const OrderedJson& spec : specs) {
    const std::string datatype = spec["datatype"];
    OrderedJson json = {{"name", spec["name"]},
                        {"data_type", "TYPE_" + (datatype == "BYTES" ? "STRING" : datatype)},
                        {"dims", spec["shape"]}};
    if (optional) json["optional"] = spec["name"] != "text_input";
    out.push_back(std::move(json));
  }
  return out;
}

OrderedJson config(const AppState& state, const Target& target) {
  const ModelHost& host = *state.host;
  OrderedJson parameters;
  parameters["max_seq_len"] = {{"string_value", std::to_string(host.max_model_len())}};
  parameters["architecture"] = {{"string_value", host.info().architecture}};
  return {{"name", target.model},
          {"platform", ""},
          {"backend", "ramjet"},
          {"max_batch_size", 0},
          {"input", config_tensors(kserve::input_specs(), true)},
          {"output", config_tensors(kserve::output_specs(), false)},
          {"model_transaction_policy", {{"decoupled", true}}},
          {"parameters", parameters}};
}

OrderedJson duration(uint64_t count, uint64_t ns) { return {{"count", count}, {"ns", ns}}; }

OrderedJson statistics(const AppState& state, const std::string& model, const Statistics& s) {
  // Phases are not told apart here: /metrics has them as histograms.
  const OrderedJson none = duration(0, 0);
  const OrderedJson inference = {{"success", duration(s.success, s.success_ns)},
                                 {"fail", duration(s.fail, s.fail_ns)},
                                 {"queue", none},
                                 {"compute_input", none},
                                 {"compute_infer", none},
                                 {"compute_output", none},
                                 {"cache_hit", none},
                                 {"cache_miss", none}};
  const OrderedJson one = {{"name", model},
                           {"version", kserve::kVersion},
                           {"last_inference", s.last_ms.load()},
                           {"inference_count", s.success.load()},
                           {"execution_count", state.host->backend().stats().steps},
                           {"inference_stats", inference},
                           {"batch_stats", OrderedJson::array()}};
  return {{"model_stats", OrderedJson::array({one})}};
}

void get_model(AppState& state, const RequestContext& context, const Statistics& counted) {
  if (context.rest == "stats") {
    return answer(state, context, statistics(state, state.host->name(), counted));
  }
  const Target target = kserve::parse_target(context.rest);
  if (auto error = check_target(state, target)) return refuse(state, context, *error);
  if (target.action.empty()) return answer(state, context, metadata(target));
  if (target.action == "config") return answer(state, context, config(state, target));
  if (target.action == "stats") {
    return answer(state, context, statistics(state, target.model, counted));
  }
  if (target.action == "ready") {
    if (is_ready(state)) return reply(state, context, {.body = ""});
    return refuse(state, context, error_of_status(503, "the model is not ready"));
  }
  refuse(state, context, error_of_status(405, "'" + target.action + "' takes POST"));
}

/// All that is between a body and a generation.
struct Job {
  AnswerForm form;
  CompletionRequest request;
  GenerationSpec spec;
  std::vector<std::string> prompts;
};

std::optional<ApiError> prepare(AppState& state, const HttpRequest& http, const Target& target,
                                Job& job) {
  const std::string_view encoding = http.header("content-encoding");
  if (!encoding.empty() && encoding != "identity") {
    return error_of_status(415, "compressed bodies are not taken; send them plain");
  }
  OrderedJson completion = OrderedJson::object();
  job.form.model = target.model;
  const bool stream = target.action == "generate_stream";
  auto error = target.action == "infer"
                   ? kserve::read_infer(http, completion, job.form)
                   : kserve::read_generate(http.body, stream, completion, job.form);
  if (error) return error;
  return prepare_completion(*state.host, completion, job.request, job.spec, job.prompts);
}

void post_model(AppState& state, RequestContext context, const StatisticsPtr& counted) {
  const Target target = kserve::parse_target(context.rest);
  if (auto error = check_target(state, target)) return refuse(state, context, *error);
  const bool runs =
      target.action == "infer" || target.action == "generate" || target.action == "generate_stream";
  if (!runs) {
    return refuse(state, context,
                  error_of_status(404, "POST takes infer, generate and generate_stream"));
  }
  if (!is_ready(state)) {
    return refuse(state, context, error_of_status(503, "the model is not ready"));
  }
  Job job;
  if (auto error = prepare(state, context.request(), target, job)) {
    counted->fail += 1;
    return refuse(state, context, *error);
  }
  const std::string id = answer_id("infer-", context, job.request.common);
  kserve::FormatParts parts{.form = std::move(job.form),
                            .prompts = std::move(job.prompts),
                            .sequences = job.spec.request.n,
                            .statistics = counted,
                            .start_s = context.start_s};
  const bool stream = job.request.common.stream.stream;
  start_generation(state, std::move(context), std::move(job.spec),
                   {id, stream, kserve::make_format(std::move(parts))});
}

/// One model for the process's lifetime: loading it is no work, unloading it is refused.
void repository(AppState& state, const RequestContext& context) {
  const size_t slash = context.rest.rfind('/');
  const std::string action = slash == std::string::npos ? "" : context.rest.substr(slash + 1);
  const Target target{context.rest.substr(0, slash), "", ""};
  if (action != "load" && action != "unload") {
    return refuse(state, context, error_of_status(404, "a model takes load and unload"));
  }
  if (auto error = check_target(state, target)) return refuse(state, context, *error);
  if (action == "load") return reply(state, context, {.body = ""});
  refuse(state, context,
         error_of_status(501, "a server serves its model until it ends; stop it to unload"));
}

void repository_index(AppState& state, const RequestContext& context) {
  OrderedJson index = OrderedJson::array();
  const bool ready = is_ready(state);
  for (const std::string& name : state.host->names()) {
    index.push_back({{"name", name},
                     {"version", kserve::kVersion},
                     {"state", ready ? "READY" : "UNAVAILABLE"},
                     {"reason", ready ? "" : "draining, or the executor makes no progress"}});
  }
  answer(state, context, index);
}

void health(AppState& state, const RequestContext& context, bool ready) {
  if (!ready || is_ready(state)) return reply(state, context, {.body = ""});
  refuse(state, context, error_of_status(503, "the model is not ready"));
}

OrderedJson server_metadata() {
  return {{"name", "ramjet"},
          {"version", RAMJET_VERSION},
          {"extensions",
           {"binary_tensor_data", "generate", "model_configuration", "model_repository",
            "statistics"}}};
}

}  // namespace

void add_kserve_routes(Router& router, AppState& state) {
  const auto counted = std::make_shared<Statistics>();
  const auto add = [&](std::string method, std::string pattern, RouteHandler handler) {
    const bool open = pattern.starts_with("/v2/health/");
    const bool heavy = method == "POST" && pattern.starts_with("/v2/models/");
    router.add({.method = std::move(method),
                .pattern = std::move(pattern),
                .needs_key = !open,
                .heavy = heavy,
                .handler = std::move(handler)});
  };
  add("GET", "/v2", [&state](RequestContext c) { answer(state, c, server_metadata()); });
  add("GET", "/v2/health/live", [&state](RequestContext c) { health(state, c, false); });
  add("GET", "/v2/health/ready", [&state](RequestContext c) { health(state, c, true); });
  add("GET", "/v2/models/{rest}",
      [&state, counted](RequestContext c) { get_model(state, c, *counted); });
  add("POST", "/v2/models/{rest}",
      [&state, counted](RequestContext c) { post_model(state, std::move(c), counted); });
  add("POST", "/v2/repository/index", [&state](RequestContext c) { repository_index(state, c); });
  add("POST", "/v2/repository/models/{rest}", [&state](RequestContext c) { repository(state, c); });
}

}  // namespace ramjet::server
