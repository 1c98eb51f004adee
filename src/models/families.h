// The families: each a function from a configuration to a model, in a file of its own.
#pragma once

#include "models/decoder.h"

namespace ramjet::models {

Result<Model> build_llama(const FamilyInput& input);
Result<Model> build_mistral(const FamilyInput& input);
Result<Model> build_qwen2(const FamilyInput& input);
Result<Model> build_qwen3(const FamilyInput& input);

}  // namespace ramjet::models
