#include "api/build.h"

#include <ramjet/version.h>

#include <algorithm>
#include <filesystem>

#include "api/quantization.h"
#include "base/file.h"
#include "base/gguf/gguf.h"
#include "base/json.h"
#include "base/log.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/fp8_scales.h"
#include "device/cuda/nvrtc.h"
#include "ir/network.h"
#include "models/model.h"
#include "text/tokenizer/tokenizer.h"

namespace ramjet {
namespace api {

namespace {

/// The first GPU if its kernels can be compiled here, else the CPU, and the log says why.
kernels::Target auto_target() {
  const auto gpu = kernels::Target::gpu();
  if (!gpu) return kernels::Target::host();
  const auto compiler = device::cuda::nvrtc_version();
  if (compiler.ok()) return *gpu;
  log_warn("this machine has a GPU ({}) but {}: building for the CPU", gpu->name(),
           compiler.error().message);
  return kernels::Target::host();
}

}  // namespace

Result<compiler::CompileOptions> compile_options(const BuildOptions& options) {
  compiler::CompileOptions compile;
  compile.target = options.target == "auto" ? auto_target() : kernels::Target::host();
  if (options.target != "auto") {
    ASSIGN_OR_RETURN(compile.target, kernels::Target::parse(options.target));
  }
  ASSIGN_OR_RETURN(const auto quant, parse_quantize(options.quantize));
  compile.quant = quant.value_or(WeightQuant::kNone);
  if (options.tp != 1 || options.pp != 1) {
    return unsupported("tp={} pp={}: engines run on one rank so far (tp=1 pp=1)", options.tp,
                       options.pp);
  }
  // Timing another machine's kernels here would choose for the wrong machine.
  compile.tune = options.tune && (compile.target.name() == kernels::Target::host().name() ||
                                  (compile.target.is_gpu() && compile.target.runs_here()));
  compile.batch_invariant = options.batch_invariant;
  compile.weights = options.weights;
  compile.disabled_passes = options.disabled_passes;
  compile.progress = options.progress;
  return compile;
}

std::string options_text(const BuildOptions& options) {
  std::string disabled;
  for (const std::string& pass : options.disabled_passes) disabled += pass + ",";
  return fmt::format(
      "dtype={} quantize={} kv_dtype={} target={} tp={} pp={} max_batch_size={} max_seq_len={} "
      "max_num_tokens={} tune={} weights={} disabled={}{}{}",
      options.dtype, options.quantize, options.kv_dtype, options.target, options.tp, options.pp,
      options.max_batch_size, options.max_seq_len, options.max_num_tokens, options.tune,
      static_cast<int>(options.weights), disabled,
      options.batch_invariant ? " batch_invariant" : "",
      options.max_loras > 0
          ? fmt::format(" max_loras={} max_lora_rank={}", options.max_loras, options.max_lora_rank)
          : "");
}

Result<DType> activation_dtype(const BuildOptions& options, std::string_view checkpoint_dtype) {
  const std::string_view name = options.dtype == "auto" ? checkpoint_dtype : options.dtype;
  const auto dtype = parse_dtype(name);
  if (dtype == DType::kF32 || dtype == DType::kBf16) return *dtype;
  if (options.dtype == "auto") {
    log_info("the checkpoint is {}; activations run as bf16 (--dtype f32 for exactness)",
             name.empty() ? "of no stated dtype" : name);
    return DType::kBf16;
  }
  return invalid_argument("dtype '{}': known are auto, bf16 and f32", options.dtype);
}

namespace {

Result<DType> kv_cache_dtype(const BuildOptions& options, DType activations) {
  if (options.kv_dtype == "auto") return activations;
  const auto parsed = parse_dtype(options.kv_dtype);
  if (parsed == DType::kBf16 || parsed == DType::kF32 || parsed == DType::kF8E4M3) return *parsed;
  return invalid_argument("kv_dtype '{}': known are auto, bf16, f32 and fp8", options.kv_dtype);
}

/// Tokens of a KV block: what the attention kernels of a GPU are written for; on the CPU small ones
/// share more of a prefix.
constexpr int64_t kGpuBlockTokens = 64, kCpuBlockTokens = 16;

/// The dtype the configuration states, else that of the first tensor.
std::string checkpoint_dtype(const checkpoint::Checkpoint& checkpoint) {
  const Json& config = checkpoint.config();
  for (const char* key : {"torch_dtype", "dtype"}) {
    if (auto it = config.find(key); it != config.end() && it->is_string()) return *it;
  }
  for (const std::string& name : checkpoint.tensor_names()) {
    if (auto view = checkpoint.tensor(name); view.ok()) return std::string(dtype_name(view->dtype));
  }
  return "";
}

class CheckpointWeights final : public compiler::WeightSource {
 public:
  explicit CheckpointWeights(const checkpoint::Checkpoint& checkpoint) : checkpoint_(checkpoint) {}
  Result<TensorView> view(std::string_view name) const override { return checkpoint_.tensor(name); }
  Result<HeldTensor> hold(std::string_view name) const override { return checkpoint_.hold(name); }
  Result<std::optional<compiler::WeightScale>> scale(std::string_view name) const override {
    ASSIGN_OR_RETURN(const auto blocks, checkpoint::fp8_scales(checkpoint_, name));
    std::optional<compiler::WeightScale> scale;
    if (blocks) scale = compiler::WeightScale{blocks->values, blocks->rows, blocks->cols};
    return scale;
  }

 private:
  const checkpoint::Checkpoint& checkpoint_;
};

Result<std::map<std::string, std::string>> gather_assets(const checkpoint::Checkpoint& checkpoint,
                                                         const BuildOptions& options) {
  std::map<std::string, std::string> assets = checkpoint.assets();
  auto tokenizer = text::Tokenizer::load(checkpoint.path());
  if (tokenizer.ok()) {
    assets["tokenizer"] = std::string((*tokenizer)->serialized());
  } else if (tokenizer.error().code == ErrorCode::kNotFound ||
             options.weights != BuildOptions::Weights::kCheckpoint) {
    assets.erase("tokenizer");
    log_warn("no tokenizer: {}; the engine takes token ids only", tokenizer.error().message);
  } else {
    return tokenizer.error().with_context("tokenizer");
  }
  return assets;
}

/// What the model says, and how sentence-transformers would pool.
Result<std::string> encoder_facts(const std::string& facts, const std::string& folder) {
  const std::string path = folder + "/1_Pooling/config.json";
  if (!std::filesystem::exists(path)) return facts;
  ASSIGN_OR_RETURN(const Json pooling, read_json_file(path));
  ASSIGN_OR_RETURN(Json json, parse_json(facts));
  const auto wants = [&](const char* mode) {
    const auto it = pooling.is_object() ? pooling.find(mode) : pooling.end();
    return it != pooling.end() && it->is_boolean() && it->get<bool>();
  };
  if (wants("pooling_mode_cls_token")) json["pooling"] = "first";
  if (wants("pooling_mode_lasttoken")) json["pooling"] = "last";
  return dump_json(json);
}

/// The folder's or file's name; of a snapshot in the Hugging Face cache, the repository's.
std::string model_name(const std::string& model) {
  std::filesystem::path path = std::filesystem::path(model).lexically_normal();
  if (!path.has_filename()) path = path.parent_path();
  const std::filesystem::path folder = path.parent_path();
  const std::string repository = folder.parent_path().filename().string();
  if (is_directory(model) && folder.filename() == "snapshots" &&
      repository.starts_with("models--")) {
    return repository.substr(repository.rfind("--") + 2);
  }
  return gguf::model_name(path.string());
}

Result<engine::Manifest> make_manifest(const models::Model& model,
                                       const checkpoint::Checkpoint& checkpoint,
                                       const models::ModelOptions& shape,
                                       const BuildOptions& options) {
  engine::Manifest manifest;
  manifest.model = model.info;
  const auto& assets = checkpoint.assets();
  if (const auto it = assets.find("generation_config"); it != assets.end()) {
    RETURN_IF_ERROR(models::apply_generation_config(it->second, manifest.model));
  }
  manifest.model.name = model_name(checkpoint.path());
  manifest.limits.max_batch_size = static_cast<int>(shape.max_batch_size);
  manifest.limits.max_num_tokens = static_cast<int>(shape.max_num_tokens);
  manifest.limits.block_tokens = static_cast<int>(shape.block_tokens);
  manifest.dtype = std::string(dtype_name(shape.dtype));
  for (const models::KvGroupSpec& group : model.kv_groups) {
    manifest.kv_groups.push_back({group.num_layers, group.num_kv_heads, group.head_dim,
                                  group.v_head_dim, group.window, shape.kv_dtype});
  }
  manifest.provenance.source = checkpoint.fingerprint().hex();
  manifest.provenance.options = options_text(options);
  return manifest;
}

/// What no GPU has been seen to compute rightly is said when it is built for one.
void warn_of_experts(const ir::Graph& graph, const kernels::Target& target) {
  if (!target.is_gpu()) return;
  const auto is_moe = [](const ir::Node& node) { return node.op == OpKind::kMoe; };
  if (std::any_of(graph.nodes.begin(), graph.nodes.end(), is_moe)) {
    log_warn(
        "experts on {}: timed on a GPU, but not yet compared with the CPU's results "
        "(docs/experts.md): check what it writes, or build with --target {}",
        target.name(), kernels::Target::host().name());
  }
}

}  // namespace
}  // namespace api

Result<BuildReport> build_engine(const std::string& model, const std::string& engine_path,
                                 const BuildOptions& options) {
  ASSIGN_OR_RETURN(compiler::CompileOptions compile, api::compile_options(options));
  if (options.max_batch_size < 1 || options.max_num_tokens < 1 || options.max_seq_len < 0) {
    return invalid_argument(
        "max_batch_size={} max_num_tokens={} max_seq_len={}: the first two must be at least 1, the "
        "last 0 (the model's) or more",
        options.max_batch_size, options.max_num_tokens, options.max_seq_len);
  }
  const bool stored = options.weights == BuildOptions::Weights::kCheckpoint;
  ASSIGN_OR_RETURN(auto checkpoint, checkpoint::open_checkpoint(model, stored));
  models::ModelOptions shape;
  ASSIGN_OR_RETURN(shape.dtype, api::activation_dtype(options, api::checkpoint_dtype(*checkpoint)));
  ASSIGN_OR_RETURN(shape.kv_dtype, api::kv_cache_dtype(options, shape.dtype));
  shape.block_tokens = compile.target.is_gpu() ? api::kGpuBlockTokens : api::kCpuBlockTokens;
  if (shape.kv_dtype == DType::kF8E4M3) {
    shape.cache_scale = [&](const std::string& attention, char which) {
      return api::cache_scale(*checkpoint, attention, which);
    };
  }
  shape.max_batch_size = std::min(options.max_batch_size, options.max_num_tokens);
  shape.max_num_tokens = options.max_num_tokens;
  shape.max_seq_len = options.max_seq_len;
  shape.max_loras = options.max_loras;
  shape.max_lora_rank = options.max_lora_rank;
  if (options.max_loras > 0 && compile.target.is_gpu()) {
    return unsupported(
        "max_loras={}: engines for a GPU ({}) take no adapters yet; build for the "
        "CPU (--target {}), or merge the adapter into its model",
        options.max_loras, compile.target.name(), kernels::Target::host().name());
  }
  ASSIGN_OR_RETURN(models::Model built,
                   models::build_model(checkpoint->config(), shape, [&](std::string_view name) {
                     return checkpoint->has_tensor(name);
                   }));
  RETURN_IF_ERROR(built.network->status());
  ASSIGN_OR_RETURN(auto assets, api::gather_assets(*checkpoint, options));
  if (!built.encoder.empty()) {
    ASSIGN_OR_RETURN(assets["encoder"], api::encoder_facts(built.encoder, checkpoint->path()));
  }
  if (options.max_loras > 0 && built.lora_modules.empty()) {
    return unsupported("max_loras={}: {} has no projection that an adapter can be added to",
                       options.max_loras, built.info.architecture);
  }
  if (const std::string lora = api::lora_asset(built, shape); !lora.empty()) assets["lora"] = lora;
  ASSIGN_OR_RETURN(engine::Manifest manifest,
                   api::make_manifest(built, *checkpoint, shape, options));
  compile.unquantized = built.float_tensors;
  RETURN_IF_ERROR(api::plan_quantization(options, *checkpoint, compile));
  manifest.quantize = api::quantize_name(compile.quant);
  api::warn_of_experts(built.network->impl().graph, compile.target);
  const api::CheckpointWeights weights(*checkpoint);
  return compiler::compile(std::move(built.network->impl().graph), weights, std::move(manifest),
                           assets, engine_path, compile);
}

}  // namespace ramjet
