#include "server/metrics/registry.h"

#include <fmt/core.h>

#include <algorithm>

namespace ramjet::server {

Histogram::Histogram(std::vector<double> bounds)
    : bounds_(std::move(bounds)), counts_(bounds_.size() + 1) {}

void Histogram::observe_many(double value, uint64_t times) {
  const auto it = std::lower_bound(bounds_.begin(), bounds_.end(), value);
  counts_[it - bounds_.begin()].fetch_add(times, std::memory_order_relaxed);
  sum_.fetch_add(value * static_cast<double>(times), std::memory_order_relaxed);
}

void Histogram::assign(std::span<const uint64_t> counts, double sum) {
  for (size_t i = 0; i < counts_.size(); ++i) {
    counts_[i].store(i < counts.size() ? counts[i] : 0, std::memory_order_relaxed);
  }
  sum_.store(sum, std::memory_order_relaxed);
}

uint64_t Histogram::count() const {
  uint64_t total = 0;
  for (size_t i = 0; i < counts_.size(); ++i) total += bucket(i);
  return total;
}

struct Registry::Series {
  std::string labels;  // rendered, without braces
  std::unique_ptr<Counter> counter;
  std::unique_ptr<Gauge> gauge;
  std::unique_ptr<Histogram> histogram;
};

struct Registry::Family {
  std::string name;
  std::string help;
  std::string type;
  std::vector<std::unique_ptr<Series>> series;
};

Registry::Registry() = default;
Registry::~Registry() = default;

std::string escape_label(std::string_view text) {
  std::string out;
  for (char c : text) {
    if (c == '\\' || c == '"') out += '\\';
    if (c == '\n') {
      out += "\\n";
    } else {
      out += c;
    }
  }
  return out;
}

Registry::Series& Registry::add(std::string_view name, std::string_view help, std::string_view type,
                                Labels labels) {
  auto it = std::find_if(families_.begin(), families_.end(),
                         [&](const auto& family) { return family->name == name; });
  if (it == families_.end()) {
    families_.push_back(std::make_unique<Family>(
        Family{std::string(name), std::string(help), std::string(type), {}}));
    it = families_.end() - 1;
  }
  auto series = std::make_unique<Series>();
  for (const auto& [key, value] : labels) {
    if (!series->labels.empty()) series->labels += ',';
    series->labels += fmt::format("{}=\"{}\"", key, escape_label(value));
  }
  (*it)->series.push_back(std::move(series));
  return *(*it)->series.back();
}

Counter& Registry::counter(std::string_view name, std::string_view help, Labels labels) {
  Series& series = add(name, help, "counter", std::move(labels));
  series.counter = std::make_unique<Counter>();
  return *series.counter;
}

Gauge& Registry::gauge(std::string_view name, std::string_view help, Labels labels) {
  Series& series = add(name, help, "gauge", std::move(labels));
  series.gauge = std::make_unique<Gauge>();
  return *series.gauge;
}

Gauge& Registry::external_counter(std::string_view name, std::string_view help, Labels labels) {
  Series& series = add(name, help, "counter", std::move(labels));
  series.gauge = std::make_unique<Gauge>();
  return *series.gauge;
}

Histogram& Registry::histogram(std::string_view name, std::string_view help,
                               std::vector<double> bounds, Labels labels) {
  Series& series = add(name, help, "histogram", std::move(labels));
  series.histogram = std::make_unique<Histogram>(std::move(bounds));
  return *series.histogram;
}

namespace {

std::string braces(const std::string& labels) { return labels.empty() ? "" : "{" + labels + "}"; }

void render_histogram(const std::string& name, const std::string& labels, const Histogram& h,
                      std::string& out) {
  const std::string comma = labels.empty() ? "" : ",";
  uint64_t cumulative = 0;
  for (size_t i = 0; i <= h.bounds().size(); ++i) {
    cumulative += h.bucket(i);
    const std::string bound = i < h.bounds().size() ? fmt::format("{}", h.bounds()[i]) : "+Inf";
    out += fmt::format("{}_bucket{{{}{}le=\"{}\"}} {}\n", name, labels, comma, bound, cumulative);
  }
  out += fmt::format("{}_sum{} {}\n", name, braces(labels), h.sum());
  out += fmt::format("{}_count{} {}\n", name, braces(labels), cumulative);
}

}  // namespace

std::string merged(const std::vector<std::string>& renders) {
  struct Block {
    std::string_view name;
    std::string text;
    std::vector<std::string_view> series;
  };
  std::vector<Block> blocks;
  size_t at = 0;
  for (const std::string& render : renders) {
    bool known = false;
    for (std::string_view rest = render; !rest.empty();) {
      const std::string_view line = rest.substr(0, rest.find('\n'));
      rest.remove_prefix(std::min(rest.size(), line.size() + 1));
      if (line.starts_with("# HELP ")) {
        const std::string_view name = line.substr(7, line.find(' ', 7) - 7);
        const auto found = std::find_if(blocks.begin(), blocks.end(),
                                        [&](const Block& b) { return b.name == name; });
        at = static_cast<size_t>(found - blocks.begin());
        known = found != blocks.end();
        if (!known) blocks.push_back({name, {}, {}});
      }
      const bool comment = line.starts_with('#');
      if (comment && known) continue;
      Block& block = blocks[at];
      const std::string_view series = line.substr(0, line.rfind(' '));
      const auto same = std::find(block.series.begin(), block.series.end(), series);
      if (!comment && same != block.series.end()) continue;
      if (!comment) block.series.push_back(series);
      block.text.append(line) += '\n';
    }
  }
  std::string out;
  for (const Block& each : blocks) out += each.text;
  return out;
}

std::string Registry::render() const {
  std::string out;
  for (const auto& family : families_) {
    out += fmt::format("# HELP {} {}\n# TYPE {} {}\n", family->name, family->help, family->name,
                       family->type);
    for (const auto& series : family->series) {
      if (series->histogram) {
        render_histogram(family->name, series->labels, *series->histogram, out);
      } else if (series->counter) {
        out += fmt::format("{}{} {}\n", family->name, braces(series->labels),
                           series->counter->value());
      } else {
        out +=
            fmt::format("{}{} {}\n", family->name, braces(series->labels), series->gauge->value());
      }
    }
  }
  return out;
}

}  // namespace ramjet::server
