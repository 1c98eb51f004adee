// Kernels of an engine, timed on this machine's GPU.
#include <ramjet/bench.h>

#include <filesystem>
#include <set>

#include "api/engine_impl.h"
#include "base/env.h"
#include "base/file.h"
#include "base/name_filter.h"
#include "compiler/tactics/device_timer.h"
#include "kernels/op_work.h"
#include "op/fields.h"

namespace ramjet {
namespace {

using compiler::DeviceTimer;
using compiler::TimingJob;

constexpr std::string_view kLlama8b = R"({"architectures": ["LlamaForCausalLM"],
  "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
  "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256,
  "max_position_embeddings": 8192, "rms_norm_eps": 1e-05, "rope_theta": 500000.0,
  "hidden_act": "silu", "tie_word_embeddings": false, "torch_dtype": "bfloat16"})";

/// A record of the engine as the compiler saw it; stays where it is: desc borrows from it.
struct BenchOp {
  const engine::LaunchRecord* record = nullptr;
  OpAttrs attrs;
  std::vector<TensorType> inputs, outputs;
  kernels::OpDesc desc;
  std::vector<std::vector<int64_t>> values;     // of the symbols, one a size
  std::vector<const kernels::Tactic*> tactics;  // of each size
};

/// Sizes of `op`: a token, small batches, a chunk of a prompt, the most.
void add_sizes(const engine::Program& program, BenchOp& op) {
  const auto at = static_cast<size_t>(op.record->symbol);
  const int64_t most = program.symbols.empty() ? 1 : program.symbols[at].max;
  std::set<int64_t> sizes = {most};
  for (int64_t size : {1, 16, 64, 256, 1024}) sizes.insert(std::min(size, most));
  for (int64_t size : sizes) {
    std::vector<int64_t> values;
    for (const Symbol& symbol : program.symbols) {
      values.push_back(std::clamp(size, std::max<int64_t>(symbol.min, 1), symbol.max));
    }
    const auto& choice = op.record->choices[op.record->choice_at(values)];
    op.tactics.push_back(kernels::find_tactic(choice.tactic));
    op.values.push_back(std::move(values));
  }
}

Result<std::vector<std::unique_ptr<BenchOp>>> distinct_ops(const engine::Program& program) {
  std::vector<std::unique_ptr<BenchOp>> ops;
  std::set<std::string> seen;
  for (const engine::LaunchRecord& record : program.records) {
    auto op = std::make_unique<BenchOp>();
    op->record = &record;
    ASSIGN_OR_RETURN(op->attrs, parse_attrs(record.op, record.attrs));
    for (const engine::TensorRef& ref : record.inputs) op->inputs.push_back(ref.type);
    for (const engine::TensorRef& ref : record.outputs) op->outputs.push_back(ref.type);
    op->desc = {record.op, &op->attrs, op->inputs, op->outputs, program.symbols};
    if (!seen.insert(compiler::work_text(op->desc)).second) continue;
    add_sizes(program, *op);
    for (const kernels::Tactic* tactic : op->tactics) {
      if (tactic != nullptr && tactic->plan != nullptr) continue;
      return unsupported("'{}' runs {}, which is no kernel of this build for a GPU", record.name,
                         record.choices.front().tactic);
    }
    ops.push_back(std::move(op));
  }
  return ops;
}

std::string shape_text(const BenchOp& op, std::span<const int64_t> given) {
  const std::vector<int64_t> values = kernels::batch_symbols(op.desc, given);
  const auto text = [&](const TensorType& type) {
    return fmt::format("{}{}", dtype_name(type.dtype), type.shape(values).text());
  };
  if (op.desc.op == OpKind::kMatmul) {
    const Shape b = op.inputs[1].shape(values);
    return fmt::format("m={} n={} k={} {}", op.inputs[0].shape(values).rows(), b.rows(), b.back(),
                       dtype_name(op.inputs[1].dtype));
  }
  if (const AttentionDesc* d = kernels::attention_desc_of(op.desc)) {
    const kernels::BatchShape batch = kernels::batch_shape(op.desc, values);
    return fmt::format("{} sequences of {} queries, {} keys, {}+{} heads of {}, {} cache",
                       batch.sequences, batch.queries, batch.keys, d->num_heads, d->num_kv_heads,
                       d->head_dim, dtype_name(d->kv_dtype));
  }
  return fmt::format("{} -> {}", op.inputs.empty() ? "" : text(op.inputs[0]),
                     op.outputs.empty() ? "" : text(op.outputs[0]));
}

Result<KernelTiming> time_op(DeviceTimer& timer, const BenchOp& op, size_t size,
                             const kernels::DeviceFacts& facts) {
  const std::vector<int64_t>& values = op.values[size];
  KernelTiming row;
  row.name = fmt::format("{} {}", op_name(op.desc.op), op.tactics[size]->name);
  row.shape = shape_text(op, values);
  ASSIGN_OR_RETURN(const auto us, timer.us(*op.tactics[size], op.desc, values));
  if (!us) return make_error(ErrorCode::kDeadlineExceeded, "timing took too long");
  const kernels::OpWork work = kernels::op_work(op.desc, values);
  row.us = *us;
  row.tflops = work.flops / *us * 1e-6;
  row.tbps = work.bytes / *us * 1e-6;
  row.share = kernels::floor_us(work, facts) / *us;
  for (const engine::Candidate& library : timer.baselines(op.desc, values)) {
    row.baseline = library.tactic, row.baseline_us = library.us;
  }
  return row;
}

}  // namespace

Result<KernelReport> bench_engine_kernels(const Engine& engine, const std::string& filter,
                                          int num_threads) {
  ASSIGN_OR_RETURN(const NameFilter wanted, NameFilter::parse(filter, "--filter"));
  const engine::Manifest& manifest = engine.impl().file->manifest();
  ASSIGN_OR_RETURN(const auto target, kernels::Target::parse(manifest.provenance.target));
  if (!target.is_gpu()) {
    return unsupported("{}: an engine for {}; kernels of the CPU are measured without a model",
                       engine.path(), target.name());
  }
  ASSIGN_OR_RETURN(auto timer, DeviceTimer::create(
                                   target, compiler::DeviceTimerOptions{.num_threads = num_threads,
                                                                        .budget_s = 300,
                                                                        .remembered = false}));
  KernelReport report;
  report.device = timer->machine();
  ASSIGN_OR_RETURN(const kernels::DeviceCeilings measured, timer->stopwatch().ceilings());
  report.ceilings.read_gbps = measured.copy_tbps * 1e3;
  report.ceilings.gpu_tflops = measured.bf16_tflops;
  report.ceilings.gpu_fp8_tflops = measured.fp8_tflops;
  kernels::DeviceFacts facts = kernels::device_facts(target);
  facts.tbps = measured.copy_tbps;
  if (measured.bf16_tflops > 0) facts.bf16_tflops = measured.bf16_tflops;
  if (measured.fp8_tflops > 0) facts.fp8_tflops = measured.fp8_tflops;
  ASSIGN_OR_RETURN(const auto ops, distinct_ops(manifest.programs.front()));
  std::vector<TimingJob> jobs;
  for (const auto& op : ops) {
    for (size_t i = 0; i < op->tactics.size(); ++i) {
      jobs.push_back({op->tactics[i], &op->desc, {op->values[i]}});
    }
  }
  RETURN_IF_ERROR(timer->prepare(jobs, {}));
  for (const auto& op : ops) {
    for (size_t i = 0; i < op->values.size(); ++i) {
      const std::string text = fmt::format("{} {} {}", op_name(op->desc.op), op->tactics[i]->name,
                                           shape_text(*op, op->values[i]));
      if (!wanted.matches(text)) continue;
      ASSIGN_OR_RETURN(KernelTiming row, time_op(*timer, *op, i, facts));
      report.kernels.push_back(std::move(row));
    }
  }
  return report;
}

std::string gpu_target() {
  const auto target = kernels::Target::gpu();
  return target ? target->name() : "";
}

Result<std::shared_ptr<const Engine>> bench_engine(const BuildOptions& options) {
  const std::string folder = cache_directory() + "/bench/llama-3-8b-shape";
  RETURN_IF_ERROR(make_directories(folder));
  RETURN_IF_ERROR(write_file_atomically(folder + "/config.json", kLlama8b));
  BuildOptions dummy = options;
  dummy.weights = BuildOptions::Weights::kDummySeed;
  ASSIGN_OR_RETURN(const std::string path, resolve_engine(folder, dummy));
  return Engine::load(path);
}

}  // namespace ramjet
