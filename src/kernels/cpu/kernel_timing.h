// Times the CPU kernels against this machine's ceilings, all measured in one run, on all threads.
// Shapes are those of Llama-3.2-1B with untied embeddings. What `ramjet bench kernels` prints.
//
// Each figure is the least of several runs: on a shared machine compare `share`, not microseconds.
// Weights are dummies; they take 2.5 GB, so that no cache holds them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"

namespace ramjet {
class ThreadPool;
}
namespace ramjet::kernels {

struct KernelTiming {
  std::string name;    // "decode_linears_1b_bf16"
  std::string shape;   // "1x16384x2048"
  std::string tactic;  // the kernel that ran
  double us = 0;
  double tflops = 0;
  double tbps = 0;   // bytes that must move: weights, activations, cache
  double share = 0;  // of the ceiling that binds: floor_us / us
  double floor_us = 0;
};

struct CpuCeilings {
  double stream_read_tbps = 0;
  double fma_tflops = 0;  // f32, registers only
  double amx_tflops = 0;  // bf16 tiles, registers only; 0 without AMX
};

struct CpuBenchReport {
  std::string target;  // "cpu-avx512"
  int threads = 0;
  CpuCeilings ceilings;
  std::vector<KernelTiming> kernels;
};

struct CpuBenchOptions {
  std::string filter;  // a regular expression searched for in names; empty: all
  int threads = 0;     // 0: all
  int repeats = 8;
};

/// Errors: kInvalidArgument for a bad filter; kResourceExhausted without the memory for weights.
Result<CpuBenchReport> bench_cpu_kernels(const CpuBenchOptions& options);

/// The ceilings alone, with a read buffer of `read_bytes`. Errors: kResourceExhausted.
Result<CpuCeilings> measure_cpu_ceilings(uint64_t read_bytes, int threads);

/// CpuCeilings::amx_tflops of this moment: a few milliseconds on all threads of the pool.
double tile_peak_tflops(ThreadPool& pool);

}  // namespace ramjet::kernels
