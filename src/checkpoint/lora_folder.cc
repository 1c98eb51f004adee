#include "checkpoint/lora_folder.h"

#include <array>
#include <cmath>
#include <filesystem>
#include <string_view>

#include "base/file.h"
#include "base/json.h"

namespace ramjet::checkpoint {
namespace {

constexpr int64_t kMaxRank = 1 << 16;

/// Whether a field says something: neither absent, null, false, empty nor "none".
bool says(const Json& config, const char* field) {
  const auto it = config.find(field);
  if (it == config.end() || it->is_null()) return false;
  if (it->is_boolean()) return it->get<bool>();
  if (it->is_string()) return !it->get<std::string>().empty() && *it != "none";
  if (it->is_structured()) return !it->empty();
  return true;
}

Status refuse_others(const Json& config, const std::string& file) {
  const auto type = config.find("peft_type");
  if (type != config.end() && (!type->is_string() || *type != "LORA")) {
    return unsupported("{}: peft_type is {}; adapters of type LORA are supported", file,
                       dump_json(*type).substr(0, 64));
  }
  constexpr std::array kRefused = {
      "use_dora",
      "use_qalora",
      "use_bdlora",
      "bias",
      "lora_bias",
      "modules_to_save",
      "rank_pattern",
      "alpha_pattern",
      "layer_replication",
      "target_parameters",
      "arrow_config",
      "alora_invocation_tokens",
      "kasa_config",
      "velora_config",
      "trainable_token_indices",
      "megatron_config",
      "monteclora_config",
  };
  for (const char* field : kRefused) {
    if (!says(config, field)) continue;
    return unsupported(
        "{}: {} is {}, which is not supported; adapters are matrices A and B of whole modules "
        "alone (merge this one into its model instead)",
        file, field, dump_json(config[field]).substr(0, 64));
  }
  return ok_status();
}

Result<double> number(const Json& config, const char* field, const std::string& file) {
  const auto it = config.find(field);
  if (it == config.end() || !it->is_number() || !std::isfinite(it->get<double>())) {
    return invalid_argument("{}: {} must be a number", file, field);
  }
  return it->get<double>();
}

/// lora_alpha / r, by the configuration.
Result<double> read_scale(const std::string& file) {
  ASSIGN_OR_RETURN(const Json config, read_json_file(file));
  if (!config.is_object()) return invalid_argument("{}: not a JSON object", file);
  RETURN_IF_ERROR(refuse_others(config, file));
  ASSIGN_OR_RETURN(const double rank, number(config, "r", file));
  ASSIGN_OR_RETURN(const double alpha, number(config, "lora_alpha", file));
  if (!(rank >= 1 && rank <= static_cast<double>(kMaxRank))) {
    return invalid_argument("{}: r is {}; it must be 1 to {}", file, rank, kMaxRank);
  }
  return alpha / (says(config, "use_rslora") ? std::sqrt(rank) : rank);
}

struct TensorName {
  std::string module;
  bool is_a = false;
};

/// "base_model.model.model.layers.0.mlp.up_proj.lora_A.weight": what wraps the model is left out.
Result<TensorName> split_name(std::string_view name, const std::string& file) {
  constexpr std::string_view kWrapper = "base_model.model.";
  const std::string whole(name);
  if (name.starts_with(kWrapper)) name.remove_prefix(kWrapper.size());
  for (const bool is_a : {true, false}) {
    std::string_view suffix = is_a ? ".lora_A.weight" : ".lora_B.weight";
    if (!name.ends_with(suffix))
      suffix = is_a ? ".lora_A.default.weight" : ".lora_B.default.weight";
    if (!name.ends_with(suffix) || name.size() == suffix.size()) continue;
    return TensorName{std::string(name.substr(0, name.size() - suffix.size())), is_a};
  }
  return unsupported("{}: tensor '{}' is neither a lora_A nor a lora_B of a linear module", file,
                     whole);
}

}  // namespace

Status LoraFolder::pair_up() {
  const std::string& file = file_.path();
  for (const auto& [name, stored] : file_.header().tensors) {
    ASSIGN_OR_RETURN(const TensorName parts, split_name(name, file));
    ASSIGN_OR_RETURN(const TensorView view, file_.tensor(name));
    const bool real =
        view.dtype == DType::kF32 || view.dtype == DType::kBf16 || view.dtype == DType::kF16;
    if (!real || view.shape.rank() != 2) {
      return invalid_argument("{}: tensor '{}' is {}{}; wants a matrix of f32, f16 or bf16", file,
                              name, dtype_name(view.dtype), view.shape.text());
    }
    LoraMatrices& matrices = modules_[parts.module];
    (parts.is_a ? matrices.a : matrices.b) = view;
  }
  if (modules_.empty()) return invalid_argument("{}: no tensors", file);
  for (auto& [module, matrices] : modules_) {
    if (matrices.a.shape.rank() != 2 || matrices.b.shape.rank() != 2) {
      return corrupt("{}: '{}' has lora_{} but no lora_{}", file, module,
                     matrices.a.shape.rank() == 2 ? "A" : "B",
                     matrices.a.shape.rank() == 2 ? "B" : "A");
    }
    matrices.rank = matrices.a.shape[0];
    if (matrices.rank < 1 || matrices.rank > kMaxRank || matrices.b.shape[1] != matrices.rank) {
      return corrupt("{}: '{}' has lora_A {} and lora_B {}, which differ in rank", file, module,
                     matrices.a.shape.text(), matrices.b.shape.text());
    }
  }
  return ok_status();
}

Result<LoraFolder> LoraFolder::open(const std::string& folder) {
  const std::string config = folder + "/adapter_config.json";
  const std::string weights = folder + "/adapter_model.safetensors";
  if (!path_exists(config)) {
    return not_found(
        "{}: no adapter_config.json; wants a folder as PEFT's save_pretrained makes it", folder);
  }
  if (!path_exists(weights)) {
    return not_found("{}: no adapter_model.safetensors{}", folder,
                     path_exists(folder + "/adapter_model.bin")
                         ? "; adapter_model.bin is a pickle, save it as safetensors"
                         : "");
  }
  ASSIGN_OR_RETURN(const double scale, read_scale(config));
  ASSIGN_OR_RETURN(Safetensors file, Safetensors::open(weights));
  LoraFolder result(std::move(file));
  result.path_ = folder;
  result.scale_ = scale;
  RETURN_IF_ERROR(result.pair_up());
  return result;
}

}  // namespace ramjet::checkpoint
