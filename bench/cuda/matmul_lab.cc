// The matmul tactics of Hopper against the reference op: odd sizes, every kind of epilogue operand,
// several outputs, fewer tokens than the largest, pairs of weights.
#include <cstdio>

#include "kernels/cuda/cuda_tactics.h"
#include "op_lab.h"

namespace ramjet::lab {
namespace {

using kernels::OpCase;
using kernels::random_tensor;
using kernels::TestTensor;

struct Shapes {
  int64_t n, k, tokens, most;
};

/// 0: no epilogue, f32 out; 1: bias, activation, residual, two outputs; 2: a pair of weights.
OpCase make_case(const Shapes& s, int kind) {
  MatmulDesc desc;
  OpCase c;
  c.op = OpKind::kMatmul;
  c.inputs.push_back(random_tensor(DType::kBf16, {s.tokens, s.k}));
  c.inputs.push_back(random_tensor(DType::kBf16, {s.n, s.k}));
  if (kind == 0) c.outputs.emplace_back(DType::kF32, Shape{s.tokens, s.n});
  if (kind == 1) {
    desc.epilogue =
        take(PointwiseProgram::parse("4: r4=add(r0,r1) r5=gelu(r4) r6=mul(r5,r2) r7=add(r6,r3) "
                                     "-> r7,r4"));
    c.inputs.push_back(random_tensor(DType::kBf16, {s.n}));
    c.inputs.push_back(random_tensor(DType::kF32, {1}));
    c.inputs.push_back(random_tensor(DType::kBf16, {s.tokens, s.n}));
    c.outputs.emplace_back(DType::kBf16, Shape{s.tokens, s.n});
    c.outputs.emplace_back(DType::kF32, Shape{s.tokens, s.n});
  }
  if (kind == 2) {
    desc.accumulators = 2;
    desc.epilogue = take(PointwiseProgram::parse("2: r2=silu(r0) r3=mul(r2,r1) -> r3"));
    c.outputs.emplace_back(DType::kBf16, Shape{s.tokens, s.n / 2});
  }
  c.attrs = desc;
  return c;
}

int run_lab() {
  OpLab lab;
  int cases = 0, failed = 0;
  const Shapes shapes[] = {{61, 72, 5, 5},
                           {96, 200, 3, 300},
                           {384, 1032, 70, 256},
                           {1280, 512, 33, 64},
                           {2080, 136, 129, 300}};
  for (const Shapes& s : shapes) {
    for (int kind = 0; kind < 3; ++kind) {
      if (kind == 2 && s.n % 32 != 0) continue;
      const OpCase c = make_case(s, kind);
      for (const kernels::Tactic& tactic : kernels::cuda::gemm_tactics()) {
        const double scale = std::sqrt(static_cast<double>(s.k));
        const std::string text = lab.compare(c, tactic, {{"tokens", s.tokens, s.most}},
                                             {.absolute = 4e-3 * scale, .relative = 1e-2});
        if (text == "not supported") continue;
        ++cases;
        failed += !text.empty();
        if (!text.empty()) {
          std::fprintf(stderr, "%s n=%ld k=%ld m=%ld kind=%d: %s\n", tactic.name.data(),
                       static_cast<long>(s.n), static_cast<long>(s.k), static_cast<long>(s.tokens),
                       kind, text.c_str());
        }
      }
    }
  }
  std::fprintf(stderr, "matmul_lab: %d cases, %d failed\n", cases, failed);
  return failed == 0 ? 0 : 1;
}

}  // namespace
}  // namespace ramjet::lab

int main() { return ramjet::lab::run_lab(); }
