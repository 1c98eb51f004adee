#include "checkpoint/gguf_names.h"

#include <algorithm>
#include <array>
#include <utility>

namespace ramjet::checkpoint {
namespace {

constexpr std::array kArchitectures = {
    GgufArchitecture{"llama", "llama", "LlamaForCausalLM", true},
    GgufArchitecture{"qwen2", "qwen2", "Qwen2ForCausalLM"},
    GgufArchitecture{"qwen3", "qwen3", "Qwen3ForCausalLM"},
    GgufArchitecture{"gemma", "gemma", "GemmaForCausalLM"},
    GgufArchitecture{"gemma2", "gemma2", "Gemma2ForCausalLM"},
    GgufArchitecture{"gemma3", "gemma3_text", "Gemma3ForCausalLM"},
    GgufArchitecture{"phi3", "phi3", "Phi3ForCausalLM"},
    GgufArchitecture{"gpt2", "gpt2", "GPT2LMHeadModel"},
    GgufArchitecture{"olmo2", "olmo2", "Olmo2ForCausalLM"},
    GgufArchitecture{"granite", "granite", "GraniteForCausalLM", true},
    GgufArchitecture{"smollm3", "smollm3", "SmolLM3ForCausalLM", true},
    GgufArchitecture{"glm4", "glm4", "Glm4ForCausalLM"},
    GgufArchitecture{"qwen2moe", "qwen2_moe", "Qwen2MoeForCausalLM", false, true},
    GgufArchitecture{"qwen3moe", "qwen3_moe", "Qwen3MoeForCausalLM", false, true},
    GgufArchitecture{"llama", "mixtral", "MixtralForCausalLM", true, true},
};

struct Rename {
  std::string_view only;  // an architecture; "" for the others
  std::string_view from;
  std::string_view to;
};

// The first that fits wins: an architecture's own come before the general ones. A * is the number
// of an expert, of which GGUF has a stack.
constexpr Rename kGlobal[] = {
    {"gpt2", "token_embd", "transformer.wte"},   {"gpt2", "position_embd", "transformer.wpe"},
    {"gpt2", "output_norm", "transformer.ln_f"}, {"", "token_embd", "model.embed_tokens"},
    {"", "output_norm", "model.norm"},           {"", "output", "lm_head"},
};
constexpr Rename kBlock[] = {
    {"gpt2", "attn_norm", "ln_1"},
    {"gpt2", "attn_qkv", "attn.c_attn"},
    {"gpt2", "attn_output", "attn.c_proj"},
    {"gpt2", "ffn_norm", "ln_2"},
    {"gpt2", "ffn_up", "mlp.c_fc"},
    {"gpt2", "ffn_down", "mlp.c_proj"},
    {"gemma2", "ffn_norm", "pre_feedforward_layernorm"},
    {"gemma3", "ffn_norm", "pre_feedforward_layernorm"},
    {"glm4", "post_attention_norm", "post_self_attn_layernorm"},
    {"glm4", "post_ffw_norm", "post_mlp_layernorm"},
    {"glm4", "ffn_up", "mlp.gate_up_proj"},
    {"phi3", "ffn_up", "mlp.gate_up_proj"},
    {"", "attn_norm", "input_layernorm"},
    {"", "attn_q", "self_attn.q_proj"},
    {"", "attn_k", "self_attn.k_proj"},
    {"", "attn_v", "self_attn.v_proj"},
    {"", "attn_qkv", "self_attn.qkv_proj"},
    {"", "attn_output", "self_attn.o_proj"},
    {"", "attn_q_norm", "self_attn.q_norm"},
    {"", "attn_k_norm", "self_attn.k_norm"},
    {"", "post_attention_norm", "post_attention_layernorm"},
    {"", "ffn_norm", "post_attention_layernorm"},
    {"", "post_ffw_norm", "post_feedforward_layernorm"},
    {"", "ffn_gate", "mlp.gate_proj"},
    {"", "ffn_up", "mlp.up_proj"},
    {"", "ffn_down", "mlp.down_proj"},
    {"llama", "ffn_gate_inp", "block_sparse_moe.gate"},
    {"llama", "ffn_gate_exps", "block_sparse_moe.experts.*.w1"},
    {"llama", "ffn_up_exps", "block_sparse_moe.experts.*.w3"},
    {"llama", "ffn_down_exps", "block_sparse_moe.experts.*.w2"},
    {"", "ffn_gate_inp", "mlp.gate"},
    {"", "ffn_gate_exps", "mlp.experts.*.gate_proj"},
    {"", "ffn_up_exps", "mlp.experts.*.up_proj"},
    {"", "ffn_down_exps", "mlp.experts.*.down_proj"},
    {"", "ffn_gate_inp_shexp", "mlp.shared_expert_gate"},
    {"", "ffn_gate_shexp", "mlp.shared_expert.gate_proj"},
    {"", "ffn_up_shexp", "mlp.shared_expert.up_proj"},
    {"", "ffn_down_shexp", "mlp.shared_expert.down_proj"},
};

template <size_t N>
std::string_view renamed(const Rename (&table)[N], std::string_view architecture,
                         std::string_view from) {
  for (const Rename& rename : table) {
    if (rename.from == from && (rename.only.empty() || rename.only == architecture)) {
      return rename.to;
    }
  }
  return "";
}

Restore restore_of(const GgufArchitecture& architecture, std::string_view part,
                   std::string_view suffix) {
  if (architecture.paired_rope && part == "attn_q") return Restore::kQueryRows;
  if (architecture.paired_rope && part == "attn_k") return Restore::kKeyRows;
  if (architecture.name.starts_with("gemma") && part.ends_with("norm")) return Restore::kMinusOne;
  const bool linear = part == "attn_qkv" || part == "attn_output" || part.starts_with("ffn_");
  if (architecture.name == "gpt2" && linear && part != "ffn_norm" && suffix == "weight") {
    return Restore::kTransposed;
  }
  return Restore::kNone;
}

}  // namespace

const GgufArchitecture* find_gguf_architecture(std::string_view name, bool experts) {
  const GgufArchitecture* found = nullptr;
  for (const GgufArchitecture& architecture : kArchitectures) {
    if (architecture.name != name) continue;
    if (architecture.experts == experts) return &architecture;
    if (found == nullptr) found = &architecture;
  }
  return found;
}

std::string known_gguf_architectures() {
  std::string out;
  for (const GgufArchitecture& architecture : kArchitectures) {
    if (find_gguf_architecture(architecture.name) != &architecture) continue;  // named already
    out += (out.empty() ? "" : ", ") + std::string(architecture.name);
  }
  return out;
}

std::optional<HfName> hf_tensor_name(const GgufArchitecture& architecture, std::string_view name) {
  const size_t dot = name.rfind('.');
  if (dot == name.npos) return {};
  std::string_view part = name.substr(0, dot);
  const std::string_view suffix = name.substr(dot + 1);
  if (suffix != "weight" && suffix != "bias") return {};
  std::string prefix;
  std::string_view to;
  if (part.starts_with("blk.")) {
    part.remove_prefix(4);
    const size_t end = part.find('.');
    if (end == part.npos || end == 0 || part.find_first_not_of("0123456789") != end) return {};
    prefix = architecture.name == "gpt2" ? "transformer.h." : "model.layers.";
    prefix.append(part.substr(0, end + 1));
    part.remove_prefix(end + 1);
    to = renamed(kBlock, architecture.name, part);
  } else {
    to = renamed(kGlobal, architecture.name, part);
  }
  if (to.empty()) return {};
  const Restore restore = restore_of(architecture, part, suffix);
  const size_t star = std::min(to.find('*'), to.size());
  prefix.append(to.substr(0, star));
  std::string rest = std::string(to.substr(std::min(star + 1, to.size()))) + ".";
  rest.append(suffix);
  if (star < to.size()) return HfName{std::move(prefix), restore, std::move(rest)};
  return HfName{prefix + rest, restore, {}};
}

}  // namespace ramjet::checkpoint
