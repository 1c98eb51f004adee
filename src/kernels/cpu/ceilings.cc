#include <sys/mman.h>

#include <algorithm>
#include <atomic>

#include "base/clock.h"
#include "base/thread_pool.h"
#include "kernels/cpu/isa.h"
#include "kernels/cpu/kernel_timing.h"
#include "kernels/cpu/peak.h"

namespace ramjet::kernels {
namespace {

/// Least seconds of `repeats` calls of fn(thread) on all threads.
double least_seconds(ThreadPool& pool, int repeats, FunctionRef<void(int)> fn) {
  double least = 1e30;
  for (int i = 0; i < repeats; ++i) {
    const int64_t start = SteadyClock::instance().now_ns();
    pool.run(fn);
    least = std::min(least, static_cast<double>(SteadyClock::instance().now_ns() - start) * 1e-9);
  }
  return least;
}

/// TFLOP/s of all threads of a loop that tells how many operations a thread did.
double peak_tflops(ThreadPool& pool, int repeats, double (*loop)(int64_t), int64_t rounds) {
  std::atomic<double> flops{0};
  const double seconds = least_seconds(pool, repeats, [&](int) { flops = loop(rounds); });
  return flops * pool.size() / seconds * 1e-12;
}

}  // namespace

Result<CpuCeilings> measure_cpu_ceilings(uint64_t read_bytes, int threads) {
  ThreadPool pool(threads);
  const size_t share = (read_bytes / static_cast<size_t>(pool.size()) + 4095) / 4096 * 4096;
  const size_t bytes = share * static_cast<size_t>(pool.size());
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    return make_error(ErrorCode::kResourceExhausted, "no {} bytes to measure bandwidth with",
                      bytes);
  }
  madvise(memory, bytes, MADV_HUGEPAGE);
  auto* data = static_cast<std::byte*>(memory);
  const auto part = [&](int thread) {
    return std::span(data + static_cast<size_t>(thread) * share, share);
  };
  // Untouched pages are all one zero page, which the cache holds.
  pool.run([&](int thread) { std::fill(part(thread).begin(), part(thread).end(), std::byte{1}); });
  std::atomic<uint64_t> sink{0};
  const double seconds =
      least_seconds(pool, 5, [&](int thread) { sink += cpu::read_stream(part(thread)); });
  munmap(memory, bytes);

  CpuCeilings ceilings;
  ceilings.stream_read_tbps = static_cast<double>(bytes) / seconds * 1e-12;
  const Isa isa = cpu::machine_isa();
  constexpr int64_t kRounds = 2'000'000;
  if (isa >= Isa::kAvx2) {
    ceilings.fma_tflops = peak_tflops(
        pool, 4, isa >= Isa::kAvx512 ? cpu::run_fma_avx512 : cpu::run_fma_avx2, kRounds);
  }
  if (isa >= Isa::kAmx) ceilings.amx_tflops = peak_tflops(pool, 4, cpu::run_amx, kRounds);
  return ceilings;
}

double tile_peak_tflops(ThreadPool& pool) {
  return cpu::machine_isa() >= Isa::kAmx ? peak_tflops(pool, 1, cpu::run_amx, 100'000) : 0;
}

}  // namespace ramjet::kernels
