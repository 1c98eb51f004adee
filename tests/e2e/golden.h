// Goldens of a model: prompts with logits and greedy continuations made by `transformers`, and the
// steps that end-to-end tests share.
#pragma once

#include <gtest/gtest.h>
#include <ramjet/executor.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "base/json.h"

namespace ramjet::e2e {

struct GoldenPosition {
  int pos = 0;
  double logsumexp = 0;
  std::vector<std::pair<int32_t, float>> top;
  std::vector<float> row;  // may be empty
};

struct GoldenPrompt {
  std::vector<int32_t> ids;
  std::vector<GoldenPosition> positions;
  std::vector<int32_t> greedy;
};

struct Golden {
  std::string folder;
  std::vector<GoldenPrompt> prompts;
};

inline std::vector<std::string> golden_folders() {
  std::vector<std::string> folders;
  for (const auto& entry : std::filesystem::directory_iterator("tests/data/models")) {
    if (std::filesystem::exists(entry.path() / "goldens.json")) folders.push_back(entry.path());
  }
  std::sort(folders.begin(), folders.end());
  return folders;
}

inline Golden read_golden(const std::string& folder) {
  Golden golden{folder, {}};
  Result<Json> json = read_json_file(folder + "/goldens.json");
  EXPECT_TRUE(json.ok()) << folder;
  for (const Json& item : (*json)["prompts"]) {
    GoldenPrompt prompt{item["ids"], {}, item["greedy"]};
    for (const Json& p : item["positions"]) {
      GoldenPosition position{p["pos"], p["logsumexp"], {}, {}};
      for (const Json& pair : p["top"]) position.top.emplace_back(pair[0], pair[1]);
      if (p.contains("row")) position.row = p["row"].get<std::vector<float>>();
      prompt.positions.push_back(std::move(position));
    }
    golden.prompts.push_back(std::move(prompt));
  }
  return golden;
}

/// Builds `folder` into a fresh engine file under the test's temporary folder and loads it.
inline Result<std::shared_ptr<const Engine>> build_and_load(const std::string& folder,
                                                            const BuildOptions& options) {
  static int counter = 0;
  const std::string path = testing::TempDir() + "/e2e-" + std::to_string(::getpid()) + "-" +
                           std::to_string(counter++) + ".engine";
  Result<BuildReport> report = build_engine(folder, path, options);
  if (!report.ok()) return report.error();
  Result<std::shared_ptr<const Engine>> engine = Engine::load(path);
  std::filesystem::remove(path);  // the mapping keeps the bytes
  return engine;
}

inline BuildOptions f32_options() {
  BuildOptions options;
  options.dtype = "f32";
  options.tune = false;
  options.max_seq_len = 160;  // dynamic rope scaling goes past the model's own positions
  return options;
}

inline Request greedy_request(const std::vector<int32_t>& ids, int max_tokens) {
  Request request;
  request.prompt_ids = ids;
  request.sampling.temperature = 0;
  request.sampling.stop.max_tokens = max_tokens;
  request.sampling.stop.ignore_eos = true;
  return request;
}

/// All logits of a prompt, by position.
inline std::vector<std::vector<float>> all_logits(Executor& executor,
                                                  const std::vector<int32_t>& ids) {
  std::vector<std::vector<float>> rows;
  Status status = executor.logits({ids, 0}, [&](int position, std::span<const float> logits) {
    EXPECT_EQ(position, static_cast<int>(rows.size()));
    rows.emplace_back(logits.begin(), logits.end());
  });
  EXPECT_TRUE(status.ok()) << (status.ok() ? "" : status.error().message);
  EXPECT_EQ(rows.size(), ids.size());
  return rows;
}

inline float largest_difference(const std::vector<std::vector<float>>& rows,
                                const GoldenPrompt& prompt) {
  float worst = 0;
  for (const GoldenPosition& position : prompt.positions) {
    const std::vector<float>& row = rows.at(static_cast<size_t>(position.pos));
    for (const auto& [id, logit] : position.top) {
      worst = std::max(worst, std::fabs(row.at(static_cast<size_t>(id)) - logit));
    }
    for (size_t i = 0; i < position.row.size(); ++i) {
      worst = std::max(worst, std::fabs(row.at(i) - position.row[i]));
    }
  }
  return worst;
}

/// Ids of the k largest, largest first.
inline std::vector<int32_t> top_ids(const std::vector<float>& row, int k) {
  std::vector<int32_t> order(row.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int32_t>(i);
  std::partial_sort(order.begin(), order.begin() + k, order.end(), [&](int32_t a, int32_t b) {
    return row[static_cast<size_t>(a)] > row[static_cast<size_t>(b)];
  });
  order.resize(static_cast<size_t>(k));
  return order;
}

inline std::string slug(const std::string& text) {
  std::string out;
  for (char c : std::filesystem::path(text).filename().string()) {
    out += std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
  }
  return out;
}

}  // namespace ramjet::e2e
