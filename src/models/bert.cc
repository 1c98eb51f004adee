// BERT (Devlin et al. 2018), RoBERTa (Liu et al. 2019) and DistilBERT (Sanh et al. 2019): encoders
// with learned positions and a norm after each block, their pooler and classification heads.
//
// A program of packed sequences: inputs token_ids, positions and token_types of all tokens,
// query_start, kv_len and first_rows of all sequences; outputs "hidden" f32[tokens, width] and, of
// those with a head, "scores" f32[sequences or tokens, labels]. What runs it is told the rest by
// the model's encoder facts (JSON): the number of the first position, what scores are of, labels.
#include <cmath>

#include "base/json.h"
#include "ir/network.h"
#include "models/families.h"

namespace ramjet::models {
namespace {

enum class Kind : uint8_t { kBert, kRoberta, kDistilbert };
enum class Head : uint8_t { kNone, kSequence, kToken };

struct EncoderConfig {
  Kind kind = Kind::kBert;
  Head head = Head::kNone;
  int64_t vocab_size = 0, width = 0, layers = 0, heads = 0, intermediate_size = 0;
  int64_t positions = 0, token_types = 0;  // rows of the tables; no token types: 0
  int64_t first_position = 0;              // of a sequence
  double norm_eps = 1e-12;
  bool tanh_gelu = false, relu = false;
  std::vector<std::string> labels;
};

/// Where a family keeps what all of them have. A layer's names follow "PREFIX.LAYERS.3.".
struct Names {
  const char* prefix;
  const char* layers;
  const char *query, *key, *value, *attended, *attention_norm, *up, *down, *output_norm;
};
constexpr Names kBertNames = {"bert.",
                              "encoder.layer.",
                              "attention.self.query",
                              "attention.self.key",
                              "attention.self.value",
                              "attention.output.dense",
                              "attention.output.LayerNorm",
                              "intermediate.dense",
                              "output.dense",
                              "output.LayerNorm"};
constexpr Names kDistilbertNames = {"distilbert.",      "transformer.layer.", "attention.q_lin",
                                    "attention.k_lin",  "attention.v_lin",    "attention.out_lin",
                                    "sa_layer_norm",    "ffn.lin1",           "ffn.lin2",
                                    "output_layer_norm"};

Names names_of(Kind kind) {
  Names names = kind == Kind::kDistilbert ? kDistilbertNames : kBertNames;
  if (kind == Kind::kRoberta) names.prefix = "roberta.";
  return names;
}

class EncoderBuilder {
 public:
  EncoderBuilder(const EncoderConfig& config, const FamilyInput& input)
      : config_(config),
        input_(input),
        names_(names_of(config.kind)),
        network_(std::make_unique<Network>("main")) {
    const std::string table = "embeddings.word_embeddings.weight";
    // Folders of the bare model name their tensors without the prefix.
    if (!input.has_tensor(table)) prefix_ = names_.prefix;
  }

  std::unique_ptr<Network> build() {
    add_inputs();
    Tensor x = embeddings();
    for (int64_t i = 0; i < config_.layers; ++i) x = layer(x, i);
    network_->set_scope("heads");
    network_->mark_output("hidden", cast(x, DType::kF32));
    if (config_.head != Head::kNone) network_->mark_output("scores", cast(scores(x), DType::kF32));
    return std::move(network_);
  }

 private:
  void add_inputs() {
    const ModelOptions& options = input_.options;
    const int64_t tokens = options.max_num_tokens;
    const int64_t sequences = std::min(options.max_batch_size, tokens);
    token_ids_ = network_->input("token_ids", DType::kI32, {"tokens"});
    positions_ = network_->input("positions", DType::kI32, {"tokens"});
    token_types_ = network_->input("token_types", DType::kI32, {"tokens"});
    network_->impl().graph.add_symbol({"sequences", 0, 0, 0});
    query_start_ = network_->input("query_start", DType::kI32, {"sequences+1"});
    kv_len_ = network_->input("kv_len", DType::kI32, {"sequences"});
    first_rows_ = network_->input("first_rows", DType::kI32, {"sequences"});
    network_->set_profile("tokens", {1, std::min<int64_t>(tokens, 256), tokens});
    network_->set_profile("sequences", {1, std::min<int64_t>(sequences, 8), sequences});
  }

  Tensor weight(const std::string& name, const std::vector<int64_t>& extents) {
    return network_->weight(name, input_.options.dtype, extents);
  }
  Tensor linear(Tensor x, const std::string& name, int64_t from, int64_t to) {
    return matmul(x, weight(name + ".weight", {to, from}), true) + weight(name + ".bias", {to});
  }
  Tensor norm(Tensor x, const std::string& name) {
    // As the first TensorFlow checkpoints call them.
    const bool old = input_.has_tensor(name + ".gamma");
    return layer_norm(x, weight(name + (old ? ".gamma" : ".weight"), {config_.width}),
                      weight(name + (old ? ".beta" : ".bias"), {config_.width}), config_.norm_eps);
  }
  Tensor activated(Tensor x) const {
    if (config_.relu) return relu(x);
    return config_.tanh_gelu ? gelu_tanh(x) : gelu(x);
  }

  Tensor embeddings() {
    const std::string at = prefix_ + "embeddings.";
    network_->set_scope("embeddings");
    Tensor x = embedding(
        token_ids_, weight(at + "word_embeddings.weight", {config_.vocab_size, config_.width}));
    x = x + embedding(positions_, weight(at + "position_embeddings.weight",
                                         {config_.positions, config_.width}));
    if (config_.token_types > 0) {
      x = x + embedding(token_types_, weight(at + "token_type_embeddings.weight",
                                             {config_.token_types, config_.width}));
    }
    return norm(x, at + "LayerNorm");
  }

  Tensor layer(Tensor x, int64_t index) {
    const std::string at = fmt::format("{}{}{}.", prefix_, names_.layers, index);
    const int64_t width = config_.width;
    network_->set_scope(fmt::format("layers.{}.attention", index));
    AttentionDesc desc;
    desc.num_heads = desc.num_kv_heads = config_.heads;
    desc.head_dim = desc.v_head_dim = width / config_.heads;
    desc.scale = 1.0 / std::sqrt(static_cast<double>(desc.head_dim));
    const Tensor qkv[3] = {linear(x, at + names_.query, width, width),
                           linear(x, at + names_.key, width, width),
                           linear(x, at + names_.value, width, width)};
    const Tensor attended = ir::attention(qkv, query_start_, kv_len_, desc);
    x = norm(x + linear(attended, at + names_.attended, width, width), at + names_.attention_norm);
    network_->set_scope(fmt::format("layers.{}.mlp", index));
    const Tensor h = activated(linear(x, at + names_.up, width, config_.intermediate_size));
    return norm(x + linear(h, at + names_.down, config_.intermediate_size, width),
                at + names_.output_norm);
  }

  Tensor scores(Tensor x) {
    const int64_t width = config_.width, labels = std::ssize(config_.labels);
    if (config_.head == Head::kToken) return linear(x, "classifier", width, labels);
    const Tensor first = gather_rows(x, first_rows_);
    switch (config_.kind) {
      case Kind::kRoberta:
        return linear(tanh(linear(first, "classifier.dense", width, width)), "classifier.out_proj",
                      width, labels);
      case Kind::kDistilbert:
        return linear(relu(linear(first, "pre_classifier", width, width)), "classifier", width,
                      labels);
      default:
        return linear(tanh(linear(first, prefix_ + "pooler.dense", width, width)), "classifier",
                      width, labels);
    }
  }

  const EncoderConfig& config_;
  const FamilyInput& input_;
  Names names_;
  std::string prefix_;
  std::unique_ptr<Network> network_;
  Tensor token_ids_, positions_, token_types_, query_start_, kv_len_, first_rows_;
};

Result<std::vector<std::string>> read_labels(const ConfigReader& config) {
  constexpr int64_t kMost = 1 << 16;
  std::vector<std::string> labels;
  if (!config.has("id2label")) {
    ASSIGN_OR_RETURN(const int64_t count, config.integer("num_labels", {1, kMost}, 2));
    for (int64_t i = 0; i < count; ++i) labels.push_back(fmt::format("LABEL_{}", i));
    return labels;
  }
  ASSIGN_OR_RETURN(const ConfigReader names, config.object("id2label"));
  for (size_t i = 0; i < names.json().size(); ++i) {
    const auto name = names.json().find(fmt::format("{}", i));
    if (name == names.json().end() || !name->is_string() || i >= kMost) {
      return invalid_argument("config: id2label has no name for label {}", i);
    }
    labels.push_back(name->get<std::string>());
  }
  if (labels.empty()) return invalid_argument("config: id2label is empty");
  return labels;
}

Status read_activation(const ConfigReader& config, const char* field, EncoderConfig& out) {
  ASSIGN_OR_RETURN(const std::string name, config.text(field, "gelu"));
  out.tanh_gelu = name == "gelu_new" || name == "gelu_pytorch_tanh";
  out.relu = name == "relu";
  if (out.tanh_gelu || out.relu || name == "gelu") return ok_status();
  return unsupported("config: {} '{}': an encoder's are gelu, gelu_new and relu", field,
                     name.substr(0, 64));
}

Result<EncoderConfig> read_encoder(const ConfigReader& config, Kind kind) {
  const bool distilled = kind == Kind::kDistilbert;
  EncoderConfig out;
  out.kind = kind;
  ASSIGN_OR_RETURN(out.vocab_size, config.integer("vocab_size", {1, 1 << 22}));
  ASSIGN_OR_RETURN(out.width, config.integer(distilled ? "dim" : "hidden_size", {2, 1 << 16}));
  ASSIGN_OR_RETURN(out.layers,
                   config.integer(distilled ? "n_layers" : "num_hidden_layers", {1, 1024}));
  ASSIGN_OR_RETURN(out.heads,
                   config.integer(distilled ? "n_heads" : "num_attention_heads", {1, 4096}));
  ASSIGN_OR_RETURN(out.intermediate_size,
                   config.integer(distilled ? "hidden_dim" : "intermediate_size", {1, 1 << 20}));
  ASSIGN_OR_RETURN(out.positions, config.integer("max_position_embeddings", {1, 1 << 20}, 512));
  if (!distilled) {
    ASSIGN_OR_RETURN(out.token_types, config.integer("type_vocab_size", {1, 1 << 16}, 2));
    ASSIGN_OR_RETURN(out.norm_eps, config.number("layer_norm_eps", 0, 1, 1e-12));
  }
  if (kind == Kind::kRoberta) {
    ASSIGN_OR_RETURN(out.first_position, config.integer("pad_token_id", {0, 1 << 20}, 1));
    ++out.first_position;
  }
  RETURN_IF_ERROR(read_activation(config, distilled ? "activation" : "hidden_act", out));
  ASSIGN_OR_RETURN(const std::string positions, config.text("position_embedding_type", "absolute"));
  ASSIGN_OR_RETURN(const bool decoder, config.flag("is_decoder", false));
  if (positions != "absolute" || decoder) {
    return unsupported("config: encoders have absolute positions, and are no decoders");
  }
  if (out.width % out.heads != 0 || out.positions <= out.first_position) {
    return invalid_argument("config: width {} of {} heads, {} positions of which {} are unused",
                            out.width, out.heads, out.positions, out.first_position);
  }
  return out;
}

std::string architecture_of(const ConfigReader& config) {
  const auto list = config.json().find("architectures");
  const bool named = list != config.json().end() && list->is_array() && !list->empty() &&
                     list->front().is_string();
  return named ? list->front().get<std::string>() : "";
}

Result<Model> build(const FamilyInput& input, Kind kind) {
  ASSIGN_OR_RETURN(EncoderConfig config, read_encoder(input.config, kind));
  const std::string architecture = architecture_of(input.config);
  if (architecture.ends_with("ForSequenceClassification")) config.head = Head::kSequence;
  if (architecture.ends_with("ForTokenClassification")) config.head = Head::kToken;
  if (config.head != Head::kNone) {
    ASSIGN_OR_RETURN(config.labels, read_labels(input.config));
  }
  RETURN_IF_ERROR(check_options(input.options));
  Model model;
  model.network = EncoderBuilder(config, input).build();
  RETURN_IF_ERROR(model.network->status());
  model.info.parameters = count_parameters(*model.network);
  model.info.vocab_size = static_cast<int>(config.vocab_size);
  model.info.num_layers = static_cast<int>(config.layers);
  int64_t longest =
      std::min(config.positions - config.first_position, input.options.max_num_tokens);
  if (input.options.max_seq_len > 0) longest = std::min(longest, input.options.max_seq_len);
  model.info.max_seq_len = static_cast<int>(longest);
  const char* const heads[] = {"none", "sequence", "token"};
  model.encoder = dump_json({{"width", config.width},
                             {"first_position", config.first_position},
                             {"token_types", std::max<int64_t>(config.token_types, 1)},
                             {"head", heads[static_cast<int>(config.head)]},
                             {"labels", config.labels}});
  return model;
}

}  // namespace

Result<Model> build_bert(const FamilyInput& input) { return build(input, Kind::kBert); }
Result<Model> build_roberta(const FamilyInput& input) { return build(input, Kind::kRoberta); }
Result<Model> build_distilbert(const FamilyInput& input) { return build(input, Kind::kDistilbert); }

}  // namespace ramjet::models
