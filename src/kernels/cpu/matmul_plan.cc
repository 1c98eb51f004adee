#include "kernels/cpu/matmul_plan.h"

#include <algorithm>

namespace ramjet::kernels::cpu {
namespace {

bool real(DType dtype) {
  return dtype == DType::kF32 || dtype == DType::kBf16 || dtype == DType::kF16;
}
bool real_or_i32(const TensorType& type) { return real(type.dtype) || type.dtype == DType::kI32; }

/// a, b and their scales.
size_t own_operands(const MatmulDesc& m) {
  if (m.quant == WeightQuant::kNone) return 2;
  return m.quant == WeightQuant::kFp8Channel ? 4 : 3;
}

bool program_fits(const PointwiseProgram& program, size_t operands) {
  return program.instrs.size() <= kMaxFusedInstrs && operands <= kMaxFusedOperands;
}

bool operands_ok(const OpDesc& desc, const MatmulDesc& m) {
  const size_t first = own_operands(m);
  const auto prologue = static_cast<size_t>(m.prologue_operands);
  if (desc.inputs.size() < first + prologue || desc.outputs.empty()) return false;
  const auto is = [&](size_t i, DType dtype) { return desc.inputs[i].dtype == dtype; };
  switch (m.quant) {
    case WeightQuant::kNone:
      if (!real(desc.inputs[0].dtype)) return false;
      break;
    case WeightQuant::kInt8Channel:
      if (!real(desc.inputs[0].dtype) || !is(1, DType::kI8) || !is(2, DType::kF32)) return false;
      break;
    case WeightQuant::kFp8Channel:
      if (!is(0, DType::kF8E4M3) || !is(1, DType::kF8E4M3)) return false;
      if (!is(2, DType::kF32) || !is(3, DType::kF32)) return false;
  }
  const auto rest = desc.inputs.subspan(first);
  return std::all_of(rest.begin(), rest.end(), real_or_i32) &&
         std::all_of(desc.outputs.begin(), desc.outputs.end(),
                     [](const TensorType& t) { return real(t.dtype); }) &&
         program_fits(m.prologue, prologue) && program_fits(m.epilogue, rest.size() - prologue);
}

const MatmulDesc* matmul_attrs(const OpDesc& desc) {
  return desc.attrs == nullptr ? nullptr : std::get_if<MatmulDesc>(desc.attrs);
}

}  // namespace

MatmulPlan::MatmulPlan(const KernelCall& call)
    : desc(call.product != nullptr ? call.product : &std::get<MatmulDesc>(*call.attrs)),
      outputs(call.outputs),
      a(&call.inputs[0]),
      b(&call.inputs[1]) {
  if (desc->quant != WeightQuant::kNone) scales = call.inputs[2].as<float>();
  if (desc->quant == WeightQuant::kFp8Channel) token_scales = call.inputs[3].as<float>();
  const Shape& out = call.outputs[0].shape;
  columns = out.back();
  rows = out.rows();
  depth = a->shape.back();
  b_rows = columns * desc->accumulators;
  panels = (b_rows + 31) / 32;
  const size_t first = own_operands(*desc);
  num_prologue = static_cast<size_t>(desc->prologue_operands);
  num_epilogue = call.inputs.size() - first - num_prologue;
  for (size_t i = 0; i < num_prologue; ++i) {
    prologue[i] = RowOperand(call.inputs[first + i], a->shape);
  }
  for (size_t i = 0; i < num_epilogue; ++i) {
    epilogue[i] = RowOperand(call.inputs[first + num_prologue + i], out);
  }
}

bool packed_matmul_ok(const OpDesc& desc, bool bf16) {
  const MatmulDesc* m = matmul_attrs(desc);
  if (m == nullptr || desc.inputs.size() < 2 || !operands_ok(desc, *m)) return false;
  const TensorType& b = desc.inputs[1];
  if (b.rank() != 2 || !m->transpose_b || !b.dims[0].fixed() || !b.dims[1].fixed()) return false;
  const bool plain = b.dtype == DType::kF32 || b.dtype == DType::kF16 ||
                     (b.dtype == DType::kI8 && m->quant == WeightQuant::kInt8Channel) ||
                     (b.dtype == DType::kF8E4M3 && m->quant == WeightQuant::kFp8Channel);
  if (bf16 ? b.dtype != DType::kBf16 : !plain) return false;
  if (m->accumulators == 1) return true;
  return m->accumulators == 2 && !m->epilogue.empty() && b.dims[0].offset % 32 == 0;
}

bool amx_matmul_ok(const OpDesc& desc, bool bf16) {
  if (!packed_matmul_ok(desc, bf16) || desc.inputs[1].dims[1].offset <= 0) return false;
  const DType a = desc.inputs[0].dtype, b = desc.inputs[1].dtype;
  if (b == DType::kF8E4M3) return a == b;
  return a == DType::kBf16 && (bf16 || b == DType::kI8);
}

int64_t amx_workspace(const OpDesc& desc) {
  int64_t rows = 1;
  const std::vector<Dim>& dims = desc.inputs[0].dims;
  for (size_t i = 0; i + 1 < dims.size(); ++i) {
    const Dim& dim = dims[i];
    rows *= dim.fixed()
                ? dim.offset
                : dim.factor * desc.symbols[static_cast<size_t>(dim.symbol)].max + dim.offset;
  }
  return (rows + 31) / 32 * 32 * ((dims.back().offset + 31) / 32 * 32) * 2;
}

bool row_major_matmul_ok(const OpDesc& desc) {
  const MatmulDesc* m = matmul_attrs(desc);
  if (m == nullptr || desc.inputs.size() < 2 || !operands_ok(desc, *m)) return false;
  return m->quant == WeightQuant::kNone && m->accumulators == 1 && desc.inputs[1].rank() >= 2 &&
         real(desc.inputs[1].dtype) && desc.inputs[0].rank() >= 2;
}

}  // namespace ramjet::kernels::cpu
