// ServerMetrics: what /metrics shows. vLLM's names under the prefix `ramjet:`, so that a dashboard
// is ported by renaming one prefix, and the five gauges by which Kubernetes' inference gateway
// knows a model server of this kind.
//
// Thread-safe. The histograms and counters of requests are kept here; what the executor counts is
// copied from its statistics when rendered.
#pragma once

#include <ramjet/executor.h>

#include <array>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "server/http/http_server.h"
#include "server/metrics/registry.h"

namespace ramjet::server {

/// How a sequence ended, as the label `finished_reason` says.
enum class EndReason : uint8_t { kStop, kLength, kAbort, kError };
inline constexpr std::array<std::string_view, 4> kEndReasonNames = {"stop", "length", "abort",
                                                                    "error"};

class ServerMetrics {
 public:
  ServerMetrics(const std::string& model_name, int max_model_len);

 private:
  Labels labels_;
  Registry registry_;

 public:
  Histogram& time_to_first_token_s;
  Histogram& inter_token_s;
  Histogram& e2e_s;
  Histogram& queue_s;
  Histogram& prefill_s;
  Histogram& decode_s;
  Histogram& prompt_tokens;
  Histogram& generation_tokens;

  void count_end(EndReason reason) { ends_[static_cast<size_t>(reason)]->add(); }
  std::string render(const ExecutorStats& executor, const HttpServerStats& http);

 private:
  void register_executor();

  std::array<Counter*, kEndReasonNames.size()> ends_;
  Histogram* iteration_tokens_ = nullptr;
  std::vector<std::pair<Gauge*, double (*)(const ExecutorStats&)>> executor_;
  Gauge* connections_ = nullptr;
  Gauge* connections_refused_ = nullptr;
  Gauge* bad_requests_ = nullptr;
  std::mutex render_mutex_;
};

}  // namespace ramjet::server
