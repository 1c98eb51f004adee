// Rules of matmul, pointwise and norms.
#include "ir/infer_rules.h"

namespace ramjet::ir {
namespace {

Status check_program(const PointwiseProgram& program, std::string_view what) {
  if (Status status = program.verify(); !status.ok()) return status.error().with_context(what);
  if (program.num_registers() > kMaxPointwiseRegisters) {
    return invalid_argument("{} has {} registers, at most {} are possible", what,
                            program.num_registers(), kMaxPointwiseRegisters);
  }
  return ok_status();
}

/// Operands first .. first+count-1 must be floats that broadcast to `dims`.
Status check_operands(const OpCall& call, size_t first, size_t count, std::span<const Dim> dims) {
  for (size_t i = first; i < first + count; ++i) {
    RETURN_IF_ERROR(want_float(call, i, "a fused operand"));
    if (broadcasts_to(call.inputs[i].dims, dims)) continue;
    TensorType wanted{call.inputs[i].dtype, {dims.begin(), dims.end()}};
    return invalid_argument("fused operand {} does not broadcast to {}", shown(call, i),
                            type_text(wanted, call.symbols));
  }
  return ok_status();
}

/// a, b and their scales: what comes before the operands of prologue and epilogue.
size_t own_operands(const MatmulDesc& desc) {
  if (desc.quant == WeightQuant::kNone) return 2;
  return desc.quant == WeightQuant::kFp8Channel ? 4 : 3;
}

/// Columns of one accumulator. Two share a weight that alternates tiles of 16 rows of each.
Result<Dim> matmul_columns(const OpCall& call, const MatmulDesc& desc) {
  const TensorType& b = call.inputs[1];
  const Dim rows = desc.transpose_b ? b.dims[0] : b.dims[1];
  if (desc.accumulators == 1) return rows;
  if (desc.accumulators != 2) return invalid_argument("accumulators={}: 1 or 2", desc.accumulators);
  if (desc.transpose_b && rows.fixed() && rows.offset % 2 == 0) return Dim(rows.offset / 2);
  return invalid_argument("two accumulators want a fixed b[2N, K], given {}", shown(call, 1));
}

/// Scales of a quantized matmul: one a row of b, and for eight-bit activations one a row of a.
Status check_scales(const OpCall& call, const MatmulDesc& desc) {
  const TensorType &a = call.inputs[0], &b = call.inputs[1];
  const bool fp8 = desc.quant == WeightQuant::kFp8Channel;
  std::vector<Dim> rows = a.dims;
  rows.pop_back();
  const bool scaled = desc.transpose_b && b.dtype == (fp8 ? DType::kF8E4M3 : DType::kI8) &&
                      call.inputs[2] == TensorType{DType::kF32, {b.dims[0]}};
  if (!fp8) {
    if (scaled) return ok_status();
    return invalid_argument("a quantized matmul wants b i8[N, K] and scales f32[N], given b {}",
                            shown(call, 1));
  }
  if (scaled && desc.prologue.empty() && call.inputs[3] == TensorType{DType::kF32, rows}) {
    return ok_status();
  }
  return invalid_argument(
      "an fp8 matmul wants b f8e4m3[N, K], scales f32[N] and those of a's rows, given {}, {}, {}",
      shown(call, 1), shown(call, 2), shown(call, 3));
}

Status check_matmul_operands(const OpCall& call, const MatmulDesc& desc) {
  const TensorType &a = call.inputs[0], &b = call.inputs[1];
  if (desc.quant != WeightQuant::kFp8Channel) {
    RETURN_IF_ERROR(want_float(call, 0, "a"));
  } else if (a.dtype != DType::kF8E4M3) {
    return invalid_argument("a is {}, an fp8 matmul wants f8e4m3", shown(call, 0));
  }
  if (a.rank() < 2 || b.rank() != 2) {
    return invalid_argument("wants a[.., M, K] and b of rank 2, given a {} and b {}",
                            shown(call, 0), shown(call, 1));
  }
  const Dim k = desc.transpose_b ? b.dims[1] : b.dims[0];
  if (a.dims.back() != k) {
    return invalid_argument("a {} and b {}{} disagree in K: {} against {}", shown(call, 0),
                            shown(call, 1), desc.transpose_b ? " (transposed)" : "",
                            dim_text(a.dims.back(), call.symbols), dim_text(k, call.symbols));
  }
  if (desc.quant == WeightQuant::kNone) {
    if (a.dtype == b.dtype) return ok_status();
    return invalid_argument("a {} and b {} differ in dtype; cast one", shown(call, 0),
                            shown(call, 1));
  }
  return check_scales(call, desc);
}

}  // namespace

Types infer_matmul(const OpCall& call) {
  const MatmulDesc& desc = desc_of<MatmulDesc>(call);
  const size_t own = own_operands(desc);
  RETURN_IF_ERROR(want_inputs(call, own, 160));
  RETURN_IF_ERROR(check_matmul_operands(call, desc));
  ASSIGN_OR_RETURN(const Dim columns, matmul_columns(call, desc));
  std::vector<Dim> dims = call.inputs[0].dims;
  dims.back() = columns;

  const size_t extra = call.inputs.size() - own;
  if (desc.prologue_operands < 0 || desc.prologue_operands > static_cast<int64_t>(extra)) {
    return invalid_argument("prologue_operands={} but {} operands are left", desc.prologue_operands,
                            extra);
  }
  const size_t before = static_cast<size_t>(desc.prologue_operands), after = extra - before;
  RETURN_IF_ERROR(check_program(desc.prologue, "prologue"));
  RETURN_IF_ERROR(check_program(desc.epilogue, "epilogue"));
  const bool plain = desc.prologue.empty();
  if (plain ? before != 0
            : desc.prologue.num_inputs != static_cast<int>(before) + 1 ||
                  desc.prologue.outputs.size() != 1) {
    return invalid_argument("prologue of {} inputs with {} operands beside a",
                            desc.prologue.num_inputs, before);
  }
  const int64_t wanted = desc.accumulators + static_cast<int64_t>(after);
  if (desc.epilogue.empty() ? after != 0 || desc.accumulators != 1
                            : desc.epilogue.num_inputs != wanted) {
    return invalid_argument("epilogue of {} inputs with {} accumulators and {} operands",
                            desc.epilogue.num_inputs, desc.accumulators, after);
  }
  const size_t first = call.inputs.size() - extra;
  RETURN_IF_ERROR(check_operands(call, first, before, call.inputs[0].dims));
  RETURN_IF_ERROR(check_operands(call, first + before, after, dims));
  const size_t results = desc.epilogue.empty() ? 1 : desc.epilogue.outputs.size();
  const DType a = call.inputs[0].dtype;
  const DType dtype = is_compute_float(a) ? a : DType::kBf16;
  return std::vector<TensorType>(results, TensorType{dtype, std::move(dims)});
}

Types infer_pointwise(const OpCall& call) {
  const PointwiseProgram& program = desc_of<PointwiseDesc>(call).program;
  RETURN_IF_ERROR(want_inputs(call, 1, 64));
  RETURN_IF_ERROR(check_program(program, "program"));
  if (program.empty() || program.num_inputs != static_cast<int>(call.inputs.size())) {
    return invalid_argument("program of {} inputs and {} outputs over {} operands",
                            program.num_inputs, program.outputs.size(), call.inputs.size());
  }
  std::vector<Dim> dims;
  for (size_t i = 0; i < call.inputs.size(); ++i) {
    RETURN_IF_ERROR(want_float(call, i, "an operand"));
    auto common = broadcast_dims(dims, call.inputs[i].dims);
    if (!common) {
      std::string all;
      for (size_t k = 0; k < call.inputs.size(); ++k)
        all += (k > 0 ? " and " : "") + shown(call, k);
      return invalid_argument("{} do not broadcast", all);
    }
    dims = std::move(*common);
  }
  return std::vector<TensorType>(program.outputs.size(),
                                 TensorType{call.inputs[0].dtype, std::move(dims)});
}

namespace {

/// What x becomes in e4m3, and one scale a token.
std::vector<TensorType> quantized(const TensorType& x) {
  TensorType values = x, scales = x;
  values.dtype = DType::kF8E4M3;
  scales.dtype = DType::kF32;
  scales.dims.pop_back();
  return {values, scales};
}

}  // namespace

Types infer_norm(const OpCall& call) {
  RETURN_IF_ERROR(want_inputs(call, 2, 3));
  RETURN_IF_ERROR(want_float(call, 0, "x"));
  const TensorType& x = call.inputs[0];
  if (x.rank() < 1) return invalid_argument("x is {}, wants [.., D]", shown(call, 0));
  for (size_t i = 1; i < call.inputs.size(); ++i) {
    RETURN_IF_ERROR(want_float(call, i, i == 1 ? "weight" : "bias"));
    if (call.inputs[i].dims == std::vector<Dim>{x.dims.back()}) continue;
    return invalid_argument("{} is {}, wants [{}] as the last extent of x {}",
                            i == 1 ? "weight" : "bias", shown(call, i),
                            dim_text(x.dims.back(), call.symbols), shown(call, 0));
  }
  if (!x.dims.back().fixed()) return invalid_argument("x {} has no fixed width", shown(call, 0));
  if (desc_of<NormDesc>(call).quant == ActivationQuant::kFp8Token) return quantized(x);
  return std::vector<TensorType>{x};
}

Types infer_quantize(const OpCall& call) {
  RETURN_IF_ERROR(want_inputs(call, 1, 1));
  RETURN_IF_ERROR(want_float(call, 0, "x"));
  const TensorType& x = call.inputs[0];
  if (x.rank() < 1 || !x.dims.back().fixed()) {
    return invalid_argument("x is {}, wants [.., K] of a fixed width", shown(call, 0));
  }
  return quantized(x);
}

Types infer_add_norm(const OpCall& call) {
  RETURN_IF_ERROR(want_inputs(call, 3, 3));
  const TensorType &x = call.inputs[0], &y = call.inputs[1];
  if (x.dims != y.dims || !is_compute_float(y.dtype)) {
    return invalid_argument("x {} and y {} differ", shown(call, 0), shown(call, 1));
  }
  const TensorType operands[] = {x, call.inputs[2]};
  OpCall norm = call;
  norm.inputs = operands;
  ASSIGN_OR_RETURN(const std::vector<TensorType> normed, infer_norm(norm));
  std::vector<TensorType> results = {x};
  results.insert(results.end(), normed.begin(), normed.end());
  return results;
}

}  // namespace ramjet::ir
