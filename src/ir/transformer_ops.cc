#include "ir/append.h"
#include "ir/network.h"

namespace ramjet::ir {

Tensor stored_weight(Network& network, const std::string& name, TensorType type,
                     WeightRecipe recipe) {
  auto& weights = network.impl().weights;
  if (const auto it = weights.find(name); it != weights.end()) return Tensor(&network, it->second);
  const ValueId value = network.impl().graph.add_weight(name, std::move(type), std::move(recipe));
  weights.emplace(name, value);
  return Tensor(&network, value);
}

StepInputs add_step_inputs(Network& network, int64_t max_blocks) {
  StepInputs step;
  step.token_ids = network.input("token_ids", DType::kI32, {"tokens"});
  step.positions = network.input("positions", DType::kI32, {"tokens"});
  network.impl().graph.add_symbol({"sequences", 0, 0, 0});
  step.query_start = network.input("query_start", DType::kI32, {"sequences+1"});
  step.kv_len = network.input("kv_len", DType::kI32, {"sequences"});
  step.prompt_len = network.input("prompt_len", DType::kI32, {"sequences"});
  step.block_table = network.input("block_table", DType::kI32, {"sequences", max_blocks});
  step.logit_rows = network.input("logit_rows", DType::kI32, {"logit_rows"});
  return step;
}

Tensor attention(const Tensor (&qkv)[3], Tensor query_start, Tensor kv_len,
                 const AttentionDesc& desc) {
  return append_one({qkv[0], qkv[1], qkv[2], query_start, kv_len},
                    {.op = OpKind::kAttention, .label = "attention", .attrs = desc});
}

std::pair<Tensor, Tensor> moe_route(Tensor logits, const MoeRouteDesc& desc) {
  const std::vector<Tensor> results =
      append({&logits, 1}, {.op = OpKind::kMoeRoute, .label = "moe_route", .attrs = desc});
  return {results[0], results[1]};
}

Tensor moe(Tensor x, std::span<const Tensor> operands, const MoeDesc& desc) {
  std::vector<Tensor> all = {x};
  all.insert(all.end(), operands.begin(), operands.end());
  return append(all, {.op = OpKind::kMoe, .label = "moe", .attrs = desc}).front();
}

Tensor rope_table(const StepInputs& step, const RopeSpec& spec) {
  return append_one({step.positions, step.query_start, step.prompt_len},
                    {.op = OpKind::kRopeTable, .label = "rope_table", .attrs = spec});
}

Tensor rope(Tensor x, Tensor table, const RopeDesc& desc) {
  return append_one({x, table}, {.op = OpKind::kRope, .label = "rope", .attrs = desc});
}

Tensor lora(Tensor x, const Tensor (&slots_scales)[2], Tensor a, Tensor b) {
  return append_one({x, slots_scales[0], slots_scales[1], a, b},
                    {.op = OpKind::kLora, .label = "lora"});
}

void kv_append(Tensor k, Tensor v, const StepInputs& step, const AttentionDesc& desc) {
  const Tensor operands[] = {k, v, step.query_start, step.kv_len, step.block_table};
  append(operands, {.op = OpKind::kKvAppend, .label = "kv_append", .attrs = desc});
}

Tensor paged_attention(Tensor q, const StepInputs& step, Tensor sinks, const AttentionDesc& desc) {
  AppendOp op{.op = OpKind::kPagedAttention, .label = "paged_attention", .attrs = desc};
  const std::initializer_list<Tensor> plain = {q, step.query_start, step.kv_len, step.block_table};
  if (sinks.network() == nullptr) return append_one(plain, std::move(op));
  return append_one({q, step.query_start, step.kv_len, step.block_table, sinks}, std::move(op));
}

}  // namespace ramjet::ir
