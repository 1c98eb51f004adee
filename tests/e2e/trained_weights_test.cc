// The two trained models of ../shared/data/weights: greedy ids and logits as recorded.
#include "golden.h"

namespace ramjet::e2e {
namespace {

const std::string kRoot = "../shared/data/weights/";

class Trained : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    folder_ = kRoot + GetParam();
    if (!std::filesystem::exists(folder_)) GTEST_SKIP() << folder_ << " is absent";
  }
  std::unique_ptr<Executor> executor(const std::string& dtype) {
    BuildOptions options = f32_options();
    options.dtype = dtype;
    options.max_seq_len = 0;
    auto engine = build_and_load(folder_, options);
    EXPECT_TRUE(engine.ok()) << (engine.ok() ? "" : engine.error().message);
    if (!engine.ok()) return nullptr;
    auto made = Executor::create(*engine, {});
    EXPECT_TRUE(made.ok()) << (made.ok() ? "" : made.error().message);
    return made.ok() ? std::move(*made) : nullptr;
  }
  std::vector<int32_t> expected_ids() {
    std::ifstream in(folder_ + "/expected_greedy_ids.txt");
    std::vector<int32_t> ids;
    for (int32_t id; in >> id;) ids.push_back(id);
    return ids;
  }
  std::string folder_;
};

TEST_P(Trained, GreedyIdsFromBos) {
  auto exec = executor("f32");
  ASSERT_NE(exec, nullptr);
  const std::vector<int32_t> expected = expected_ids();
  ASSERT_GT(expected.size(), 100u);
  auto outputs = exec->generate(greedy_request({1}, static_cast<int>(expected.size())), 120);
  ASSERT_TRUE(outputs.ok()) << outputs.error().message;
  EXPECT_EQ((*outputs)[0].ids, expected);
}

TEST_P(Trained, LogitsWithin1e3) {
  auto exec = executor("f32");
  ASSERT_NE(exec, nullptr);
  std::ifstream in(folder_ + "/reference_logits.tsv");
  std::vector<int32_t> ids;
  std::vector<double> sums;
  std::vector<std::vector<std::pair<int32_t, float>>> tops;
  for (std::string line; std::getline(in, line);) {
    std::istringstream fields(line);
    int position = 0;
    int32_t id = 0;
    double sum = 0;
    fields >> position >> id >> sum;
    ids.push_back(id);
    sums.push_back(sum);
    tops.emplace_back();
    for (std::string pair; fields >> pair;) {
      const size_t colon = pair.find(':');
      tops.back().emplace_back(std::stoi(pair), std::stof(pair.substr(colon + 1)));
    }
  }
  ASSERT_GT(ids.size(), 100u);
  const auto rows = all_logits(*exec, ids);
  ASSERT_EQ(rows.size(), ids.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    double sum = 0;
    for (float logit : rows[i]) sum += std::exp(static_cast<double>(logit));
    EXPECT_NEAR(std::log(sum), sums[i], 1e-3) << i;
    for (const auto& [id, logit] : tops[i]) {
      EXPECT_NEAR(rows[i][static_cast<size_t>(id)], logit, 1e-3) << "position " << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Weights, Trained, testing::Values("stories260K-hf", "babyllama105-hf"),
                         [](const auto& info) { return slug(info.param); });

}  // namespace
}  // namespace ramjet::e2e
