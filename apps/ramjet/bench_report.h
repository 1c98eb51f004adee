// What every load benchmark reports: the block and the JSON keys that public comparisons use.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace ramjet {

/// One request as its client saw it; seconds since the benchmark's start.
struct RequestTrace {
  double start_s = 0;
  std::vector<double> token_s;  // arrival of each output token (or chunk)
  int64_t input_tokens = 0;
  int64_t output_tokens = 0;
  bool ok = false;
};

/// Upper limits in ms for a request to count as good; 0: no limit.
struct Goodput {
  double ttft_ms = 0;
  double tpot_ms = 0;
  double e2el_ms = 0;
  bool any() const { return ttft_ms > 0 || tpot_ms > 0 || e2el_ms > 0; }
};

/// duration, completed, failed, total_input_tokens, total_output_tokens, request_throughput,
/// output_throughput, total_token_throughput, {mean,median,std,p99}_{ttft,tpot,itl,e2el}_ms,
/// max_output_tokens_per_s, max_concurrent_requests and, with limits, request_goodput.
nlohmann::ordered_json summarize(const std::vector<RequestTrace>& traces, double duration_s,
                                 const Goodput& goodput);
/// The same as the text block "============ Serving Benchmark Result ============".
std::string summary_text(const nlohmann::ordered_json& summary);
/// The p-th percentile (0..100) by linear interpolation; 0 for none.
double percentile(std::vector<double> values, double p);

}  // namespace ramjet
