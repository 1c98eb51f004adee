// The small Llama that tests of families and of configurations start from. Stateless.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "ir/network.h"
#include "models/model.h"

namespace ramjet::models {

inline Json llama(const char* changes = "{}") {
  Json config = *parse_json(R"({
      "architectures": ["LlamaForCausalLM"], "hidden_size": 64, "intermediate_size": 96,
      "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
      "vocab_size": 320, "max_position_embeddings": 256, "rms_norm_eps": 1e-5,
      "bos_token_id": 1, "eos_token_id": 2})");
  config.merge_patch(*parse_json(changes));
  return config;
}
inline Json family(const char* architecture, const char* changes = "{}") {
  Json config = llama(changes);
  config["architectures"] = {architecture};
  return config;
}

inline Result<Model> build(const Json& config, const ModelOptions& options = {}) {
  return build_model(config, options, [](std::string_view) { return false; });
}
inline std::string message(const Json& config) {
  const auto model = build(config);
  return model.ok() ? "ok" : model.error().message;
}
inline const ir::Graph& graph(const Model& model) { return model.network->impl().graph; }
template <class Desc>
std::vector<Desc> descs(const Model& model, OpKind op) {
  std::vector<Desc> out;
  for (ir::NodeId id : graph(model).order()) {
    const ir::Node& node = graph(model).node(id);
    if (node.op == op) out.push_back(std::get<Desc>(node.attrs));
  }
  return out;
}
inline RopeSpec rope_of(const Json& config) {
  return descs<RopeSpec>(*build(config), OpKind::kRopeTable).at(0);
}

}  // namespace ramjet::models
