// `ramjet bench throughput | latency | kernels | profile`: an engine through its Executor.
#include <ramjet/bench.h>
#include <ramjet/executor.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <mutex>
#include <random>
#include <sstream>

#include "base/file.h"
#include "base/json.h"
#include "bench_report.h"
#include "commands.h"
#include "engine/engine_file.h"
#include "machine.h"
#include "output.h"

namespace ramjet {
namespace {

struct BenchArguments {
  std::string model, dataset, batching = "inflight", capacity = "max_utilization", output, filter;
  std::string trace_file;
  int isl = 128, osl = 128, requests = 64, batch = 1, threads = 0, warmup = 1, context = 128,
      tokens = 1;
  double length_scale = 1;
  uint64_t kv_bytes = 0, seed = 1;
  bool json = false;
  BuildOptions options;
  ExecutorConfig config;
};

using SteadyTime = std::chrono::steady_clock;
double seconds_since(SteadyTime::time_point start) {
  return std::chrono::duration<double>(SteadyTime::now() - start).count();
}

struct Lengths {
  int input = 0;
  int output = 0;
};

/// Prompt and output tokens of an Azure CSV (TIMESTAMP,ContextTokens,GeneratedTokens).
Result<std::vector<Lengths>> trace_lengths(const std::string& path, int count) {
  ASSIGN_OR_RETURN(std::string text, read_file(path));
  std::istringstream lines(text);
  std::string line;
  std::getline(lines, line);  // header
  std::vector<Lengths> lengths;
  while (static_cast<int>(lengths.size()) < count && std::getline(lines, line)) {
    const size_t first = line.find(','), second = line.find(',', first + 1);
    if (first == std::string::npos || second == std::string::npos) {
      return invalid_argument("{}: '{}' is not TIMESTAMP,ContextTokens,GeneratedTokens", path,
                              line.substr(0, 80));
    }
    lengths.push_back({std::atoi(line.c_str() + first + 1), std::atoi(line.c_str() + second + 1)});
  }
  return lengths;
}

Result<std::vector<Lengths>> bench_lengths(const BenchArguments& a, int max_seq_len) {
  std::vector<Lengths> lengths(static_cast<size_t>(a.requests), Lengths{a.isl, a.osl});
  if (a.dataset.starts_with("trace:")) {
    ASSIGN_OR_RETURN(lengths, trace_lengths(a.dataset.substr(6), a.requests));
  } else if (!a.dataset.empty() && a.dataset != "random") {
    return invalid_argument("dataset '{}': known are random and trace:FILE.csv", a.dataset);
  }
  for (Lengths& l : lengths) {  // scaled, then cut to what the context holds
    l.input = std::max(1, static_cast<int>(l.input * a.length_scale));
    l.output = std::max(1, static_cast<int>(l.output * a.length_scale));
    l.output = std::min(l.output, max_seq_len / 2);
    l.input = std::min(l.input, max_seq_len - l.output);
  }
  return lengths;
}

/// Submits everything at once and collects what comes back.
class Load {
 public:
  Load(Executor& executor, const std::vector<Lengths>& lengths, uint64_t seed, int vocab)
      : executor_(executor), lengths_(lengths), rng_(seed), vocab_(vocab) {}

  Result<std::vector<RequestTrace>> run(double* duration_s) {
    traces_.resize(lengths_.size());
    start_ = SteadyTime::now();
    for (size_t i = 0; i < lengths_.size(); ++i) RETURN_IF_ERROR(submit(i));
    std::unique_lock lock(mutex_);
    constexpr double kLongest_s = 7200;
    if (!done_.wait_for(lock, std::chrono::duration<double>(kLongest_s),
                        [&] { return finished_ == traces_.size(); })) {
      return make_error(ErrorCode::kDeadlineExceeded, "the benchmark did not end in {} s",
                        kLongest_s);
    }
    *duration_s = seconds_since(start_);
    return traces_;
  }

 private:
  Status submit(size_t i) {
    Request request;
    std::uniform_int_distribution<int32_t> ids(0, vocab_ - 1);
    for (int t = 0; t < lengths_[i].input; ++t) request.prompt_ids.push_back(ids(rng_));
    request.sampling.temperature = 0;
    request.sampling.stop.max_tokens = lengths_[i].output;
    request.sampling.stop.ignore_eos = true;
    traces_[i].start_s = seconds_since(start_);
    traces_[i].input_tokens = lengths_[i].input;
    Result<uint64_t> id = executor_.submit(std::move(request),
                                           [this, i](RequestOutput&& output) { take(i, output); });
    if (!id.ok()) return id.error();
    return ok_status();
  }

  void take(size_t i, const RequestOutput& output) {
    std::lock_guard lock(mutex_);
    RequestTrace& trace = traces_[i];
    trace.output_tokens += static_cast<int64_t>(output.ids.size());
    for (size_t k = 0; k < output.ids.size(); ++k) trace.token_s.push_back(seconds_since(start_));
    if (!output.last) return;
    trace.ok = !output.error.has_value();
    if (++finished_ == traces_.size()) done_.notify_one();
  }

  Executor& executor_;
  const std::vector<Lengths>& lengths_;
  std::mt19937_64 rng_;
  int vocab_;
  SteadyTime::time_point start_;
  std::mutex mutex_;
  std::condition_variable done_;
  std::vector<RequestTrace> traces_;
  size_t finished_ = 0;
};

Result<ExecutorConfig> executor_config(const BenchArguments& a, size_t requests) {
  ExecutorConfig config = a.config;
  config.kv_bytes = a.kv_bytes;
  config.num_threads = a.threads;
  config.max_queue = static_cast<int>(requests) + 1;
  if (a.batching == "static") {
    config.batching = BatchingMode::kStatic;
  } else if (a.batching != "inflight") {
    return invalid_argument("batching '{}': known are inflight and static", a.batching);
  }
  if (a.capacity == "guaranteed_no_evict") {
    config.capacity = CapacityPolicy::kGuaranteedNoEvict;
  } else if (a.capacity == "overcommit") {
    config.capacity = CapacityPolicy::kOvercommit;
  } else if (a.capacity != "max_utilization") {
    return invalid_argument(
        "capacity '{}': known are max_utilization, overcommit and guaranteed_no_evict", a.capacity);
  }
  return config;
}

Result<OrderedJson> model_facts(const Engine& engine) {
  ASSIGN_OR_RETURN(const auto file,
                   engine::EngineFile::open(engine.path(), engine::EngineFile::Verify::kStructure));
  const engine::Manifest& manifest = file.manifest();
  OrderedJson machine = machine_facts();
  return OrderedJson{
      {"machine", machine},
      {"commit", machine["commit"]},
      {"model", engine.model().name},
      {"parameters", engine.model().parameters},
      {"dtype", manifest.dtype},
      {"quantize", manifest.quantize},
      {"kv_dtype",
       manifest.kv_groups.empty() ? "none" : dtype_name(manifest.kv_groups.front().dtype)}};
}

int emit(const BenchArguments& a, const OrderedJson& json, const std::string& text) {
  if (!a.output.empty()) {
    const std::string pretty =
        json.dump(2, ' ', false, OrderedJson::error_handler_t::replace) + "\n";
    if (Status s = write_file_atomically(a.output, pretty); !s.ok()) return fail(s.error());
  }
  if (a.json) {
    print_json(json);
  } else {
    print_text(text);
  }
  return 0;
}

/// Share of the floor: every token's arithmetic or every step's weights, whichever is slower.
double floor_seconds(const StepCost& cost, const Ceilings& ceilings,
                     const std::vector<RequestTrace>& traces, const ExecutorStats& stats) {
  double tokens = 0, rows = 0, context = 0;
  for (const RequestTrace& t : traces) {
    tokens += static_cast<double>(t.input_tokens + t.output_tokens);
    rows += static_cast<double>(t.output_tokens);
    context += static_cast<double>(t.output_tokens) *
               (static_cast<double>(t.input_tokens) + static_cast<double>(t.output_tokens) / 2);
  }
  const double steps = static_cast<double>(stats.steps);
  return steps * floor_ms(cost, ceilings, tokens / steps, rows / steps, context / steps) * 1e-3;
}

Result<int> throughput(BenchArguments& a) {
  ASSIGN_OR_RETURN(auto engine, load_model(a.model, a.options));
  ASSIGN_OR_RETURN(std::vector<Lengths> lengths, bench_lengths(a, engine->model().max_seq_len));
  ASSIGN_OR_RETURN(ExecutorConfig config, executor_config(a, lengths.size()));
  const StepCost cost = step_cost(*engine);
  ASSIGN_OR_RETURN(Ceilings ceilings, measure_ceilings(*engine, a.threads));
  ASSIGN_OR_RETURN(auto executor, Executor::create(engine, config));
  Load load(*executor, lengths, a.seed, engine->model().vocab_size);
  double duration = 0;
  ASSIGN_OR_RETURN(std::vector<RequestTrace> traces, load.run(&duration));
  const ExecutorStats stats = executor->stats();
  OrderedJson json = summarize(traces, duration, {});
  const double floor = floor_seconds(cost, ceilings, traces, stats);
  const double steps = std::max<double>(1, static_cast<double>(stats.steps));
  const int slots =
      config.max_batch_size > 0 ? config.max_batch_size : engine->limits().max_batch_size;
  ASSIGN_OR_RETURN(const OrderedJson facts, model_facts(*engine));
  json.update(facts);
  json["device"] = stats.device;
  json["batching"] = a.batching;
  json["capacity"] = a.capacity;
  json["dataset"] = a.dataset.empty() ? "random" : a.dataset.substr(a.dataset.rfind('/') + 1);
  json["length_scale"] = a.length_scale;
  json["batch_mean"] = static_cast<double>(stats.slot_steps) / steps;
  json["slot_occupancy"] = static_cast<double>(stats.slot_steps) / steps / slots;
  json["steps"] = stats.steps;
  json["preemptions"] = stats.preemptions;
  json["kv_reserved_tokens_mean"] = static_cast<double>(stats.kv_reserved_token_steps) / steps;
  json["kv_live_tokens_mean"] = static_cast<double>(stats.kv_live_token_steps) / steps;
  json["kv_contiguous_tokens_mean"] =
      static_cast<double>(stats.slot_steps) / steps * engine->model().max_seq_len;
  json["max_seq_len"] = engine->model().max_seq_len;
  json["read_gbps"] = ceilings.read_gbps;
  json["peak_tflops"] = ceilings.best_tflops(cost.eight_bit);
  json["floor_tok_s"] = json["total_output_tokens"].get<double>() / floor;
  json["floor_share"] = floor / duration;
  json["gpu_idle_share"] = nullptr;  // a CPU's engine
  if (stats.device_busy_s > 0) json["gpu_idle_share"] = 1 - stats.device_busy_s / duration;
  json["idle_share"] = 1 - stats.busy_s / duration;
  return emit(a, json,
              summary_text(json) + fmt::format("batch {:.1f}, {:.1f} % of the floor, on {}\n",
                                               json["batch_mean"].get<double>(),
                                               100 * floor / duration, stats.device));
}

OrderedJson quantiles(const std::vector<double>& ms) {
  return {{"p50", percentile(ms, 50)}, {"p99", percentile(ms, 99)}};
}

Result<int> latency(BenchArguments& a) {
  ASSIGN_OR_RETURN(auto engine, load_model(a.model, a.options));
  const StepCost cost = step_cost(*engine);
  ASSIGN_OR_RETURN(Ceilings ceilings, measure_ceilings(*engine, a.threads));
  a.requests = a.batch;
  ASSIGN_OR_RETURN(std::vector<Lengths> lengths, bench_lengths(a, engine->model().max_seq_len));
  ASSIGN_OR_RETURN(ExecutorConfig config, executor_config(a, lengths.size()));
  config.prefix_caching = false;
  ASSIGN_OR_RETURN(auto executor, Executor::create(engine, config));
  std::vector<double> ttft, tpot;
  std::string device;
  for (int round = 0; round <= a.warmup + 2; ++round) {
    Load load(*executor, lengths, a.seed + static_cast<uint64_t>(round),
              engine->model().vocab_size);
    double duration = 0;
    ASSIGN_OR_RETURN(std::vector<RequestTrace> traces, load.run(&duration));
    if (round < a.warmup) continue;
    for (const RequestTrace& t : traces) {
      if (!t.ok) return internal_error("a request of the benchmark failed");
      ttft.push_back((t.token_s.front() - t.start_s) * 1e3);
      if (t.output_tokens > 1) {
        tpot.push_back((t.token_s.back() - t.token_s.front()) * 1e3 /
                       static_cast<double>(t.output_tokens - 1));
      }
    }
  }
  const double context = a.batch * (a.isl + a.osl / 2.0);
  const double floor = floor_ms(cost, ceilings, a.batch, a.batch, context);
  const double prefill = floor_ms(cost, ceilings, a.batch * a.isl, a.batch, 0);
  ASSIGN_OR_RETURN(OrderedJson json, model_facts(*engine));
  json.update({{"device", executor->stats().device},
               {"batch", a.batch},
               {"isl", a.isl},
               {"osl", a.osl},
               {"ttft_ms", quantiles(ttft)},
               {"tpot_ms", quantiles(tpot)},
               {"floor_ms", floor},
               {"floor_share", tpot.empty() ? 0 : floor / percentile(tpot, 50)},
               {"prefill_floor_ms", prefill},
               {"prefill_floor_share", prefill / percentile(ttft, 50)},
               {"prefill_tok_s", a.batch * a.isl / percentile(ttft, 50) * 1e3},
               {"read_gbps", ceilings.read_gbps},
               {"peak_tflops", ceilings.best_tflops(cost.eight_bit)}});
  return emit(
      a, json,
      fmt::format("TTFT p50 {:.2f} ms (floor {:.2f}), TPOT p50 {:.3f} ms (floor {:.3f}, "
                  "{:.0f} %), on {}\n",
                  percentile(ttft, 50), prefill, percentile(tpot, 50), floor,
                  100 * json["floor_share"].get<double>(), json["device"].get<std::string>()));
}

/// The engine's kernels, or without a model those of this machine's GPU, else its CPU.
Result<KernelReport> kernel_report(const BenchArguments& a) {
  const bool gpu = !gpu_target().empty() && !a.options.target.starts_with("cpu");
  if (a.model.empty() && !gpu) return bench_kernels(a.filter, a.threads);
  ASSIGN_OR_RETURN(const auto engine,
                   a.model.empty() ? bench_engine(a.options) : load_model(a.model, a.options));
  return bench_engine_kernels(*engine, a.filter, a.threads);
}

Result<int> kernels(BenchArguments& a) {
  ASSIGN_OR_RETURN(KernelReport report, kernel_report(a));
  OrderedJson rows = OrderedJson::array();
  const Ceilings& c = report.ceilings;
  std::string text = fmt::format("{}: read {:.1f} GB/s, ", report.device, c.read_gbps);
  text +=
      c.gpu_tflops > 0
          ? fmt::format("bf16 {:.0f} TFLOP/s, fp8 {:.0f} TFLOP/s\n", c.gpu_tflops, c.gpu_fp8_tflops)
          : fmt::format("FMA {:.3f} TFLOP/s, AMX {:.3f} TFLOP/s\n", c.fma_tflops, c.amx_tflops);
  for (const KernelTiming& k : report.kernels) {
    OrderedJson row = {{"name", k.name},     {"shape", k.shape}, {"us", k.us},
                       {"tflops", k.tflops}, {"tbps", k.tbps},   {"share", k.share}};
    row["baseline"] = nullptr;
    if (!k.baseline.empty()) row["baseline"] = {{"name", k.baseline}, {"us", k.baseline_us}};
    rows.push_back(row);
    text += fmt::format("{:<36} {:<34} {:>10.1f} us {:>8.3f} TFLOP/s {:>8.4f} TB/s {:>5.1f} %",
                        k.name, k.shape, k.us, k.tflops, k.tbps, 100 * k.share);
    if (k.baseline_us > 0) {
      text +=
          fmt::format("  {} {:.1f} us ({:.2f}x)", k.baseline, k.baseline_us, k.baseline_us / k.us);
    }
    text += "\n";
  }
  const OrderedJson machine = machine_facts();
  const OrderedJson json = {{"machine", machine},
                            {"commit", machine["commit"]},
                            {"device", report.device},
                            {"ceilings",
                             {{"read_gbps", report.ceilings.read_gbps},
                              {"fma_tflops", report.ceilings.fma_tflops},
                              {"amx_tflops", report.ceilings.amx_tflops},
                              {"gpu_tflops", report.ceilings.gpu_tflops},
                              {"gpu_fp8_tflops", report.ceilings.gpu_fp8_tflops}}},
                            {"kernels", rows}};
  return emit(a, json, text);
}

/// The step's matmuls, had they all of its time, of the tiles' peak; 0 without tiles.
double peak_share(const ProfileReport& report, double us) {
  if (report.amx_tflops <= 0) return 0;
  return report.matmul_flops / us * 1e-6 / report.amx_tflops;
}

Result<int> profile(BenchArguments& a) {
  ASSIGN_OR_RETURN(auto engine, load_model(a.model, a.options));
  ASSIGN_OR_RETURN(ProfileReport report,
                   profile_engine(engine, {a.batch, a.context, a.tokens, a.threads}));
  OrderedJson steps = OrderedJson::array();
  std::string text;
  for (const ProfiledRecord& r : report.steps) {
    steps.push_back(
        {{"op", r.op}, {"name", r.name}, {"tactic", r.tactic}, {"us", r.us}, {"share", r.share}});
    text += fmt::format("{:>10.1f} us {:>5.1f} %  {:<18} {:<28} {}\n", r.us, 100 * r.share, r.op,
                        r.name, r.tactic);
  }
  text += fmt::format("{:>10.1f} us a step, {:.1f} % outside kernels, on {}\n", report.step_us,
                      100 * report.idle_share, report.device);
  const double share = peak_share(report, report.step_us);
  if (share > 0) {
    text += fmt::format(
        "{:>10.1f} us the fastest; matmuls in all {:.1f} % (fastest {:.1f} %) of the "
        "AMX peak between the steps, {:.3f} TFLOP/s\n",
        report.least_step_us, 100 * share, 100 * peak_share(report, report.least_step_us),
        report.amx_tflops);
  }
  if (!a.trace_file.empty()) {
    RETURN_IF_ERROR(write_file_atomically(a.trace_file, report.trace));
  }
  ASSIGN_OR_RETURN(OrderedJson json, model_facts(*engine));
  json.update({{"device", report.device},
               {"batch", a.batch},
               {"context", a.context},
               {"tokens", a.tokens},
               {"step_us", report.step_us},
               {"least_step_us", report.least_step_us},
               {"amx_tflops", report.amx_tflops},
               {"amx_share", share},
               {"steps", steps},
               {"idle_share", report.idle_share},
               {"trace", a.trace_file}});
  return emit(a, json, text);
}

using Action = Result<int> (*)(BenchArguments&);

struct BenchCommand {
  const char* name;
  const char* description;
  Action action;
};

CLI::App* add_action(CLI::App& bench, CommandRunner& runner, const BenchCommand& what,
                     const std::shared_ptr<BenchArguments>& a) {
  CLI::App* command = bench.add_subcommand(what.name, what.description);
  command->add_flag("--json", a->json, "one JSON object on stdout");
  command->add_option("--output", a->output, "also write the JSON to this file");
  command->add_option("--threads", a->threads, "CPU workers (0: all cores)");
  command->callback([&runner, action = what.action, a] {
    runner.run = [action, a] {
      Result<int> result = action(*a);
      return result.ok() ? *result : fail(result.error());
    };
  });
  return command;
}

void add_load_options(CLI::App& command, BenchArguments& a) {
  command.add_option("MODEL", a.model, "Hugging Face folder, GGUF or engine")->required();
  command.add_option("--isl", a.isl, "prompt tokens")->capture_default_str();
  command.add_option("--osl", a.osl, "output tokens")->capture_default_str();
  command.add_option("--dataset", a.dataset, "random or trace:FILE.csv");
  command.add_option("--length-scale", a.length_scale, "factor for the trace's lengths");
  command.add_option("--seed", a.seed, "of the random prompts");
  command.add_option("--kv-memory", a.kv_bytes, "cap of the KV cache in bytes")
      ->transform(CLI::AsSizeValue(false));
  command.add_option("--slots", a.config.max_batch_size, "sequences in a step (0: the engine's)");
  command.add_option("--token-budget", a.config.max_num_tokens, "tokens of a step");
  command.add_option("--batching", a.batching, "inflight or static")->capture_default_str();
  command
      .add_option("--capacity", a.capacity, "max_utilization, overcommit or guaranteed_no_evict")
      ->capture_default_str();
  add_build_options(command, a.options);
}

}  // namespace

void add_bench_command(CLI::App& app, CommandRunner& runner) {
  CLI::App* bench = app.add_subcommand("bench", "measure: throughput, latency, kernels, servers");
  bench->require_subcommand(1);
  const auto shared = [] { return std::make_shared<BenchArguments>(); };  // with the callbacks
  auto a = shared();
  CLI::App* command =
      add_action(*bench, runner, {"throughput", "all requests queued at once", throughput}, a);
  add_load_options(*command, *a);
  command->add_option("--requests", a->requests, "how many")->capture_default_str();
  a = shared();
  command = add_action(*bench, runner, {"latency", "one fixed batch", latency}, a);
  add_load_options(*command, *a);
  command->add_option("--batch", a->batch, "sequences")->capture_default_str();
  command->add_option("--warmup", a->warmup, "rounds not counted")->capture_default_str();
  a = shared();
  command = add_action(*bench, runner, {"kernels", "each kernel against the ceilings", kernels}, a);
  command->add_option("MODEL", a->model,
                      "engine or folder whose ops are timed on the GPU (none: a built-in shape)");
  command->add_option("--filter", a->filter, "regular expression over name and shape");
  add_build_options(*command, a->options);
  a = shared();
  command = add_action(*bench, runner, {"profile", "where a step's time goes", profile}, a);
  command->add_option("MODEL", a->model, "Hugging Face folder, GGUF or engine")->required();
  command->add_option("--batch", a->batch, "sequences")->capture_default_str();
  command->add_option("--context", a->context, "cached tokens of each")->capture_default_str();
  command->add_option("--tokens", a->tokens, "new tokens of each: 1 decodes, more prefill")
      ->capture_default_str();
  command->add_option("--trace", a->trace_file, "write a Chrome trace here");
  add_build_options(*command, a->options);
  add_bench_serve_command(*bench, runner);
}

}  // namespace ramjet
