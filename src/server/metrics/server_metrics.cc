#include "server/metrics/server_metrics.h"

namespace ramjet::server {
namespace {

std::vector<double> first_token_bounds() {
  return {0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75,
          1,     2.5,   5,    7.5,  10,   20,   40,   80,  160,  640, 2560};
}
std::vector<double> inter_token_bounds() {
  return {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3,
          0.4,   0.5,    0.75,  1,    2.5,   5,    7.5,   10,  20,   40,  80};
}
std::vector<double> request_bounds() {
  return {0.005, 0.01, 0.025, 0.05, 0.1, 0.3, 0.5, 0.8, 1,   1.5, 2,   2.5, 5,
          10,    15,   20,    30,   40,  50,  60,  120, 240, 480, 960, 1920};
}
/// 1, 2, 5, 10, ... up to the longest sequence.
std::vector<double> token_bounds(int max_model_len) {
  std::vector<double> bounds;
  for (double decade = 1; decade <= max_model_len; decade *= 10) {
    for (double step : {1, 2, 5}) {
      if (decade * step <= max_model_len) bounds.push_back(decade * step);
    }
  }
  return bounds;
}
std::vector<double> powers_of_two(size_t count) {
  std::vector<double> bounds;
  for (size_t i = 0; i < count; ++i) bounds.push_back(static_cast<double>(uint64_t{1} << i));
  return bounds;
}

double kv_usage(const ExecutorStats& s) {
  return s.kv_blocks_total == 0
             ? 0
             : static_cast<double>(s.kv_blocks_active) / static_cast<double>(s.kv_blocks_total);
}

}  // namespace

ServerMetrics::ServerMetrics(const std::string& model_name, int max_model_len)
    : labels_{{"model_name", model_name}},
      time_to_first_token_s(registry_.histogram("ramjet:time_to_first_token_seconds",
                                                "Time from a request's arrival to its first token.",
                                                first_token_bounds(), labels_)),
      inter_token_s(registry_.histogram("ramjet:inter_token_latency_seconds",
                                        "Time between two tokens of a sequence.",
                                        inter_token_bounds(), labels_)),
      e2e_s(registry_.histogram("ramjet:e2e_request_latency_seconds",
                                "Time from a request's arrival to its end.", request_bounds(),
                                labels_)),
      queue_s(registry_.histogram("ramjet:request_queue_time_seconds",
                                  "Time a request waited for its first step.", request_bounds(),
                                  labels_)),
      prefill_s(registry_.histogram("ramjet:request_prefill_time_seconds",
                                    "Time from a request's first step to its first token.",
                                    request_bounds(), labels_)),
      decode_s(registry_.histogram("ramjet:request_decode_time_seconds",
                                   "Time from a request's first token to its last.",
                                   request_bounds(), labels_)),
      prompt_tokens(registry_.histogram("ramjet:request_prompt_tokens",
                                        "Tokens of a request's prompt.",
                                        token_bounds(max_model_len), labels_)),
      generation_tokens(registry_.histogram("ramjet:request_generation_tokens",
                                            "Tokens generated for a request.",
                                            token_bounds(max_model_len), labels_)) {
  for (size_t i = 0; i < kEndReasonNames.size(); ++i) {
    Labels labels = labels_;
    labels.emplace_back("finished_reason", kEndReasonNames[i]);
    ends_[i] = &registry_.counter("ramjet:request_success_total",
                                  "Sequences that ended, by how they ended.", std::move(labels));
  }
  register_executor();
  connections_ = &registry_.gauge("ramjet:http_connections", "Open connections.");
  connections_refused_ = &registry_.external_counter("ramjet:http_connections_refused_total",
                                                     "Connections over the limit.");
  bad_requests_ = &registry_.external_counter("ramjet:http_malformed_requests_total",
                                              "Requests that did not parse, or came too slowly.");
}

void ServerMetrics::register_executor() {
  using Stats = ExecutorStats;
  const auto gauge = [this](const char* name, const char* help, double (*get)(const Stats&)) {
    executor_.emplace_back(&registry_.gauge(name, help, labels_), get);
  };
  const auto counter = [this](const char* name, const char* help, double (*get)(const Stats&)) {
    executor_.emplace_back(&registry_.external_counter(name, help, labels_), get);
  };
  const auto running = [](const Stats& s) -> double { return s.requests_running; };
  const auto waiting = [](const Stats& s) -> double { return s.requests_waiting; };
  const auto none = [](const Stats&) -> double { return 0; };
  gauge("ramjet:num_requests_running", "Requests in the running batch.", running);
  gauge("ramjet:num_requests_waiting", "Requests that wait for room in the batch.", waiting);
  gauge("ramjet:kv_cache_usage_perc", "KV blocks in use; 1 means all.", kv_usage);
  counter("ramjet:prompt_tokens_total", "Prompt tokens processed.",
          [](const Stats& s) -> double { return static_cast<double>(s.prompt_tokens); });
  counter("ramjet:generation_tokens_total", "Tokens generated.",
          [](const Stats& s) -> double { return static_cast<double>(s.generation_tokens); });
  counter("ramjet:prefix_cache_queries_total", "Prompt tokens looked up in the prefix cache.",
          [](const Stats& s) -> double { return static_cast<double>(s.prefix_queries); });
  counter("ramjet:prefix_cache_hits_total", "Prompt tokens found in the prefix cache.",
          [](const Stats& s) -> double { return static_cast<double>(s.prefix_hits); });
  counter("ramjet:executor_restarts_total", "Executor processes that replaced a lost one.",
          [](const Stats& s) -> double { return static_cast<double>(s.restarts); });
  counter("ramjet:num_preemptions_total", "Requests paused for want of KV blocks.",
          [](const Stats& s) -> double { return static_cast<double>(s.preemptions); });
  // No draft model can be loaded yet, so these stay at zero; dashboards want them to exist.
  counter("ramjet:spec_decode_num_drafts_total", "Drafts proposed.", none);
  counter("ramjet:spec_decode_num_draft_tokens_total", "Draft tokens proposed.", none);
  counter("ramjet:spec_decode_num_accepted_tokens_total", "Draft tokens accepted.", none);
  gauge("trtllm_num_requests_waiting", "Requests that wait.", waiting);
  gauge("trtllm_num_requests_running", "Requests in the running batch.", running);
  gauge("trtllm_kv_cache_utilization", "KV blocks in use; 1 means all.", kv_usage);
  gauge("trtllm_kv_cache_tokens_per_block", "Tokens of a KV block.",
        [](const Stats& s) -> double { return static_cast<double>(s.block_tokens); });
  gauge("trtllm_kv_cache_max_blocks", "KV blocks there are.",
        [](const Stats& s) -> double { return static_cast<double>(s.kv_blocks_total); });
  iteration_tokens_ = &registry_.histogram(
      "ramjet:iteration_tokens_total", "Tokens of a step of the engine.",
      powers_of_two(std::tuple_size_v<decltype(Stats::steps_by_tokens)> - 1), labels_);
}

std::string ServerMetrics::render(const ExecutorStats& executor, const HttpServerStats& http) {
  std::lock_guard lock(render_mutex_);
  for (auto& [gauge, get] : executor_) gauge->set(get(executor));
  iteration_tokens_->assign(executor.steps_by_tokens, static_cast<double>(executor.batched_tokens));
  connections_->set(http.connections);
  connections_refused_->set(static_cast<double>(http.connections_refused));
  bad_requests_->set(static_cast<double>(http.bad_requests));
  return registry_.render();
}

}  // namespace ramjet::server
