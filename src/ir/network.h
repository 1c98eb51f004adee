// The inside of a Network, and the transformer ops that only model families use.
#pragma once

#include <ramjet/functional.h>

#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "ir/graph.h"

namespace ramjet {

struct Network::Impl {
  struct Bytes {
    TensorType type;
    std::vector<std::byte> bytes;
  };
  ir::Graph graph;
  std::map<std::string, ir::ValueId> weights;
  std::map<std::string, Bytes> weight_bytes;  // given by set_weight
  std::string scope;
  std::optional<Error> error;
};

namespace ir {

/// A weight that is no tensor of its own: rows of one that holds several, or one that lies
/// transposed in the checkpoint.
Tensor stored_weight(Network& network, const std::string& name, TensorType type,
                     WeightRecipe recipe);

/// Operands that every attention op of a step shares.
struct StepInputs {
  Tensor token_ids;    // i32[tokens]
  Tensor positions;    // i32[tokens]
  Tensor query_start;  // i32[sequences + 1]
  Tensor kv_len;       // i32[sequences]
  Tensor prompt_len;   // i32[sequences]: of the request's prompt, for rope
  Tensor block_table;  // i32[sequences, max_blocks]
  Tensor logit_rows;   // i32[logit_rows]: rows of which logits are wanted
};

/// Declares the symbols tokens, sequences, logit_rows and the seven inputs under these names.
StepInputs add_step_inputs(Network& network, int64_t max_blocks);

/// The experts of each token and their weights.
std::pair<Tensor, Tensor> moe_route(Tensor logits, const MoeRouteDesc& desc);
/// Operands as op_kind.h has them after x.
Tensor moe(Tensor x, std::span<const Tensor> operands, const MoeDesc& desc);
Tensor rope_table(const StepInputs& step, const RopeSpec& spec);
Tensor rope(Tensor x, Tensor table, const RopeDesc& desc);
/// Low-rank adapters of a projection: operands as op_kind.h has them.
Tensor lora(Tensor x, const Tensor (&slots_scales)[2], Tensor a, Tensor b);
void kv_append(Tensor k, Tensor v, const StepInputs& step, const AttentionDesc& desc);
/// `sinks` may be an invalid Tensor.
Tensor paged_attention(Tensor q, const StepInputs& step, Tensor sinks, const AttentionDesc& desc);

/// Within the sequences that `query_start` and `kv_len` tell apart.
Tensor attention(const Tensor (&qkv)[3], Tensor query_start, Tensor kv_len,
                 const AttentionDesc& desc);

}  // namespace ir
}  // namespace ramjet
