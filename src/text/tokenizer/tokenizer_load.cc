#include <cstring>
#include <filesystem>

#include "base/file.h"
#include "base/gguf/gguf.h"
#include "base/hash.h"
#include "base/json.h"
#include "text/tokenizer/tokenizer_impl.h"
#include "text/tokenizer/utf8.h"

namespace ramjet::text {
namespace {

constexpr size_t kMaxFileBytes = size_t{256} << 20;
constexpr int kMaxDepth = 48;

const Json& member(const Json& json, const char* key) {
  static const Json null;
  const auto it = json.find(key);
  return it == json.end() ? null : *it;
}

constexpr std::string_view kMagic("RJTOK\0\0\1", 8);
constexpr size_t kHeaderBytes = 8 + 8 + 4;  // magic, checksum of the rest, size of the JSON

/// What from_serialized() reads; the JSON itself where the tables cannot be saved.
std::string serialize(Json json, std::string_view text, const Model& model) {
  std::string tables;
  if (!model.save_tables(tables)) return std::string(text);
  json["model"].erase("vocab");
  json["model"].erase("merges");
  json["model"].erase("merge_ranks");
  const std::string config = dump_json(json);
  const auto size = static_cast<uint32_t>(config.size());
  std::string out(kHeaderBytes, '\0');
  out += config;
  out += tables;
  std::memcpy(out.data() + 16, &size, 4);
  const uint64_t checksum = hash64(std::string_view(out).substr(16));
  std::memcpy(out.data(), kMagic.data(), 8);
  std::memcpy(out.data() + 8, &checksum, 8);
  return out;
}

/// `tables`: what the model saved, or null where the JSON has everything.
Result<std::unique_ptr<Tokenizer::Impl>> build(const Json& json, const std::string_view* tables) {
  if (!json.is_object() || !json.contains("model")) {
    return invalid_argument("not a tokenizer.json: there is no object with a 'model'");
  }
  auto impl = std::make_unique<Tokenizer::Impl>();
  ASSIGN_OR_RETURN(impl->normalizer, Normalizer::from_json(member(json, "normalizer")));
  ASSIGN_OR_RETURN(impl->pre_tokenizer, PreTokenizer::from_json(member(json, "pre_tokenizer")));
  ASSIGN_OR_RETURN(impl->post_processor, PostProcessor::from_json(member(json, "post_processor")));
  ASSIGN_OR_RETURN(impl->limits, Limits::from_json(json));
  ASSIGN_OR_RETURN(impl->decoder, Decoder::from_json(member(json, "decoder")));
  const Json& model = member(json, "model");
  ASSIGN_OR_RETURN(impl->model,
                   tables ? Model::from_tables(model, *tables) : Model::from_json(model));
  const Vocabulary& vocabulary = impl->model->vocabulary();
  ASSIGN_OR_RETURN(impl->added, AddedTokens::from_json(member(json, "added_tokens"), vocabulary,
                                                       impl->normalizer.get()));
  if (impl->decoder != nullptr) impl->decoder->describe(impl->traits);
  impl->vocab_size = vocabulary.end_id();
  for (const auto& [id, token] : impl->added.by_id()) {
    impl->vocab_size = std::max(impl->vocab_size, id + 1);
    if (token.special) impl->special_ids.push_back(id);
  }
  return impl;
}

/// Components read well-typed JSON with nlohmann's throwing accessors; ill-typed ends here.
template <class Build>
Result<std::unique_ptr<Tokenizer>> guarded(Build build) {
  try {
    ASSIGN_OR_RETURN(std::unique_ptr<Tokenizer::Impl> impl, build());
    return std::make_unique<Tokenizer>(std::move(impl));
  } catch (const Json::exception& e) {
    return invalid_argument("tokenizer.json: {}", e.what());
  } catch (const std::bad_alloc&) {
    return make_error(ErrorCode::kResourceExhausted, "no memory for this tokenizer.json");
  }
}

Result<std::unique_ptr<Tokenizer>> load_folder(const std::string& folder) {
  const auto path = [&](const char* name) { return folder + "/" + name; };
  if (path_exists(path("tokenizer.json"))) return Tokenizer::load(path("tokenizer.json"));
  if (path_exists(path("vocab.json")) && path_exists(path("merges.txt"))) {
    ASSIGN_OR_RETURN(std::string vocab, read_file(path("vocab.json"), kMaxFileBytes));
    ASSIGN_OR_RETURN(std::string merges, read_file(path("merges.txt"), kMaxFileBytes));
    std::string config;
    if (path_exists(path("tokenizer_config.json"))) {
      ASSIGN_OR_RETURN(config, read_file(path("tokenizer_config.json"), kMaxFileBytes));
    }
    ASSIGN_OR_RETURN(std::string json, json_from_vocab_and_merges(vocab, merges, config));
    return Tokenizer::from_json(json);
  }
  if (path_exists(path("tokenizer.model"))) return Tokenizer::load(path("tokenizer.model"));
  return not_found("{}: no tokenizer.json, no vocab.json with merges.txt, no tokenizer.model",
                   folder);
}

}  // namespace

Result<std::unique_ptr<Tokenizer>> Tokenizer::from_json(std::string_view text) {
  if (text.size() > kMaxFileBytes) {
    return invalid_argument("tokenizer.json of {} bytes, the limit is {}", text.size(),
                            kMaxFileBytes);
  }
  return guarded([&]() -> Result<std::unique_ptr<Impl>> {
    ASSIGN_OR_RETURN(Json json, parse_json(text, kMaxDepth));
    ASSIGN_OR_RETURN(std::unique_ptr<Impl> impl, build(json, nullptr));
    impl->serialized = serialize(std::move(json), text, *impl->model);
    return impl;
  });
}

Result<std::unique_ptr<Tokenizer>> Tokenizer::from_serialized(std::string_view bytes) {
  if (!bytes.starts_with(kMagic)) return from_json(bytes);
  if (bytes.size() < kHeaderBytes) return corrupt("serialized tokenizer of {} bytes", bytes.size());
  uint64_t checksum;
  uint32_t size;
  std::memcpy(&checksum, bytes.data() + 8, 8);
  std::memcpy(&size, bytes.data() + 16, 4);
  if (checksum != hash64(bytes.substr(16)) || size > bytes.size() - kHeaderBytes) {
    return corrupt("serialized tokenizer: its checksum does not match, rebuild the engine");
  }
  const std::string_view tables = bytes.substr(kHeaderBytes + size);
  return guarded([&]() -> Result<std::unique_ptr<Impl>> {
    ASSIGN_OR_RETURN(const Json json, parse_json(bytes.substr(kHeaderBytes, size), kMaxDepth));
    ASSIGN_OR_RETURN(std::unique_ptr<Impl> impl, build(json, &tables));
    impl->serialized = std::string(bytes);
    return impl;
  });
}

Result<std::unique_ptr<Tokenizer>> Tokenizer::load(const std::string& path) {
  if (is_directory(path)) return load_folder(path);
  if (gguf::is_gguf(path)) {
    ASSIGN_OR_RETURN(const std::string json, json_from_gguf(path));
    Result<std::unique_ptr<Tokenizer>> out = from_json(json);
    return out.ok() ? std::move(out) : out.error().with_context(path);
  }
  ASSIGN_OR_RETURN(std::string text, read_file(path, kMaxFileBytes));
  if (std::filesystem::path(path).extension() == ".model") {
    // A protobuf of pieces begins with the tag of its first field; base64 never does.
    Result<std::string> json =
        text.starts_with('\n') ? json_from_sentencepiece(text) : json_from_tiktoken(text);
    if (!json.ok()) return json.error().with_context(path);
    text = std::move(json).value();
  }
  Result<std::unique_ptr<Tokenizer>> out = from_json(text);
  if (!out.ok()) return out.error().with_context(path);
  return out;
}

}  // namespace ramjet::text
