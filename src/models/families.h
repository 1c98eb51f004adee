// The families: each a function from a configuration to a model, in a file of its own.
#pragma once

#include "models/decoder.h"

namespace ramjet::models {

Result<Model> build_cohere(const FamilyInput& input);
Result<Model> build_cohere2(const FamilyInput& input);
Result<Model> build_falcon(const FamilyInput& input);
Result<Model> build_gemma(const FamilyInput& input);
Result<Model> build_gemma2(const FamilyInput& input);
Result<Model> build_gemma3(const FamilyInput& input);
/// The text model of a multimodal Gemma 3; images are not read.
Result<Model> build_gemma3_multimodal(const FamilyInput& input);
Result<Model> build_glm(const FamilyInput& input);
Result<Model> build_glm4(const FamilyInput& input);
Result<Model> build_gpt_oss(const FamilyInput& input);
Result<Model> build_gpt2(const FamilyInput& input);
Result<Model> build_gpt_neox(const FamilyInput& input);
Result<Model> build_granite(const FamilyInput& input);
Result<Model> build_llama(const FamilyInput& input);
Result<Model> build_mistral(const FamilyInput& input);
Result<Model> build_mixtral(const FamilyInput& input);
Result<Model> build_olmo2(const FamilyInput& input);
Result<Model> build_phi(const FamilyInput& input);
Result<Model> build_phi3(const FamilyInput& input);
Result<Model> build_qwen2(const FamilyInput& input);
Result<Model> build_qwen2_moe(const FamilyInput& input);
Result<Model> build_qwen3(const FamilyInput& input);
Result<Model> build_qwen3_moe(const FamilyInput& input);
Result<Model> build_smollm3(const FamilyInput& input);
Result<Model> build_stablelm(const FamilyInput& input);
Result<Model> build_starcoder2(const FamilyInput& input);

// Encoders.
Result<Model> build_bert(const FamilyInput& input);
Result<Model> build_roberta(const FamilyInput& input);
Result<Model> build_distilbert(const FamilyInput& input);

}  // namespace ramjet::models
