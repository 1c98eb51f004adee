// sample and resolve_tokens.
#include <fmt/core.h>

#include <algorithm>
#include <array>

#include "kernels/cuda/cuda_tactics.h"
#include "kernels/cuda/plan_util.h"
#include "kernels/cuda/sample_plan.h"
#include "op/sampling.h"

namespace ramjet::kernels::cuda {
namespace {

constexpr int64_t kMaxVocab = 1 << 19;  // sums of weights in a block stay within their words
constexpr int64_t kBinBytes = 8192;     // of sample_select.cuh

int64_t shared_limit(const DeviceFacts& facts) {
  const int64_t arch = facts.sm >= 90 ? 227 << 10 : facts.sm == 89 ? 99 << 10 : 163 << 10;
  return std::min(arch, facts.shared_bytes);
}

DeviceModule sample_module(const SampleConfig& config) {
  DeviceModule module;
  module.name = fmt::format("sample_{}_x{}", config.vocab, config.splits);
  module.source = "#include \"sample_rows.cuh\"\n";
  define(module, "VOCAB", config.vocab);
  define(module, "SPLITS", config.splits);
  define(module, "SEGMENT", config.segment());
  define(module, "IN_SHARED", config.in_shared ? 1 : 0);
  define(module, "THREADS", config.threads);
  define(module, "BLOCKS_PER_SM", config.blocks_per_sm);
  define(module, "SHARED_BYTES", config.shared_bytes());
  define(module, "PARAM_WORDS", kSampleWords);
  define(module, "MASK_WORDS", mask_words(config.vocab));
  define(module, "COUNT_WORDS", count_words(config.vocab));
  define(module, "MAX_TOP", kMaxTopLogprobs);
  return module;
}

bool sample_ok(const OpDesc& desc) {
  if (!has_reference_meaning(desc)) return false;
  const int64_t vocab = width_of(desc.inputs[0]);
  return vocab >= 1 && vocab <= kMaxVocab && rows_of(desc.inputs[1]).has_value();
}

void plan_for(const OpDesc& desc, const Tactic&, const DeviceFacts& facts, DevicePlan& plan) {
  plan_sample(desc, sample_config(width_of(desc.inputs[0]), facts), facts, plan);
}

bool resolve_ok(const OpDesc& desc) {
  return has_reference_meaning(desc) && product(desc.inputs[0], 0, 1).has_value();
}

void plan_resolve(const OpDesc& desc, const Tactic&, const DeviceFacts& facts, DevicePlan& plan) {
  const Dim rows = *product(desc.inputs[0], 0, 1);
  DeviceModule module;
  module.name = "resolve_tokens";
  module.source = "#include \"resolve_tokens.cuh\"\n";
  const LaunchArg symbol = define_extent(module, "ROW", rows);
  DeviceLaunch& launch = single_launch(plan, std::move(module), "resolve_tokens", facts);
  launch.grid[0] = LaunchExtent::ceil(rows, 256);
  launch.block = 256;
  launch.args = {LaunchArg::input(0), LaunchArg::input(1), LaunchArg::output(0), symbol};
}

constexpr std::array kTactics = {
    Tactic{.name = "cuda.sample.v1",
           .op = OpKind::kSample,
           .priority = 10,
           .supports = sample_ok,
           .sm = 80,
           .plan = plan_for,
           .sum_order = own_sum_order},
    Tactic{.name = "cuda.resolve_tokens.v1",
           .op = OpKind::kResolveTokens,
           .priority = 10,
           .supports = resolve_ok,
           .sm = 80,
           .plan = plan_resolve,
           .sum_order = own_sum_order},
};

}  // namespace

// As struct Shared of sample_common.cuh, which is checked against it when it is compiled.
int64_t SampleConfig::shared_bytes() const {
  const int64_t warps = threads / 32;
  const int64_t exchange = 5 * warps * 8 + 2 * 5 * splits * 8 + 2 * 5 * 8;
  const int64_t scans = warps * 8 + (warps + 1) / 2 * 8 + 32 * 8;
  const int64_t lists = std::max<int64_t>(kBinBytes / splits, 128 * 8) + splits * 8;
  const int64_t fixed = kBinBytes + exchange + scans + lists + 192 + segment() / 512 * 8 + 16;
  return fixed + (in_shared ? segment() * 4 : 0);
}

SampleConfig sample_config(int64_t vocab, const DeviceFacts& facts) {
  SampleConfig config;
  config.vocab = vocab;
  const int64_t limit = shared_limit(facts);
  if (facts.sm >= 90) {
    config.splits = vocab >= 65536 ? 8 : vocab >= 16384 ? 4 : vocab >= 4096 ? 2 : 1;
    config.threads = 256;
    config.blocks_per_sm = std::clamp<int64_t>((228 << 10) / (config.shared_bytes() + 1024), 1, 3);
    if (config.shared_bytes() <= limit) return config;
    config.splits = 1, config.threads = 512;
  }
  config.blocks_per_sm = 1;
  config.in_shared = config.shared_bytes() <= limit;
  if (!config.in_shared) config.threads = 1024;
  return config;
}

void plan_sample(const OpDesc& desc, const SampleConfig& config, const DeviceFacts& facts,
                 DevicePlan& plan) {
  const Dim rows = *rows_of(desc.inputs[1]);
  DeviceModule module = sample_module(config);
  const LaunchArg symbol = define_extent(module, "ROW", rows);
  DeviceLaunch& launch = single_launch(plan, std::move(module), "sample_rows", facts);
  launch.grid[0] = LaunchExtent::ceil(rows, 1, config.splits);
  launch.block = static_cast<uint32_t>(config.threads);
  launch.cluster = static_cast<uint32_t>(config.splits);
  launch.shared_bytes = static_cast<uint32_t>(config.shared_bytes());
  if (!config.in_shared) {
    std::vector<int64_t> most;
    for (const Symbol& s : desc.symbols) most.push_back(s.max);
    plan.workspace_bytes = rows.evaluate(most) * config.vocab * 4;
  }
  launch.args = {LaunchArg::input(0),
                 LaunchArg::input(1),
                 LaunchArg::input(2),
                 LaunchArg::input(3),
                 LaunchArg::input(4),
                 LaunchArg::input(5),
                 LaunchArg::output(0),
                 LaunchArg::output(1),
                 config.in_shared ? LaunchArg::output(0) : LaunchArg::workspace(),
                 symbol};
}

std::span<const Tactic> sampling_tactics() { return kTactics; }

}  // namespace ramjet::kernels::cuda
