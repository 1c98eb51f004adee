// The Hopper GEMM checked and timed on a GPU. Usage: gemm_lab [GROUP..] [OUT.json]
// Groups: tiny (a little of everything), check, whole, cut (odd sizes), small, large, steps,
// cut_steps, rows, engine (products of a model), fixed and equal (K cut at fixed places: the cost;
// bits of every tile at any batch); fp8 leaves out the others.
//
// Each case: fresh random operands made on the device, a naive kernel as the oracle (poisoned
// outputs, all elements compared), then a graph of launches over weight copies larger than L2.
#include <cmath>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <vector>

#include "base/json.h"
#include "device/cuda/cublaslt.h"
#include "device/cuda/handles.h"
#include "device/cuda/nvrtc.h"
#include "gemm_cases.h"
#include "gemm_oracle.h"
#include "kernels/cuda/device_sources.h"
#include "kernels/cuda/gemm_sm90.h"
#include "lab.h"
#include "warm_compile.h"

namespace ramjet {
namespace {

namespace cu = device::cuda;
using kernels::cuda::GemmSm90Config;
using lab::Case;
using lab::take;

kernels::DeviceModule module_of(const GemmSm90Config& config) {
  kernels::DeviceModule module;
  module.name = "gemm";
  module.source = gemm_sm90_source(config);
  module.defines = gemm_sm90_defines(config);
  return module;
}

class Lab {
 public:
  Lab() : device_(take(cu::CudaDevice::open(0))), stream_(take(cu::Stream::create())) {
    cu::NvrtcSource source;
    source.name = "lab";
    source.arch = device_->info().arch();
    source.source = lab::kGemmOracle;
    for (const auto& s : kernels::cuda::device_sources())
      source.headers.push_back({s.name, s.text});
    lab_ = take(cu::Module::load(take(cu::nvrtc_compile(source)).cubin));
  }

  const cu::DeviceInfo& info() const { return device_->info(); }

  template <class... Args>
  void call(const char* name, unsigned blocks, Args... args) {
    void* params[] = {&args...};
    cu::LaunchShape shape;
    shape.grid[0] = blocks;
    shape.block[0] = 256;
    lab::check(cu::launch(take(lab_.function(name, 0)), shape, params, stream_));
  }

  /// Operands and the oracle's result, kept from case to case of one product.
  struct Data {
    std::string key;
    cu::DeviceBuffer w, x, y, residual, sw, sx, reference;
  };

  /// False if the last case's operands and reference serve this one too.
  bool prepare(const Case& c, int copies, const OrderedJson& rows) {
    const GemmSm90Config& g = c.config;
    const std::string key =
        fmt::format("{} {} {} {} {} {}", g.n, g.k, c.tokens, g.fp8, c.gated(), c.residual());
    if (key == data_.key) return false;
    const uint64_t size = g.fp8 ? 1 : 2, n = static_cast<uint64_t>(g.n);
    const DType type = g.fp8 ? DType::kF8E4M3 : DType::kBf16;  // rows are padded
    const auto packed =
        static_cast<uint64_t>(kernels::cuda::gemm_sm90_packed_bytes(g.n, g.k, type));
    const uint64_t w_count = packed / size * static_cast<uint64_t>(copies);
    const uint64_t m = static_cast<uint64_t>(c.tokens), x_count = m * static_cast<uint64_t>(g.k);
    const uint64_t y_count = m * n / static_cast<uint64_t>(g.accumulators);
    data_ = {};
    data_.key = key;
    data_.w = take(cu::DeviceBuffer::allocate(w_count * size));
    data_.x = take(cu::DeviceBuffer::allocate(x_count * size));
    data_.y = take(cu::DeviceBuffer::allocate(y_count * 2));
    data_.residual = take(cu::DeviceBuffer::allocate(y_count * 2));
    data_.sw = take(cu::DeviceBuffer::allocate(n * 4));
    data_.sx = take(cu::DeviceBuffer::allocate(m * 4));
    data_.reference = take(cu::DeviceBuffer::allocate(y_count * 4));
    const uint64_t seed = 0x1234567 + static_cast<uint64_t>(rows.size());
    const char* fill = g.fp8 ? "fill_e4m3" : "fill_bf16";
    call(fill, 2048, data_.w.get(), w_count, seed, 1.0f);
    call(fill, 2048, data_.x.get(), x_count, seed + 1, 1.0f);
    call("fill_bf16", 2048, data_.residual.get(), y_count, seed + 2, 1.0f);
    call("fill_f32", 64, data_.sw.get(), n, seed + 3);
    call("fill_f32", 64, data_.sx.get(), m, seed + 4);
    return true;
  }

  /// cuBLASLt's time for the bare product of the last case.
  void yardstick(const Case& c, OrderedJson& rows) {
    if (!library_) library_ = take(cu::CublasLt::create());
    const GemmSm90Config& g = c.config;
    const uint64_t w_bytes = static_cast<uint64_t>(
        kernels::cuda::gemm_sm90_packed_bytes(g.n, g.k, g.fp8 ? DType::kF8E4M3 : DType::kBf16));
    const int copies = static_cast<int>(std::min<uint64_t>(16, 1 + (300ull << 20) / w_bytes));
    const uint64_t y_bytes = static_cast<uint64_t>(g.n) * static_cast<uint64_t>(c.tokens) * 2;
    auto y = take(cu::DeviceBuffer::allocate(y_bytes));
    auto one = take(cu::DeviceBuffer::allocate(256));
    const float scale = 1;
    lab::check(one.upload(std::as_bytes(std::span(&scale, 1)), 0, stream_));
    lab::check(stream_.synchronize());
    lab::check(library_->plan({c.tokens, g.n, g.k, g.fp8}));
    const double us = time_us(
        [&](int copy) {
          lab::check(library_->run(data_.w.get() + w_bytes * static_cast<uint64_t>(copy),
                                   data_.x.get(), y.get(), one.get(), stream_));
        },
        copies);
    std::printf("%s n=%-6ld k=%-6ld m=%-5d cuBLASLt %9.2f us\n", g.fp8 ? "fp8 " : "bf16",
                static_cast<long>(g.n), static_cast<long>(g.k), c.tokens, us);
    rows.push_back({{"dtype", g.fp8 ? "fp8" : "bf16"},
                    {"m", c.tokens},
                    {"n", g.n},
                    {"k", g.k},
                    {"kind", "cublaslt"},
                    {"us", us}});
  }

  void run(const Case& c, OrderedJson& rows) {
    const GemmSm90Config& g = c.config;
    const uint64_t size = g.fp8 ? 1 : 2;
    const uint64_t w_bytes = static_cast<uint64_t>(
        kernels::cuda::gemm_sm90_packed_bytes(g.n, g.k, g.fp8 ? DType::kF8E4M3 : DType::kBf16));
    const int copies = static_cast<int>(std::min<uint64_t>(16, 1 + (300ull << 20) / w_bytes));
    const int64_t out_n = g.n / g.accumulators;
    const uint64_t y_count = static_cast<uint64_t>(out_n) * static_cast<uint64_t>(c.tokens);
    const uint64_t x_count = static_cast<uint64_t>(g.k) * static_cast<uint64_t>(c.tokens);
    const bool fresh = prepare(c, copies, rows);
    auto &w = data_.w, &x = data_.x, &y = data_.y, &residual = data_.residual, &sw = data_.sw,
         &sx = data_.sx, &reference = data_.reference;
    auto sums = take(cu::DeviceBuffer::allocate(24));
    lab::check(y.fill(0xff, stream_));  // NaN

    const auto compiled = take(kernels::compile_device_module(module_of(g), "sm_90a"));
    auto module = take(cu::Module::load(compiled.cubin));
    const unsigned shared = gemm_sm90_shared_bytes(g);
    auto function = take(module.function(gemm_sm90_entry(g).data(), shared));
    const int64_t tiles_t = (c.tokens + g.block_t - 1) / g.block_t;
    const int grid = static_cast<int>(std::min<int64_t>(
        tiles_t * gemm_sm90_blocks_of_tile(g), gemm_sm90_most_blocks(g, info().multiprocessors)));
    auto workspace = take(cu::DeviceBuffer::allocate(
        256 + static_cast<uint64_t>(gemm_sm90_workspace_bytes(g, grid))));
    auto flags = take(cu::DeviceBuffer::allocate(static_cast<uint64_t>(grid) * 8));
    auto tokens = take(cu::DeviceBuffer::allocate(4));
    lab::check(flags.fill(0, stream_));
    lab::check(tokens.upload(std::as_bytes(std::span(&c.tokens, 1)), 0, stream_));
    lab::check(stream_.synchronize());
    cu::CuTensorMap map = tensor_map(g, x.get(), c.tokens);
    const auto store = kernels::cuda::gemm_sm90_store_box(g);
    cu::CuTensorMap output_map =
        encode(cu::kCuTensorBf16, y.get(), out_n, out_n * 2, c.tokens,
               {store.features, store.tokens, store.swizzle_bytes == 128 ? 3 : 2});
    const auto launch = [&](int copy) {
      uint64_t weights = w.get() + w_bytes * static_cast<uint64_t>(copy);
      uint64_t pointers[] = {workspace.get(), flags.get(),    tokens.get(), sw.get(),
                             sx.get(),        residual.get(), y.get()};
      std::vector<void*> params = {&map};
      if (gemm_sm90_store_map(g)) params.push_back(&output_map);
      params.push_back(&weights);
      if (g.parts == 0) params.insert(params.end(), {&pointers[0], &pointers[1]});
      params.push_back(&pointers[2]);
      if (g.fp8) params.insert(params.end(), {&pointers[3], &pointers[4]});
      if (c.residual()) params.push_back(&pointers[5]);
      params.push_back(&pointers[6]);
      cu::LaunchShape shape;
      shape.grid[0] = static_cast<unsigned>(grid);
      shape.block[0] = gemm_sm90_threads(g);
      shape.cluster[0] = gemm_sm90_cluster(g);
      shape.shared_bytes = shared;
      shape.programmatic = true;
      lab::check(cu::launch(function, shape, params, stream_));
    };
    launch(0);
    lab::check(stream_.synchronize());
    const uint64_t none = 0;
    lab::check(sums.fill(0, stream_));
    if (fresh) {
      call("oracle", static_cast<unsigned>((y_count + 255) / 256), w.get(), x.get(), sw.get(),
           sx.get(), c.residual() ? residual.get() : none, reference.get(), static_cast<int>(g.n),
           static_cast<int>(g.k), c.tokens, g.fp8 ? 1 : 0, c.gated() ? 1 : 0,
           c.residual() && g.operands[0].by_token ? static_cast<int>(out_n) : 0, 1);
    }
    call("compare", 1024, y.get(), reference.get(), y_count, sums.get(), static_cast<int>(out_n),
         c.tokens, 1);
    double host[3] = {};
    lab::check(sums.download(std::as_writable_bytes(std::span(host)), 0, stream_));
    lab::check(stream_.synchronize());
    const double error = std::sqrt(host[0] / host[1]);

    const double us = time_us(launch, copies);
    const double flops = 2.0 * static_cast<double>(g.n) * static_cast<double>(g.k) * c.tokens;
    const double bytes = static_cast<double>(w_bytes) + static_cast<double>(x_count * size) +
                         static_cast<double>(y_count) * 2;
    const bool good = host[2] == 0 && error < 6e-3;
    failures_ += !good;
    std::printf(
        "%s n=%-6ld k=%-6ld m=%-5d %-9s bt=%-3d %-6s g=%-2d st=%-2d grid=%-3d %s err %.2e nan %.0f "
        " "
        "%9.2f us "
        "%7.1f "
        "TFLOP/s "
        "%6.3f TB/s\n",
        g.fp8 ? "fp8 " : "bf16", static_cast<long>(g.n), static_cast<long>(g.k), c.tokens,
        c.kind().c_str(), g.block_t,
        gemm_sm90_fragments(g) ? "frag"
        : gemm_sm90_direct(g)  ? "direct"
                               : "rows",
        g.group_t, gemm_sm90_stages(g), grid, good ? "ok " : "BAD", error, host[2], us,
        flops / us * 1e-6, bytes / us * 1e-6);
    std::fflush(stdout);
    rows.push_back({{"dtype", g.fp8 ? "fp8" : "bf16"},
                    {"m", c.tokens},
                    {"n", g.n},
                    {"k", g.k},
                    {"kind", c.kind()},
                    {"block_t", g.block_t},
                    {"fragments", gemm_sm90_fragments(g)},
                    {"gated", c.gated()},
                    {"residual", c.residual()},
                    {"error", error},
                    {"us", us},
                    {"tflops", flops / us * 1e-6},
                    {"tbps", bytes / us * 1e-6}});
  }

  /// Bits of every variant's rows against those of one, at several numbers of tokens.
  void run_equal(const std::vector<GemmSm90Config>& variants) {
    constexpr int kMost = 300;
    const GemmSm90Config& g = variants[0];
    const uint64_t size = g.fp8 ? 1 : 2, row = static_cast<uint64_t>(g.n / g.accumulators) * 2;
    auto w = take(cu::DeviceBuffer::allocate(static_cast<uint64_t>(g.n * g.k) * size));
    auto x = take(cu::DeviceBuffer::allocate(static_cast<uint64_t>(g.k) * kMost * size));
    auto y = take(cu::DeviceBuffer::allocate(row * kMost));
    auto scales = take(cu::DeviceBuffer::allocate(static_cast<uint64_t>(g.n + kMost) * 4));
    auto workspace = take(cu::DeviceBuffer::allocate(512 << 20));
    auto flags = take(cu::DeviceBuffer::allocate(8192));
    auto count = take(cu::DeviceBuffer::allocate(4));
    const char* fill = g.fp8 ? "fill_e4m3" : "fill_bf16";
    call(fill, 2048, w.get(), static_cast<uint64_t>(g.n * g.k), uint64_t{7}, 1.0f);
    call(fill, 2048, x.get(), static_cast<uint64_t>(g.k) * kMost, uint64_t{8}, 1.0f);
    call("fill_f32", 64, scales.get(), static_cast<uint64_t>(g.n + kMost), uint64_t{9});
    lab::check(flags.fill(0, stream_));
    std::vector<std::byte> expected, got(row * kMost);
    int runs = 0, unequal = 0;
    for (const GemmSm90Config& c : variants) {
      const auto compiled = take(kernels::compile_device_module(module_of(c), "sm_90a"));
      auto module = take(cu::Module::load(compiled.cubin));
      auto function = take(module.function("gemm_sm90", gemm_sm90_shared_bytes(c)));
      for (const int tokens : {kMost, 1, 3, 8, 17, 64, 129, 256}) {
        lab::check(y.fill(0xff, stream_));
        lab::check(count.upload(std::as_bytes(std::span(&tokens, 1)), 0, stream_));
        const int64_t tiles_t = (tokens + c.block_t - 1) / c.block_t;
        const int64_t grid =
            std::min<int64_t>(tiles_t * gemm_sm90_blocks_of_tile(c), info().multiprocessors);
        cu::CuTensorMap map = tensor_map(c, x.get(), tokens);
        uint64_t pointers[] = {w.get(),      workspace.get(),
                               flags.get(),  count.get(),
                               scales.get(), scales.get() + static_cast<uint64_t>(g.n) * 4,
                               y.get()};
        std::vector<void*> params = {&map};
        for (int i = 0; i < 7; ++i) {
          if (g.fp8 || (i != 4 && i != 5)) params.push_back(&pointers[i]);
        }
        cu::LaunchShape shape;
        shape.grid[0] = static_cast<unsigned>(grid / c.cluster * c.cluster);
        shape.block[0] = gemm_sm90_threads(c);
        shape.cluster[0] = static_cast<unsigned>(c.cluster);
        shape.shared_bytes = gemm_sm90_shared_bytes(c);
        lab::check(cu::launch(function, shape, params, stream_));
        lab::check(y.download(got, 0, stream_));
        lab::check(stream_.synchronize());
        if (expected.empty()) expected = got;
        const bool same =
            std::memcmp(got.data(), expected.data(), row * static_cast<uint64_t>(tokens)) == 0;
        ++runs, unequal += !same;
        if (!same) {
          std::printf("  UNEQUAL: t%d%s%s, %d tokens\n", c.block_t, c.slim ? " slim" : "",
                      c.cluster > 1 ? " cluster" : "", tokens);
        }
      }
    }
    failures_ += unequal;
    std::printf("equal %s n=%ld k=%ld in %d%s: %d runs, %d unequal\n", g.fp8 ? "fp8" : "bf16",
                static_cast<long>(g.n), static_cast<long>(g.k), g.segments,
                g.accumulators == 2 ? " gated" : "", runs, unequal);
    std::fflush(stdout);
  }

  int failures() const { return failures_; }

 private:
  struct Box {
    int columns, rows, swizzle = cu::kCuSwizzle128;
  };
  cu::CuTensorMap tensor_map(const GemmSm90Config& g, uint64_t x, int tokens) {
    return encode(g.fp8 ? cu::kCuTensorU8 : cu::kCuTensorBf16, x, g.k, g.k * (g.fp8 ? 1 : 2),
                  tokens, {g.fp8 ? 128 : 64, g.block_t / g.cluster});
  }
  cu::CuTensorMap encode(int type, uint64_t base, int64_t columns, int64_t row_bytes, int rows,
                         const Box& of) {
    cu::CuTensorMap map = {};
    const uint64_t extents[2] = {static_cast<uint64_t>(columns), static_cast<uint64_t>(rows)};
    const uint64_t strides[1] = {static_cast<uint64_t>(row_bytes)};
    const uint32_t box[2] = {static_cast<uint32_t>(of.columns), static_cast<uint32_t>(of.rows)};
    const uint32_t steps[2] = {1, 1};
    const cu::Driver* d = take(cu::driver());
    lab::check(cu::check(d->tensor_map_encode(&map, type, 2, reinterpret_cast<void*>(base), extents,
                                              strides, box, steps, 0, of.swizzle, 2, 0),
                         "cuTensorMapEncodeTiled"));
    return map;
  }

  template <class F>
  double time_us(F&& launch, int copies) {
    if (!lab::timed()) return std::nan("");
    constexpr int kLaunches = 24, kRounds = 7;
    lab::check(cu::GraphExec::begin_capture(stream_));
    for (int i = 0; i < kLaunches; ++i) launch(i % copies);
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
  cu::Module lab_;
  std::unique_ptr<cu::CublasLt> library_;
  Data data_;
  int failures_ = 0;
};

int run_lab(int argc, char** argv) {
  Lab lab;
  std::printf("%s, %d multiprocessors\n", lab.info().name.c_str(), lab.info().multiprocessors);
  std::vector<Case> cases;
  std::vector<std::vector<GemmSm90Config>> sets;
  std::string out;
  bool only_fp8 = false;
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    if (word == "check") {
      lab::add_checks(cases);
    } else if (word == "tiny") {
      lab::add_tiny(cases);
    } else if (word == "small") {
      lab::add_small(cases);
    } else if (word == "large") {
      lab::add_large(cases);
    } else if (word == "fixed") {
      lab::add_fixed(cases);
    } else if (word == "rows") {
      lab::add_rows(cases);
    } else if (word == "equal") {
      sets = lab::equal_sets();
    } else if (word == "engine") {
      lab::add_engine(cases);
    } else if (word == "fp8") {
      only_fp8 = true;
    } else if (word == "whole" || word == "cut") {
      lab::add_piece_checks(cases, word == "cut");
    } else if (word == "steps" || word == "cut_steps") {
      lab::add_steps(cases, word == "cut_steps");
    } else {
      out = word;
    }
  }
  if (cases.empty() && sets.empty())
    lab::add_checks(cases), lab::add_small(cases), lab::add_large(cases);
  if (only_fp8) std::erase_if(cases, [](const Case& c) { return !c.config.fp8; });
  std::vector<kernels::DeviceModule> modules;
  for (const Case& c : cases) modules.push_back(module_of(c.config));
  for (const auto& set : sets) {
    for (const GemmSm90Config& config : set) modules.push_back(module_of(config));
  }
  lab::warm_compile(modules, "sm_90a");
  for (const auto& set : sets) lab.run_equal(set);
  OrderedJson rows = OrderedJson::array();
  for (const Case& c : cases) {
    lab.run(c, rows);
    if (c.yardstick) lab.yardstick(c, rows);
  }
  OrderedJson json = {{"device", lab.info().name}, {"kernels", rows}};
  if (!out.empty()) std::ofstream(out) << json.dump(1) << "\n";
  std::printf("%zu cases, %d failed\n", rows.size(), lab.failures());
  return lab.failures() == 0 ? 0 : 1;
}

}  // namespace
}  // namespace ramjet

int main(int argc, char** argv) { return ramjet::run_lab(argc, argv); }
