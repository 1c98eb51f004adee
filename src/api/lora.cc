#include "api/lora.h"

#include <cmath>
#include <map>
#include <set>

#include "api/build.h"
#include "api/engine_impl.h"
#include "base/json.h"
#include "checkpoint/lora_folder.h"
#include "tensor/half.h"

namespace ramjet::api {
namespace {

using checkpoint::LoraFolder;
using checkpoint::LoraMatrices;
using models::LoraModule;

constexpr int64_t kMaxRow = int64_t{1} << 30;  // two of them multiply without overflow

/// A projection of the engine, with the extents of its slots.
struct Target {
  LoraModule module;
  int64_t rank = 0, in = 0, out = 0;

  int64_t stored_row(int64_t row) const {
    return module.run == 0 ? module.first + row
                           : module.first + row / module.run * module.stride + row % module.run;
  }
  /// Rows that the stored module must have at least.
  int64_t stored_rows() const { return stored_row(out - 1) + 1; }
};

Result<LoraModule> parse_module(const Json& json) {
  LoraModule module;
  bool good = json.is_array() && json.size() == 6 && json[0].is_string() && json[1].is_string();
  for (size_t i = 2; good && i < 6; ++i) {
    good = json[i].is_number_integer() && json[i].get<int64_t>() >= 0 &&
           json[i].get<int64_t>() <= kMaxRow;
  }
  if (!good) return corrupt("the asset 'lora' has a module that this build cannot read");
  module.name = json[0].get<std::string>(), module.stored = json[1].get<std::string>();
  module.first = json[2].get<int64_t>(), module.count = json[3].get<int64_t>();
  module.run = json[4].get<int64_t>(), module.stride = json[5].get<int64_t>();
  return module;
}

Result<std::vector<Target>> targets_of(const Engine& engine) {
  const engine::Manifest& manifest = engine.impl().file->manifest();
  ASSIGN_OR_RETURN(const Json asset, parse_json(engine.asset("lora")));
  const auto modules = asset.is_object() ? asset.find("modules") : asset.end();
  if (!asset.is_object() || modules == asset.end() || !modules->is_array()) {
    return corrupt("{}: the asset 'lora' lists no modules", engine.path());
  }
  const engine::Program* program = nullptr;
  for (const engine::Program& each : manifest.programs) {
    if (each.name == "main") program = &each;
  }
  if (program == nullptr) return corrupt("{}: no program 'main'", engine.path());
  std::map<std::string, const engine::Binding*> inputs;
  for (const engine::Binding& input : program->inputs) inputs[input.name] = &input;
  std::vector<Target> targets;
  for (const Json& each : *modules) {
    Target target;
    ASSIGN_OR_RETURN(target.module, parse_module(each));
    const auto a = inputs.find("lora_a." + target.module.name);
    const auto b = inputs.find("lora_b." + target.module.name);
    if (a == inputs.end() || b == inputs.end() || a->second->type.rank() != 3 ||
        b->second->type.rank() != 3 || b->second->type.dims[2].offset > kMaxRow) {
      return corrupt("{}: the asset 'lora' has the module '{}', the program has not", engine.path(),
                     target.module.name);
    }
    target.rank = a->second->type.dims[1].offset;
    target.in = a->second->type.dims[2].offset;
    target.out = b->second->type.dims[2].offset;
    targets.push_back(std::move(target));
  }
  return targets;
}

bool is_tail(std::string_view whole, std::string_view tail) {
  return whole == tail || (whole.size() > tail.size() && whole.ends_with(tail) &&
                           whole[whole.size() - tail.size() - 1] == '.');
}

/// One may have a prefix that the other lacks ("transformer." of GPT-2).
bool same_module(std::string_view a, std::string_view b) { return is_tail(a, b) || is_tail(b, a); }

float element(const TensorView& view, int64_t i) {
  switch (view.dtype) {
    case DType::kBf16: return bf16_to_f32(view.as<bf16_t>()[i]);
    case DType::kF16: return f16_to_f32(view.as<f16_t>()[i]);
    default: return view.as<float>()[i];
  }
}

Status check_fit(const LoraFolder& folder, const std::string& name, const LoraMatrices& matrices,
                 const Target& target) {
  if (matrices.rank > target.rank) {
    return invalid_argument(
        "{}: '{}' has rank {}, the engine takes ranks up to {}; build it with --max-lora-rank {}",
        folder.path(), name, matrices.rank, target.rank, matrices.rank);
  }
  const int64_t rows = matrices.b.shape[0];
  const bool whole = target.module.count == 0;
  if (matrices.a.shape[1] != target.in ||
      (whole ? rows != target.out : rows < target.stored_rows())) {
    return invalid_argument(
        "{}: '{}' adds to {} -> {}, the model's is {} -> {}: an adapter of another model?",
        folder.path(), name, matrices.a.shape[1], rows, target.in,
        whole ? target.out : target.stored_rows());
  }
  return ok_status();
}

Result<runtime::LoraWeights::Part> make_part(const LoraFolder& folder, const std::string& name,
                                             const LoraMatrices& matrices, const Target& target) {
  RETURN_IF_ERROR(check_fit(folder, name, matrices, target));
  runtime::LoraWeights::Part part{target.module.name, matrices.rank, {}, {}};
  bool finite = true;
  const auto take = [&finite](std::vector<float>& to, const TensorView& from, int64_t i) {
    to.push_back(element(from, i));
    finite &= std::isfinite(to.back());
  };
  part.a.reserve(static_cast<size_t>(matrices.rank * target.in));
  part.b.reserve(static_cast<size_t>(matrices.rank * target.out));
  for (int64_t i = 0; i < matrices.rank * target.in; ++i) take(part.a, matrices.a, i);
  for (int64_t row = 0; row < target.out; ++row) {
    const int64_t from = target.module.count == 0 ? row : target.stored_row(row);
    for (int64_t r = 0; r < matrices.rank; ++r) take(part.b, matrices.b, from * matrices.rank + r);
  }
  if (finite) return part;
  return invalid_argument("{}: '{}' has values that are not finite", folder.path(), name);
}

}  // namespace

std::string lora_asset(const models::Model& model, const models::ModelOptions& options) {
  if (model.lora_modules.empty()) return "";
  Json modules = Json::array();
  for (const LoraModule& m : model.lora_modules) {
    modules.push_back({m.name, m.stored, m.first, m.count, m.run, m.stride});
  }
  return dump_json({{"max_loras", options.max_loras},
                    {"max_lora_rank", options.max_lora_rank},
                    {"modules", std::move(modules)}});
}

Result<runtime::LoraWeights> read_adapter(const Engine& engine, const std::string& folder_path) {
  ASSIGN_OR_RETURN(const LoraFolder folder, LoraFolder::open(folder_path));
  ASSIGN_OR_RETURN(const std::vector<Target> targets, targets_of(engine));
  runtime::LoraWeights weights;
  weights.scale = static_cast<float>(folder.scale());
  for (const auto& [name, matrices] : folder.modules()) {
    const size_t before = weights.parts.size();
    for (const Target& target : targets) {
      if (!same_module(target.module.stored, name)) continue;
      ASSIGN_OR_RETURN(auto part, make_part(folder, name, matrices, target));
      weights.parts.push_back(std::move(part));
    }
    if (weights.parts.size() > before) continue;
    std::set<std::string> known;
    for (const Target& target : targets) {
      known.insert(target.module.stored.substr(target.module.stored.rfind('.') + 1));
    }
    std::string list;
    for (const std::string& each : known) list += (list.empty() ? "" : ", ") + each;
    return invalid_argument(
        "{}: the module '{}' takes no adapter in this engine; those that do: {}", folder.path(),
        name, list);
  }
  return weights;
}

}  // namespace ramjet::api
