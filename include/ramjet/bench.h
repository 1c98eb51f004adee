// Measuring: the machine's ceilings, kernels against them, a step's parts, and floors.
//
// Everything printed by `ramjet bench` comes from here or from an Executor. Not thread-safe: one
// measurement at a time, on an otherwise idle machine.
#pragma once

#include <ramjet/engine.h>
#include <ramjet/result.h>

#include <memory>
#include <string>
#include <vector>

namespace ramjet {

/// What this machine can do, measured in the same run as whatever stands beside it.
struct Ceilings {
  /// Stream read of a buffer as large as the weights, all threads; on a GPU copies within it,
  /// bytes read and written.
  double read_gbps = 0;
  double fma_tflops = 0;  // f32 multiply-add from registers, all threads
  double amx_tflops = 0;  // bf16 tiles from registers, all threads; 0: no AMX
  // Of a GPU: what large matmuls reach on its architecture's flagship (bf16, fp8); known, but for
  // bench_engine_kernels(), which measures them.
  double gpu_tflops = 0, gpu_fp8_tflops = 0;
  double best_tflops(bool eight_bit = false) const {
    if (gpu_tflops > 0) return eight_bit ? gpu_fp8_tflops : gpu_tflops;
    return amx_tflops > 0 ? amx_tflops : fma_tflops;
  }
};

struct KernelTiming {
  std::string name;   // tactic
  std::string shape;  // "m=1 n=8192 k=2048 bf16"
  double us = 0;
  double tflops = 0;
  double tbps = 0;       // bytes that must move / time
  double share = 0;      // of the ceiling that bounds it
  std::string baseline;  // another tactic or library, empty if none
  double baseline_us = 0;
};

struct KernelReport {
  Ceilings ceilings;
  std::vector<KernelTiming> kernels;
  std::string device;
};

/// Times the kernels whose name or shape matches the regular expression `filter` ("" for all).
Result<KernelReport> bench_kernels(const std::string& filter, int num_threads);

/// Ceilings of the device that the engine runs on, with a buffer as large as its weights (64 MiB
/// to 4 GiB).
Result<Ceilings> measure_ceilings(const Engine& engine, int num_threads);

/// The target of this machine's first GPU ("sm_90a"); empty if there is none that kernels exist
/// for.
std::string gpu_target();

/// Times each distinct op of an engine for this machine's GPU, with the kernels it chose, at
/// several sizes, beside the floor and, for matmuls, cuBLASLt's bare product. Errors:
/// kUnsupported for an engine for the CPU; kUnavailable.
Result<KernelReport> bench_engine_kernels(const Engine& engine, const std::string& filter,
                                          int num_threads);

/// An engine of Llama-3-8B's shape with dummy weights for this machine's GPU, in the cache: what
/// kernels are measured on where no model is named.
Result<std::shared_ptr<const Engine>> bench_engine(const BuildOptions& options);

/// What one step must at least do.
struct StepCost {
  double weight_bytes = 0;        // read once a step, embedding rows not counted
  double expert_bytes = 0;        // of all experts, which a step reads as far as they are chosen
  double expert_share = 0;        // of them, that one token chooses
  double flops_per_token = 0;     // of the matmuls without the head
  double head_flops_per_row = 0;  // of the logits matmul
  double kv_bytes_per_token = 0;  // of context, read once a decode step
  bool eight_bit = false;         // the matmuls without the head multiply fp8
};
StepCost step_cost(const Engine& engine);

/// The least time in ms, experts being chosen evenly: max(weights / bandwidth, arithmetic / peak) +
/// KV / bandwidth, for `rows` tokens of which `logit_rows` want logits, over `context` cached
/// tokens in all.
double floor_ms(const StepCost& cost, const Ceilings& ceilings, double rows, double logit_rows,
                double context);

struct ProfiledRecord {
  std::string op, name, tactic;
  double us = 0;     // mean of a step
  double share = 0;  // of the step
};
struct ProfileReport {
  std::vector<ProfiledRecord> steps;
  double step_us = 0;     // of a step, the mean; on a GPU the device's, without logits to the host
  double idle_share = 0;  // 1 - sum of records / step_us, at least 0: kernels alone may take longer
  double least_step_us = 0;
  double matmul_flops = 0;  // of a step; 0 on a GPU
  double amx_tflops = 0;    // Ceilings::amx_tflops, measured between the steps
  std::string device;
  std::string trace;  // Chrome trace events of one step, JSON
};
struct ProfileOptions {
  int batch = 1;      // sequences
  int context = 128;  // cached tokens of each
  int tokens = 1;     // new tokens of each: 1 is a decode step, more a chunk of a prompt
  int num_threads = 0;
};
/// Runs the same step several times.
Result<ProfileReport> profile_engine(std::shared_ptr<const Engine> engine,
                                     const ProfileOptions& options);

}  // namespace ramjet
