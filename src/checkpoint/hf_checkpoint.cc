#include <algorithm>
#include <filesystem>
#include <unordered_map>

#include "base/file.h"
#include "base/gguf/gguf.h"
#include "base/json.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/hf_assets.h"
#include "checkpoint/near_names.h"
#include "checkpoint/safetensors.h"

namespace ramjet::checkpoint {
namespace {

namespace fs = std::filesystem;

constexpr const char* kSingle = "model.safetensors";
constexpr const char* kIndex = "model.safetensors.index.json";

/// A Hugging Face folder: config.json, safetensors, text files.
class HfCheckpoint final : public Checkpoint {
 public:
  Status open(const std::string& path, bool weights) {
    path_ = path;
    const bool is_config = !weights && path.ends_with(".json") && !is_directory(path);
    const std::string config_path = is_config ? path : path + "/config.json";
    if (!path_exists(path)) return not_found("{}: no such folder", path);
    if (!is_config && !is_directory(path)) {
      return invalid_argument("{}: neither a folder nor a GGUF file", path);
    }
    if (!path_exists(config_path)) {
      return not_found("{}: no config.json; a model is a Hugging Face folder with one", path);
    }
    ASSIGN_OR_RETURN(config_, read_json_file(config_path));
    if (!config_.is_object()) return invalid_argument("{}: not a JSON object", config_path);
    fingerprint_.update(dump_json(config_));
    if (is_config) return ok_status();
    ASSIGN_OR_RETURN(assets_, read_assets(path));
    for (const auto& [name, text] : assets_) {
      fingerprint_.update(fmt::format("{}:{}:", name, text.size()));
      fingerprint_.update(text);
    }
    for (const char* name : {"vocab.json", "merges.txt", "tokenizer.model"}) {
      if (path_exists(path + "/" + name)) hash_file(path + "/" + name);
    }
    return weights ? open_weights() : ok_status();
  }

  const std::string& path() const override { return path_; }
  const Json& config() const override { return config_; }
  bool has_tensor(std::string_view name) const override { return find(name) != nullptr; }
  const std::map<std::string, std::string>& assets() const override { return assets_; }
  Hash128 fingerprint() const override { return fingerprint_.digest128(); }

  Result<TensorView> tensor(std::string_view name) const override {
    if (const Safetensors* file = find(name)) return file->tensor(name);
    if (shards_.empty()) return not_found("{}: opened without weights", path_);
    return not_found("{}: no tensor '{}'{}", path_, name, near_names_text(name, names_));
  }
  std::vector<std::string> tensor_names() const override { return {names_.begin(), names_.end()}; }

 private:
  const Safetensors* find(std::string_view name) const {
    const auto it = shard_of_.find(name);
    return it == shard_of_.end() ? nullptr : &shards_[it->second];
  }

  /// Name, size and time of change stand for the content, which is too large to read.
  void hash_file(const std::string& path) {
    std::error_code error;
    const auto size = fs::file_size(path, error);
    const auto time = fs::last_write_time(path, error).time_since_epoch().count();
    fingerprint_.update(fmt::format("{}:{}:{};", fs::path(path).filename().string(), size, time));
  }

  Status open_shard(const std::string& name) {
    const std::string path = path_ + "/" + name;
    ASSIGN_OR_RETURN(Safetensors file, Safetensors::open(path));
    hash_file(path);
    fingerprint_.update(file.header_text());
    shards_.push_back(std::move(file));
    return ok_status();
  }

  /// Names are views into the shards' headers, which do not move.
  void add_name(std::string_view name, size_t shard) {
    const auto& tensors = shards_[shard].header().tensors;
    const std::string_view stable = tensors.find(name)->first;
    if (shard_of_.emplace(stable, shard).second) names_.push_back(stable);
  }

  Status open_weights() {
    if (path_exists(path_ + "/" + kSingle)) {
      RETURN_IF_ERROR(open_shard(kSingle));
      for (const auto& [name, tensor] : shards_[0].header().tensors) add_name(name, 0);
      return ok_status();
    }
    if (path_exists(path_ + "/" + kIndex)) return open_sharded();
    std::string found;
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(path_, error)) {
      const std::string extension = entry.path().extension().string();
      if (extension == ".bin" || extension == ".pt" || extension == ".pth") {
        found = entry.path().filename().string();
      }
    }
    return not_found("{}: neither {} nor {}{}", path_, kSingle, kIndex,
                     found.empty() ? "" : "; convert " + found + " to safetensors first");
  }

  Status open_sharded() {
    const std::string index_path = path_ + "/" + kIndex;
    ASSIGN_OR_RETURN(const Json index, read_json_file(index_path));
    const auto map = index.is_object() ? index.find("weight_map") : index.end();
    if (!index.is_object() || map == index.end() || !map->is_object() || map->empty()) {
      return invalid_argument("{}: no weight_map", index_path);
    }
    std::map<std::string, std::vector<std::string>> tensors_of;  // by shard
    for (const auto& [tensor, shard] : map->items()) {
      const std::string name = shard.is_string() ? shard.get<std::string>() : "";
      if (name.empty() || name.find('/') != std::string::npos || name == "..") {
        return invalid_argument("{}: tensor '{}' is in no file of this folder", index_path, tensor);
      }
      tensors_of[name].push_back(tensor);
    }
    for (const auto& [shard, tensors] : tensors_of) {
      if (!path_exists(path_ + "/" + shard)) {
        return not_found("{}: missing shard {}, which should hold {} tensors, such as '{}'", path_,
                         shard, tensors.size(), tensors[0]);
      }
      RETURN_IF_ERROR(open_shard(shard));
      for (const std::string& tensor : tensors) {
        if (!shards_.back().header().tensors.contains(tensor)) {
          return corrupt("{}/{}: no tensor '{}', which {} promises", path_, shard, tensor, kIndex);
        }
        add_name(tensor, shards_.size() - 1);
      }
    }
    std::sort(names_.begin(), names_.end());
    return ok_status();
  }

  std::string path_;
  Json config_;
  std::map<std::string, std::string> assets_;
  std::vector<Safetensors> shards_;
  std::unordered_map<std::string_view, size_t> shard_of_;
  std::vector<std::string_view> names_;
  Hasher fingerprint_;
};

}  // namespace

Result<std::unique_ptr<Checkpoint>> open_checkpoint(const std::string& path, bool weights) {
  if (gguf::is_gguf(path)) return open_gguf(path);
  auto checkpoint = std::make_unique<HfCheckpoint>();
  RETURN_IF_ERROR(checkpoint->open(path, weights));
  return std::unique_ptr<Checkpoint>(std::move(checkpoint));
}

}  // namespace ramjet::checkpoint
