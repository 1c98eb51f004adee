// Batch-invariant engines on the CPU.
#include "invariance.h"

namespace ramjet::e2e {
namespace {

BuildOptions bf16_options(int max_seq_len) {
  BuildOptions options;
  options.dtype = "bf16";
  options.target = host_target();
  options.max_seq_len = max_seq_len;
  options.max_num_tokens = 256;
  return options;
}

TEST(BatchInvariant, TheDemoModel) {
  Invariance("models/demo", bf16_options(256), {1, 5, 17, 40, 65}, 5000).check();
}

class BatchInvariantFamily : public testing::TestWithParam<const char*> {};

TEST_P(BatchInvariantFamily, InBf16) {
  const std::string folder = std::string("tests/data/models/") + GetParam();
  Invariance(folder, bf16_options(160), {1, 3, 16, 33, 70, 100}, 90).check();
}

INSTANTIATE_TEST_SUITE_P(Families, BatchInvariantFamily,
                         testing::Values("llama-bf16-sharded", "mistral-window", "qwen3"),
                         [](const auto& tested) { return slug(tested.param); });

}  // namespace
}  // namespace ramjet::e2e
