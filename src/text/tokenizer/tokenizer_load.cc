#include <cstring>
#include <filesystem>

#include "base/file.h"
#include "base/gguf/gguf.h"
#include "base/hash.h"
#include "base/json.h"
#include "text/tokenizer/conversion.h"
#include "text/tokenizer/sentencepiece_model.h"
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

/// What from_serialized() reads; the JSON itself, or its `text`, where the tables cannot be saved.
std::string serialize(Json json, std::string_view text, const Model& model) {
  std::string tables;
  if (!model.save_tables(tables)) return text.empty() ? dump_json(json) : std::string(text);
  json["model"]["type"] = model_type(json["model"]);
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

Result<std::unique_ptr<Tokenizer>> from_value(Json json) {
  return guarded([&]() -> Result<std::unique_ptr<Tokenizer::Impl>> {
    ASSIGN_OR_RETURN(std::unique_ptr<Tokenizer::Impl> impl, build(json, nullptr));
    impl->serialized = serialize(std::move(json), {}, *impl->model);
    return impl;
  });
}

/// A file beside the tokenizer's, "" where there is none.
Result<std::string> read_beside(const std::string& folder, const char* name) {
  const std::string path = (std::filesystem::path(folder) / name).string();
  if (!path_exists(path)) return std::string();
  return read_file(path, kMaxFileBytes);
}

Result<Json> json_from_file(const std::filesystem::path& path, std::string_view text,
                            std::string_view config) {
  const std::string name = path.filename();
  if (name == "vocab.txt" || path.extension() == ".txt") return json_from_vocab_text(text, config);
  // A protobuf of pieces begins with the tag of its first field; base64 never does.
  if (!text.starts_with('\n')) return json_from_tiktoken(text, name);
  ASSIGN_OR_RETURN(const SentencePieceModel model, read_sentencepiece(text));
  return json_of_sentencepiece(model, config);
}

bool is_vocabulary_of_merges(const std::filesystem::path& path) {
  return path.filename() == "vocab.json" &&
         path_exists((path.parent_path() / "merges.txt").string());
}

/// Any form but tokenizer.json and the serialized one.
Result<Json> json_from_foreign(const std::filesystem::path& path, bool use_config) {
  const std::string folder = path.parent_path().string();
  std::string config;
  if (use_config || is_vocabulary_of_merges(path) || path.extension() == ".txt") {
    ASSIGN_OR_RETURN(config, read_beside(folder, "tokenizer_config.json"));
  }
  ASSIGN_OR_RETURN(const std::string text, read_file(path.string(), kMaxFileBytes));
  if (!is_vocabulary_of_merges(path)) return json_from_file(path, text, config);
  ASSIGN_OR_RETURN(const std::string merges, read_beside(folder, "merges.txt"));
  return json_from_vocab_and_merges(text, merges, config);
}

Result<std::unique_ptr<Tokenizer>> load_foreign(const std::filesystem::path& path,
                                                bool use_config) {
  Result<Json> json = json_from_foreign(path, use_config);
  if (!json.ok()) return json.error().with_context(path.string());
  Result<std::unique_ptr<Tokenizer>> out = from_value(std::move(json).value());
  if (!out.ok()) return out.error().with_context(path.string());
  return out;
}

Result<std::unique_ptr<Tokenizer>> load_folder(const std::string& folder) {
  const std::filesystem::path path(folder);
  if (path_exists((path / "tokenizer.json").string())) {
    return Tokenizer::load((path / "tokenizer.json").string());
  }
  if (is_vocabulary_of_merges(path / "vocab.json")) return load_foreign(path / "vocab.json", true);
  for (const char* name : {"tokenizer.model", "spiece.model", "sentencepiece.model",
                           "sentencepiece.bpe.model", "tiktoken.model"}) {
    if (path_exists((path / name).string())) return load_foreign(path / name, true);
  }
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(path, error)) {
    if (entry.path().extension() == ".tiktoken") return load_foreign(entry.path(), true);
  }
  if (path_exists((path / "vocab.txt").string())) return load_foreign(path / "vocab.txt", true);
  return not_found(
      "{}: no tokenizer.json, no vocab.json with merges.txt, no tokenizer.model, no .tiktoken and "
      "no "
      "vocab.txt",
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
  const std::filesystem::path file(path);
  const std::string extension = file.extension();
  if (extension == ".model" || extension == ".tiktoken" || extension == ".txt" ||
      is_vocabulary_of_merges(file)) {
    return load_foreign(file, false);
  }
  ASSIGN_OR_RETURN(const std::string text, read_file(path, kMaxFileBytes));
  Result<std::unique_ptr<Tokenizer>> out = from_json(text);
  if (!out.ok()) return out.error().with_context(path);
  return out;
}

}  // namespace ramjet::text
