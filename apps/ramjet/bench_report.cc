#include "bench_report.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>

#include "base/file.h"
#include "base/json.h"

namespace ramjet {
namespace {

double mean_of(const std::vector<double>& values) {
  double sum = 0;
  for (double v : values) sum += v;
  return values.empty() ? 0 : sum / static_cast<double>(values.size());
}

double deviation_of(const std::vector<double>& values) {
  const double mean = mean_of(values);
  double sum = 0;
  for (double v : values) sum += (v - mean) * (v - mean);
  return values.empty() ? 0 : std::sqrt(sum / static_cast<double>(values.size()));
}

struct Latencies {
  std::vector<double> ttft, tpot, itl, e2el;  // ms
  int64_t good = 0;
};

Latencies latencies_of(const std::vector<RequestTrace>& traces, const Goodput& goodput) {
  Latencies out;
  for (const RequestTrace& trace : traces) {
    if (!trace.ok || trace.token_s.empty()) continue;
    const double ttft = (trace.token_s.front() - trace.start_s) * 1e3;
    const double e2el = (trace.token_s.back() - trace.start_s) * 1e3;
    double tpot = 0;
    if (trace.output_tokens > 1) {
      tpot = (e2el - ttft) / static_cast<double>(trace.output_tokens - 1);
      out.tpot.push_back(tpot);
    }
    for (size_t i = 1; i < trace.token_s.size(); ++i) {
      out.itl.push_back((trace.token_s[i] - trace.token_s[i - 1]) * 1e3);
    }
    out.ttft.push_back(ttft);
    out.e2el.push_back(e2el);
    const auto within = [](double limit, double value) { return limit <= 0 || value <= limit; };
    out.good += within(goodput.ttft_ms, ttft) && within(goodput.tpot_ms, tpot) &&
                within(goodput.e2el_ms, e2el);
  }
  return out;
}

int64_t peak_tokens_per_second(const std::vector<RequestTrace>& traces) {
  std::map<int64_t, int64_t> buckets;
  for (const RequestTrace& trace : traces) {
    for (double t : trace.token_s) ++buckets[static_cast<int64_t>(t)];
  }
  int64_t peak = 0;
  for (const auto& [second, count] : buckets) peak = std::max(peak, count);
  return peak;
}

int64_t peak_concurrency(const std::vector<RequestTrace>& traces) {
  std::vector<std::pair<double, int>> events;
  for (const RequestTrace& trace : traces) {
    if (trace.token_s.empty()) continue;
    events.emplace_back(trace.start_s, 1);
    events.emplace_back(trace.token_s.back(), -1);
  }
  std::sort(events.begin(), events.end());
  int64_t now = 0, peak = 0;
  for (const auto& [time, change] : events) peak = std::max(peak, now += change);
  return peak;
}

}  // namespace

double percentile(std::vector<double> values, double p) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const double at = p / 100 * static_cast<double>(values.size() - 1);
  const size_t low = static_cast<size_t>(at);
  const size_t high = std::min(low + 1, values.size() - 1);
  return values[low] + (values[high] - values[low]) * (at - static_cast<double>(low));
}

OrderedJson summarize(const std::vector<RequestTrace>& traces, double duration_s,
                      const Goodput& goodput) {
  int64_t completed = 0, input = 0, output = 0;
  for (const RequestTrace& trace : traces) {
    if (!trace.ok) continue;
    ++completed;
    input += trace.input_tokens;
    output += trace.output_tokens;
  }
  const Latencies latencies = latencies_of(traces, goodput);
  const auto rate = [&](int64_t count) {
    return duration_s > 0 ? static_cast<double>(count) / duration_s : 0;
  };
  OrderedJson json = {{"duration", duration_s},
                      {"completed", completed},
                      {"failed", static_cast<int64_t>(traces.size()) - completed},
                      {"total_input_tokens", input},
                      {"total_output_tokens", output},
                      {"request_throughput", rate(completed)},
                      {"output_throughput", rate(output)},
                      {"total_token_throughput", rate(input + output)},
                      {"max_output_tokens_per_s", peak_tokens_per_second(traces)},
                      {"max_concurrent_requests", peak_concurrency(traces)}};
  const std::pair<const char*, const std::vector<double>*> series[] = {{"ttft", &latencies.ttft},
                                                                       {"tpot", &latencies.tpot},
                                                                       {"itl", &latencies.itl},
                                                                       {"e2el", &latencies.e2el}};
  for (const auto& [name, values] : series) {
    json[fmt::format("mean_{}_ms", name)] = mean_of(*values);
    json[fmt::format("median_{}_ms", name)] = percentile(*values, 50);
    json[fmt::format("std_{}_ms", name)] = deviation_of(*values);
    json[fmt::format("p99_{}_ms", name)] = percentile(*values, 99);
  }
  if (goodput.any()) json["request_goodput"] = rate(latencies.good);
  return json;
}

std::string summary_text(const OrderedJson& s) {
  std::string out = fmt::format("{:=^50}\n", " Serving Benchmark Result ");
  const auto whole = [&](const char* label, const char* key) {
    out += fmt::format("{:<40}{:<10}\n", label, s[key].get<int64_t>());
  };
  const auto real = [&](const char* label, const std::string& key) {
    out += fmt::format("{:<40}{:<10.2f}\n", label, s[key].get<double>());
  };
  whole("Successful requests:", "completed");
  whole("Failed requests:", "failed");
  real("Benchmark duration (s):", "duration");
  whole("Total input tokens:", "total_input_tokens");
  whole("Total generated tokens:", "total_output_tokens");
  real("Request throughput (req/s):", "request_throughput");
  if (s.contains("request_goodput")) real("Request goodput (req/s):", "request_goodput");
  real("Output token throughput (tok/s):", "output_throughput");
  whole("Peak output token throughput (tok/s):", "max_output_tokens_per_s");
  whole("Peak concurrent requests:", "max_concurrent_requests");
  real("Total Token throughput (tok/s):", "total_token_throughput");
  const std::pair<const char*, const char*> series[] = {{"ttft", "Time to First Token"},
                                                        {"tpot", "Time per Output Token"},
                                                        {"itl", "Inter-token Latency"},
                                                        {"e2el", "End-to-end Latency"}};
  for (const auto& [key, title] : series) {
    std::string upper(key);
    for (char& c : upper) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    out += fmt::format("{:-^50}\n", title);
    real(fmt::format("Mean {} (ms):", upper).c_str(), fmt::format("mean_{}_ms", key));
    real(fmt::format("Median {} (ms):", upper).c_str(), fmt::format("median_{}_ms", key));
    real(fmt::format("P99 {} (ms):", upper).c_str(), fmt::format("p99_{}_ms", key));
  }
  return out + std::string(50, '=') + "\n";
}

}  // namespace ramjet
