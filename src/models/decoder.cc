#include "models/decoder.h"

#include <algorithm>

#include "base/log.h"
#include "ir/network.h"

namespace ramjet::models {
namespace {

constexpr int64_t kMaxLoras = 1024, kMaxLoraRank = 1024;

/// Tokens of a sequence: the model's, or fewer if asked for. Dynamic scaling has no end, so there
/// more may be asked for.
int64_t sequence_limit(const DecoderConfig& config, const ModelOptions& options) {
  if (options.max_seq_len == 0) return config.max_positions;
  const bool endless = config.ropes.size() == 1 && config.ropes[0].kind == RopeKind::kDynamic;
  if (options.max_seq_len <= config.max_positions || endless) {
    return std::min<int64_t>(options.max_seq_len, 1 << 26);
  }
  log_warn("max_seq_len {} is more than the model's {} positions; it has {}", options.max_seq_len,
           config.max_positions, config.max_positions);
  return config.max_positions;
}

/// One group holds all layers: their geometry is the same. Its window is the widest view of any.
KvGroupSpec kv_group(const DecoderConfig& config) {
  const auto& windows = config.attention.windows;
  const auto [least, most] = std::minmax_element(windows.begin(), windows.end());
  return {config.num_layers, config.attention.num_kv_heads, config.attention.head_dim,
          config.attention.head_dim, *least == 0 ? 0 : *most};
}

}  // namespace

Status check_options(const ModelOptions& options) {
  const bool good = options.max_batch_size >= 1 && options.max_batch_size <= 1 << 16 &&
                    options.max_num_tokens >= 1 && options.max_num_tokens <= 1 << 20 &&
                    options.max_seq_len >= 0 && options.block_tokens >= 1 &&
                    options.block_tokens <= 1 << 12;
  if (!good) {
    return invalid_argument(
        "max_batch_size {} must be 1 to 65536, max_num_tokens {} 1 to 1048576, max_seq_len {} at "
        "least 0, block_tokens {} 1 to 4096",
        options.max_batch_size, options.max_num_tokens, options.max_seq_len, options.block_tokens);
  }
  if (options.max_loras < 0 || options.max_loras > kMaxLoras || options.max_lora_rank < 1 ||
      options.max_lora_rank > kMaxLoraRank) {
    return invalid_argument("max_loras {} must be 0 to {}, max_lora_rank {} 1 to {}",
                            options.max_loras, kMaxLoras, options.max_lora_rank, kMaxLoraRank);
  }
  if (options.dtype != DType::kF32 && options.dtype != DType::kBf16 &&
      options.dtype != DType::kF16) {
    return invalid_argument("dtype {}: activations are f32, bf16 or f16",
                            dtype_name(options.dtype));
  }
  return ok_status();
}

int64_t count_parameters(const Network& network) {
  int64_t count = 0;
  for (const ir::Value& value : network.impl().graph.values) {
    if (value.kind != ir::Value::Kind::kWeight) continue;
    int64_t elements = 1;
    for (const Dim& dim : value.type.dims) elements *= dim.offset;
    count += elements;
  }
  return count;
}

Result<Model> build_decoder(const DecoderConfig& config, const FamilyInput& input) {
  RETURN_IF_ERROR(check_options(input.options));
  const int64_t max_seq_len = sequence_limit(config, input.options);
  const int64_t block_tokens = input.options.block_tokens;
  const int64_t max_blocks = (max_seq_len + block_tokens - 1) / block_tokens;
  Model model;
  model.network = decoder_graph(config, input, max_blocks, &model.lora_modules);
  RETURN_IF_ERROR(model.network->status());
  model.info.parameters = count_parameters(*model.network);
  model.info.vocab_size = static_cast<int>(config.vocab_size);
  model.info.num_layers = static_cast<int>(config.num_layers);
  model.info.max_seq_len = static_cast<int>(max_seq_len);
  ASSIGN_OR_RETURN(model.info.eos_ids, input.config.ids("eos_token_id"));
  ASSIGN_OR_RETURN(const auto bos, input.config.ids("bos_token_id"));
  if (!bos.empty()) model.info.bos_id = bos[0];
  model.kv_groups = {kv_group(config)};
  model.float_tensors = {config.names.head + ".weight", config.names.embedding + ".weight"};
  return model;
}

}  // namespace ramjet::models
