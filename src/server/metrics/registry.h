// A registry of metrics and its Prometheus text form (version 0.0.4).
//
// Counters, gauges and histograms may be updated from any thread without a lock and stay valid
// while the registry lives. Registering is not thread-safe: do it before sharing the registry.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace ramjet::server {

using Labels = std::vector<std::pair<std::string, std::string>>;

/// A number that is set: a gauge, or a counter that someone else keeps.
class Gauge {
 public:
  void set(double value) { value_.store(value, std::memory_order_relaxed); }
  double value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<double> value_{0};
};

class Counter {
 public:
  void add(uint64_t n = 1) { value_.fetch_add(n, std::memory_order_relaxed); }
  uint64_t value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> value_{0};
};

class Histogram {
 public:
  /// `bounds`: upper bounds of the buckets, ascending; +Inf is implied.
  explicit Histogram(std::vector<double> bounds);
  void observe(double value) { observe_many(value, 1); }
  void observe_many(double value, uint64_t times);
  /// Replaces the contents by counts kept elsewhere, one a bucket (not cumulative), +Inf last.
  void assign(std::span<const uint64_t> counts, double sum);

  std::span<const double> bounds() const { return bounds_; }
  uint64_t bucket(size_t i) const { return counts_[i].load(std::memory_order_relaxed); }
  double sum() const { return sum_.load(std::memory_order_relaxed); }
  uint64_t count() const;

 private:
  std::vector<double> bounds_;
  std::vector<std::atomic<uint64_t>> counts_;  // one more than bounds_
  std::atomic<double> sum_{0};
};

class Registry {
 public:
  Registry();
  ~Registry();

  /// `name` with its prefix and unit. The same name may be registered again with other labels.
  Counter& counter(std::string_view name, std::string_view help, Labels labels = {});
  Gauge& gauge(std::string_view name, std::string_view help, Labels labels = {});
  /// A gauge that is exposed as a counter: its source counts.
  Gauge& external_counter(std::string_view name, std::string_view help, Labels labels = {});
  Histogram& histogram(std::string_view name, std::string_view help, std::vector<double> bounds,
                       Labels labels = {});

  std::string render() const;

 private:
  struct Family;
  struct Series;
  Series& add(std::string_view name, std::string_view help, std::string_view type, Labels labels);

  std::vector<std::unique_ptr<Family>> families_;
};

/// `text` as the value of a label: backslash, quote and newline escaped.
std::string escape_label(std::string_view text);

/// Several registries' texts as one: each metric once, with the series of all. Of equal series the
/// first counts.
std::string merged(const std::vector<std::string>& renders);

}  // namespace ramjet::server
