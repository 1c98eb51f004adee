// The sampling kernel against the reference op, and timed. Usage: sample_lab [check|time]
//
// Fresh random steps of every kind (ties, NaN, infinities, few or no tokens left, odd sizes). A
// choice that differs counts as a boundary if a change of the random number or of top_p by two
// millionths leads the reference to the same token.
#include <atomic>
#include <cstring>
#include <map>
#include <thread>

#include "kernels/cuda/cuda_tactics.h"
#include "kernels/cuda/sample_plan.h"
#include "kernels/sample_cases.h"
#include "op_lab.h"

namespace ramjet::lab {
namespace {

using kernels::SampleStep;
using kernels::cuda::SampleConfig;

struct Types {
  std::vector<TensorType> inputs, outputs;
  std::vector<Symbol> symbols;
};

Types types_of(int64_t vocab, int64_t most) {
  const auto ints = [](int64_t columns) {
    return TensorType{DType::kI32, {Dim::of(0), Dim(columns)}};
  };
  Types t;
  t.symbols = {{"rows", 1, most, most}};
  t.inputs = {{DType::kF32, {Dim::of(0), Dim(vocab)}},
              ints(kSampleWords),
              ints(kEditWords),
              ints(mask_words(vocab)),
              ints(count_words(vocab)),
              {DType::kI32, {Dim::of(0)}}};
  t.outputs = {ints(kSampleResultWords), ints(2 * kMaxTopLogprobs)};
  return t;
}

kernels::DevicePlan plan_of(const SampleConfig& config, int64_t most, const cu::DeviceInfo& info) {
  const Types types = types_of(config.vocab, most);
  const OpAttrs attrs;
  const kernels::OpDesc desc{OpKind::kSample, &attrs, types.inputs, types.outputs, types.symbols};
  kernels::DeviceFacts facts;
  facts.sm = info.major * 10 + info.minor;
  kernels::DevicePlan plan;
  kernels::cuda::plan_sample(desc, config, facts, plan);
  return plan;
}
kernels::DeviceOp compile(const SampleConfig& config, int64_t most, const cu::DeviceInfo& info) {
  return take(kernels::DeviceOp::create(plan_of(config, most, info), info.arch()));
}
void cache(const SampleConfig& config, const cu::DeviceInfo& info) {
  const kernels::DevicePlan plan = plan_of(config, 256, info);
  (void)take(kernels::compile_device_module(plan.modules[0], info.arch()));
}

/// A step on the device.
class Run {
 public:
  Run(OpLab& lab, kernels::DeviceOp& op, const SampleStep& step)
      : lab_(lab), op_(op), rows_{step.rows} {
    for (const auto* v : {&step.params, &step.edits, &step.masks, &step.counts, &step.chosen}) {
      keep(std::as_bytes(std::span(*v)));
    }
    keep(std::as_bytes(std::span(step.logits)));
    inputs_ = {at(5), at(0), at(1), at(2), at(3), at(4)};
    results_ = buffer(step.results.size() * 4);
    tops_ = buffer(step.tops.size() * 4);
    workspace_ = buffer(static_cast<size_t>(op.plan().workspace_bytes));
    const int32_t rows = static_cast<int32_t>(step.rows);
    symbols_ = buffer(4);
    check(symbols_.upload(std::as_bytes(std::span(&rows, 1)), 0, lab_.stream()));
    check(lab_.stream().synchronize());
    outputs_ = {results_.get(), tops_.get()};
    check(op_.bind({inputs_, outputs_, workspace_.get(), 0, symbols_.get(), rows_, {}}));
  }
  void launch() { check(op_.launch(rows_, {}, lab_.stream())); }
  void fetch(SampleStep& step) {
    get(buffers_[3], step.counts), get(buffers_[4], step.chosen);
    get(results_, step.results), get(tops_, step.tops);
    check(lab_.stream().synchronize());
  }
  double time(int launches) {
    const auto start = take(cu::Event::create(true)), end = take(cu::Event::create(true));
    check(cu::GraphExec::begin_capture(lab_.stream()));
    for (int i = 0; i < launches; ++i) launch();
    const auto graph = take(cu::GraphExec::end_capture(lab_.stream()));
    double best = 1e30;
    for (int round = 0; round < 4; ++round) {
      check(start.record(lab_.stream()));
      check(graph.launch(lab_.stream()));
      check(end.record(lab_.stream()));
      check(end.synchronize());
      best = std::min(best, 1e3 * static_cast<double>(take(end.elapsed_ms_since(start))));
    }
    return best / launches;
  }

 private:
  uint64_t at(size_t i) const { return buffers_[i].get(); }
  cu::DeviceBuffer buffer(size_t bytes) {
    auto made = take(cu::DeviceBuffer::allocate(std::max<size_t>(bytes, 256)));
    check(made.fill(0xff, lab_.stream()));
    return made;
  }
  void keep(std::span<const std::byte> bytes) {
    buffers_.push_back(buffer(bytes.size()));
    if (!bytes.empty()) check(buffers_.back().upload(bytes, 0, lab_.stream()));
    check(lab_.stream().synchronize());
  }
  void get(const cu::DeviceBuffer& from, std::vector<int32_t>& to) {
    check(from.download(std::as_writable_bytes(std::span(to)), 0, lab_.stream()));
  }

  OpLab& lab_;
  kernels::DeviceOp& op_;
  std::vector<int64_t> rows_;
  std::vector<cu::DeviceBuffer> buffers_;
  cu::DeviceBuffer results_, tops_, workspace_, symbols_;
  std::vector<uint64_t> inputs_, outputs_;
};

/// Whether the reference comes to the same token with a slightly different number or share.
bool at_boundary(const SampleStep& before, const SampleStep& got, int64_t row) {
  for (const int change : {-2, 2}) {
    SampleStep one = before;
    one.params.assign(before.params.begin() + row * kSampleWords,
                      before.params.begin() + (row + 1) * kSampleWords);
    one.rows = 1;
    one.results.resize(kSampleResultWords), one.tops.resize(2 * kMaxTopLogprobs);
    one.word(0, SampleWord::kLogprobs) = -1;
    const double nudge = change * 1e-6;
    for (const int share : {0, -2, 2}) {
      SampleStep each = one;
      const float p = std::bit_cast<float>(one.word(0, SampleWord::kTopP));
      if (p < 1) each.set(0, SampleWord::kTopP, p + p * static_cast<float>(share) * 1e-6f);
      each.run_reference(nudge);
      if (each.result(0, SampleResult::kId) == got.result(row, SampleResult::kId)) return true;
    }
  }
  return false;
}

struct Counts {
  int rows = 0, wrong = 0, boundaries = 0;
};

void check_vocab(OpLab& lab, const SampleConfig& config, int num_steps, Counts& total) {
  constexpr int64_t kRows = 16;
  std::vector<SampleStep> steps;
  for (int i = 0; i < num_steps; ++i) {
    std::mt19937_64 rng(static_cast<uint64_t>(config.vocab * 1000 + i));
    steps.push_back(kernels::random_step(config.vocab, kRows, rng, i % 2 == 1));
  }
  std::vector<SampleStep> wants = steps;
  std::atomic<size_t> next = 0;
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < std::thread::hardware_concurrency(); ++t) {
    threads.emplace_back([&] {
      for (size_t i = next++; i < wants.size(); i = next++) wants[i].run_reference();
    });
  }
  kernels::DeviceOp op = compile(config, kRows + 3, lab.info());
  for (auto& thread : threads) thread.join();
  Counts counts;
  for (size_t i = 0; i < steps.size(); ++i) {
    SampleStep got = steps[i];
    Run run(lab, op, got);
    run.launch();
    run.fetch(got);
    bool same = true;
    for (int64_t row = 0; row < kRows; ++row) {
      ++counts.rows;
      std::string text = kernels::row_difference(wants[i], got, row);
      if (text.empty()) continue;
      same = false;
      if (text == "id" && at_boundary(steps[i], got, row)) {
        ++counts.boundaries;
        continue;
      }
      if (counts.wrong++ > 5) continue;
      std::printf("vocab %ld step %zu row %ld: %s, want %d got %d, T %g k %d p %g min %g\n",
                  static_cast<long>(config.vocab), i, static_cast<long>(row), text.c_str(),
                  wants[i].result(row, SampleResult::kId), got.result(row, SampleResult::kId),
                  double{std::bit_cast<float>(got.word(row, SampleWord::kTemperature))},
                  got.word(row, SampleWord::kTopK),
                  double{std::bit_cast<float>(got.word(row, SampleWord::kTopP))},
                  double{std::bit_cast<float>(got.word(row, SampleWord::kMinP))});
    }
    if (same && got.counts != wants[i].counts) ++counts.wrong, std::printf("counts differ\n");
    Run again(lab, op, steps[i]);
    again.launch();
    SampleStep twice = steps[i];
    again.fetch(twice);
    if (twice.results != got.results) ++counts.wrong, std::printf("runs differ\n");
  }
  std::printf("vocab %-7ld splits %ld shared %d threads %ld: %d rows, %d wrong, %d at a boundary\n",
              static_cast<long>(config.vocab), static_cast<long>(config.splits), config.in_shared,
              static_cast<long>(config.threads), counts.rows, counts.wrong, counts.boundaries);
  std::fflush(stdout);
  total.rows += counts.rows, total.wrong += counts.wrong, total.boundaries += counts.boundaries;
}

struct Mode {
  const char* name;
  float temperature, top_p;
  int top_k, logprobs, kind;  // kind: of logits
};
constexpr Mode kModes[] = {{"greedy", 0, 1, 0, -1, 0},
                           {"temperature", 1, 1, 0, -1, 0},
                           {"top-p 0.9, normal", 1, 0.9f, 0, -1, 0},
                           {"top-p 0.9, sigma 3", 1, 0.9f, 0, -1, 1},
                           {"top-p 0.9, sigma 8", 1, 0.9f, 0, -1, 5},
                           {"top-k 50 top-p 0.9", 1, 0.9f, 50, -1, 1},
                           {"top-k 2000", 1, 1, 2000, -1, 0},
                           {"greedy, 5 logprobs", 0, 1, 0, 5, 1}};

void time_config(OpLab& lab, const SampleConfig& config, kernels::DeviceOp& op, int64_t rows,
                 const std::vector<float>* logits) {
  std::printf("vocab %ld rows %-4ld splits %ld threads %-4ld:", static_cast<long>(config.vocab),
              static_cast<long>(rows), static_cast<long>(config.splits),
              static_cast<long>(config.threads));
  for (const Mode& mode : kModes) {
    SampleStep step(config.vocab, rows);
    const auto& from = logits[mode.kind];
    for (int64_t i = 0; i < rows; ++i) {
      // A pool of rows, each begun elsewhere.
      const auto shift =
          static_cast<int64_t>(i * 977 % (static_cast<int64_t>(from.size()) - config.vocab));
      std::memcpy(step.row(i), from.data() + shift, static_cast<size_t>(config.vocab) * 4);
      step.set(i, SampleWord::kTemperature, mode.temperature);
      step.set(i, SampleWord::kTopP, mode.top_p);
      step.word(i, SampleWord::kTopK) = mode.top_k;
      step.word(i, SampleWord::kLogprobs) = mode.logprobs;
      step.word(i, SampleWord::kSeedLow) = static_cast<int32_t>(i * 7919);
    }
    Run run(lab, op, step);
    std::printf(" %7.2f", run.time(rows > 64 ? 5 : 20));
  }
  std::printf("\n");
  std::fflush(stdout);
}

SampleConfig variant(int64_t vocab, int64_t splits, int64_t threads) {
  SampleConfig config;
  config.vocab = vocab, config.splits = splits, config.threads = threads;
  config.blocks_per_sm = threads == 1024 ? 1 : threads == 512 ? 2 : 3;
  return config;
}

/// Fills the cache of compiled modules.
void warm(std::span<const SampleConfig> configs, const cu::DeviceInfo& info) {
  std::vector<std::thread> threads;
  for (const SampleConfig& config : configs) {
    threads.emplace_back([&config, &info] { cache(config, info); });
  }
  for (auto& thread : threads) thread.join();
}

int run_lab(bool checks, bool times) {
  OpLab lab;
  Counts total;
  if (checks) {
    std::vector<SampleConfig> configs;
    for (int64_t vocab : {1003, 32000, 50257, 128256, 151936}) {
      configs.push_back(kernels::cuda::sample_config(vocab, kernels::DeviceFacts()));
    }
    SampleConfig global;  // as on GPUs without clusters
    global.vocab = 50257, global.in_shared = false, global.threads = 1024;
    configs.push_back(global);
    warm(configs, lab.info());
    for (const SampleConfig& config : configs) {
      const int steps = config.vocab > 100000 ? 24 : config.in_shared ? 32 : 16;
      if (timed() || config.vocab < 100000) check_vocab(lab, config, timed() ? steps : 2, total);
    }
    std::printf("%d rows, %d wrong, %d at a boundary\n", total.rows, total.wrong, total.boundaries);
  }
  if (times) {
    std::printf("us:");
    for (const Mode& mode : kModes) std::printf(" [%s]", mode.name);
    std::printf("\n");
    std::vector<float> logits[kernels::kLogitKinds];
    for (int kind : {0, 1, 5}) {
      SampleStep pool(160000, 2);
      std::mt19937_64 rng(5);
      fill_logits(pool, 0, kind, rng), fill_logits(pool, 1, kind, rng);
      logits[kind] = pool.logits;
    }
    std::vector<SampleConfig> configs = {variant(131072, 8, 256), variant(128256, 8, 256),
                                         variant(151936, 8, 256), variant(32000, 4, 256)};
    warm(configs, lab.info());
    for (const SampleConfig& config : configs) {
      kernels::DeviceOp op = compile(config, 256, lab.info());
      for (int64_t rows : {1, 32, 128, 256}) {
        if (config.vocab < 131072 && rows > 1 && rows != 128) continue;
        time_config(lab, config, op, rows, logits);
      }
    }
  }
  return total.wrong == 0 ? 0 : 1;
}

}  // namespace
}  // namespace ramjet::lab

int main(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "";
  return ramjet::lab::run_lab(what != "time", what != "check");
}
