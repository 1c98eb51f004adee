// What llama.cpp's converter made of Hugging Face checkpoints, undone: the architecture, the names
// of tensors, and how their elements were changed on the way. Pure functions over constant tables.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace ramjet::checkpoint {

/// What a tensor needs to be the Hugging Face one again.
enum class Restore : uint8_t {
  kNone,
  kQueryRows,  // rows of each head go back from rope's pairs (2j, 2j + 1) to (j, j + d/2)
  kKeyRows,
  kMinusOne,    // the converter added one (Gemma's norms)
  kTransposed,  // GPT-2 keeps linear weights as [in, out]
};

struct GgufArchitecture {
  std::string_view name;          // general.architecture
  std::string_view model_type;    // of config.json
  std::string_view architecture;  // the class in "architectures"
  bool paired_rope = false;       // its q and k rows are in pairs
  bool experts = false;           // mixtures of experts; Mixtral is the "llama" with them
};

/// Null for one we have no names for; with `experts` the one that has them, where there are two.
const GgufArchitecture* find_gguf_architecture(std::string_view name, bool experts = false);
/// "gemma, gemma2, ...".
std::string known_gguf_architectures();

struct HfName {
  std::string name;
  Restore restore = Restore::kNone;
  std::string after_expert;  // not empty: a stack of experts; each is `name`, its number, this
};
/// The Hugging Face name of a tensor; none for one that is no weight of the model there.
std::optional<HfName> hf_tensor_name(const GgufArchitecture& architecture, std::string_view name);

}  // namespace ramjet::checkpoint
