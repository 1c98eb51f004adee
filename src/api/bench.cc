#include <ramjet/bench.h>
#include <ramjet/executor.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>

#include "api/engine_impl.h"
#include "base/json.h"
#include "base/thread_pool.h"
#include "device/cuda/bandwidth.h"
#include "kernels/cpu/kernel_timing.h"
#include "kernels/registry.h"
#include "op/fields.h"
#include "runtime/session/cuda_session.h"
#include "runtime/session/engine_session.h"

namespace ramjet {
namespace {

Ceilings to_public(const kernels::CpuCeilings& c) {
  return {c.stream_read_tbps * 1e3, c.fma_tflops, c.amx_tflops, 0, 0};
}

/// Multiply-adds of a record for one row of its first symbol, times two.
double matmul_flops(const engine::LaunchRecord& record) {
  const TensorType& b = record.inputs[1].type;
  if (record.op != OpKind::kMatmul || b.rank() != 2) return 0;
  return 2.0 * static_cast<double>(b.dims[0].evaluate({})) *
         static_cast<double>(b.dims[1].evaluate({}));
}

bool rows_are(const engine::LaunchRecord& record, const engine::Program& program,
              std::string_view symbol) {
  const TensorType& a = record.inputs[0].type;
  return a.rank() >= 2 && !a.dims[0].fixed() &&
         program.symbols[static_cast<size_t>(a.dims[0].symbol)].name == symbol;
}

/// The inputs of one step.
struct StepInputs {
  std::vector<int32_t> ids, positions, query_start, kv_len, table, rows;

  StepInputs(const ProfileOptions& o, const runtime::SessionInfo& info) {
    const int64_t blocks = (o.context + o.tokens + info.block_tokens - 1) / info.block_tokens;
    table.assign(static_cast<size_t>(o.batch * info.max_blocks), 0);
    query_start.push_back(0);
    for (int s = 0; s < o.batch; ++s) {
      for (int t = 0; t < o.tokens; ++t) {
        ids.push_back(static_cast<int32_t>((7 + s * 13 + t * 31) % info.vocab_size));
        positions.push_back(o.context + t);
      }
      query_start.push_back((s + 1) * o.tokens);
      kv_len.push_back(o.context + o.tokens);
      rows.push_back(query_start.back() - 1);
      for (int64_t b = 0; b < blocks; ++b) {
        table[static_cast<size_t>(s * info.max_blocks + b)] =
            static_cast<int32_t>((s * blocks + b) % info.num_blocks);
      }
    }
  }
  runtime::StepBatch batch() const {
    return {ids, positions, query_start, kv_len, table, rows, {}, kv_len};
  }
};

/// The program's symbols in such a step.
std::vector<int64_t> step_symbols(const engine::Program& program, const ProfileOptions& o) {
  std::vector<int64_t> symbols;
  for (const Symbol& symbol : program.symbols) {
    symbols.push_back(symbol.name == "tokens" ? int64_t{o.batch} * o.tokens : o.batch);
  }
  return symbols;
}

ProfileReport make_report(const engine::Program& program,
                          std::span<const runtime::RecordTime> timings,
                          const ProfileOptions& options, double step_us) {
  ProfileReport report;
  report.step_us = step_us;
  const std::vector<int64_t> symbols = step_symbols(program, options);
  double inside = 0, at = 0;
  OrderedJson events = OrderedJson::array();
  for (size_t i = 0; i < timings.size(); ++i) {
    const engine::LaunchRecord& record = program.records[i];
    const double us = timings[i].us / static_cast<double>(std::max<int64_t>(timings[i].calls, 1));
    report.steps.push_back({std::string(op_name(record.op)), record.name,
                            record.choices[record.choice_at(symbols)].tactic, us, us / step_us});
    events.push_back({{"name", record.name},
                      {"cat", op_name(record.op)},
                      {"ph", "X"},
                      {"ts", at},
                      {"dur", us},
                      {"pid", 1},
                      {"tid", 1}});
    inside += us;
    at += us;
  }
  report.idle_share = std::max(0.0, 1 - inside / step_us);
  report.trace = OrderedJson{{"traceEvents", events}}.dump();
  return report;
}

}  // namespace

Result<KernelReport> bench_kernels(const std::string& filter, int num_threads) {
  ASSIGN_OR_RETURN(kernels::CpuBenchReport cpu, kernels::bench_cpu_kernels({filter, num_threads}));
  KernelReport report;
  report.ceilings = to_public(cpu.ceilings);
  report.device = fmt::format("{} x{}", cpu.target, cpu.threads);
  for (const kernels::KernelTiming& k : cpu.kernels) {
    report.kernels.push_back(
        {k.name + " " + k.tactic, k.shape, k.us, k.tflops, k.tbps, k.share, "", 0});
  }
  return report;
}

namespace {

Result<Ceilings> measure_gpu(const kernels::Target& target, uint64_t bytes) {
  ASSIGN_OR_RETURN(const auto device, device::cuda::CudaDevice::open(0));
  ASSIGN_OR_RETURN(const double bandwidth, device::cuda::measure_copy_bandwidth(*device, bytes));
  Ceilings ceilings;
  ceilings.read_gbps = bandwidth * 1e-9;
  const kernels::DeviceFacts facts = kernels::device_facts(target);
  ceilings.gpu_tflops = facts.bf16_tflops;
  ceilings.gpu_fp8_tflops = facts.fp8_tflops;
  return ceilings;
}

}  // namespace

Result<Ceilings> measure_ceilings(const Engine& engine, int num_threads) {
  const StepCost cost = step_cost(engine);
  const auto weights = static_cast<uint64_t>(cost.weight_bytes + cost.expert_bytes);
  const uint64_t bytes = std::clamp<uint64_t>(weights, 64 << 20, uint64_t{4} << 30);
  const std::string& target = engine.impl().file->manifest().provenance.target;
  ASSIGN_OR_RETURN(const kernels::Target parsed, kernels::Target::parse(target));
  if (parsed.is_gpu()) return measure_gpu(parsed, bytes);
  ASSIGN_OR_RETURN(kernels::CpuCeilings ceilings,
                   kernels::measure_cpu_ceilings(bytes, num_threads));
  return to_public(ceilings);
}

namespace {

void add_experts(const engine::LaunchRecord& record, StepCost& cost) {
  const auto elements = [&](size_t input) {
    double count = 1;
    for (const Dim& dim : record.inputs[input].type.dims) count *= static_cast<double>(dim.offset);
    return count;
  };
  const auto experts = static_cast<double>(record.inputs[1].type.dims[0].offset);
  cost.expert_share = static_cast<double>(record.inputs[3].type.dims[1].offset) / experts;
  cost.flops_per_token += 2 * (elements(1) + elements(2)) * cost.expert_share;
}

}  // namespace

StepCost step_cost(const Engine& engine) {
  const engine::Manifest& manifest = engine.impl().file->manifest();
  StepCost cost;
  for (const engine::KvGroup& group : manifest.kv_groups) {
    cost.kv_bytes_per_token += static_cast<double>(group.num_layers * group.block_bytes(1));
  }
  if (manifest.programs.empty()) return cost;
  const engine::Program& program = manifest.programs.front();
  for (const engine::LaunchRecord& record : program.records) {
    if (record.op == OpKind::kEmbedding) continue;  // a few rows of a large table
    for (const engine::TensorRef& ref : record.inputs) {
      if (ref.space != engine::Space::kWeight) continue;
      (record.op == OpKind::kMoe ? cost.expert_bytes : cost.weight_bytes) +=
          static_cast<double>(manifest.weights[static_cast<size_t>(ref.index)].bytes);
    }
    if (record.op == OpKind::kMoe) add_experts(record, cost);
    if (record.op != OpKind::kMatmul) continue;
    cost.eight_bit |= record.inputs[1].type.dtype == DType::kF8E4M3;
    const double flops = matmul_flops(record);
    (rows_are(record, program, "logit_rows") ? cost.head_flops_per_row : cost.flops_per_token) +=
        flops;
  }
  return cost;
}

double floor_ms(const StepCost& cost, const Ceilings& ceilings, double rows, double logit_rows,
                double context) {
  const double read = ceilings.read_gbps * 1e9;
  const double arithmetic =
      cost.flops_per_token * rows / (ceilings.best_tflops(cost.eight_bit) * 1e12) +
      cost.head_flops_per_row * logit_rows / (ceilings.best_tflops() * 1e12);
  const double chosen = 1 - std::pow(1 - cost.expert_share, rows);
  const double weights = cost.weight_bytes + cost.expert_bytes * chosen;
  const double seconds =
      std::max(weights / read, arithmetic) + cost.kv_bytes_per_token * context / read;
  return seconds * 1e3;
}

namespace {

/// What `steps` steps take on the device itself: serving does not copy logits to the host.
Result<double> device_us(runtime::Session& session, const StepInputs& inputs, int steps) {
  constexpr int kBehind = 4;  // its clock counts a step so many steps later
  for (int i = 0; i < kBehind; ++i) RETURN_IF_ERROR(session.step(inputs.batch()));
  const double before = session.device_busy_s();
  for (int i = 0; i < steps; ++i) RETURN_IF_ERROR(session.step(inputs.batch()));
  return (session.device_busy_s() - before) * 1e6;
}

/// Runs the step several times: first as it would serve, for the time of a step, then with its
/// records timed. `Session` is EngineSession or CudaSession; `between` is called before each step.
template <class Session>
Result<ProfileReport> profile_session(Session& session, const auto& runner,
                                      const ProfileOptions& options, const auto& between) {
  const runtime::SessionInfo& info = session.info();
  if (options.batch < 1 || options.batch > info.max_batch_size || options.tokens < 1 ||
      options.context < 0 || options.context + options.tokens > info.max_seq_len ||
      int64_t{options.batch} * options.tokens > info.max_num_tokens) {
    return invalid_argument(
        "batch {} must be 1..{}, context {} + tokens {} at most {}, all tokens together at most {}",
        options.batch, info.max_batch_size, options.context, options.tokens, info.max_seq_len,
        info.max_num_tokens);
  }
  const StepInputs inputs(options, info);
  const int warmup = options.tokens > 1 ? 1 : 3, steps = options.tokens > 1 ? 5 : 20;
  for (int i = 0; i < warmup; ++i) {
    RETURN_IF_ERROR(session.step(inputs.batch()));
  }
  double sum = 0, least = std::numeric_limits<double>::infinity();
  for (int i = 0; i < steps; ++i) {
    between();
    const auto start = std::chrono::steady_clock::now();
    RETURN_IF_ERROR(session.step(inputs.batch()));
    const std::chrono::duration<double, std::micro> us = std::chrono::steady_clock::now() - start;
    sum += us.count(), least = std::min(least, us.count());
  }
  between();
  if (session.device_busy_s() > 0) {
    ASSIGN_OR_RETURN(sum, device_us(session, inputs, steps));
  }
  session.set_profiling(true);
  for (int i = 0; i < steps; ++i) {
    RETURN_IF_ERROR(session.step(inputs.batch()));
  }
  ProfileReport report = make_report(runner.program(), runner.times(), options, sum / steps);
  report.least_step_us = least;
  report.device = info.device;
  return report;
}

}  // namespace

Result<ProfileReport> profile_engine(std::shared_ptr<const Engine> engine,
                                     const ProfileOptions& options) {
  const std::shared_ptr<const engine::EngineFile>& file = engine->impl().file;
  ASSIGN_OR_RETURN(const kernels::Target target,
                   kernels::Target::parse(file->manifest().provenance.target));
  if (target.is_gpu()) {
    ASSIGN_OR_RETURN(auto session, runtime::CudaSession::create(file, ExecutorConfig{}));
    return profile_session(*session, session->program(), options, [] {});
  }
  ThreadPool pool(options.num_threads);
  ASSIGN_OR_RETURN(auto session, runtime::EngineSession::create(file, ExecutorConfig{}, &pool));
  double peak = 0;
  ASSIGN_OR_RETURN(ProfileReport report, profile_session(*session, session->runner(), options, [&] {
                     peak = std::max(peak, kernels::tile_peak_tflops(pool));
                   }));
  const StepCost cost = step_cost(*engine);
  const double rows = options.batch;
  report.matmul_flops = rows * (cost.flops_per_token * options.tokens + cost.head_flops_per_row);
  report.amx_tflops = peak;
  return report;
}

}  // namespace ramjet
