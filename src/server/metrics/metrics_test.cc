#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <regex>
#include <set>
#include <sstream>
#include <thread>

#include "server/metrics/server_metrics.h"

namespace ramjet::server {
namespace {

struct Exposition {
  std::map<std::string, std::string> types;
  std::map<std::string, double> samples;  // by name with labels
};

/// A strict reader of the Prometheus text format; reports what is wrong as test failures.
Exposition parse(const std::string& text) {
  static const std::regex sample_line(
      R"(^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{([a-zA-Z_][a-zA-Z0-9_]*="([^"\\\n]|\\.)*",?)*\})? (\S+)$)");
  Exposition out;
  std::set<std::string> helped;
  std::istringstream lines(text);
  std::string line, family;
  EXPECT_TRUE(text.ends_with('\n'));
  while (std::getline(lines, line)) {
    std::istringstream words(line);
    std::string hash, kind, name, rest;
    if (line.starts_with("# ")) {
      words >> hash >> kind >> name >> rest;
      if (kind == "HELP") EXPECT_TRUE(helped.insert(name).second) << name;
      if (kind == "TYPE") {
        EXPECT_TRUE(out.types.emplace(name, rest).second) << name;
        family = name;
      }
      continue;
    }
    std::smatch match;
    if (!std::regex_match(line, match, sample_line)) {
      ADD_FAILURE() << "not a sample: " << line;
      continue;
    }
    EXPECT_TRUE(match[1].str().starts_with(family)) << line;
    const double value = std::stod(match[5]);
    EXPECT_TRUE(std::isfinite(value)) << line;
    EXPECT_TRUE(out.samples.emplace(match[1].str() + match[2].str(), value).second) << line;
  }
  return out;
}

/// Buckets grow, +Inf equals the count.
void check_histogram(const Exposition& e, const std::string& name, const std::string& labels) {
  double last = 0;
  int buckets = 0;
  const std::string prefix = name + "_bucket{" + labels;
  std::map<double, double> by_bound;
  for (const auto& [key, value] : e.samples) {
    if (!key.starts_with(prefix)) continue;
    const size_t at = key.find("le=\"") + 4;
    by_bound[std::stod(key.substr(at))] = value;
    ++buckets;
  }
  EXPECT_GT(buckets, 1) << name;
  for (const auto& [bound, value] : by_bound) {
    EXPECT_GE(value, last) << name;
    last = value;
  }
  EXPECT_TRUE(std::isinf(by_bound.rbegin()->first)) << name;
  EXPECT_EQ(last, e.samples.at(name + "_count{" + labels + "}")) << name;
}

TEST(Metrics, EveryNameOfTheContractIsThere) {
  ServerMetrics metrics("a \"model\"\\", 4096);
  metrics.time_to_first_token_s.observe(0.2);
  metrics.inter_token_s.observe_many(0.01, 7);
  metrics.count_end(EndReason::kStop);
  ExecutorStats stats;
  stats.kv_blocks_total = 10;
  stats.kv_blocks_active = 5;
  stats.block_tokens = 16;
  stats.prompt_tokens = 123456789012;
  stats.steps_by_tokens = {1, 2, 3};
  stats.batched_tokens = 14;
  const Exposition e = parse(metrics.render(stats, {.connections = 2}));
  const std::string label = R"(model_name="a \"model\"\\")";
  for (const char* gauge :
       {"ramjet:num_requests_running", "ramjet:num_requests_waiting", "ramjet:kv_cache_usage_perc",
        "trtllm_num_requests_waiting", "trtllm_num_requests_running", "trtllm_kv_cache_utilization",
        "trtllm_kv_cache_tokens_per_block", "trtllm_kv_cache_max_blocks"}) {
    EXPECT_EQ(e.types.at(gauge), "gauge") << gauge;
    EXPECT_TRUE(e.samples.contains(std::string(gauge) + "{" + label + "}")) << gauge;
  }
  for (const char* counter :
       {"ramjet:prompt_tokens_total", "ramjet:generation_tokens_total",
        "ramjet:prefix_cache_queries_total", "ramjet:prefix_cache_hits_total",
        "ramjet:num_preemptions_total", "ramjet:request_success_total",
        "ramjet:spec_decode_num_drafts_total", "ramjet:spec_decode_num_draft_tokens_total",
        "ramjet:spec_decode_num_accepted_tokens_total"}) {
    EXPECT_EQ(e.types.at(counter), "counter") << counter;
  }
  for (const char* histogram :
       {"ramjet:time_to_first_token_seconds", "ramjet:inter_token_latency_seconds",
        "ramjet:e2e_request_latency_seconds", "ramjet:request_queue_time_seconds",
        "ramjet:request_prefill_time_seconds", "ramjet:request_decode_time_seconds",
        "ramjet:request_prompt_tokens", "ramjet:request_generation_tokens",
        "ramjet:iteration_tokens_total"}) {
    EXPECT_EQ(e.types.at(histogram), "histogram") << histogram;
    check_histogram(e, histogram, label);
  }
  EXPECT_EQ(e.samples.at("ramjet:prompt_tokens_total{" + label + "}"), 123456789012.0);
  EXPECT_EQ(e.samples.at("ramjet:kv_cache_usage_perc{" + label + "}"), 0.5);
  EXPECT_EQ(e.samples.at("ramjet:inter_token_latency_seconds_count{" + label + "}"), 7);
  EXPECT_EQ(e.samples.at("ramjet:iteration_tokens_total_count{" + label + "}"), 6);
  EXPECT_EQ(e.samples.at("ramjet:iteration_tokens_total_sum{" + label + "}"), 14);
  EXPECT_EQ(e.samples.at("ramjet:request_success_total{" + label + R"(,finished_reason="stop"})"),
            1);
}

TEST(Metrics, CountsFromManyThreadsAddUp) {
  Registry registry;
  Counter& counter = registry.counter("c_total", "counts");
  Histogram& histogram = registry.histogram("h", "measures", {1, 2, 3});
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 1000; ++i) {
        counter.add();
        histogram.observe(i % 4 + 0.5);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(counter.value(), 4000);
  EXPECT_EQ(histogram.count(), 4000);
  EXPECT_DOUBLE_EQ(histogram.sum(), 8000);
  EXPECT_THAT(registry.render(), testing::HasSubstr("h_bucket{le=\"2\"} 2000\n"));
}

}  // namespace
}  // namespace ramjet::server
