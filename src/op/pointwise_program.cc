#include "op/pointwise_program.h"

#include <array>
#include <charconv>
#include <cmath>
#include <optional>

#include "tensor/half.h"

namespace ramjet {
namespace {

struct OpFacts {
  std::string name;
  int arity;
};

std::string snake_case(std::string_view camel) {
  std::string out;
  for (size_t i = 0; i < camel.size(); ++i) {
    const char c = camel[i];
    if (c >= 'A' && c <= 'Z') {
      if (i > 0) out += '_';
      out += static_cast<char>(c - 'A' + 'a');
    } else {
      out += c;
    }
  }
  return out;
}

const std::vector<OpFacts>& op_facts() {
  static const std::vector<OpFacts> facts = {
#define X(name, arity) {snake_case(#name), arity},
      RAMJET_POINTWISE_OPS(X)
#undef X
  };
  return facts;
}

/// A reader over "2: r2=silu(r0) r3=mul(r2,r1) -> r3".
struct Reader {
  std::string_view rest;
  void skip_spaces() {
    while (!rest.empty() && rest.front() == ' ') rest.remove_prefix(1);
  }
  bool take(std::string_view token) {
    skip_spaces();
    if (!rest.starts_with(token)) return false;
    rest.remove_prefix(token.size());
    return true;
  }
  std::optional<int16_t> take_register() {
    if (!take("r")) return std::nullopt;
    return take_number<int16_t>();
  }
  template <class T>
  std::optional<T> take_number() {
    skip_spaces();
    T number{};
    const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), number);
    if (error != std::errc()) return std::nullopt;
    rest.remove_prefix(static_cast<size_t>(end - rest.data()));
    return number;
  }
  std::string_view take_word() {
    skip_spaces();
    size_t n = 0;
    while (n < rest.size() && (std::isalnum(static_cast<unsigned char>(rest[n])) || rest[n] == '_'))
      ++n;
    const std::string_view word = rest.substr(0, n);
    rest.remove_prefix(n);
    return word;
  }
};

std::optional<PointwiseInstr> parse_instr(Reader& reader) {
  const std::string_view word = reader.take_word();
  const auto& facts = op_facts();
  for (size_t i = 0; i < facts.size(); ++i) {
    if (facts[i].name != word) continue;
    PointwiseInstr instr{.op = static_cast<PointwiseOp>(i)};
    if (!reader.take("(")) return std::nullopt;
    if (instr.op == PointwiseOp::kConst) {
      const auto value = reader.take_number<float>();
      if (!value) return std::nullopt;
      instr.value = *value;
    }
    int16_t* operands[] = {&instr.a, &instr.b, &instr.c};
    for (int k = 0; k < facts[i].arity; ++k) {
      if (k > 0 && !reader.take(",")) return std::nullopt;
      const auto reg = reader.take_register();
      if (!reg) return std::nullopt;
      *operands[k] = *reg;
    }
    if (!reader.take(")")) return std::nullopt;
    return instr;
  }
  return std::nullopt;
}

}  // namespace

int pointwise_arity(PointwiseOp op) { return op_facts()[static_cast<size_t>(op)].arity; }
std::string_view pointwise_name(PointwiseOp op) { return op_facts()[static_cast<size_t>(op)].name; }

float pointwise_scalar(PointwiseOp op, float a, float b, float c) {
  switch (op) {
    case PointwiseOp::kConst: return a;
    case PointwiseOp::kAdd: return a + b;
    case PointwiseOp::kSub: return a - b;
    case PointwiseOp::kMul: return a * b;
    case PointwiseOp::kDiv: return a / b;
    // A NaN operand gives NaN, on every backend.
    case PointwiseOp::kMax: return std::isnan(a) || a > b ? a : b;
    case PointwiseOp::kMin: return std::isnan(a) || a < b ? a : b;
    case PointwiseOp::kPow: return std::pow(a, b);
    case PointwiseOp::kNeg: return -a;
    case PointwiseOp::kAbs: return std::fabs(a);
    case PointwiseOp::kExp: return std::exp(a);
    case PointwiseOp::kLog: return std::log(a);
    case PointwiseOp::kSqrt: return std::sqrt(a);
    case PointwiseOp::kRsqrt: return 1.0f / std::sqrt(a);
    case PointwiseOp::kReciprocal: return 1.0f / a;
    case PointwiseOp::kSquare: return a * a;
    case PointwiseOp::kTanh: return std::tanh(a);
    case PointwiseOp::kSigmoid: return 1.0f / (1.0f + std::exp(-a));
    case PointwiseOp::kRelu: return std::isnan(a) || a > 0.0f ? a : 0.0f;
    case PointwiseOp::kSilu: return a / (1.0f + std::exp(-a));
    case PointwiseOp::kGelu: return 0.5f * a * (1.0f + std::erf(a * 0.70710678118654752f));
    case PointwiseOp::kGeluTanh:
      return 0.5f * a * (1.0f + std::tanh(0.79788456080286536f * (a + 0.044715f * a * a * a)));
    case PointwiseOp::kErf: return std::erf(a);
    case PointwiseOp::kSin: return std::sin(a);
    case PointwiseOp::kCos: return std::cos(a);
    case PointwiseOp::kFloor: return std::floor(a);
    case PointwiseOp::kRound: return std::nearbyint(a);
    case PointwiseOp::kLess: return a < b ? 1.0f : 0.0f;
    case PointwiseOp::kLessEqual: return a <= b ? 1.0f : 0.0f;
    case PointwiseOp::kEqual: return a == b ? 1.0f : 0.0f;
    case PointwiseOp::kWhere: return a != 0.0f ? b : c;
    case PointwiseOp::kCastBf16: return bf16_to_f32(f32_to_bf16(a));
    case PointwiseOp::kCastF16: return f16_to_f32(f32_to_f16(a));
  }
  return a;
}

PointwiseProgram PointwiseProgram::single(PointwiseOp op) {
  PointwiseProgram program;
  program.num_inputs = pointwise_arity(op);
  PointwiseInstr instr{.op = op};
  if (program.num_inputs > 0) instr.a = 0;
  if (program.num_inputs > 1) instr.b = 1;
  if (program.num_inputs > 2) instr.c = 2;
  program.instrs.push_back(instr);
  program.outputs.push_back(static_cast<int16_t>(program.num_inputs));
  return program;
}

std::string PointwiseProgram::text() const {
  if (empty()) return "";
  std::string out = fmt::format("{}:", num_inputs);
  for (size_t i = 0; i < instrs.size(); ++i) {
    const PointwiseInstr& instr = instrs[i];
    out += fmt::format(" r{}={}(", num_inputs + static_cast<int>(i), pointwise_name(instr.op));
    if (instr.op == PointwiseOp::kConst) out += fmt::format("{}", instr.value);
    const int16_t operands[] = {instr.a, instr.b, instr.c};
    for (int k = 0; k < pointwise_arity(instr.op); ++k) {
      out += fmt::format("{}r{}", k == 0 ? "" : ",", operands[k]);
    }
    out += ")";
  }
  out += " ->";
  for (size_t i = 0; i < outputs.size(); ++i)
    out += fmt::format("{}r{}", i == 0 ? " " : ",", outputs[i]);
  return out;
}

Result<PointwiseProgram> PointwiseProgram::parse(std::string_view text) {
  PointwiseProgram program;
  Reader reader{text};
  reader.skip_spaces();
  if (reader.rest.empty()) return program;
  const Error bad = invalid_argument("'{}' is not a pointwise program", text.substr(0, 200));
  const auto inputs = reader.take_number<int>();
  if (!inputs || *inputs < 0 || *inputs > 64 || !reader.take(":")) return bad;
  program.num_inputs = *inputs;
  while (!reader.take("->")) {
    const auto reg = reader.take_register();
    if (!reg || *reg != program.num_registers() || !reader.take("=")) return bad;
    const auto instr = parse_instr(reader);
    if (!instr || program.instrs.size() >= 1024) return bad;
    program.instrs.push_back(*instr);
  }
  do {
    const auto reg = reader.take_register();
    if (!reg) return bad;
    program.outputs.push_back(*reg);
  } while (reader.take(","));
  reader.skip_spaces();
  if (!reader.rest.empty()) return bad;
  RETURN_IF_ERROR(program.verify());
  return program;
}

Status PointwiseProgram::verify() const {
  if (num_inputs < 0 || outputs.empty() != instrs.empty()) {
    if (!(instrs.empty() && !outputs.empty())) {
      return invalid_argument("pointwise program without instructions or outputs");
    }
  }
  for (size_t i = 0; i < instrs.size(); ++i) {
    const int16_t operands[] = {instrs[i].a, instrs[i].b, instrs[i].c};
    for (int k = 0; k < pointwise_arity(instrs[i].op); ++k) {
      if (operands[k] < 0 || operands[k] >= num_inputs + static_cast<int>(i)) {
        return invalid_argument("pointwise instruction {} reads r{} before it is defined", i,
                                operands[k]);
      }
    }
  }
  for (int16_t reg : outputs) {
    if (reg < 0 || reg >= num_registers())
      return invalid_argument("pointwise output r{} is undefined", reg);
  }
  return ok_status();
}

void PointwiseProgram::evaluate(std::span<const float> inputs, std::span<float> out) const {
  std::vector<float> registers(inputs.begin(), inputs.end());
  registers.resize(static_cast<size_t>(num_registers()));
  auto read = [&](int16_t reg) { return reg < 0 ? 0.0f : registers[static_cast<size_t>(reg)]; };
  for (size_t i = 0; i < instrs.size(); ++i) {
    const PointwiseInstr& instr = instrs[i];
    const float a = instr.op == PointwiseOp::kConst ? instr.value : read(instr.a);
    registers[static_cast<size_t>(num_inputs) + i] =
        pointwise_scalar(instr.op, a, read(instr.b), read(instr.c));
  }
  for (size_t i = 0; i < outputs.size(); ++i) out[i] = read(outputs[i]);
}

}  // namespace ramjet
