// Large products beside cuBLASLt, taking turns: a GPU near its power limit slows down while it is
// measured, so that whoever comes first looks faster. Usage: race_lab [GROUP..] [OUT.json]
// Groups: few (8b's products of 1 and 16 tokens), 8b, 70b, square (bare products, scaled in fp8),
// own (8b with the ops' own epilogues), compile (no GPU needed: what the compiler says of each
// kernel of the groups), parts (what loads, stores and the epilogue cost: each left out), bf16, fp8
// (only that), no_turns.
//
// Each shape: random operands, a naive kernel as the oracle of sampled tokens (results poisoned,
// NaN looked for everywhere), then rounds in which each variant runs a train of launches over
// weight copies larger than L2. The median of a variant's rounds counts.
#include <cmath>
#include <cstdio>
#include <fstream>
#include <memory>
#include <optional>
#include <set>
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

namespace ramjet::lab {
namespace {

namespace cu = device::cuda;

struct Entry {
  std::string name;
  GemmSm90Config config;
  int blocks = 0;  // 0: all multiprocessors
  std::string leave_out;
};

struct Shape {
  int64_t n, k;
  int m;
  bool fp8;
  bool own = false;  // the op's epilogue: pairs for 28672 rows, a residual for 4096
  bool parts = false;
  bool turns = true;  // warpgroups by turns too
  bool gated() const { return own && n == 28672; }
  bool residual() const { return own && n == 4096; }
};

std::vector<Entry> entries_of(const Shape& s) {
  std::vector<Entry> made;
  const auto add = [&](std::string name, GemmSm90Config config, int blocks = 0) {
    config.n = s.n, config.k = s.k, config.fp8 = s.fp8;
    if ((s.n + gemm_sm90_block_w(config) - 1) / gemm_sm90_block_w(config) % config.cluster != 0)
      return;
    config = make_case(config, s.m, s.gated(), s.residual()).config;
    if (config.store_map && !gemm_sm90_store_map(config)) return;
    if (config.pingpong && !s.turns) return;
    made.push_back({std::move(name), config, blocks, ""});
  };
  const auto tiles = [&](int t) {
    const std::string name = "t" + std::to_string(t);
    add(name + "x2", {.block_t = t, .cluster = 2});
    add(name + "w", {.block_t = t, .parts = 1});
    add(name + "x2w", {.block_t = t, .cluster = 2, .parts = 1});
    add(name + "pp", {.block_t = t, .parts = 1, .pingpong = true});
    add(name + "pp2", {.block_t = t, .cluster = 2, .parts = 1, .pingpong = true});
    if (t == 256) {
      add(name + "x2 map", {.block_t = t, .cluster = 2, .store_map = true});
      add(name + "w map", {.block_t = t, .parts = 1, .store_map = true});
      add(name + "x2w map", {.block_t = t, .cluster = 2, .parts = 1, .store_map = true});
      add(name + "pp2 map",
          {.block_t = t, .cluster = 2, .parts = 1, .pingpong = true, .store_map = true});
    }
  };
  if (s.m <= 16) {
    const int t = best_block(s.m), rows = kernels::cuda::gemm_sm90_rows(s.n);
    add("slim", {.block_t = t, .slim = true});
    add("whole", {.block_t = t});
    if (t == 8) add("cut", {.block_t = t, .parts = 2, .slim = true});
    if (rows == 0) return made;
    add("rows", {.block_t = t, .parts = 1, .rows = rows, .fragments = false});
    add("rows slim", {.block_t = t, .parts = 1, .rows = rows, .fragments = false, .slim = true});
    return made;
  }
  if (s.m <= 256) {
    tiles(128);
    add("t128c2", {.block_t = 128, .parts = 2});
    add("t256", {.block_t = 256});
    add("t128pp4", {.block_t = 128, .cluster = 4, .parts = 1, .pingpong = true}, 128);
  } else if (s.m <= 1024) {
    add("t128x2w", {.block_t = 128, .cluster = 2, .parts = 1});
    add("t128pp2", {.block_t = 128, .cluster = 2, .parts = 1, .pingpong = true});
  }
  tiles(256);
  if (s.m > 256) {
    add("t256pp4/128", {.block_t = 256, .cluster = 4, .parts = 1, .pingpong = true}, 128);
    add("t256x4w/128", {.block_t = 256, .cluster = 4, .parts = 1}, 128);
  }
  if (s.m > 1024) {
    add("t256x2w map g4",
        {.block_t = 256, .group_t = 4, .cluster = 2, .parts = 1, .store_map = true});
    add("t256x2w map g16",
        {.block_t = 256, .group_t = 16, .cluster = 2, .parts = 1, .store_map = true});
    add("t256pp2 g16", {.block_t = 256, .group_t = 16, .cluster = 2, .parts = 1, .pingpong = true});
  }
  if (s.parts) {
    std::vector<Entry> kept;
    for (const Entry& e : made) {
      if (e.name != "t256x2w" && e.name != "t256w" && e.name != "t256pp2") continue;
      kept.push_back(e);
      for (const char* what : {"stores", "epilogue", "loads"}) {
        kept.push_back(e);
        kept.back().name += std::string(" -") + what, kept.back().leave_out = what;
      }
    }
    return kept;
  }
  return made;
}

void replace(std::string& text, std::string_view from, std::string_view to) {
  const size_t at = text.find(from);
  if (at == std::string::npos) check(invalid_argument("'{}' is not in the source", from));
  text.replace(at, from.size(), to);
}
std::string text_of(std::string_view name) {
  for (const auto& s : kernels::cuda::device_sources()) {
    if (s.name == name) return std::string(s.text);
  }
  return {};
}

kernels::DeviceModule module_of(const Entry& e) {
  kernels::DeviceModule module;
  module.name = "gemm";
  module.source = gemm_sm90_source(e.config);
  module.defines = gemm_sm90_defines(e.config);
  if (e.leave_out.empty()) return module;
  std::string text = text_of("gemm_sm90.cuh"), fragments = text_of("gemm_fragments.cuh");
  if (e.leave_out == "stores") {
    replace(fragments, "*reinterpret_cast<uint4*>(to) = v;",
            "if (g.tokens < 0) *reinterpret_cast<uint4*>(to) = v;");
  } else if (e.leave_out == "epilogue") {
    replace(text, "    epilogue.finish(", "    if (g.tokens < 0) epilogue.finish(");
  } else {
    replace(text, "barrier_expect(&full[ring.stage], kStageW + kStageX);",
            "barrier_arrive(&full[ring.stage]); continue;");
  }
  replace(text, "#include \"gemm_fragments.cuh\"", fragments);
  replace(module.source, "#include \"gemm_sm90.cuh\"", text);
  return module;
}

/// One contestant, ready to be launched.
struct Runner {
  std::string name;
  cu::Module module;
  cu::CuFunction function = nullptr;
  cu::LaunchShape shape;
  cu::CuTensorMap map = {}, output_map = {};
  GemmSm90Config config;
  cu::DeviceBuffer workspace, flags;
  cu::GraphExec graph;
  std::vector<double> us;
  double error = 0, bad = 0;
};

class Race {
 public:
  Race() : device_(take(cu::CudaDevice::open(0))), stream_(take(cu::Stream::create())) {
    cu::NvrtcSource source;
    source.name = "lab";
    source.arch = device_->info().arch();
    source.source = kGemmOracle;
    for (const auto& s : kernels::cuda::device_sources())
      source.headers.push_back({s.name, s.text});
    lab_ = take(cu::Module::load(take(cu::nvrtc_compile(source)).cubin));
    start_ = take(cu::Event::create(true)), stop_ = take(cu::Event::create(true));
    library_ = take(cu::CublasLt::create());
    one_ = take(cu::DeviceBuffer::allocate(256));
    tokens_ = take(cu::DeviceBuffer::allocate(256));
    sums_ = take(cu::DeviceBuffer::allocate(256));
    const float scale = 1;
    check(one_.upload(std::as_bytes(std::span(&scale, 1)), 0, stream_));
    check(stream_.synchronize());
  }
  const cu::DeviceInfo& info() const { return device_->info(); }
  std::string rival() const { return library_->version(); }
  int failures() const { return failures_; }

  void run(const Shape& s, OrderedJson& rows) {
    prepare(s);
    std::vector<std::unique_ptr<Runner>> runners;
    for (const Entry& e : entries_of(s)) {
      auto made = make(s, e);
      if (!made) continue;
      verify(s, *made, !e.leave_out.empty());
      runners.push_back(std::move(made));
    }
    check(library_->plan({s.m, s.n, s.k, s.fp8}));
    runners.push_back(std::make_unique<Runner>());
    runners.back()->name = "cuBLASLt";
    time(s, runners);
    report(s, runners, rows);
  }

 private:
  template <class... Args>
  void call(const char* name, uint64_t blocks, Args... args) {
    void* params[] = {&args...};
    cu::LaunchShape shape;
    shape.grid[0] = static_cast<unsigned>(blocks);
    shape.block[0] = 256;
    check(cu::launch(take(lab_.function(name, 0)), shape, params, stream_));
  }

  void prepare(const Shape& s) {
    const uint64_t n = static_cast<uint64_t>(s.n), k = static_cast<uint64_t>(s.k);
    const uint64_t m = static_cast<uint64_t>(s.m), size = s.fp8 ? 1 : 2;
    w_bytes_ = static_cast<uint64_t>(
        kernels::cuda::gemm_sm90_packed_bytes(s.n, s.k, s.fp8 ? DType::kF8E4M3 : DType::kBf16));
    copies_ = static_cast<int>(std::min<uint64_t>(16, 1 + (200ull << 20) / w_bytes_));
    out_n_ = n / (s.gated() ? 2 : 1);
    step_ = std::max(1, s.m / 96);
    w_ = {}, x_ = {}, y_ = {}, residual_ = {}, sw_ = {}, sx_ = {}, reference_ = {};
    const auto bytes = [](uint64_t count) { return take(cu::DeviceBuffer::allocate(count)); };
    w_ = bytes(w_bytes_ * static_cast<uint64_t>(copies_)), x_ = bytes(m * k * size);
    y_ = bytes(m * n * 2), residual_ = bytes(m * out_n_ * 2), sw_ = bytes(n * 4),
    sx_ = bytes(m * 4);
    const uint64_t samples = m / static_cast<uint64_t>(step_);
    reference_ = bytes(samples * out_n_ * 4);
    const char* fill = s.fp8 ? "fill_e4m3" : "fill_bf16";
    const uint64_t seed = ++seed_ * 977;
    call(fill, 2048, w_.get(), w_bytes_ * static_cast<uint64_t>(copies_) / size, seed, 1.0f);
    call(fill, 2048, x_.get(), m * k, seed + 1, 1.0f);
    call("fill_bf16", 2048, residual_.get(), m * out_n_, seed + 2, 1.0f);
    call("fill_f32", 64, sw_.get(), n, seed + 3);
    call("fill_f32", 64, sx_.get(), m, seed + 4);
    const uint64_t none = 0;
    call("oracle", (samples * out_n_ + 255) / 256, w_.get(), x_.get(), sw_.get(), sx_.get(),
         s.residual() ? residual_.get() : none, reference_.get(), static_cast<int>(s.n),
         static_cast<int>(s.k), s.m, s.fp8 ? 1 : 0, s.gated() ? 1 : 0,
         s.residual() ? static_cast<int>(out_n_) : 0, step_);
    check(tokens_.upload(std::as_bytes(std::span(&s.m, 1)), 0, stream_));
    check(stream_.synchronize());
  }

  cu::CuTensorMap encode(int type, uint64_t base, uint64_t columns, uint64_t size, uint64_t tokens,
                         std::pair<int, int> box, int swizzle) {
    cu::CuTensorMap map = {};
    const uint64_t extents[2] = {columns, tokens}, strides[1] = {columns * size};
    const uint32_t boxes[2] = {static_cast<uint32_t>(box.first), static_cast<uint32_t>(box.second)};
    const uint32_t steps[2] = {1, 1};
    const cu::Driver* d = take(cu::driver());
    check(cu::check(d->tensor_map_encode(&map, type, 2, reinterpret_cast<void*>(base), extents,
                                         strides, boxes, steps, 0, swizzle, 3, 0),
                    "cuTensorMapEncodeTiled"));
    return map;
  }

  std::unique_ptr<Runner> make(const Shape& s, const Entry& e) {
    auto r = std::make_unique<Runner>();
    const GemmSm90Config& g = e.config;
    r->name = e.name, r->config = g;
    auto compiled = kernels::compile_device_module(module_of(e), "sm_90a");
    if (!compiled.ok()) {
      std::printf("%s: %s\n", e.name.c_str(), compiled.error().message.c_str());
      ++failures_;
      return nullptr;
    }
    r->module = take(cu::Module::load(compiled->cubin));
    const unsigned shared = gemm_sm90_shared_bytes(g);
    r->function = take(r->module.function(gemm_sm90_entry(g).data(), shared));
    const int64_t tiles_t = (s.m + g.block_t - 1) / g.block_t;
    const int most = e.blocks > 0 ? e.blocks : info().multiprocessors;
    const auto grid =
        std::min(tiles_t * gemm_sm90_blocks_of_tile(g), gemm_sm90_most_blocks(g, most));
    r->workspace = take(cu::DeviceBuffer::allocate(
        256 + static_cast<uint64_t>(gemm_sm90_workspace_bytes(g, static_cast<int>(grid)))));
    r->flags = take(cu::DeviceBuffer::allocate(static_cast<uint64_t>(grid) * 8));
    check(r->flags.fill(0, stream_));
    r->shape.grid[0] = static_cast<unsigned>(grid);
    r->shape.block[0] = gemm_sm90_threads(g);
    r->shape.cluster[0] = gemm_sm90_cluster(g);
    r->shape.shared_bytes = shared;
    r->shape.programmatic = true;
    const auto m = static_cast<uint64_t>(s.m);
    r->map =
        encode(g.fp8 ? cu::kCuTensorU8 : cu::kCuTensorBf16, x_.get(), static_cast<uint64_t>(s.k),
               g.fp8 ? 1 : 2, m, {g.fp8 ? 128 : 64, g.block_t / g.cluster}, cu::kCuSwizzle128);
    if (gemm_sm90_store_map(g)) {
      const auto box = kernels::cuda::gemm_sm90_store_box(g);
      r->output_map = encode(cu::kCuTensorBf16, y_.get(), out_n_, 2, m, {box.features, box.tokens},
                             box.swizzle_bytes == 128 ? cu::kCuSwizzle128 : 2);
    }
    return r;
  }

  void launch(const Shape& s, Runner& r, int copy) {
    uint64_t weights = w_.get() + w_bytes_ * static_cast<uint64_t>(copy);
    if (r.function == nullptr) {
      check(library_->run(weights, x_.get(), y_.get(), one_.get(), stream_));
      return;
    }
    uint64_t pointers[] = {r.workspace.get(), r.flags.get(),   tokens_.get(), sw_.get(),
                           sx_.get(),         residual_.get(), y_.get()};
    std::vector<void*> params = {&r.map};
    if (gemm_sm90_store_map(r.config)) params.push_back(&r.output_map);
    params.push_back(&weights);
    if (r.config.parts == 0) params.insert(params.end(), {&pointers[0], &pointers[1]});
    params.push_back(&pointers[2]);
    if (s.fp8) params.insert(params.end(), {&pointers[3], &pointers[4]});
    if (s.residual()) params.push_back(&pointers[5]);
    params.push_back(&pointers[6]);
    check(cu::launch(r.function, r.shape, params, stream_));
  }

  void verify(const Shape& s, Runner& r, bool incomplete) {
    check(y_.fill(0xff, stream_));
    check(sums_.fill(0, stream_));
    launch(s, r, 0);
    call("compare", 1024, y_.get(), reference_.get(), static_cast<uint64_t>(s.m) * out_n_,
         sums_.get(), static_cast<int>(out_n_), s.m, step_);
    double host[3] = {};
    check(sums_.download(std::as_writable_bytes(std::span(host)), 0, stream_));
    check(stream_.synchronize());
    r.error = std::sqrt(host[0] / host[1]), r.bad = host[2];
    if (!incomplete && (r.bad != 0 || !(r.error < 6e-3))) {
      std::printf("BAD %s err %.2e nan %.0f\n", r.name.c_str(), r.error, r.bad);
      ++failures_;
    }
  }

  double elapsed(const cu::GraphExec& graph) {
    check(start_.record(stream_));
    check(graph.launch(stream_));
    check(stop_.record(stream_));
    check(stop_.synchronize());
    return take(stop_.elapsed_ms_since(start_)) * 1e3;
  }

  void time(const Shape& s, std::vector<std::unique_ptr<Runner>>& runners) {
    constexpr int kRounds = 7, kMost = 20;
    constexpr double kTrainUs = 2500, kFlopsPerUs = 0.8e9;
    const double guess =
        2.0 * static_cast<double>(s.n) * static_cast<double>(s.k) * s.m / kFlopsPerUs;
    const int launches = std::clamp(static_cast<int>(kTrainUs / guess), 2, kMost);
    for (auto& r : runners) {
      check(cu::GraphExec::begin_capture(stream_));
      for (int i = 0; i < launches; ++i) launch(s, *r, i % copies_);
      r->graph = take(cu::GraphExec::end_capture(stream_));
    }
    for (int round = 0; round <= kRounds; ++round) {
      for (auto& r : runners) {
        const double us = elapsed(r->graph) / launches;
        if (round > 0) r->us.push_back(us);
      }
    }
    for (auto& r : runners) std::sort(r->us.begin(), r->us.end());
  }

  void report(const Shape& s, const std::vector<std::unique_ptr<Runner>>& runners,
              OrderedJson& rows) {
    const auto median = [](const Runner& r) { return r.us[r.us.size() / 2]; };
    const double flops = 2.0 * static_cast<double>(s.n) * static_cast<double>(s.k) * s.m;
    const double library = median(*runners.back());
    const Runner* best = nullptr;
    for (const auto& r : runners) {
      if (r->function != nullptr && r->bad == 0 && (!best || median(*r) < median(*best)))
        best = r.get();
    }
    std::printf(
        "%s n=%-6ld k=%-6ld m=%-5d%s cuBLASLt %.1f us %.0f TFLOP/s | best %s %.1f us %.0f, "
        "share %.3f |",
        s.fp8 ? "fp8 " : "bf16", static_cast<long>(s.n), static_cast<long>(s.k), s.m,
        s.own ? " own" : "", library, flops / library * 1e-6, best->name.c_str(), median(*best),
        flops / median(*best) * 1e-6, library / median(*best));
    OrderedJson variants = OrderedJson::array();
    for (const auto& r : runners) {
      if (r->function == nullptr) continue;
      std::printf(" %s %.1f", r->name.c_str(), median(*r));
      variants.push_back(
          {{"name", r->name}, {"us", median(*r)}, {"least_us", r->us[0]}, {"error", r->error}});
    }
    std::printf("\n");
    std::fflush(stdout);
    rows.push_back({{"dtype", s.fp8 ? "fp8" : "bf16"},
                    {"m", s.m},
                    {"n", s.n},
                    {"k", s.k},
                    {"own_epilogue", s.own},
                    {"cublaslt_us", library},
                    {"best", best->name},
                    {"best_us", median(*best)},
                    {"share", library / median(*best)},
                    {"tflops", flops / median(*best) * 1e-6},
                    {"variants", variants}});
  }

  std::unique_ptr<cu::CudaDevice> device_;
  cu::Stream stream_;
  cu::Module lab_;
  cu::Event start_, stop_;
  std::unique_ptr<cu::CublasLt> library_;
  cu::DeviceBuffer one_, tokens_, sums_, w_, x_, y_, residual_, sw_, sx_, reference_;
  uint64_t w_bytes_ = 0, out_n_ = 0, seed_ = 0;
  int copies_ = 1, step_ = 1, failures_ = 0;
};

/// Registers and spills of every kernel.
int compile_all(const std::vector<Shape>& shapes) {
  int failures = 0;
  std::set<std::string> known;
  for (const Shape& s : shapes) {
    for (const Entry& e : entries_of(s)) {
      const auto module = module_of(e);
      std::string key = module.source;
      for (const std::string& define : module.defines) key += " " + define;
      if (!known.insert(key).second) continue;
      const auto made = kernels::compile_device_module(module, "sm_90a", false);
      failures += !made.ok();
      std::printf("%s n=%ld k=%ld %s%s: %s\n", s.fp8 ? "fp8 " : "bf16", static_cast<long>(s.n),
                  static_cast<long>(s.k), e.name.c_str(), s.own ? " own" : "",
                  made.ok() ? made->log.c_str() : made.error().message.c_str());
    }
  }
  return failures;
}

int run_lab(int argc, char** argv) {
  std::vector<Shape> shapes;
  std::string out;
  std::optional<bool> only;
  bool compile = false, turns = true;
  const auto add = [&](std::vector<std::pair<int64_t, int64_t>> sizes, std::vector<int> tokens,
                       bool own = false, bool parts = false) {
    for (const bool fp8 : {true, false}) {
      for (const auto& [n, k] : sizes) {
        for (const int m : tokens) shapes.push_back({n, k, m, fp8, own, parts});
      }
    }
  };
  const std::vector<std::pair<int64_t, int64_t>> small = {
      {6144, 4096}, {4096, 4096}, {28672, 4096}, {4096, 14336}};
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    if (word == "compile") {
      compile = true;
    } else if (word == "no_turns") {
      turns = false;
    } else if (word == "8b") {
      add(small, {256, 1024, 8192});
    } else if (word == "few") {
      add(small, {1, 16});
    } else if (word == "own") {
      add(small, {256, 1024, 8192}, true);
    } else if (word == "70b") {
      add({{10240, 8192}, {8192, 8192}, {57344, 8192}, {8192, 28672}}, {256, 1024, 8192});
    } else if (word == "square") {
      add({{8192, 8192}}, {8192});
    } else if (word == "parts") {
      add({{4096, 4096}}, {4096}, false, true);
      add({{6144, 4096}}, {8192}, false, true);
    } else if (word == "fp8" || word == "bf16") {
      only = word == "fp8";
    } else {
      out = word;
    }
  }
  for (Shape& s : shapes) s.turns = turns;
  if (only) std::erase_if(shapes, [&](const Shape& s) { return s.fp8 != *only; });
  if (compile) return compile_all(shapes);
  Race race;
  std::printf("%s, %d multiprocessors, cuBLASLt %s\n", race.info().name.c_str(),
              race.info().multiprocessors, race.rival().c_str());
  std::vector<kernels::DeviceModule> modules;
  for (const Shape& s : shapes) {
    for (const Entry& e : entries_of(s)) modules.push_back(module_of(e));
  }
  warm_compile(modules, "sm_90a");
  OrderedJson rows = OrderedJson::array();
  for (const Shape& s : shapes) {
    race.run(s, rows);
    const OrderedJson json = {{"device", race.info().name}, {"products", rows}};
    if (!out.empty()) std::ofstream(out) << json.dump(1) << "\n";
  }
  std::printf("race_lab: %zu shapes, %d failed\n", rows.size(), race.failures());
  return race.failures() == 0 ? 0 : 1;
}

}  // namespace
}  // namespace ramjet::lab

int main(int argc, char** argv) { return ramjet::lab::run_lab(argc, argv); }
