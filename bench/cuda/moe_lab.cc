// Experts on the device against the reference op, and their times.
//   moe_lab [check]   routing and experts of random shapes, types and choices (all tokens to one
//                     expert, experts without tokens), every tactic; outputs and workspace poisoned
//   moe_lab sinks     attention with sinks
//   moe_lab real      the shapes of published models with few experts
//   moe_lab time      those shapes, 1 to 4096 tokens: microseconds of each tactic beside the floor
//   moe_lab compile   without a GPU: registers and spills of every kernel of those shapes
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>
#include <thread>

#include "base/thread_pool.h"
#include "kernels/cuda/compile_log.h"
#include "kernels/cuda/cuda_tactics.h"
#include "kernels/device_timing.h"
#include "kernels/op_work.h"
#include "op_lab.h"
#include "warm_compile.h"

namespace ramjet::lab {
namespace {

using kernels::OpCase;
using kernels::OpDesc;
using kernels::pick;
using kernels::random_tensor;
using kernels::Tactic;
using kernels::TestTensor;

enum class Choice { kEven, kOneExpert, kFewExperts };

struct Shapes {
  const char* name = "random";
  DType x = DType::kBf16, weights = DType::kBf16;
  int64_t tokens = 1, experts = 8, k = 2, width = 128, hidden = 64, columns = 128;
  bool biases = false;
  Choice choice = Choice::kEven;
};

constexpr Shapes kPublished[] = {
    {"qwen3-30b-a3b", DType::kBf16, DType::kBf16, 1, 128, 8, 2048, 768, 2048},
    {"gpt-oss-20b", DType::kBf16, DType::kBf16, 1, 32, 4, 2880, 2880, 2880, true},
    {"mixtral-8x7b", DType::kBf16, DType::kBf16, 1, 8, 2, 4096, 14336, 4096},
    {"qwen1.5-moe-a2.7b", DType::kBf16, DType::kBf16, 1, 60, 4, 2048, 1408, 2048},
};

constexpr const char* kClamped =
    "4: r4=add(r0,r2) r5=add(r1,r3) r6=const(7) r7=const(-7) r8=min(r4,r6) r9=min(r5,r6) "
    "r10=max(r9,r7) r11=const(1.702) r12=mul(r8,r11) r13=sigmoid(r12) r14=mul(r8,r13) "
    "r15=const(1) r16=add(r10,r15) r17=mul(r16,r14) -> r17";

MoeDesc desc_of(const Shapes& s) {
  MoeDesc desc;
  desc.up.accumulators = 2;
  desc.up.epilogue =
      take(PointwiseProgram::parse(s.biases ? kClamped : "2: r2=silu(r0) r3=mul(r2,r1) -> r3"));
  if (s.biases) desc.down.epilogue = PointwiseProgram::single(PointwiseOp::kAdd);
  if (s.weights == DType::kI8) desc.up.quant = desc.down.quant = WeightQuant::kInt8Channel;
  return desc;
}

/// Distinct within a token.
TestTensor choices(const Shapes& s) {
  std::vector<int32_t> ids, all(static_cast<size_t>(s.experts));
  for (size_t e = 0; e < all.size(); ++e) all[e] = static_cast<int32_t>(e);
  const int64_t among = s.choice == Choice::kFewExperts ? std::min(s.k + 1, s.experts) : s.experts;
  for (int64_t t = 0; t < s.tokens; ++t) {
    for (int64_t i = 0; i < s.k; ++i) {
      const bool same = s.choice == Choice::kOneExpert;
      const int64_t other = same ? s.experts - 1 - i : pick(i, among - 1);
      if (same) {
        ids.push_back(static_cast<int32_t>(other));
        continue;
      }
      std::swap(all[static_cast<size_t>(i)], all[static_cast<size_t>(other)]);
      ids.push_back(all[static_cast<size_t>(i)]);
    }
  }
  return TestTensor::ints({s.tokens, s.k}, ids);
}

OpCase build(const Shapes& s) {
  OpCase c;
  c.op = OpKind::kMoe;
  c.attrs = desc_of(s);
  const bool int8 = s.weights == DType::kI8;
  const auto weights = [&](Shape shape, int64_t depth) {
    const float most = 1.7f / std::sqrt(static_cast<float>(depth));
    return int8 ? random_tensor(s.weights, shape, -127, 127)
                : random_tensor(s.weights, shape, -most, most);
  };
  c.inputs = {random_tensor(s.x, {s.tokens, s.width}),
              weights({s.experts, 2 * s.hidden, s.width}, s.width),
              weights({s.experts, s.columns, s.hidden}, s.hidden), choices(s),
              random_tensor(DType::kF32, {s.tokens, s.k}, 0, 1)};
  if (int8) {
    c.inputs.push_back(random_tensor(DType::kF32, {s.experts, 2 * s.hidden}, 0.001f, 0.002f));
    c.inputs.push_back(random_tensor(DType::kF32, {s.experts, s.columns}, 0.001f, 0.002f));
  }
  if (s.biases) {
    for (const int64_t extent : {s.hidden, s.hidden, s.columns}) {
      c.inputs.push_back(random_tensor(s.x, {s.experts, extent}));
    }
  }
  c.outputs.emplace_back(s.x, Shape{s.tokens, s.columns});
  c.label =
      fmt::format("{} {} tokens, {} of {}, {} -> {} -> {}, {} x {}{}", s.name, s.tokens, s.k,
                  s.experts, s.width, s.hidden, s.columns, dtype_name(s.x), dtype_name(s.weights),
                  s.choice == Choice::kOneExpert    ? ", one expert"
                  : s.choice == Choice::kFewExperts ? ", few experts"
                                                    : "");
  return c;
}

/// The op of these shapes for any number of tokens.
struct Described {
  OpAttrs attrs;
  Symbol tokens;
  std::vector<TensorType> in, out;

  Described(const Shapes& s, int64_t most) : attrs(desc_of(s)), tokens{"tokens", 1, 1, most} {
    const Dim rows = Dim::of(0);
    in = {{s.x, {rows, s.width}},
          {s.weights, {s.experts, 2 * s.hidden, s.width}},
          {s.weights, {s.experts, s.columns, s.hidden}},
          {DType::kI32, {rows, s.k}},
          {DType::kF32, {rows, s.k}}};
    if (s.weights == DType::kI8) {
      in.push_back({DType::kF32, {s.experts, 2 * s.hidden}});
      in.push_back({DType::kF32, {s.experts, s.columns}});
    }
    for (const int64_t extent : {s.hidden, s.hidden, s.columns}) {
      if (s.biases) in.push_back({s.x, {s.experts, extent}});
    }
    out = {{s.x, {rows, s.columns}}};
  }
  OpDesc desc() const { return {OpKind::kMoe, &attrs, in, out, std::span(&tokens, 1)}; }
};

void add_modules(const Shapes& s, std::vector<kernels::DeviceModule>& modules) {
  const Described described(s, 4096);
  for (const Tactic& tactic : kernels::cuda::moe_tactics()) {
    if (tactic.op != OpKind::kMoe || !tactic.supports(described.desc())) continue;
    kernels::DevicePlan plan;
    tactic.plan(described.desc(), tactic, {}, plan);
    modules.insert(modules.end(), plan.modules.begin(), plan.modules.end());
  }
}

/// bf16 rounds x, the hidden row and, on Hopper, each expert's result.
kernels::Tolerance tolerance_of(const Shapes& s) {
  const double unit = kernels::unit_roundoff(s.x), terms = static_cast<double>(s.k);
  return {1e-4 + 3 * unit * std::sqrt(terms), 2 * unit};
}

struct Tally {
  int cases = 0, failed = 0;
  void add(const std::string& text, std::string_view tactic, const std::string& label) {
    if (text == "not supported") return;
    ++cases;
    if (text.empty()) return;
    ++failed;
    std::printf("FAILED %s %s: %s\n", std::string(tactic).c_str(), label.c_str(), text.c_str());
  }
};

void check_experts(OpLab& lab, Shapes s, int64_t most, ThreadPool& pool, Tally& tally) {
  if (s.tokens == s.experts) ++s.tokens;  // extents that equal a symbol's value become it
  const OpCase c = build(s);
  const OpCase want = c.run(*kernels::reference_tactic(OpKind::kMoe), pool);
  for (const Tactic& tactic : kernels::cuda::moe_tactics()) {
    if (tactic.op != OpKind::kMoe) continue;
    tally.add(lab.compare(c, tactic, {{"tokens", s.tokens, std::max(most, s.tokens)}},
                          tolerance_of(s), nullptr, 1, &want),
              tactic.name, c.label);
  }
}

void check_route(OpLab& lab, Tally& tally) {
  struct Case {
    int64_t experts, k, tokens;
  };
  for (const Case& at : {Case{8, 2, 1}, Case{128, 8, 33}, Case{60, 4, 7}, Case{32, 4, 500},
                         Case{1000, 40, 5}, Case{3, 3, 9}, Case{256, 1, 4097}}) {
    for (const bool renormalize : {false, true}) {
      OpCase c;
      c.op = OpKind::kMoeRoute;
      c.attrs = MoeRouteDesc{.k = at.k, .renormalize = renormalize, .scale = 1.5};
      c.inputs = {random_tensor(DType::kF32, {at.tokens, at.experts}, -4, 4)};
      auto values = c.inputs[0].values();
      const float odd[] = {NAN, INFINITY, -INFINITY, 0.0f, -0.0f, 1.0f, 1.0f};
      for (size_t i = 0; i < values.size(); i += 11) values[i] = odd[i / 11 % 7];
      if (at.tokens > 4) c.inputs[0] = TestTensor::of(DType::kF32, {at.tokens, at.experts}, values);
      c.outputs.emplace_back(DType::kI32, Shape{at.tokens, at.k});
      c.outputs.emplace_back(DType::kF32, Shape{at.tokens, at.k});
      c.label = fmt::format("route {} of {}, {} tokens", at.k, at.experts, at.tokens);
      const Tactic& tactic = *kernels::find_tactic("cuda.moe_route.v1");
      tally.add(lab.compare(c, tactic, {{"tokens", at.tokens, at.tokens + 3}}, {1e-6, 1e-5}),
                tactic.name, c.label);
    }
  }
}

struct SinkCase {
  int64_t heads, kv_heads, dim, window;
  DType kv;
  std::vector<std::pair<int, int>> lengths;  // new, total
};

/// Every attention kernel with a sink for each head.
OpCase build_sinks(const SinkCase& at) {
  AttentionDesc desc{.num_heads = at.heads, .num_kv_heads = at.kv_heads, .head_dim = at.dim};
  desc.v_head_dim = at.dim, desc.window = at.window, desc.kv_dtype = at.kv;
  desc.scale = 1 / std::sqrt(static_cast<double>(at.dim));
  desc.block_tokens = 32, desc.sinks = true;
  std::vector<int32_t> starts{0}, totals;
  int64_t columns = 1;
  for (const auto& [fresh, total] : at.lengths) {
    starts.push_back(starts.back() + fresh), totals.push_back(total);
    columns = std::max<int64_t>(columns, (total + 31) / 32);
  }
  const auto sequences = static_cast<int64_t>(totals.size());
  const int64_t tokens = starts.back(), blocks = sequences * columns;
  std::vector<int32_t> table(static_cast<size_t>(blocks));
  std::iota(table.begin(), table.end(), 0);
  std::shuffle(table.begin(), table.end(), kernels::rng());
  OpCase c;
  c.op = OpKind::kPagedAttention;
  c.attrs = desc;
  c.inputs = {random_tensor(DType::kBf16, {tokens, at.heads * at.dim}, -3, 3),
              TestTensor::ints({sequences + 1}, starts), TestTensor::ints({sequences}, totals),
              TestTensor::ints({sequences, columns}, table),
              random_tensor(DType::kF32, {at.heads}, -2, 6)};
  c.outputs.emplace_back(DType::kBf16, Shape{tokens, at.heads * at.dim});
  const int64_t size = dtype_bytes(at.kv), keys = at.kv_heads * desc.block_tokens * at.dim;
  kernels::TestKv kv;
  kv.view = {.dtype = at.kv,
             .num_layers = 1,
             .num_blocks = blocks,
             .block_tokens = desc.block_tokens,
             .layer_stride = blocks * 2 * keys * size,
             .block_stride = 2 * keys * size,
             .v_offset = keys * size};
  kv.bytes = random_tensor(at.kv, {blocks, 2 * keys}).bytes;
  c.kv.push_back(std::move(kv));
  c.label = fmt::format("sinks, {} of {} heads, {} wide, window {}, {}", at.heads, at.kv_heads,
                        at.dim, at.window, dtype_name(at.kv));
  return c;
}

int sinks() {
  OpLab lab;
  ThreadPool pool(static_cast<int>(std::max(1u, std::thread::hardware_concurrency())));
  Tally tally;
  const std::vector<std::pair<int, int>> mixed = {{1, 1},  {5, 70},   {20, 20}, {1, 64}, {1, 2000},
                                                  {1, 65}, {60, 400}, {1, 129}, {1, 128}};
  std::vector<SinkCase> cases;
  for (const int64_t window : {0, 128}) {
    cases.push_back({16, 2, 64, window, DType::kBf16, mixed});
    cases.push_back({8, 8, 64, window, DType::kBf16, {{1, 700}}});
  }
  cases.push_back({16, 2, 128, 0, DType::kF8E4M3, mixed});
  std::vector<OpCase> built;
  std::vector<kernels::DeviceModule> modules;
  const auto symbols = [](const OpCase& c) {
    const int64_t tokens = c.inputs[0].view.shape[0], sequences = c.inputs[2].view.shape[0];
    return std::vector<SymbolValue>{{"tokens", tokens, tokens + 20}, {"sequences", sequences, 16}};
  };
  for (const SinkCase& at : cases) {
    const OpCase& c = built.emplace_back(build_sinks(at));
    for (const Tactic& tactic : kernels::cuda::attention_tactics()) {
      for (auto& module : lab.modules(c, tactic, symbols(c))) modules.push_back(std::move(module));
    }
  }
  warm_compile(modules, lab.info().arch());
  for (const OpCase& c : built) {
    const OpCase want = c.run(*kernels::reference_tactic(c.op), pool);
    for (const Tactic& tactic : kernels::cuda::attention_tactics()) {
      const std::string text = lab.compare(c, tactic, symbols(c), {2e-2, 1e-2}, nullptr, 1, &want);
      tally.add(text, tactic.name, c.label);
      std::printf("%s %s: %s\n", c.label.c_str(), tactic.name.data(), text.c_str());
      std::fflush(stdout);
    }
  }
  std::printf("with sinks: %d cases, %d failed\n", tally.cases, tally.failed);
  return tally.failed == 0 ? 0 : 1;
}

/// Every kernel of every published shape, with what it takes.
int compile_all() {
  int wrong = 0;
  std::set<std::string> seen;
  for (Shapes s : kPublished) {
    const Described described(s, 4096);
    const OpDesc desc = described.desc();
    for (const Tactic& tactic : kernels::cuda::moe_tactics()) {
      if (tactic.op != OpKind::kMoe || !tactic.supports(desc)) continue;
      kernels::DevicePlan plan;
      tactic.plan(desc, tactic, {}, plan);
      for (const kernels::DeviceModule& module : plan.modules) {
        std::string identity = module.source;
        for (const std::string& d : module.defines) identity += d;
        if (!seen.insert(identity).second) continue;
        auto made = kernels::compile_device_module(module, "sm_90a", false);
        if (!made.ok()) {
          std::printf("FAILED %s\n%s\n", module.name.c_str(), made.error().message.c_str());
          ++wrong;
          continue;
        }
        const auto used = kernels::cuda::read_compile_log(made->log);
        std::printf("%-34s %-20s %3d registers, %d spilled\n", module.name.c_str(),
                    tactic.name.data(), used.registers, used.spill_bytes);
        wrong += used.spill_bytes > 0;
      }
    }
  }
  return wrong;
}

int check_all() {
  OpLab lab;
  ThreadPool pool(static_cast<int>(std::max(1u, std::thread::hardware_concurrency())));
  Tally tally;
  check_route(lab, tally);
  std::printf("routing: %d cases, %d failed\n", tally.cases, tally.failed);
  std::vector<Shapes> all;
  for (const auto& [x, weights] : {std::pair(DType::kBf16, DType::kBf16),
                                   {DType::kF32, DType::kF32},
                                   {DType::kF16, DType::kF16},
                                   {DType::kBf16, DType::kI8},
                                   {DType::kF32, DType::kI8}}) {
    const bool hopper = weights == DType::kBf16;
    for (int i = 0; i < (hopper ? 3 : 2); ++i) {
      Shapes s{.x = x, .weights = weights};
      s.experts = pick(3, 12), s.k = pick(1, std::min<int64_t>(s.experts, 5));
      s.biases = i % 2 == 1;
      const bool whole = hopper ? i < 2 : i == 0;
      s.width = whole ? 8 * pick(8, 60) : pick(9, 90);
      s.hidden = whole ? 32 * pick(2, 8) : 16 * pick(1, 5);
      s.columns = whole ? 64 * pick(1, 5) : pick(9, 90);
      all.push_back(s);
    }
  }
  Shapes large{.experts = 16, .k = 4, .width = 192, .hidden = 96, .columns = 128};
  std::vector<kernels::DeviceModule> modules;
  for (const Shapes& s : all) add_modules(s, modules);
  add_modules(large, modules);
  warm_compile(modules, lab.info().arch());
  for (Shapes s : all) {
    for (const int64_t tokens : {1, 2, 23, 130, 515}) {
      for (const Choice choice : {Choice::kEven, Choice::kOneExpert, Choice::kFewExperts}) {
        if (tokens == 2 && choice != Choice::kEven) continue;
        s.tokens = tokens, s.choice = choice;
        check_experts(lab, s, tokens + pick(0, 300), pool, tally);
      }
    }
    std::printf("%s x %s: %d cases, %d failed\n", std::string(dtype_name(s.x)).c_str(),
                std::string(dtype_name(s.weights)).c_str(), tally.cases, tally.failed);
    std::fflush(stdout);
  }
  large.tokens = 4096;
  for (const Choice choice : {Choice::kEven, Choice::kOneExpert}) {
    large.choice = choice;
    check_experts(lab, large, 4096, pool, tally);
  }
  std::printf("moe_lab: %d cases, %d failed\n", tally.cases, tally.failed);
  return tally.failed == 0 ? 0 : 1;
}

int real() {
  OpLab lab;
  ThreadPool pool(static_cast<int>(std::max(1u, std::thread::hardware_concurrency())));
  Tally tally;
  std::vector<Shapes> all(std::begin(kPublished), std::end(kPublished));
  std::vector<kernels::DeviceModule> modules;
  for (Shapes& s : all) {  // few experts, and no more than the reference does in seconds
    s.experts = s.k + 1, s.hidden = std::min<int64_t>(s.hidden, 3584);
    add_modules(s, modules);
  }
  warm_compile(modules, lab.info().arch());
  for (Shapes s : all) {
    for (const int64_t tokens : {2, 21}) {
      s.tokens = tokens;
      check_experts(lab, s, tokens * 3, pool, tally);
    }
    std::printf("%s: %d cases, %d failed\n", s.name, tally.cases, tally.failed);
    std::fflush(stdout);
  }
  return tally.failed == 0 ? 0 : 1;
}

/// What one op takes on the stopwatch of the tuner: experts differ from launch to launch.
int time() {
  auto watch = take(kernels::DeviceStopwatch::open());
  const auto target = kernels::Target::gpu();
  const kernels::DeviceFacts facts = kernels::device_facts(*target);
  std::vector<kernels::DeviceModule> modules;
  for (const Shapes& s : kPublished) add_modules(s, modules);
  warm_compile(modules, target->name());
  for (const Shapes& s : kPublished) {
    const Described described(s, 4096);
    const OpDesc desc = described.desc();
    for (const int64_t n : {1, 4, 16, 64, 256, 1024, 4096}) {
      const int64_t values[] = {n};
      const double floor = kernels::floor_us(kernels::op_work(desc, values), facts);
      std::printf("%-18s %5ld tokens, floor %8.1f us:", s.name, static_cast<long>(n), floor);
      for (const Tactic& tactic : kernels::cuda::moe_tactics()) {
        if (tactic.op != OpKind::kMoe || !tactic.supports(desc) || tactic.invariant_only) continue;
        const int tile = tactic.variant & 0xffff;
        const double rows = static_cast<double>(n * s.k) / static_cast<double>(s.experts);
        if (tile > 0 && (tile > 8 * std::max(rows, 2.0) || tile * 16 < rows)) continue;
        if (tile == 0 && n > 256) continue;
        kernels::DevicePlan plan;
        tactic.plan(desc, tactic, facts, plan);
        auto op = kernels::DeviceOp::create(std::move(plan), target->name());
        if (!op.ok()) {
          std::printf(" %s: %s", tactic.name.data(), op.error().message.c_str());
          continue;
        }
        const auto us = watch->us(*op, desc, tactic, values);
        std::printf(" %s %.1f (model %.1f)", tactic.name.data() + 4, us.ok() ? *us : -1.0,
                    tactic.cost_us(desc, tactic, facts, values));
        std::fflush(stdout);
      }
      std::printf("\n");
    }
  }
  return 0;
}

}  // namespace
}  // namespace ramjet::lab

int main(int argc, char** argv) {
  const std::string mode = argc > 1 ? argv[1] : "check";
  if (mode == "compile") return ramjet::lab::compile_all();
  if (mode == "sinks") return ramjet::lab::sinks();
  if (mode == "real") return ramjet::lab::real();
  if (mode == "time") return ramjet::lab::time();
  return ramjet::lab::check_all();
}
