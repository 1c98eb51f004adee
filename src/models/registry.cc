#include "base/json.h"
#include "models/families.h"

namespace ramjet::models {
namespace {

struct Family {
  std::string_view architecture;
  std::string_view model_type;
  Result<Model> (*build)(const FamilyInput&);
};
constexpr Family kFamilies[] = {
    {"CohereForCausalLM", "cohere", build_cohere},
    {"Cohere2ForCausalLM", "cohere2", build_cohere2},
    {"FalconForCausalLM", "falcon", build_falcon},
    {"GemmaForCausalLM", "gemma", build_gemma},
    {"Gemma2ForCausalLM", "gemma2", build_gemma2},
    {"Gemma3ForCausalLM", "gemma3_text", build_gemma3},
    {"Gemma3ForConditionalGeneration", "gemma3", build_gemma3_multimodal},
    {"GlmForCausalLM", "glm", build_glm},
    {"Glm4ForCausalLM", "glm4", build_glm4},
    {"GPT2LMHeadModel", "gpt2", build_gpt2},
    {"GptOssForCausalLM", "gpt_oss", build_gpt_oss},
    {"GPTNeoXForCausalLM", "gpt_neox", build_gpt_neox},
    {"GraniteForCausalLM", "granite", build_granite},
    {"LlamaForCausalLM", "llama", build_llama},
    {"MistralForCausalLM", "mistral", build_mistral},
    {"MixtralForCausalLM", "mixtral", build_mixtral},
    {"Olmo2ForCausalLM", "olmo2", build_olmo2},
    {"PhiForCausalLM", "phi", build_phi},
    {"Phi3ForCausalLM", "phi3", build_phi3},
    {"Qwen2ForCausalLM", "qwen2", build_qwen2},
    {"Qwen2MoeForCausalLM", "qwen2_moe", build_qwen2_moe},
    {"Qwen3ForCausalLM", "qwen3", build_qwen3},
    {"Qwen3MoeForCausalLM", "qwen3_moe", build_qwen3_moe},
    {"SmolLM3ForCausalLM", "smollm3", build_smollm3},
    {"StableLmForCausalLM", "stablelm", build_stablelm},
    {"Starcoder2ForCausalLM", "starcoder2", build_starcoder2},
    {"BertModel", "bert", build_bert},
    {"BertForMaskedLM", "bert", build_bert},
    {"BertForPreTraining", "bert", build_bert},
    {"BertForSequenceClassification", "bert", build_bert},
    {"BertForTokenClassification", "bert", build_bert},
    {"RobertaModel", "roberta", build_roberta},
    {"RobertaForMaskedLM", "roberta", build_roberta},
    {"RobertaForSequenceClassification", "roberta", build_roberta},
    {"RobertaForTokenClassification", "roberta", build_roberta},
    {"XLMRobertaModel", "xlm-roberta", build_roberta},
    {"XLMRobertaForSequenceClassification", "xlm-roberta", build_roberta},
    {"XLMRobertaForTokenClassification", "xlm-roberta", build_roberta},
    {"DistilBertModel", "distilbert", build_distilbert},
    {"DistilBertForMaskedLM", "distilbert", build_distilbert},
    {"DistilBertForSequenceClassification", "distilbert", build_distilbert},
    {"DistilBertForTokenClassification", "distilbert", build_distilbert},
};

/// The family of `architectures`, or of `model_type` where there are none.
Result<const Family*> find_family(const Json& config) {
  std::string asked;
  const auto architectures = config.find("architectures");
  if (architectures != config.end() && architectures->is_array() && !architectures->empty() &&
      architectures->front().is_string()) {
    asked = architectures->front().get<std::string>();
  }
  const ConfigReader reader(config);
  ASSIGN_OR_RETURN(const std::string model_type, reader.text("model_type", ""));
  for (const Family& family : kFamilies) {
    if (family.architecture == asked) return &family;
    if (asked.empty() && family.model_type == model_type) return &family;
  }
  if (asked.empty() && model_type.empty()) {
    return invalid_argument("config: neither architectures nor model_type says what this model is");
  }
  std::string known;
  for (std::string_view name : known_architectures()) {
    known += (known.empty() ? "" : ", ") + std::string(name);
  }
  return unsupported("architecture '{}' is not known; known are {}",
                     (asked.empty() ? model_type : asked).substr(0, 128), known);
}

/// The name of a quantization that is not of eight-bit floats; empty for those that are, which
/// whoever reads the weights understands.
std::string foreign_quantization(const Json& config) {
  const auto text = [](const Json& json, const char* field) {
    const auto it = json.find(field);
    return it != json.end() && it->is_string() ? it->get<std::string>() : std::string();
  };
  const std::string method = text(config, "quant_method"), algorithm = text(config, "quant_algo");
  if (method == "fp8" || method == "fbgemm_fp8" || algorithm == "FP8") return "";
  const auto groups = config.find("config_groups");
  if (method != "compressed-tensors" || groups == config.end() || !groups->is_object()) {
    return method.empty() ? "unnamed" : method + (algorithm.empty() ? "" : " " + algorithm);
  }
  for (const auto& [name, group] : groups->items()) {
    const auto weights = group.is_object() ? group.find("weights") : group.end();
    if (!group.is_object() || weights == group.end() || !weights->is_object()) return method;
    const auto bits = weights->find("num_bits");
    const bool eight = bits != weights->end() && bits->is_number_integer() && *bits == 8;
    if (!eight || text(*weights, "type") != "float") return method;
  }
  return "";
}

/// Weights in other forms than floats would be read as if they were plain numbers; refuse them.
Status check_plain_weights(const FamilyInput& input) {
  for (const char* suffix : {"qweight", "weight_packed", "weight_scale_2"}) {
    const std::string name = fmt::format("model.layers.0.mlp.down_proj.{}", suffix);
    if (input.has_tensor(name)) {
      return unsupported("the checkpoint is quantized ('{}'); use the bf16, f16, f32 or fp8 one",
                         name);
    }
  }
  if (!input.config.has("quantization_config")) return ok_status();
  ASSIGN_OR_RETURN(const ConfigReader quantization, input.config.object("quantization_config"));
  const std::string method = foreign_quantization(quantization.json());
  if (method.empty() || !input.has_tensor("model.embed_tokens.weight")) return ok_status();
  if (method == "mxfp4" && input.has_tensor("model.layers.0.mlp.experts.down_proj_blocks")) {
    return ok_status();  // GPT-OSS, which reads them
  }
  return unsupported("the checkpoint is quantized (method '{}'); use the bf16, f16, f32 or fp8 one",
                     method.substr(0, 64));
}

}  // namespace

std::vector<std::string_view> known_architectures() {
  std::vector<std::string_view> names;
  for (const Family& family : kFamilies) names.push_back(family.architecture);
  return names;
}

Result<Model> build_model(const Json& config, const ModelOptions& options,
                          const std::function<bool(std::string_view)>& has_tensor) {
  if (!config.is_object()) return invalid_argument("config: not a JSON object");
  ASSIGN_OR_RETURN(const Family* family, find_family(config));
  const FamilyInput input{ConfigReader(config), options, has_tensor};
  RETURN_IF_ERROR(check_plain_weights(input));
  ASSIGN_OR_RETURN(Model model, family->build(input));
  model.info.architecture = family->architecture;
  return model;
}

Status apply_generation_config(std::string_view generation_config, ModelInfo& info) {
  ASSIGN_OR_RETURN(const Json json, parse_json(generation_config));
  const ConfigReader reader(json, "generation_config.");
  ASSIGN_OR_RETURN(auto eos, reader.ids("eos_token_id"));
  ASSIGN_OR_RETURN(const auto bos, reader.ids("bos_token_id"));
  if (!eos.empty()) info.eos_ids = std::move(eos);
  if (!bos.empty()) info.bos_id = bos[0];
  return ok_status();
}

}  // namespace ramjet::models
