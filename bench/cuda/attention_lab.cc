// Paged attention checked and timed on a GPU. Usage: attention_lab [ragged] [decode] [prefill]
// [TACTIC_SUBSTRING]
//
// Each case: a cache of NaN in which only the cells of the sequences hold values, a shuffled block
// table, poisoned outputs and a naive kernel as the oracle (of sampled rows where there are many);
// then a graph of launches.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <numeric>
#include <random>
#include <string_view>
#include <vector>

#include "device/cuda/handles.h"
#include "device/cuda/nvrtc.h"
#include "kernels/cuda/cuda_tactics.h"
#include "kernels/cuda/device_sources.h"
#include "lab.h"
#include "warm_compile.h"

namespace ramjet {
namespace {

namespace cu = device::cuda;
using kernels::DevicePlan;
using kernels::OpDesc;
using kernels::Tactic;
using lab::take;

const char* const kLabSource = R"CUDA(
#include "types.cuh"
__device__ uint32_t mix(uint64_t x) {
  x ^= x >> 33; x *= 0xff51afd7ed558ccdull; x ^= x >> 33; x *= 0xc4ceb9fe1a85ec53ull; x ^= x >> 33;
  return (uint32_t)x;
}
__device__ float uniform(uint64_t i, uint64_t seed) {
  return (mix(i * 0x9e3779b97f4a7c15ull + seed) >> 8) * (2.0f / 16777216.0f) - 1.0f;
}
__device__ float widen(const uint8_t* p, uint64_t i, int bytes) {
  if (bytes == 4) return reinterpret_cast<const float*>(p)[i];
  if (bytes == 2) return to_float(reinterpret_cast<const bf16_t*>(p)[i]);
  uint32_t half2;
  asm("cvt.rn.f16x2.e4m3x2 %0, %1;" : "=r"(half2) : "h"((uint16_t)p[i]));
  float f;
  asm("{.reg .b16 l, h; mov.b32 {l, h}, %1; cvt.f32.f16 %0, l;}" : "=f"(f) : "r"(half2));
  return f;
}
__device__ void put(uint8_t* p, uint64_t i, int bytes, float x) {
  if (bytes == 4) reinterpret_cast<float*>(p)[i] = x;
  else if (bytes == 2) reinterpret_cast<bf16_t*>(p)[i] = to_bf16(x);
  else p[i] = pack_e4m3(x, 0.0f) & 0xff;
}
extern "C" __global__ void fill(uint8_t* out, uint64_t n, int bytes, uint64_t seed, float scale) {
  for (uint64_t i = blockIdx.x * (uint64_t)blockDim.x + threadIdx.x; i < n; i += (uint64_t)gridDim.x * blockDim.x)
    put(out, i, bytes, uniform(i, seed) * scale);
}
struct Shape { int heads, kv_heads, dim, block_tokens, bytes, q_bytes, window, max_blocks; float scale, softcap, k_scale, v_scale; };
// Cells of one sequence a block of the grid's y.
extern "C" __global__ void fill_cells(uint8_t* cache, const int* kv_len, const int* table, Shape h, uint64_t seed) {
  int s = blockIdx.y;
  uint64_t per = (uint64_t)h.kv_heads * h.dim * 2;
  for (uint64_t i = blockIdx.x * (uint64_t)blockDim.x + threadIdx.x; i < kv_len[s] * per; i += (uint64_t)gridDim.x * blockDim.x) {
    int p = i / per, r = i % per, kv = r / (h.kv_heads * h.dim), head = r / h.dim % h.kv_heads, d = r % h.dim;
    uint64_t block = table[s * h.max_blocks + p / h.block_tokens];
    put(cache, (((block * 2 + kv) * h.kv_heads + head) * h.block_tokens + p % h.block_tokens) * h.dim + d, h.bytes,
        uniform(i, seed + s) * 1.5f);
  }
}
extern "C" __global__ void oracle(const uint8_t* q, const int* starts, const int* kv_len, const int* table, int count,
                                  const uint8_t* cache, Shape h, int step, const uint8_t* y, double* out) {
  extern __shared__ float scores[];
  __shared__ float red[128];
  int row = blockIdx.x * step, head = blockIdx.y, kvh = head / (h.heads / h.kv_heads);
  if (row >= starts[count]) return;
  int s = 0;
  while (starts[s + 1] <= row) ++s;
  int pos = kv_len[s] - (starts[s + 1] - row);
  int first = h.window > 0 && pos >= h.window ? pos - h.window + 1 : 0;
  float top = -1e30f;
  for (int p = first + threadIdx.x; p <= pos; p += 128) {
    uint64_t at = (((uint64_t)table[s * h.max_blocks + p / h.block_tokens] * 2 * h.kv_heads + kvh) * h.block_tokens + p % h.block_tokens) * h.dim;
    float dot = 0;
    for (int d = 0; d < h.dim; ++d) dot += widen(q, ((uint64_t)row * h.heads + head) * h.dim + d, h.q_bytes) * widen(cache, at + d, h.bytes);
    dot *= h.scale * h.k_scale;
    if (h.softcap > 0) dot = h.softcap * (1.0f - 2.0f / (__expf(2.0f * dot / h.softcap) + 1.0f));
    scores[p - first] = dot;
    top = fmaxf(top, dot);
  }
  red[threadIdx.x] = top; __syncthreads();
  for (int i = 0; i < 128; ++i) top = fmaxf(top, red[i]);
  __syncthreads();
  float sum = 0;
  for (int p = first + threadIdx.x; p <= pos; p += 128) sum += scores[p - first] = __expf(scores[p - first] - top);
  red[threadIdx.x] = sum; __syncthreads();
  sum = 0;
  for (int i = 0; i < 128; ++i) sum += red[i];
  double d2 = 0, r2 = 0, bad = 0;
  for (int d = threadIdx.x; d < h.dim; d += 128) {
    float o = 0;
    for (int p = first; p <= pos; ++p)
      o += scores[p - first] * widen(cache, ((((uint64_t)table[s * h.max_blocks + p / h.block_tokens] * 2 + 1) * h.kv_heads + kvh) * h.block_tokens + p % h.block_tokens) * h.dim + d, h.bytes);
    o *= h.v_scale / sum;
    float a = widen(y, ((uint64_t)row * h.heads + head) * h.dim + d, h.q_bytes);
    if (!(a == a)) ++bad; else { d2 += (double)(a - o) * (a - o); r2 += (double)o * o; }
  }
  atomicAdd(out, d2); atomicAdd(out + 1, r2); atomicAdd(out + 2, bad);
}
)CUDA";

struct Case {
  AttentionDesc attention;
  std::vector<int> queries, lengths;  // by sequence
  DType q_dtype = DType::kBf16;
  const char* name = "";
};

struct Shape {
  int heads, kv_heads, dim, block_tokens, bytes, q_bytes, window, max_blocks;
  float scale, softcap, k_scale, v_scale;
};

/// What a case lies in on the device.
struct Operands {
  cu::DeviceBuffer q, starts, lengths, table, cache, out, workspace, flags, symbols;
  int tokens = 0, sequences = 0, blocks = 0;
};

struct Bound {
  cu::CuFunction function = nullptr;
  cu::LaunchShape shape;
  std::vector<std::array<std::byte, 128>> values;
  std::vector<void*> params;
};

class Lab {
 public:
  Lab() : device_(take(cu::CudaDevice::open(0))), stream_(take(cu::Stream::create())) {
    cu::NvrtcSource source = with_headers("lab");
    source.source = kLabSource;
    modules_.push_back(take(cu::Module::load(take(cu::nvrtc_compile(source)).cubin)));
  }
  const cu::DeviceInfo& info() const { return device_->info(); }
  int failures() const { return failures_; }

  /// With `plans` the modules are collected and nothing runs.
  void run(const Case& c, std::string_view only, std::vector<kernels::DeviceModule>* plans) {
    const AttentionDesc& d = c.attention;
    Operands o;
    if (plans == nullptr) {
      o = prepare(c);
    } else {
      for (int n : c.queries) o.tokens += n;
    }
    const bool single = std::count(c.queries.begin(), c.queries.end(), 1) > 0;
    const int sequences = static_cast<int>(c.lengths.size());
    const int max_blocks = take_max_blocks(c);
    const std::vector<Symbol> symbols = {{"tokens", 1, 1, o.tokens},
                                         {"sequences", 1, 1, std::max(512, sequences)}};
    const Dim t = Dim::of(0), s = Dim::of(1);
    const std::vector<TensorType> inputs = {{c.q_dtype, {t, d.num_heads * d.head_dim}},
                                            {DType::kI32, {Dim::of(1, 1, 1)}},
                                            {DType::kI32, {s}},
                                            {DType::kI32, {s, max_blocks}}};
    const std::vector<TensorType> outputs = {{c.q_dtype, {t, d.num_heads * d.head_dim}}};
    const OpAttrs attrs = d;
    const OpDesc desc = {OpKind::kPagedAttention, &attrs, inputs, outputs, symbols};
    for (const Tactic& tactic : kernels::cuda::attention_tactics()) {
      if (tactic.name.find(only) == tactic.name.npos || !tactic.supports(desc)) continue;
      const bool many = *std::max_element(c.queries.begin(), c.queries.end()) > 1;
      if (tactic.priority < 20 && o.tokens * 1.0 * c.lengths[0] * sequences > 1e7 && many) continue;
      if (tactic.priority == 1 && sequences * 1.0 * c.lengths[0] > 1e4) continue;
      DevicePlan plan;
      kernels::DeviceFacts facts;
      facts.multiprocessors = info().multiprocessors;
      tactic.plan(desc, tactic, facts, plan);
      if (plans != nullptr) {
        for (const DeviceLaunch& l : plan.launches) {
          if (l.when == LaunchWhen::kAnySingle && !single) continue;
          if (l.when == LaunchWhen::kAnyMany && !many) continue;
          plans->push_back(plan.modules[static_cast<size_t>(l.module)]);
        }
        continue;
      }
      measure(c, tactic, plan, o);
    }
  }

 private:
  cu::NvrtcSource with_headers(const char* name) {
    cu::NvrtcSource source;
    source.name = name;
    source.arch = device_->info().arch();
    for (const auto& s : kernels::cuda::device_sources())
      source.headers.push_back({s.name, s.text});
    return source;
  }
  static int take_max_blocks(const Case& c) {
    const int most = *std::max_element(c.lengths.begin(), c.lengths.end());
    return static_cast<int>(most / c.attention.block_tokens) + 3;
  }
  Shape shape_of(const Case& c) {
    const AttentionDesc& d = c.attention;
    const bool fp8 = d.kv_dtype == DType::kF8E4M3;
    const auto i = [](int64_t x) { return static_cast<int>(x); };
    return {i(d.num_heads),
            i(d.num_kv_heads),
            i(d.head_dim),
            i(d.block_tokens),
            i(dtype_bytes(d.kv_dtype)),
            i(dtype_bytes(c.q_dtype)),
            i(d.window),
            take_max_blocks(c),
            static_cast<float>(d.scale),
            static_cast<float>(d.softcap),
            fp8 ? static_cast<float>(d.k_scale) : 1.0f,
            fp8 ? static_cast<float>(d.v_scale) : 1.0f};
  }
  template <class... Args>
  void call(const char* name, unsigned x, unsigned y, unsigned shared, Args... args) {
    void* params[] = {&args...};
    cu::LaunchShape shape;
    shape.grid[0] = x;
    shape.grid[1] = y;
    shape.block[0] = shared > 0 ? 128 : 256;
    shape.shared_bytes = shared;
    lab::check(cu::launch(take(modules_[0].function(name, shared)), shape, params, stream_));
  }
  template <class T>
  cu::DeviceBuffer upload(const std::vector<T>& from) {
    auto buffer = take(cu::DeviceBuffer::allocate(from.size() * sizeof(T)));
    lab::check(buffer.upload(std::as_bytes(std::span(from)), 0, stream_));
    lab::check(stream_.synchronize());
    return buffer;
  }

  Operands prepare(const Case& c) {
    const AttentionDesc& d = c.attention;
    Operands o;
    const int max_blocks = take_max_blocks(c);
    std::vector<int> starts = {0}, table;
    for (int n : c.queries) starts.push_back(starts.back() + n);
    int used = 0;
    for (int n : c.lengths) used += static_cast<int>((n + d.block_tokens - 1) / d.block_tokens);
    std::vector<int> order(static_cast<size_t>(used));
    std::iota(order.begin(), order.end(), 0);
    std::shuffle(order.begin(), order.end(), std::mt19937(7));
    int next = 0;
    for (int n : c.lengths) {
      for (int b = 0; b < max_blocks; ++b) {
        const bool real = b * d.block_tokens < n;
        table.push_back(real ? order[static_cast<size_t>(next++)] : used);
      }
    }
    o.tokens = starts.back();
    o.sequences = static_cast<int>(c.lengths.size());
    o.blocks = used + 1;
    const size_t q_bytes = static_cast<size_t>(o.tokens * d.num_heads * d.head_dim) *
                           static_cast<size_t>(dtype_bytes(c.q_dtype));
    o.starts = upload(starts);
    o.lengths = upload(c.lengths);
    o.table = upload(table);
    o.symbols = upload(std::vector<int>{o.tokens, o.sequences});
    o.q = take(cu::DeviceBuffer::allocate(q_bytes));
    o.out = take(cu::DeviceBuffer::allocate(q_bytes));
    o.cache = take(cu::DeviceBuffer::allocate(static_cast<size_t>(
        o.blocks * 2 * d.num_kv_heads * d.block_tokens * d.head_dim * dtype_bytes(d.kv_dtype))));
    lab::check(o.cache.fill(0xff, stream_));
    const uint64_t seed = 12345;
    call("fill", 1024, 1, 0, o.q.get(), static_cast<uint64_t>(o.tokens * d.num_heads * d.head_dim),
         static_cast<int>(dtype_bytes(c.q_dtype)), seed, 3.0f);
    call("fill_cells", 512, static_cast<unsigned>(o.sequences), 0, o.cache.get(), o.lengths.get(),
         o.table.get(), shape_of(c), seed + 99);
    lab::check(stream_.synchronize());
    return o;
  }

  cu::CuTensorMap encode(const TensorMapSpec& spec, uint64_t base, const Operands& o) {
    cu::CuTensorMap map = {};
    uint64_t extents[5], strides[5];
    uint32_t box[5], steps[5] = {1, 1, 1, 1, 1};
    const std::vector<int64_t> symbols = {o.tokens, o.sequences};
    for (size_t i = 0; i < spec.extents.size(); ++i) {
      const int64_t n = spec.extents[i].evaluate(symbols);
      extents[i] = static_cast<uint64_t>(n == -1 ? o.blocks : n);
      box[i] = static_cast<uint32_t>(spec.box[i]);
      if (i > 0) strides[i - 1] = static_cast<uint64_t>(spec.strides[i - 1]);
    }
    const cu::Driver* d = take(cu::driver());
    const auto type = spec.dtype == DType::kBf16 ? cu::kCuTensorBf16 : cu::kCuTensorU8;
    lab::check(cu::check(
        d->tensor_map_encode(&map, type, static_cast<uint32_t>(spec.extents.size()),
                             reinterpret_cast<void*>(base), extents, strides, box, steps, 0,
                             spec.swizzle_bytes == 128 ? cu::kCuSwizzle128 : cu::kCuSwizzleNone, 2,
                             0),
        "cuTensorMapEncodeTiled"));
    return map;
  }

  uint64_t pointer(const LaunchArg& a, const Operands& o) {
    const uint64_t inputs[] = {o.q.get(), o.starts.get(), o.lengths.get(), o.table.get()};
    switch (a.kind) {
      case LaunchArgKind::kInput: return inputs[a.index] + static_cast<uint64_t>(a.value);
      case LaunchArgKind::kOutput: return o.out.get();
      case LaunchArgKind::kWorkspace: return o.workspace.get() + static_cast<uint64_t>(a.value);
      case LaunchArgKind::kFlags: return o.flags.get();
      case LaunchArgKind::kKvLayer: return o.cache.get();
      case LaunchArgKind::kSymbol: return o.symbols.get() + static_cast<uint64_t>(a.index) * 4;
      default: return 0;
    }
  }

  Bound bind(const DeviceLaunch& l, const cu::Module& module, const Operands& o) {
    Bound b;
    const std::vector<int64_t> symbols = {o.tokens, o.sequences};
    b.function = take(module.function(l.entry.c_str(), l.shared_bytes));
    for (size_t i = 0; i < 3; ++i) {
      b.shape.grid[i] = static_cast<unsigned>(l.grid[i].evaluate(symbols));
    }
    b.shape.block[0] = l.block;
    b.shape.cluster[0] = l.cluster;
    b.shape.shared_bytes = l.shared_bytes;
    b.shape.programmatic = l.programmatic;
    b.values.resize(l.args.size());
    for (size_t i = 0; i < l.args.size(); ++i) {
      const LaunchArg& a = l.args[i];
      if (a.kind == LaunchArgKind::kTensorMap) {
        const TensorMapSpec& spec = l.maps[static_cast<size_t>(a.index)];
        const cu::CuTensorMap map = encode(spec, pointer(spec.base, o), o);
        std::memcpy(b.values[i].data(), &map, sizeof map);
      } else {
        const uint64_t p = pointer(a, o);
        std::memcpy(b.values[i].data(), &p, 8);
      }
      b.params.push_back(b.values[i].data());
    }
    return b;
  }

  void measure(const Case& c, const Tactic& tactic, const DevicePlan& plan, Operands& o) {
    o.workspace = take(cu::DeviceBuffer::allocate(static_cast<size_t>(plan.workspace_bytes) + 16));
    o.flags = take(cu::DeviceBuffer::allocate(static_cast<size_t>(plan.flags_bytes) + 16));
    lab::check(o.flags.fill(0, stream_));
    lab::check(o.workspace.fill(0xff, stream_));
    lab::check(o.out.fill(0xff, stream_));
    const bool single = std::count(c.queries.begin(), c.queries.end(), 1) > 0;
    const bool many = *std::max_element(c.queries.begin(), c.queries.end()) > 1;
    std::vector<Bound> bound;
    for (const DeviceLaunch& l : plan.launches) {
      if (l.when == LaunchWhen::kAnySingle && !single) continue;
      if (l.when == LaunchWhen::kAnyMany && !many) continue;
      const auto compiled = take(kernels::compile_device_module(
          plan.modules[static_cast<size_t>(l.module)], device_->info().arch()));
      modules_.push_back(take(cu::Module::load(compiled.cubin)));
      bound.push_back(bind(l, modules_.back(), o));
      for (size_t i = 0; i < bound.back().params.size(); ++i) {
        bound.back().params[i] = bound.back().values[i].data();
      }
    }
    const auto launch = [&] {
      for (Bound& b : bound) lab::check(cu::launch(b.function, b.shape, b.params, stream_));
    };
    launch();
    lab::check(stream_.synchronize());
    launch();  // flags must have been left zero
    auto sums = take(cu::DeviceBuffer::allocate(24));
    lab::check(sums.fill(0, stream_));
    const int step = std::max(1, o.tokens / 61);
    call("oracle", static_cast<unsigned>((o.tokens + step - 1) / step),
         static_cast<unsigned>(c.attention.num_heads), 220u << 10, o.q.get(), o.starts.get(),
         o.lengths.get(), o.table.get(), o.sequences, o.cache.get(), shape_of(c), step, o.out.get(),
         sums.get());
    double host[3] = {};
    lab::check(sums.download(std::as_writable_bytes(std::span(host)), 0, stream_));
    lab::check(stream_.synchronize());
    const double error = std::sqrt(host[0] / host[1]);
    const bool good = host[2] == 0 && error < 6e-3;
    failures_ += !good;
    const double us = time_us(launch);
    double keys = 0, pairs = 0;
    for (size_t s = 0; s < c.lengths.size(); ++s) {
      const double n = c.queries[s], past = c.lengths[s] - c.queries[s];
      keys += c.lengths[s];
      pairs += n * past + n * (n + 1) / 2;
    }
    const AttentionDesc& d = c.attention;
    const double flops = 4.0 * pairs * static_cast<double>(d.num_heads * d.head_dim);
    const double bytes =
        keys * 2.0 * static_cast<double>(d.num_kv_heads * d.head_dim * dtype_bytes(d.kv_dtype));
    std::printf("%-30s %-34s %s err %.2e nan %.0f %9.2f us %7.1f TFLOP/s %6.3f TB/s\n", c.name,
                std::string(tactic.name).c_str(), good ? "ok " : "BAD", error, host[2], us,
                flops / us * 1e-6, bytes / us * 1e-6);
    std::fflush(stdout);
  }

  template <class F>
  double time_us(F&& launch) {
    if (!lab::timed()) return std::nan("");
    constexpr int kLaunches = 6, kRounds = 6;
    lab::check(cu::GraphExec::begin_capture(stream_));
    for (int i = 0; i < kLaunches; ++i) launch();
    auto graph = take(cu::GraphExec::end_capture(stream_));
    auto start = take(cu::Event::create(true)), stop = take(cu::Event::create(true));
    std::vector<double> times;
    for (int round = 0; round < kRounds; ++round) {
      lab::check(start.record(stream_));
      lab::check(graph.launch(stream_));
      lab::check(stop.record(stream_));
      lab::check(stop.synchronize());
      times.push_back(take(stop.elapsed_ms_since(start)) * 1e3 / kLaunches);
    }
    std::sort(times.begin() + 1, times.end());
    return times[1 + (kRounds - 1) / 2];
  }

  std::unique_ptr<cu::CudaDevice> device_;
  cu::Stream stream_;
  std::vector<cu::Module> modules_;
  int failures_ = 0;
};

AttentionDesc layer(int64_t heads, int64_t kv_heads, int64_t dim, bool fp8) {
  AttentionDesc d;
  d.num_heads = heads;
  d.num_kv_heads = kv_heads;
  d.head_dim = d.v_head_dim = dim;
  d.scale = 1 / std::sqrt(static_cast<double>(dim));
  if (fp8) d.kv_dtype = DType::kF8E4M3, d.k_scale = 0.75, d.v_scale = 1.5;
  return d;
}

struct Named {
  Case c;
  std::string name;
};

void add_ragged(std::vector<Named>& cases) {
  const std::vector<int> queries = {1, 70, 1, 1, 200, 1, 33, 1, 2};
  const std::vector<int> lengths = {1, 70, 513, 64, 777, 3001, 1000, 17, 5};
  for (bool fp8 : {false, true}) {
    for (int64_t dim : {16, 32, 64, 80, 96, 128, 256}) {
      for (int variant = 0; variant < 4; ++variant) {
        if (variant > 0 && dim != 128) continue;
        Case c = {layer(variant == 1 ? 40 : 8,
                        variant == 1   ? 2
                        : variant == 2 ? 8
                                       : 2,
                        dim, fp8),
                  queries, lengths};
        const int64_t blocks[] = {64, 16, 32, 128};
        c.attention.block_tokens = blocks[variant];
        if (variant >= 2) c.attention.window = variant == 2 ? 100 : 555;
        if (variant == 3) c.attention.softcap = 5;
        cases.push_back({c, fmt::format("ragged d{} v{} {}", dim, variant, fp8 ? "fp8" : "")});
      }
    }
  }
  // Many short sequences, some of them with several queries or none that is single.
  for (bool fp8 : {false, true}) {
    for (int variant = 0; variant < 4; ++variant) {
      Case c = {layer(variant == 3 ? 8 : 32, 8, variant == 1 ? 80 : 128, fp8), {}, {}};
      if (variant == 2) c.attention.window = 100;
      for (int i = 0; i < 1000; ++i) {
        c.queries.push_back(i % 50 == 7 ? 3 : 1);
        c.lengths.push_back(3 + i * 37 % (variant == 3 ? 380 : 300));
      }
      cases.push_back({c, fmt::format("many short v{} {}", variant, fp8 ? "fp8" : "")});
    }
  }
  Case f32 = {layer(4, 2, 24, false), queries, lengths, DType::kF32};
  f32.attention.kv_dtype = DType::kF32;
  cases.push_back({f32, "ragged f32"});
}

void add_decode(std::vector<Named>& cases) {
  for (bool fp8 : {false, true}) {
    for (auto [batch, length] : {std::pair{1, 128},
                                 {1, 1024},
                                 {1, 8192},
                                 {1, 40000},
                                 {16, 2048},
                                 {64, 1024},
                                 {64, 4096},
                                 {256, 1024},
                                 {256, 2048},
                                 {480, 1500},
                                 {900, 192},
                                 {1000, 360},
                                 {1760, 192}}) {
      Case c = {layer(32, 8, 128, fp8), std::vector<int>(static_cast<size_t>(batch), 1),
                std::vector<int>(static_cast<size_t>(batch), length)};
      cases.push_back({c, fmt::format("decode {} x {} {}", batch, length, fp8 ? "fp8" : "")});
    }
  }
}

void add_prefill(std::vector<Named>& cases) {
  for (bool fp8 : {false, true}) {
    for (int length : {512, 1000, 2048, 4096, 8192, 16384}) {
      const int batch = std::max(1, 16384 / length);
      Case c = {layer(32, 8, 128, fp8), std::vector<int>(static_cast<size_t>(batch), length),
                std::vector<int>(static_cast<size_t>(batch), length)};
      cases.push_back({c, fmt::format("prefill {} x {} {}", batch, length, fp8 ? "fp8" : "")});
    }
  }
}

int run_lab(int argc, char** argv) {
  Lab lab;
  std::string_view only = "";
  std::vector<Named> cases;
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    if (word == "ragged") {
      add_ragged(cases);
    } else if (word == "decode") {
      add_decode(cases);
    } else if (word == "prefill") {
      add_prefill(cases);
    } else {
      only = word;
    }
  }
  if (cases.empty()) add_ragged(cases), add_decode(cases), add_prefill(cases);
  std::printf("%s, %d multiprocessors\n", lab.info().name.c_str(), lab.info().multiprocessors);
  std::vector<kernels::DeviceModule> modules;
  for (Named& named : cases) {
    named.c.name = named.name.c_str();
    lab.run(named.c, only, &modules);
  }
  lab::warm_compile(modules, lab.info().arch());
  for (const Named& named : cases) lab.run(named.c, only, nullptr);
  std::printf("%d failed\n", lab.failures());
  return lab.failures() == 0 ? 0 : 1;
}

}  // namespace
}  // namespace ramjet

int main(int argc, char** argv) { return ramjet::run_lab(argc, argv); }
