// Kernels of any shape against the reference ops on a GPU, and their times.
// Usage: general_lab FAMILY[:PART/PARTS].., of pointwise shapes axis attention half int8 fp8 f32
// time; parts let several processes share a family's cases, most of whose time is compilation.
//
// Random operands with NaN and infinities where the op defines them, poisoned results, symbols on
// any axis, none and more rows than one block has.
#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <numeric>
#include <string_view>

#include "kernels/cuda/cuda_tactics.h"
#include "op_lab.h"

namespace ramjet::lab {
namespace {

using kernels::OpCase;
using kernels::pick;
using kernels::random_tensor;
using kernels::TestTensor;
using kernels::Tolerance;

constexpr int64_t kTokens = 37, kSequences = 11;  // what symbols are, wherever they occur
const DType kReals[] = {DType::kBf16, DType::kF32, DType::kF16};

PointwiseProgram program(std::string_view text) { return take(PointwiseProgram::parse(text)); }

/// A few elements that no order survives.
TestTensor with_extremes(TestTensor tensor) {
  std::vector<float> values = tensor.values();
  const float extremes[] = {NAN, INFINITY, -INFINITY, 0.0f, -0.0f};
  for (size_t i = 0; i < values.size(); i += 1 + static_cast<size_t>(pick(20, 60))) {
    values[i] = extremes[pick(0, 4)];
  }
  return TestTensor::of(tensor.view.dtype, tensor.view.shape, values);
}

class Checks {
 public:
  Checks() { lab_.symbols_anywhere(); }

  /// Only every `count`-th case from here on, so that processes share the work.
  void take_part(int part, int count) { part_ = part, parts_ = count, next_ = 0; }

  void run(OpCase c, Tolerance tolerance, int64_t tokens = kTokens) {
    if (next_++ % parts_ != part_) return;
    int ran = 0;
    for (const auto table :
         {kernels::cuda::general_tactics(), kernels::cuda::attention_tactics()}) {
      for (const kernels::Tactic& tactic : table) {
        if (tactic.op != c.op || (c.op == OpKind::kPagedAttention && tactic.priority > 1)) continue;
        const std::string text = lab_.compare(
            c, tactic, {{"tokens", tokens, tokens + 20}, {"sequences", kSequences, 16}}, tolerance);
        if (text == "not supported") continue;
        ++ran, ++cases_;
        failed_ += !text.empty();
        if (!text.empty()) {
          std::fprintf(stderr, "%s %s: %s\n", tactic.name.data(), c.label.c_str(), text.c_str());
        }
      }
    }
    if (ran == 0) {
      std::fprintf(stderr, "%s %s: no kernel\n", op_name(c.op).data(), c.label.c_str());
      ++failed_;
    }
  }
  int cases() const { return cases_; }
  int failed() const { return failed_; }
  OpLab& lab() { return lab_; }

 private:
  OpLab lab_;
  int cases_ = 0, failed_ = 0;
  int part_ = 0, parts_ = 1, next_ = 0;
};

OpCase make(OpKind op, OpAttrs attrs, std::vector<TestTensor> inputs, std::string label) {
  OpCase c;
  c.op = op;
  c.attrs = std::move(attrs);
  c.inputs = std::move(inputs);
  c.label = std::move(label);
  return c;
}

void check_pointwise(Checks& checks) {
  for (DType dtype : kReals) {
    const Shape full{kTokens, 3, 40};
    OpCase c = make(OpKind::kPointwise,
                    PointwiseDesc{program("5: r5=mul(r0,r1) r6=add(r5,r2) r7=where(r3,r6,r4) "
                                          "r8=silu(r7) r9=max(r8,r1) -> r9,r6")},
                    {with_extremes(random_tensor(dtype, full)), random_tensor(DType::kF32, {40}),
                     random_tensor(DType::kBf16, {kTokens, 1, 1}),
                     TestTensor::ints({3, 1}, {0, 1, -2}), random_tensor(dtype, {1})},
                    "broadcasts");
    c.outputs.emplace_back(dtype, full);
    c.outputs.emplace_back(DType::kF32, full);
    checks.run(c, {1e-6, 2e-6});
    for (int64_t tokens : {0, 1, 530}) {
      OpCase rows = make(
          OpKind::kPointwise, PointwiseDesc{program("2: r2=add(r0,r1) -> r2")},
          {with_extremes(random_tensor(dtype, {tokens, 264})), random_tensor(dtype, {tokens, 264})},
          "rows");
      rows.outputs.emplace_back(dtype, Shape{tokens, 264});
      checks.run(rows, {}, tokens);
    }
    OpCase odd = make(OpKind::kPointwise,
                      PointwiseDesc{program("2: r2=pow(r0,r1) r3=tanh(r2) r4=erf(r0) r5=add(r3,r4) "
                                            "-> r5")},
                      {random_tensor(dtype, {7, kSequences, 5, kTokens}, 0.1f, 2),
                       random_tensor(dtype, {kSequences, 1, kTokens})},
                      "odd");
    odd.outputs.emplace_back(DType::kI32, Shape{7, kSequences, 5, kTokens});
    // A rounding to integers turns a difference in the last place into one.
    checks.run(odd, {1.0, 0});
  }
}

OpCase moved(OpKind op, OpAttrs attrs, std::vector<TestTensor> inputs, Shape to) {
  OpCase c = make(op, std::move(attrs), std::move(inputs), to.text());
  c.outputs.emplace_back(c.inputs[op == OpKind::kEmbedding ? 1 : 0].view.dtype, to);
  return c;
}

void check_shapes(Checks& checks) {
  const Tolerance exact{0, 0};
  for (DType dtype : {DType::kBf16, DType::kF32, DType::kI32}) {
    const auto tensor = [&](Shape shape) { return random_tensor(dtype, shape, -50, 50); };
    checks.run(moved(OpKind::kReshape, {}, {tensor({kTokens, 6, 4})}, {kTokens, 24}), exact);
    checks.run(moved(OpKind::kTranspose, TransposeDesc{{1, 0, 2}}, {tensor({kTokens, 5, 16})},
                     {5, kTokens, 16}),
               exact);
    checks.run(moved(OpKind::kTranspose, TransposeDesc{{3, 1, 2, 0}},
                     {tensor({kTokens, 3, kSequences, 9})}, {9, 3, kSequences, kTokens}),
               exact);
    checks.run(moved(OpKind::kSlice, SliceDesc{-1, 8, 16}, {tensor({kTokens, 40})}, {kTokens, 16}),
               exact);
    checks.run(
        moved(OpKind::kSlice, SliceDesc{1, 2, 3}, {tensor({kTokens, 9, 5})}, {kTokens, 3, 5}),
        exact);
    checks.run(moved(OpKind::kSlice, SliceDesc{0, 5, 20}, {tensor({kTokens, kSequences})},
                     {20, kSequences}),
               exact);
    checks.run(moved(OpKind::kConcat, AxisDesc{-1},
                     {tensor({kTokens, 8}), tensor({kTokens, kSequences}), tensor({kTokens, 1})},
                     {kTokens, 9 + kSequences}),
               exact);
    checks.run(moved(OpKind::kConcat, AxisDesc{0},
                     {tensor({kTokens, 24}), tensor({kSequences, 24})}, {kTokens + kSequences, 24}),
               exact);
    std::vector<int32_t> ids;
    for (int64_t i = 0; i < 13; ++i) ids.push_back(static_cast<int32_t>(pick(0, kTokens - 1)));
    const TestTensor rows = TestTensor::ints({13}, ids);
    checks.run(
        moved(OpKind::kGatherRows, {}, {tensor({kTokens, kSequences}), rows}, {13, kSequences}),
        exact);
    if (dtype == DType::kI32) continue;
    checks.run(moved(OpKind::kEmbedding, EmbeddingDesc{0.75}, {rows, tensor({kTokens, kSequences})},
                     {13, kSequences}),
               exact);
  }
}

void check_axis(Checks& checks) {
  for (DType dtype : kReals) {
    for (const Shape& shape :
         {Shape{kTokens, 3, 1500}, Shape{3, kTokens, 24}, Shape{2, 70, kTokens}}) {
      for (int64_t axis = 0; axis < 3; ++axis) {
        TestTensor x = random_tensor(dtype, shape);
        Shape out;
        for (int i = 0; i < 3; ++i) {
          if (i != axis) out.push_back(shape[i]);
        }
        for (ReduceKind kind :
             {ReduceKind::kSum, ReduceKind::kMean, ReduceKind::kMax, ReduceKind::kMin}) {
          const bool extreme = kind == ReduceKind::kMax || kind == ReduceKind::kMin;
          OpCase c = make(OpKind::kReduce, ReduceDesc{kind, axis}, {extreme ? with_extremes(x) : x},
                          "axis " + std::to_string(axis) + " of " + shape.text());
          c.outputs.emplace_back(kind == ReduceKind::kSum ? DType::kF32 : dtype, out);
          checks.run(c, {1e-4, 1e-5});
        }
        OpCase c = make(OpKind::kSoftmax, AxisDesc{axis}, {axis == 2 ? with_extremes(x) : x},
                        "axis " + std::to_string(axis) + " of " + shape.text());
        c.outputs.emplace_back(dtype, shape);
        checks.run(c, {1e-7, 1e-5});
      }
    }
    for (const auto& [rows, width, k] : {std::array<int64_t, 3>{kTokens, 1000, 50},
                                         {5, kTokens, 37},
                                         {kSequences, 32003, 8},
                                         {0, 64, 3}}) {
      // Few distinct values: ties go by index.
      TestTensor x = random_tensor(dtype, {rows, width});
      std::vector<float> values = x.values();
      for (float& v : values) v = std::round(v * 20);
      OpCase c =
          make(OpKind::kTopk, TopkDesc{k},
               {with_extremes(TestTensor::of(dtype, x.view.shape, values))}, x.view.shape.text());
      c.outputs.emplace_back(dtype, Shape{rows, k});
      c.outputs.emplace_back(DType::kI32, Shape{rows, k});
      checks.run(c, {0, 0}, rows == 0 ? 0 : kTokens);
    }
    for (int variant = 0; variant < 4; ++variant) {  // beyond the norms that stay in registers
      const bool layer = variant % 2 == 1, fp8 = variant == 3;
      NormDesc norm{.kind = layer ? NormKind::kLayer : NormKind::kRms};
      if (fp8) norm.quant = ActivationQuant::kFp8Token;
      const Shape shape{3, kTokens, kSequences, layer ? 33 : 40};
      OpCase c = make(variant < 2 ? OpKind::kNorm : OpKind::kAddNorm, norm,
                      {random_tensor(dtype, shape)}, "norm of " + shape.text());
      if (variant >= 2) c.inputs.push_back(random_tensor(dtype, shape));
      c.inputs.push_back(random_tensor(DType::kF32, {shape.back()}));
      if (layer) c.inputs.push_back(random_tensor(dtype, {shape.back()}));
      if (variant >= 2) c.outputs.emplace_back(dtype, shape);
      c.outputs.emplace_back(fp8 ? DType::kF8E4M3 : dtype, shape);
      if (fp8) c.outputs.emplace_back(DType::kF32, Shape{3, kTokens, kSequences});
      // A last place before the rounding to e4m3 may be a step of it.
      checks.run(c, fp8 ? Tolerance{2e-3, 0.125} : Tolerance{2e-6, 1e-5});
    }
    const auto conv = [&](ConvDesc desc, Shape x, Shape w, Shape out) {
      OpCase c = make(OpKind::kConv, std::move(desc),
                      {random_tensor(dtype, x), random_tensor(dtype, w)}, "conv " + out.text());
      c.outputs.emplace_back(dtype, out);
      checks.run(c, {1e-4, 1e-5});
    };
    conv({{2}, {1}, {}, 1}, {3, 80, 30}, {24, 80, 3}, {3, 24, 15});
    conv({{}, {2, 1}, {2, 1}, 2}, {2, 6, 20, kTokens}, {8, 3, 3, 3}, {2, 8, 20, kTokens});
  }
}

/// Sequences of `lengths` {new, total} with keys and values in a shuffled cache.
OpCase attention_case(AttentionDesc desc, DType q,
                      const std::vector<std::pair<int, int>>& lengths) {
  std::vector<int32_t> starts{0}, totals;
  for (const auto& [fresh, total] : lengths) {
    starts.push_back(starts.back() + fresh);
    totals.push_back(total);
  }
  const auto sequences = static_cast<int64_t>(totals.size());
  const int64_t tokens = starts.back(), blocks = 8, size = dtype_bytes(desc.kv_dtype);
  std::vector<int32_t> table(static_cast<size_t>(sequences * blocks));
  std::iota(table.begin(), table.end(), 0);
  std::shuffle(table.begin(), table.end(), kernels::rng());
  OpCase c = make(OpKind::kPagedAttention, desc,
                  {random_tensor(q, {tokens, desc.num_heads * desc.head_dim}),
                   TestTensor::ints({sequences + 1}, starts), TestTensor::ints({sequences}, totals),
                   TestTensor::ints({sequences, blocks}, table)},
                  std::to_string(desc.head_dim) + "/" + std::to_string(desc.v_head_dim));
  if (desc.sinks) c.inputs.push_back(random_tensor(DType::kF32, {desc.num_heads}, -2, 4));
  c.outputs.emplace_back(q, Shape{tokens, desc.num_heads * desc.v_head_dim});
  kernels::TestKv kv;
  const int64_t keys = desc.num_kv_heads * desc.block_tokens * desc.head_dim;
  const int64_t values = desc.num_kv_heads * desc.block_tokens * desc.v_head_dim;
  kv.view = {.dtype = desc.kv_dtype,
             .num_layers = 1,
             .num_blocks = sequences * blocks,
             .block_tokens = desc.block_tokens,
             .layer_stride = sequences * blocks * (keys + values) * size,
             .block_stride = (keys + values) * size,
             .v_offset = keys * size};
  kv.bytes = random_tensor(desc.kv_dtype, {sequences * blocks, keys + values}).bytes;
  c.kv.push_back(std::move(kv));
  return c;
}

void check_attention(Checks& checks) {
  for (const auto& [dim, v_dim] :
       {std::pair<int, int>{64, 64}, {96, 96}, {80, 48}, {256, 256}, {192, 128}}) {
    for (DType q : kReals) {
      for (DType kv : {DType::kBf16, DType::kF32, DType::kF16}) {
        AttentionDesc desc{.num_heads = 6, .num_kv_heads = 3, .head_dim = dim, .v_head_dim = v_dim};
        desc.scale = 1 / std::sqrt(static_cast<double>(dim));
        desc.kv_dtype = kv;
        desc.block_tokens = 16;
        desc.sinks = dim != 256;
        desc.window = dim == 80 ? 20 : 0;
        desc.softcap = dim == 96 ? 5 : 0;
        // 37 tokens of 11 sequences
        OpCase c = attention_case(desc, q,
                                  {{1, 1},
                                   {5, 70},
                                   {20, 20},
                                   {1, 64},
                                   {1, 100},
                                   {1, 65},
                                   {1, 17},
                                   {4, 9},
                                   {1, 128},
                                   {1, 3},
                                   {1, 33}});
        checks.run(c, {2e-5, 1e-4});
      }
    }
  }
}

struct MatmulShape {
  int64_t n, k, tokens;
};

/// 0: plain to f32; 1: every kind of epilogue operand, two results; 2: a pair of weights; 3: a
/// prologue; 4: b is [K, N]; 5: a of rank 3 with an operand along its middle.
OpCase matmul_case(const MatmulShape& s, DType a, int kind, WeightQuant quant) {
  const bool fp8 = quant == WeightQuant::kFp8Channel, int8 = quant == WeightQuant::kInt8Channel;
  const DType b = int8 ? DType::kI8 : a, real = fp8 ? DType::kBf16 : a;
  MatmulDesc desc;
  desc.quant = quant;
  const int64_t n = kind == 2 ? s.n / 2 : s.n;
  Shape in{s.tokens, s.k}, out{s.tokens, n};
  if (kind == 5) in = {s.tokens, 3, s.k}, out = {s.tokens, 3, n};
  const auto weights = [&](Shape shape) {
    return int8 ? TestTensor::of(b, shape,
                                 [&] {
                                   std::vector<float> values(static_cast<size_t>(shape.elements()));
                                   for (float& v : values) v = static_cast<float>(pick(-127, 127));
                                   return values;
                                 }())
                : random_tensor(b, shape);
  };
  OpCase c = make(OpKind::kMatmul, {}, {random_tensor(a, in)},
                  "kind " + std::to_string(kind) + " " + in.text() + " n " + std::to_string(n));
  desc.transpose_b = kind != 4;
  c.inputs.push_back(weights(kind == 4 ? Shape{s.k, s.n} : Shape{s.n, s.k}));
  if (quant != WeightQuant::kNone) {
    c.inputs.push_back(random_tensor(DType::kF32, {s.n}, 0.005f, 0.01f));
  }
  if (fp8) c.inputs.push_back(random_tensor(DType::kF32, {in.rows()}, 0.5f, 1));
  if (kind == 3) {
    desc.prologue = program("2: r2=silu(r0) r3=mul(r2,r1) -> r3");
    desc.prologue_operands = 1;
    c.inputs.push_back(random_tensor(real, in));
  }
  if (kind == 1) {
    desc.epilogue = program("4: r4=add(r0,r1) r5=gelu(r4) r6=mul(r5,r2) r7=add(r6,r3) -> r7,r4");
    c.inputs.push_back(random_tensor(real, {n}));
    c.inputs.push_back(random_tensor(DType::kF32, {s.tokens, 1}));
    c.inputs.push_back(random_tensor(real, out));
  }
  if (kind == 2) {
    desc.accumulators = 2;
    desc.epilogue = program("2: r2=silu(r0) r3=mul(r2,r1) -> r3");
  }
  if (kind == 5) {
    desc.epilogue = program("3: r3=add(r0,r1) r4=mul(r3,r2) -> r4");
    c.inputs.push_back(random_tensor(real, {3, 1}));
    c.inputs.push_back(random_tensor(real, {s.tokens, 1, n}));
  }
  c.outputs.emplace_back(kind == 0 ? DType::kF32 : real, out);
  if (kind == 1) c.outputs.emplace_back(DType::kF32, out);
  c.attrs = desc;
  return c;
}

void check_matmul(Checks& checks, std::span<const DType> types, WeightQuant quant) {
  const MatmulShape shapes[] = {
      {61, 72, 5}, {96, 61, 1}, {64, 2056, 8}, {130, 520, 37}, {352, 264, 300}};
  for (DType a : types) {
    for (const MatmulShape& s : shapes) {
      for (int kind = 0; kind < 6; ++kind) {
        if (quant != WeightQuant::kNone && kind == 4) continue;
        if (quant == WeightQuant::kFp8Channel && kind == 3) continue;
        if (kind == 2 && s.n % 2 != 0) continue;
        if (kind > 2 && s.n == 64) continue;
        OpCase c = matmul_case(s, a, kind, quant);
        // A prologue's result is rounded to the type of the product.
        const double step = kind == 3 && a != DType::kF32 ? 2e-3 : 2e-6;
        // A gate multiplies the other sum's error by its own value.
        const double gate = kind == 2 ? 8 : 1;
        const double scale = gate * std::sqrt(static_cast<double>(s.k));
        checks.run(c, {step * scale, 10 * step}, s.tokens);
      }
    }
    if (quant != WeightQuant::kNone) continue;
    OpCase none = matmul_case({64, 128, 0}, a, 1, quant);
    checks.run(none, {}, 0);
    OpCase symbolic = matmul_case({kSequences, kTokens, 64}, a, 4, quant);
    checks.run(symbolic, {1e-4, 1e-4});  // symbols in N and K
    OpCase extreme = matmul_case({96, 128, 40}, a, 0, quant);
    extreme.inputs[0] = with_extremes(extreme.inputs[0]);
    checks.run(extreme, {1e-4, 1e-4}, 40);
  }
}

void time_matmuls(OpLab& lab) {
  std::printf("%-22s %-14s %6s %10s %8s %8s\n", "matmul", "N x K", "M", "us", "TB/s", "TFLOP/s");
  struct Kind {
    const char* name;
    DType a;
    WeightQuant quant;
  };
  const Kind kinds[] = {{"bf16", DType::kBf16, WeightQuant::kNone},
                        {"bf16 x int8", DType::kBf16, WeightQuant::kInt8Channel},
                        {"fp8", DType::kF8E4M3, WeightQuant::kFp8Channel},
                        {"f32", DType::kF32, WeightQuant::kNone}};
  for (const Kind& kind : kinds) {
    const bool wide = dtype_bytes(kind.a) == 4;
    for (const auto& [n, k] : {std::pair<int64_t, int64_t>{28672, 4096}, {4096, 4096}}) {
      for (int64_t m : {1, 4, 8, 64, 256, 4096}) {
        if (wide && m > 256) continue;
        OpCase c;
        c.op = OpKind::kMatmul;
        MatmulDesc desc;
        desc.quant = kind.quant;
        c.attrs = desc;
        const DType b = kind.quant == WeightQuant::kInt8Channel ? DType::kI8 : kind.a;
        const auto blank = [](DType dtype, Shape shape) {
          TestTensor t(dtype, shape);
          std::fill(t.bytes.begin(), t.bytes.end(), std::byte{0x21});
          return t;
        };
        c.inputs = {blank(kind.a, {m, k}), blank(b, {n, k})};
        if (kind.quant != WeightQuant::kNone) c.inputs.push_back(blank(DType::kF32, {n}));
        if (kind.quant == WeightQuant::kFp8Channel) c.inputs.push_back(blank(DType::kF32, {m}));
        c.outputs.emplace_back(kind.a == DType::kF8E4M3 ? DType::kBf16 : kind.a, Shape{m, n});
        for (const kernels::Tactic& tactic : kernels::cuda::general_tactics()) {
          const auto us = lab.measure(c, tactic, {{"tokens", m, m}});
          if (!us) continue;
          const double bytes =
              static_cast<double>(n * k * dtype_bytes(b) + (m * k + m * n) * dtype_bytes(kind.a));
          const double flops = 2.0 * static_cast<double>(m) * static_cast<double>(n * k);
          std::printf("%-22s %6ld x %-6ld %5ld %10.1f %8.2f %8.1f\n", kind.name,
                      static_cast<long>(n), static_cast<long>(k), static_cast<long>(m), *us,
                      bytes / *us * 1e-6, flops / *us * 1e-6);
          std::fflush(stdout);
        }
      }
    }
  }
}

void time_others(OpLab& lab) {
  const auto report = [&](const char* name, OpCase c, int64_t rows) {
    double bytes = 0;
    for (const auto* list : {&c.inputs, &c.outputs}) {
      for (const TestTensor& t : *list) bytes += static_cast<double>(t.bytes.size());
    }
    for (const kernels::Tactic& tactic : kernels::cuda::general_tactics()) {
      if (const auto us = lab.measure(c, tactic, {{"tokens", rows, rows}})) {
        std::printf("%-30s %6ld rows %10.1f us %8.2f TB/s\n", name, static_cast<long>(rows), *us,
                    bytes / *us * 1e-6);
      }
    }
  };
  for (int64_t rows : {1, 64, 8192}) {
    const Shape shape{rows, 8192};
    const auto x = [&] { return TestTensor(DType::kBf16, shape); };
    const auto with = [&](OpKind op, OpAttrs attrs, std::vector<TestTensor> inputs, Shape out,
                          DType dtype = DType::kBf16) {
      OpCase c = make(op, std::move(attrs), std::move(inputs), "");
      c.outputs.emplace_back(dtype, std::move(out));
      return c;
    };
    report("silu(x) * y + b, bf16",
           with(OpKind::kPointwise,
                PointwiseDesc{program("3: r3=silu(r0) r4=mul(r3,r1) r5=add(r4,r2) -> r5")},
                {x(), x(), TestTensor(DType::kBf16, {8192})}, shape),
           rows);
    report("softmax, bf16", with(OpKind::kSoftmax, AxisDesc{-1}, {x()}, shape), rows);
    report("sum of rows, bf16", with(OpKind::kReduce, ReduceDesc{}, {x()}, {rows}), rows);
    report("transpose of the last axes",
           with(OpKind::kTranspose, TransposeDesc{{0, 2, 1}},
                {TestTensor(DType::kBf16, {rows, 64, 128})}, {rows, 128, 64}),
           rows);
    report("slice of half", with(OpKind::kSlice, SliceDesc{-1, 4096, 4096}, {x()}, {rows, 4096}),
           rows);
    if (rows > 64) continue;
    OpCase top = with(OpKind::kTopk, TopkDesc{50}, {random_tensor(DType::kF32, {rows, 128256})},
                      {rows, 50}, DType::kF32);
    top.outputs.emplace_back(DType::kI32, Shape{rows, 50});
    report("topk 50 of 128256, f32", top, rows);
  }
}

int run_lab(std::span<char*> families) {
  Checks checks;
  const DType half[] = {DType::kBf16, DType::kF16}, f32[] = {DType::kF32};
  const DType fp8[] = {DType::kF8E4M3};
  for (const std::string_view argument : families) {
    int part = 0, parts = 1;
    const std::string_view family = argument.substr(0, argument.find(':'));
    if (family != argument) {
      std::sscanf(argument.data() + family.size(), ":%d/%d", &part, &parts);
    }
    checks.take_part(part, std::max(parts, 1));
    if (family == "pointwise") check_pointwise(checks);
    if (family == "shapes") check_shapes(checks);
    if (family == "axis") check_axis(checks);
    if (family == "attention") check_attention(checks);
    if (family == "half") check_matmul(checks, half, WeightQuant::kNone);
    if (family == "int8") check_matmul(checks, kReals, WeightQuant::kInt8Channel);
    if (family == "fp8") check_matmul(checks, fp8, WeightQuant::kFp8Channel);
    if (family == "f32") check_matmul(checks, f32, WeightQuant::kNone);
    if (family == "time") time_matmuls(checks.lab()), time_others(checks.lab());
    std::printf("general_lab %s: %d cases, %d failed\n", argument.data(), checks.cases(),
                checks.failed());
  }
  return checks.failed() == 0 ? 0 : 1;
}

}  // namespace
}  // namespace ramjet::lab

int main(int argc, char** argv) {
  return ramjet::lab::run_lab(std::span(argv, static_cast<size_t>(argc)).subspan(1));
}
