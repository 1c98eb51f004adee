#include "kernels/cpu/kernel_timing.h"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>

#include "base/clock.h"
#include "base/name_filter.h"
#include "base/thread_pool.h"
#include "kernels/cpu/isa.h"
#include "kernels/cpu/peak.h"
#include "kernels/registry.h"

namespace ramjet::kernels {
namespace {

// Llama-3.2-1B: 16 layers, 32 heads of 64, 8 KV heads, hidden 2048, MLP 8192, vocabulary 128,256.
constexpr int64_t kLayers = 16, kHidden = 2048, kHeads = 32, kKvHeads = 8, kHeadDim = 64;
struct Linear {
  int64_t n, k;
  int64_t count;  // of the whole model
};
constexpr Linear kLinears[] = {{3072, 2048, kLayers},
                               {2048, 2048, kLayers},
                               {16384, 2048, kLayers},
                               {2048, 8192, kLayers},
                               {128256, 2048, 1}};
constexpr size_t kWeightBytes = size_t{2496} << 20;
constexpr size_t kActivationBytes = size_t{64} << 20;

/// Anonymous memory, released at the end.
class Memory {
 public:
  explicit Memory(size_t bytes) : bytes_(bytes) {
    void* p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) return;
    madvise(p, bytes, MADV_HUGEPAGE);
    data_ = static_cast<std::byte*>(p);
  }
  ~Memory() {
    if (data_ != nullptr) munmap(data_, bytes_);
  }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  std::byte* data() const { return data_; }
  size_t size() const { return bytes_; }

  /// Pseudo-random bf16 of magnitude about 0.01; as int8 any values.
  void fill(ThreadPool& pool) {
    auto* words = reinterpret_cast<uint64_t*>(data_);
    pool.parallel_for(static_cast<int64_t>(bytes_ / 8), 1 << 20, [&](int64_t i, int64_t end, int) {
      for (; i < end; ++i) {
        const uint64_t mixed = static_cast<uint64_t>(i + 1) * 0x9e3779b97f4a7c15;
        words[i] = ((mixed ^ mixed >> 29) & 0x80ff80ff80ff80ff) | 0x3c003c003c003c00;
      }
    });
  }

 private:
  std::byte* data_ = nullptr;
  size_t bytes_;
};

struct Work {
  double flops = 0, bytes = 0;
};

class Bench {
 public:
  Bench(const CpuBenchOptions& options, NameFilter filter)
      : options_(options), filter_(std::move(filter)), pool_(options.threads) {}

  Result<CpuBenchReport> run();

 private:
  double seconds(FunctionRef<void()> fn) const;
  void measure_ceilings();
  void measure_peaks(int64_t rounds);
  void compare_with_ceilings();
  void record(const std::string& name, const std::string& shape, const Tactic& tactic, Work work,
              FunctionRef<void()> fn);
  void linears(const std::string& name, int64_t rows, DType weights);
  void gemm(int64_t n, int64_t k);
  void row_ops();
  void attention(const std::string& name, int64_t sequences, int64_t queries, int64_t length);

  /// Runs the best tactic on dummy operands; workspace comes from the activations' second half.
  const Tactic* call(OpKind op, const OpAttrs& attrs, std::vector<TensorView> inputs,
                     std::vector<TensorView> outputs, std::vector<KvView> kv, bool run);
  TensorView activation(DType dtype, Shape shape, size_t offset = 0) const {
    return {activations_.data() + offset, dtype, shape};
  }

  CpuBenchOptions options_;
  NameFilter filter_;
  ThreadPool pool_;
  Memory weights_{kWeightBytes};
  Memory activations_{4 * kActivationBytes};
  CpuBenchReport report_;
  std::vector<bool> on_tiles_;  // of each kernel
};

double Bench::seconds(FunctionRef<void()> fn) const {
  const SteadyClock& clock = SteadyClock::instance();
  double best = 1e30;
  for (int i = 0; i < options_.repeats; ++i) {
    const double start = clock.now_s();
    fn();
    best = std::min(best, clock.now_s() - start);
  }
  return best;
}

void Bench::measure_ceilings() {
  std::atomic<uint64_t> sink{0};
  const double read = seconds([&] {
    pool_.parallel_for(
        static_cast<int64_t>(weights_.size() >> 20), 4, [&](int64_t begin, int64_t end, int) {
          sink += cpu::read_stream(
              {weights_.data() + (begin << 20), static_cast<size_t>(end - begin) << 20});
        });
  });
  const double bandwidth = static_cast<double>(weights_.size()) / read * 1e-12;
  report_.ceilings.stream_read_tbps = std::max(report_.ceilings.stream_read_tbps, bandwidth);

  for (int i = 0; i < options_.repeats; ++i) measure_peaks(500'000);
}

/// What the registers of all threads reach just now.
void Bench::measure_peaks(int64_t rounds) {
  const Isa isa = Target::host().isa;
  if (isa == Isa::kScalar) return;
  const auto on_all = [&](double (*loop)(int64_t), int64_t count) {
    const double start = SteadyClock::instance().now_s();
    std::atomic<double> flops = 0;
    pool_.run([&](int) { flops = loop(count); });
    return flops * pool_.size() / (SteadyClock::instance().now_s() - start) * 1e-12;
  };
  double& fma = report_.ceilings.fma_tflops;
  fma = std::max(fma,
                 on_all(isa >= Isa::kAvx512 ? cpu::run_fma_avx512 : cpu::run_fma_avx2, rounds * 4));
  double& amx = report_.ceilings.amx_tflops;
  if (isa >= Isa::kAmx) amx = std::max(amx, on_all(cpu::run_amx, rounds));
}

void Bench::record(const std::string& name, const std::string& shape, const Tactic& tactic,
                   Work work, FunctionRef<void()> fn) {
  fn();  // the first run touches memory and wakes threads
  double time = 1e30, spent = 0;
  // Ceilings are the best of a hundred moments: a short kernel is given as many.
  const auto more = [&](int i) { return i < options_.repeats || (spent < 0.3 && i < 100); };
  for (int i = 0; more(i); ++i) {
    // Between the repeats, so that a neighbour's work on a shared core slows down both.
    if (work.flops > 0) measure_peaks(100'000);
    const double start = SteadyClock::instance().now_s();
    fn();
    const double took = SteadyClock::instance().now_s() - start;
    time = std::min(time, took), spent += took;
  }
  report_.kernels.push_back({name, shape, std::string(tactic.name), time * 1e6,
                             work.flops / time * 1e-12, work.bytes / time * 1e-12, 0, 0});
  on_tiles_.push_back(tactic.isa == Isa::kAmx);
}

/// Shares, once the ceilings of the whole run are known.
void Bench::compare_with_ceilings() {
  const CpuCeilings& c = report_.ceilings;
  for (size_t i = 0; i < report_.kernels.size(); ++i) {
    KernelTiming& k = report_.kernels[i];
    const double peak = on_tiles_[i] ? c.amx_tflops : c.fma_tflops;
    const double compute = peak > 0 ? k.tflops / peak : 0;
    k.share = std::max(compute, k.tbps / c.stream_read_tbps);
    k.floor_us = k.share * k.us;
  }
}

const Tactic* Bench::call(OpKind op, const OpAttrs& attrs, std::vector<TensorView> inputs,
                          std::vector<TensorView> outputs, std::vector<KvView> kv, bool run) {
  std::vector<TensorType> in, out;
  for (auto [views, types] : {std::pair{&inputs, &in}, std::pair{&outputs, &out}}) {
    for (const TensorView& view : *views) {
      types->push_back({view.dtype, {}});
      for (int64_t extent : view.shape.dims()) types->back().dims.emplace_back(extent);
    }
  }
  const OpDesc desc{op, &attrs, in, out, {}};
  const Tactic* tactic = find_tactics(desc, Target::host()).front();
  if (!run) return tactic;
  const int64_t scratch = tactic->workspace_bytes ? tactic->workspace_bytes(desc) : 0;
  CHECK(static_cast<size_t>(scratch) <= kActivationBytes);
  tactic->run({&attrs,
               inputs,
               outputs,
               {activations_.data() + 3 * kActivationBytes, static_cast<size_t>(scratch)},
               kv,
               &pool_});
  return tactic;
}

/// All linear layers of one step, each with weights of its own.
void Bench::linears(const std::string& name, int64_t rows, DType weights) {
  if (!filter_.matches(name)) return;
  MatmulDesc desc;
  if (weights == DType::kI8) desc.quant = WeightQuant::kInt8Channel;
  const OpAttrs attrs = desc;
  const Tactic* tactic = nullptr;
  Work work;
  const auto step = [&](bool run) {
    std::byte* b = weights_.data();
    for (const Linear& linear : kLinears) {
      const bool head = linear.count == 1;  // logits of the last row alone
      const int64_t m = head ? std::min<int64_t>(rows, 1) : rows;
      for (int64_t i = 0; i < linear.count; ++i) {
        std::vector<TensorView> inputs = {activation(DType::kBf16, {m, linear.k}),
                                          {b, weights, {linear.n, linear.k}}};
        if (weights == DType::kI8) {
          inputs.push_back(activation(DType::kF32, {linear.n}, kActivationBytes));
        }
        const int64_t bytes = linear.n * linear.k * dtype_bytes(weights);
        b += bytes;
        tactic = call(OpKind::kMatmul, attrs, inputs,
                      {activation(DType::kBf16, {m, linear.n}, 2 * kActivationBytes)}, {}, run);
        if (run) continue;
        work.flops += 2.0 * static_cast<double>(m * linear.n) * static_cast<double>(linear.k);
        work.bytes += static_cast<double>(bytes);
      }
    }
  };
  step(false);
  record(name, std::to_string(rows) + " rows, 65 matrices", *tactic, work, [&] { step(true); });
}

void Bench::gemm(int64_t n, int64_t k) {
  const std::string name = "gemm_bf16";
  constexpr int64_t kRows = 512;
  if (!filter_.matches(name)) return;
  const OpAttrs attrs = MatmulDesc{};
  const auto run = [&](bool really) {
    return call(OpKind::kMatmul, attrs,
                {activation(DType::kBf16, {kRows, k}), {weights_.data(), DType::kBf16, {n, k}}},
                {activation(DType::kBf16, {kRows, n}, 2 * kActivationBytes)}, {}, really);
  };
  const double flops = 2.0 * kRows * static_cast<double>(n) * static_cast<double>(k);
  record(name, std::to_string(kRows) + "x" + std::to_string(n) + "x" + std::to_string(k),
         *run(false), {flops, static_cast<double>(n * k * 2 + kRows * (n + k) * 2)},
         [&] { run(true); });
}

void Bench::row_ops() {
  constexpr int64_t kRows = 4096;
  constexpr double kBytes = kRows * kHidden * 2.0;
  const TensorView x = activation(DType::kBf16, {kRows, kHidden});
  const TensorView y = activation(DType::kBf16, {kRows, kHidden}, kActivationBytes);
  const TensorView weight = activation(DType::kBf16, {kHidden}, kActivationBytes);
  const TensorView out = activation(DType::kBf16, {kRows, kHidden}, 2 * kActivationBytes);
  PointwiseDesc gated{PointwiseProgram::parse("2: r2=silu(r0) r3=mul(r2,r1) -> r3").value()};
  struct Case {
    const char* name;
    OpKind op;
    OpAttrs attrs;
    std::vector<TensorView> inputs, outputs;
    double bytes;
  };
  const Case cases[] = {
      {"rms_norm_bf16", OpKind::kNorm, NormDesc{}, {x, weight}, {out}, 2 * kBytes},
      {"add_rms_norm_bf16", OpKind::kAddNorm, NormDesc{}, {x, y, weight}, {x, out}, 4 * kBytes},
      {"silu_mul_bf16", OpKind::kPointwise, gated, {x, y}, {out}, 3 * kBytes},
  };
  for (const Case& c : cases) {
    if (!filter_.matches(c.name)) continue;
    const auto run = [&](bool really) {
      return call(c.op, c.attrs, c.inputs, c.outputs, {}, really);
    };
    record(c.name, std::to_string(kRows) + "x" + std::to_string(kHidden), *run(false), {0, c.bytes},
           [&] { run(true); });
  }
}

void Bench::attention(const std::string& name, int64_t sequences, int64_t queries, int64_t length) {
  if (!filter_.matches(name)) return;
  constexpr int64_t kBlock = 16;
  const int64_t columns = (length + kBlock - 1) / kBlock;
  AttentionDesc desc{.num_heads = kHeads,
                     .num_kv_heads = kKvHeads,
                     .head_dim = kHeadDim,
                     .v_head_dim = kHeadDim,
                     .scale = 0.125};
  const OpAttrs attrs = desc;
  std::vector<int32_t> starts, lengths, table;
  for (int64_t s = 0; s < sequences; ++s) {
    starts.push_back(static_cast<int32_t>(s * queries));
    lengths.push_back(static_cast<int32_t>(length));
    for (int64_t i = 0; i < columns; ++i) table.push_back(static_cast<int32_t>(i * sequences + s));
  }
  starts.push_back(static_cast<int32_t>(sequences * queries));
  const int64_t half = kKvHeads * kBlock * kHeadDim * 2;
  KvView kv{weights_.data(), DType::kBf16, 1, sequences * columns, kBlock, 0, 2 * half, half};
  const auto ints = [](std::vector<int32_t>& v, Shape shape) {
    return TensorView{v.data(), DType::kI32, shape};
  };
  const int64_t rows = sequences * queries;
  const auto run = [&](bool really) {
    return call(OpKind::kPagedAttention, attrs,
                {activation(DType::kBf16, {rows, kHeads * kHeadDim}), ints(starts, {sequences + 1}),
                 ints(lengths, {sequences}), ints(table, {sequences, columns})},
                {activation(DType::kBf16, {rows, kHeads * kHeadDim}, 2 * kActivationBytes)}, {kv},
                really);
  };
  // A query at position p has p + 1 keys.
  const auto keys = static_cast<double>(queries) *
                    (static_cast<double>(length) - static_cast<double>(queries - 1) / 2);
  const Work work{4.0 * kHeads * kHeadDim * keys * static_cast<double>(sequences),
                  static_cast<double>(sequences * columns * 2 * half)};
  record(
      name,
      std::to_string(sequences) + "x" + std::to_string(queries) + " at " + std::to_string(length),
      *run(false), work, [&] { run(true); });
}

Result<CpuBenchReport> Bench::run() {
  if (weights_.data() == nullptr || activations_.data() == nullptr) {
    return make_error(ErrorCode::kResourceExhausted,
                      "bench kernels: {} MiB of dummy weights do not fit in memory",
                      (kWeightBytes + 4 * kActivationBytes) >> 20);
  }
  report_.target = Target::host().name();
  report_.threads = pool_.size();
  weights_.fill(pool_);
  activations_.fill(pool_);
  measure_ceilings();
  linears("decode_linears_1b_bf16", 1, DType::kBf16);
  linears("decode_linears_1b_int8", 1, DType::kI8);
  linears("decode8_linears_1b_bf16", 8, DType::kBf16);
  gemm(3072, 2048);
  gemm(16384, 2048);
  gemm(2048, 8192);
  linears("prefill512_linears_1b_bf16", 512, DType::kBf16);
  linears("prefill512_linears_1b_int8", 512, DType::kI8);
  attention("attention_prefill", 1, 512, 512);
  attention("attention_prefill", 1, 2048, 2048);
  attention("attention_decode", 1, 1, 16384);
  attention("attention_decode", 16, 1, 4096);
  row_ops();
  compare_with_ceilings();
  return std::move(report_);
}

}  // namespace

Result<CpuBenchReport> bench_cpu_kernels(const CpuBenchOptions& options) {
  ASSIGN_OR_RETURN(NameFilter filter, NameFilter::parse(options.filter, "--filter"));
  Bench bench(options, std::move(filter));
  return bench.run();
}

}  // namespace ramjet::kernels
