#include "bench_dataset.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <random>
#include <string_view>

#include "base/file.h"
#include "base/json.h"

namespace ramjet {
namespace {

constexpr int kBlockTokens = 512;  // of a Mooncake hash id

struct TraceRow {
  double time_s = 0;
  int input = 0;
  int output = 0;
  std::vector<int64_t> blocks;  // equal ids are equal prefixes
};

std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (!line.empty()) lines.push_back(line);
    if (end == std::string_view::npos) break;
    text.remove_prefix(end + 1);
  }
  return lines;
}

/// "2023-11-16 18:15:46.6805900,374,44"
bool parse_azure(std::string_view line, TraceRow& row) {
  int year, month, day, hour, minute;
  double second;
  const std::string text(line);
  if (std::sscanf(text.c_str(), "%d-%d-%d %d:%d:%lf,%d,%d", &year, &month, &day, &hour, &minute,
                  &second, &row.input, &row.output) != 8) {
    return false;
  }
  row.time_s =
      ((day * 24.0 + hour) * 60 + minute) * 60 + second;  // traces are shorter than a month
  return row.input > 0 && row.output > 0;
}

bool parse_mooncake(std::string_view line, TraceRow& row) {
  const auto json = parse_json(line);
  if (!json.ok() || !json->is_object()) return false;
  const auto number = [&](const char* key) {
    const auto it = json->find(key);
    return it != json->end() && it->is_number() ? it->get<double>() : -1;
  };
  row.time_s = number("timestamp") * 1e-3;
  row.input = static_cast<int>(number("input_length"));
  row.output = static_cast<int>(number("output_length"));
  if (json->contains("hash_ids") && (*json)["hash_ids"].is_array()) {
    for (const Json& id : (*json)["hash_ids"]) {
      if (id.is_number_integer()) row.blocks.push_back(id.get<int64_t>());
    }
  }
  return row.time_s >= 0 && row.input > 0 && row.output > 0;
}

Result<std::vector<TraceRow>> read_trace(const std::string& path, int limit) {
  ASSIGN_OR_RETURN(const std::string text, read_file(path));
  const bool csv = path.ends_with(".csv");
  std::vector<TraceRow> rows;
  const auto lines = lines_of(text);
  for (size_t i = csv ? 1 : 0; i < lines.size() && static_cast<int>(rows.size()) < limit; ++i) {
    TraceRow row;
    if (csv ? !parse_azure(lines[i], row) : !parse_mooncake(lines[i], row)) {
      return invalid_argument("{}: line {} is not a row of {}", path, i + 1,
                              csv ? "time,input,output" : "timestamp, input_length, output_length");
    }
    rows.push_back(std::move(row));
  }
  if (rows.empty()) return invalid_argument("{}: no rows", path);
  return rows;
}

class IdSource {
 public:
  explicit IdSource(const DatasetSpec& spec)
      : low_(std::min(5, spec.vocab - 1)), high_(spec.vocab - 1) {}
  template <class Random>
  void add(Random& random, int count, std::vector<int32_t>& out) const {
    std::uniform_int_distribution<int32_t> pick(low_, high_);
    for (int i = 0; i < count; ++i) out.push_back(pick(random));
  }

 private:
  int32_t low_, high_;
};

std::vector<LoadItem> random_items(const DatasetSpec& spec, std::mt19937_64& random) {
  const IdSource source(spec);
  const auto length = [&](int len) {
    const int least = std::max(1, static_cast<int>(len * (1 - spec.range_ratio)));
    return std::uniform_int_distribution<int>(least, std::max(least, len))(random);
  };
  std::vector<LoadItem> items(static_cast<size_t>(spec.num_prompts));
  for (LoadItem& item : items) {
    source.add(random, length(spec.input_len), item.ids);
    item.output_tokens = length(spec.output_len);
  }
  return items;
}

Result<std::vector<LoadItem>> trace_items(const DatasetSpec& spec, std::mt19937_64& random) {
  ASSIGN_OR_RETURN(const auto rows, read_trace(spec.source.substr(6), spec.num_prompts));
  const IdSource source(spec);
  std::vector<LoadItem> items;
  for (const TraceRow& row : rows) {
    LoadItem item{.arrival_s = (row.time_s - rows.front().time_s) / spec.time_scale};
    item.output_tokens = row.output;
    int input = row.input;
    if (spec.max_len > 0) {
      item.output_tokens = std::min(item.output_tokens, std::max(1, spec.max_len / 2));
      input = std::min(input, std::max(1, spec.max_len - item.output_tokens));
    }
    for (const int64_t block : row.blocks) {
      std::mt19937_64 of_block(static_cast<uint64_t>(block) ^ spec.seed);
      const int left = input - static_cast<int>(item.ids.size());
      source.add(of_block, std::min(kBlockTokens, left), item.ids);
    }
    source.add(random, input - static_cast<int>(item.ids.size()), item.ids);
    items.push_back(std::move(item));
  }
  return items;
}

/// A prompt a line: text, or JSON with "prompt" and perhaps "output_len".
Result<std::vector<LoadItem>> prompt_items(const DatasetSpec& spec) {
  const std::string path = spec.source.substr(8);
  ASSIGN_OR_RETURN(const std::string text, read_file(path));
  const auto lines = lines_of(text);
  if (lines.empty()) return invalid_argument("{}: no prompts", path);
  std::vector<LoadItem> items;
  for (int i = 0; i < spec.num_prompts; ++i) {
    const std::string_view line = lines[static_cast<size_t>(i) % lines.size()];
    LoadItem item{.text = std::string(line), .output_tokens = spec.output_len};
    if (path.ends_with(".jsonl")) {
      const auto json = parse_json(line);
      if (!json.ok() || !json->is_object() || !json->contains("prompt") ||
          !(*json)["prompt"].is_string()) {
        return invalid_argument("{}: line {} has no \"prompt\"", path, i + 1);
      }
      item.text = (*json)["prompt"].get<std::string>();
      if (json->contains("output_len") && (*json)["output_len"].is_number_integer()) {
        item.output_tokens = (*json)["output_len"].get<int>();
      }
    }
    items.push_back(std::move(item));
  }
  return items;
}

}  // namespace

Result<std::vector<LoadItem>> load_dataset(const DatasetSpec& spec) {
  std::mt19937_64 random(spec.seed);
  std::vector<LoadItem> items;
  if (spec.source == "random") {
    items = random_items(spec, random);
  } else if (spec.source.starts_with("trace:")) {
    ASSIGN_OR_RETURN(items, trace_items(spec, random));
  } else if (spec.source.starts_with("prompts:")) {
    ASSIGN_OR_RETURN(items, prompt_items(spec));
  } else {
    return invalid_argument("dataset '{}': random, trace:FILE or prompts:FILE is expected",
                            spec.source);
  }
  if (spec.request_rate > 0) {  // a Poisson process, in place of a trace's own times
    std::exponential_distribution<double> gap(spec.request_rate);
    double time_s = 0;
    for (LoadItem& item : items) {
      item.arrival_s = time_s;
      time_s += gap(random);
    }
  }
  return items;
}

}  // namespace ramjet
