// What the host adds to a step: the loop over a session that costs nothing, and the sampler alone.
#include <benchmark/benchmark.h>

#include <random>

#include "runtime/executor/step_loop.h"
#include "runtime/session/fake_session.h"

namespace ramjet::runtime {
namespace {

// One decode step of `range` sequences, each far from its end: everything but the model.
void step_overhead(benchmark::State& state) {
  SessionInfo info;
  info.vocab_size = state.range(1);
  info.max_seq_len = 1 << 20;
  info.max_batch_size = state.range(0);
  info.max_num_tokens = 2048;
  info.max_logit_rows = state.range(0);
  info.block_tokens = 16;
  info.max_blocks = 1 << 12;
  info.num_blocks = 1 << 17;
  FakeSession::Options options;
  options.constant = true;
  FakeSession session(info, options);
  Publisher publisher;
  StepLoop loop({&session, &publisher, nullptr, &SteadyClock::instance()},
                {info.max_batch_size, info.max_num_tokens, info.max_logit_rows},
                {info.num_blocks, info.block_tokens});
  for (int64_t i = 0; i < state.range(0); ++i) {
    auto request = std::make_unique<ActiveRequest>();
    request->id = static_cast<uint64_t>(i) + 1;
    request->request.prompt_ids.assign(200, static_cast<int32_t>(i % info.vocab_size));
    request->request.sampling.temperature = 0;
    request->max_output = 1 << 15;
    request->states.push_back(std::make_unique<SamplingState>(
        &request->request.sampling, request->request.prompt_ids, std::span<const int32_t>(), 0));
    request->sink = std::make_shared<RequestSink>([](RequestOutput&&) {});
    loop.add(std::move(request));
  }
  while (loop.scheduler().num_running() < state.range(0)) loop.step(), loop.publish();
  for (int i = 0; i < 64; ++i) loop.step(), loop.publish();
  for (auto _ : state) {
    loop.step();
    loop.publish();
  }
  state.counters["us_per_sequence"] =
      benchmark::Counter(static_cast<double>(state.iterations() * state.range(0)) * 1e-6,
                         benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}
BENCHMARK(step_overhead)
    ->Args({1, 64})
    ->Args({64, 64})
    ->Args({256, 64})
    ->Args({256, 16384})
    ->Unit(benchmark::kMicrosecond)
    ->Iterations(2000);

void sample_row(benchmark::State& state, SamplingParams params) {
  const auto vocab = static_cast<size_t>(state.range(0));
  std::mt19937 rng(1);
  std::normal_distribution<float> normal(0, 3);
  std::vector<float> row(vocab);
  for (float& x : row) x = normal(rng);
  SamplingState sampling(&params, {}, {}, 0);
  Sampler sampler(state.range(0), nullptr);
  SampleJob job;
  job.logits = row;
  job.state = &sampling;
  job.top_logprobs = params.logprobs;
  for (auto _ : state) {
    ++job.seed;
    sampler.sample(std::span(&job, 1));
    benchmark::DoNotOptimize(job.id);
  }
}
SamplingParams params_of(float temperature, int top_k, float top_p, int logprobs = -1) {
  SamplingParams params;
  params.temperature = temperature;
  params.top_k = top_k;
  params.top_p = top_p;
  params.logprobs = logprobs;
  return params;
}
BENCHMARK_CAPTURE(sample_row, greedy, params_of(0, 0, 1))->Arg(16384)->Arg(131072);
BENCHMARK_CAPTURE(sample_row, temperature, params_of(1, 0, 1))->Arg(16384)->Arg(131072);
BENCHMARK_CAPTURE(sample_row, top_k_50, params_of(1, 50, 1))->Arg(16384)->Arg(131072);
BENCHMARK_CAPTURE(sample_row, top_p_09, params_of(1, 0, 0.9f))->Arg(16384)->Arg(131072);
BENCHMARK_CAPTURE(sample_row, logprobs_20, params_of(0, 0, 1, 20))->Arg(16384)->Arg(131072);

}  // namespace
}  // namespace ramjet::runtime
