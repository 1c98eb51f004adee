#include <algorithm>
#include <cstring>
#include <deque>
#include <filesystem>
#include <map>
#include <mutex>
#include <set>

#include "base/gguf/gguf.h"
#include "base/json.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/ggml_blocks.h"
#include "checkpoint/gguf_config.h"
#include "checkpoint/gguf_names.h"
#include "checkpoint/near_names.h"

namespace ramjet::checkpoint {
namespace {

namespace fs = std::filesystem;
using gguf::Encoding;
constexpr int64_t kMaxNumbers = 1 << 16;  // of a tensor that the configuration reads

std::optional<DType> plain_dtype(Encoding encoding) {
  switch (encoding) {
    case Encoding::kF32: return DType::kF32;
    case Encoding::kF16: return DType::kF16;
    case Encoding::kBf16: return DType::kBf16;
    default: return {};
  }
}

/// Where a tensor of the model is, and what it takes to have it as Hugging Face does.
struct Source {
  const gguf::File* file = nullptr;
  const gguf::TensorInfo* info = nullptr;
  std::string_view stored_name;
  Restore restore = Restore::kNone;
  int64_t heads = 0;  // of rows in pairs

  DType dtype() const {
    if (restore == Restore::kMinusOne) return DType::kF32;
    return plain_dtype(info->type->encoding).value_or(DType::kF32);
  }
  bool mapped() const {
    return restore == Restore::kNone && plain_dtype(info->type->encoding).has_value();
  }
  Shape shape() const {
    Shape out{std::span<const int64_t>(info->shape)};
    if (restore == Restore::kTransposed) std::swap(out[0], out[1]);
    return out;
  }
};

/// The elements of a tensor made anew, row by row.
class Converter {
 public:
  explicit Converter(const Source& source)
      : source_(source),
        type_(*source.info->type),
        cols_(source.info->shape.empty() ? 1 : source.info->shape.back()),
        element_(dtype_bytes(source.dtype())) {
    if (source.heads > 0 && source.info->shape.size() == 1) cols_ = 1;  // a bias: rows of one
    rows_ =
        static_cast<int64_t>(source.info->bytes) / type_.block_bytes * type_.block_elements / cols_;
    stored_row_ = cols_ / type_.block_elements * type_.block_bytes;
  }

  std::unique_ptr<std::byte[]> run() const {
    auto out =
        std::make_unique_for_overwrite<std::byte[]>(static_cast<size_t>(rows_ * cols_ * element_));
    const std::byte* data = source_.file->data(*source_.info);
    std::vector<std::byte> row(static_cast<size_t>(cols_ * element_));
    for (int64_t r = 0; r < rows_; ++r) {
      const std::byte* stored = data + r * stored_row_;
      if (source_.restore == Restore::kTransposed) {
        convert(stored, row.data());
        for (int64_t c = 0; c < cols_; ++c) {
          std::memcpy(out.get() + (c * rows_ + r) * element_, row.data() + c * element_,
                      static_cast<size_t>(element_));
        }
      } else {
        convert(stored, out.get() + place(r) * cols_ * element_);
      }
    }
    return out;
  }

 private:
  /// The row that a stored one becomes: within a head, pair j's element i goes to i * half + j.
  int64_t place(int64_t row) const {
    if (source_.heads == 0) return row;
    const int64_t head_rows = rows_ / source_.heads;
    const int64_t head = row / head_rows, within = row % head_rows;
    return head * head_rows + within % 2 * (head_rows / 2) + within / 2;
  }

  void convert(const std::byte* stored, std::byte* out) const {
    const bool verbatim = plain_dtype(type_.encoding) == source_.dtype();
    if (verbatim) {
      std::memcpy(out, stored, static_cast<size_t>(cols_ * element_));
    } else {
      dequantize(type_.encoding, stored, cols_, reinterpret_cast<float*>(out));
    }
    if (source_.restore != Restore::kMinusOne) return;
    auto* values = reinterpret_cast<float*>(out);
    for (int64_t i = 0; i < cols_; ++i) values[i] -= 1.0f;
  }

  const Source& source_;
  const gguf::TensorType& type_;
  int64_t cols_;
  int64_t element_;
  int64_t rows_ = 0;
  int64_t stored_row_ = 0;
};

/// A GGUF under Hugging Face names.
class GgufCheckpoint final : public Checkpoint {
 public:
  Status open(const std::string& path) {
    path_ = path;
    RETURN_IF_ERROR(open_parts());
    const gguf::Header& header = parts_.front().header();
    if (tensors_in_parts_ == 0) {
      return invalid_argument("{}: holds no tensors; a vocabulary alone is for `ramjet tokenize`",
                              path);
    }
    ASSIGN_OR_RETURN(const std::string name, header.text("general.architecture"));
    ASSIGN_OR_RETURN(const int64_t experts, header.integer(name + ".expert_count", 0));
    architecture_ = find_gguf_architecture(name, experts > 0);
    if (architecture_ != nullptr && architecture_->experts != (experts > 0)) {
      return unsupported(
          "a '{}' of {} experts has no mapping from GGUF; give the Hugging Face folder", name,
          experts);
    }
    if (architecture_ == nullptr) {
      return unsupported("architecture '{}' has no mapping from GGUF; known are {}",
                         name.substr(0, 128), known_gguf_architectures());
    }
    ASSIGN_OR_RETURN(config_, hf_config(header, *architecture_, config_tensors()));
    ASSIGN_OR_RETURN(assets_, gguf_assets(header));
    return name_tensors();
  }

  const std::string& path() const override { return path_; }
  const Json& config() const override { return config_; }
  bool has_tensor(std::string_view name) const override { return sources_.contains(name); }
  const std::map<std::string, std::string>& assets() const override { return assets_; }
  Hash128 fingerprint() const override { return fingerprint_.digest128(); }
  std::vector<std::string> tensor_names() const override {
    std::vector<std::string> names;
    for (const auto& [name, source] : sources_) names.push_back(name);
    return names;
  }

  Result<TensorView> described(std::string_view name) const override {
    ASSIGN_OR_RETURN(const Source* source, find(name));
    return TensorView{nullptr, source->dtype(), source->shape()};
  }

  Result<TensorView> tensor(std::string_view name) const override {
    ASSIGN_OR_RETURN(const HeldTensor held, hold(name));
    if (held.holder != nullptr) {
      const std::scoped_lock lock(mutex_);
      owned_.insert(held.holder);
    }
    return held.view;
  }

  Result<HeldTensor> hold(std::string_view name) const override {
    ASSIGN_OR_RETURN(const Source* source, find(name));
    HeldTensor held{{nullptr, source->dtype(), source->shape()}, nullptr};
    if (source->mapped()) {
      // Mapped read-only; nobody writes.
      held.view.data = const_cast<std::byte*>(source->file->data(*source->info));
      return held;
    }
    const std::shared_ptr<Converted> converted = converted_of(*source);
    held.view.data = converted->bytes.get();
    held.holder = converted;
    return held;
  }

 private:
  struct Converted {
    std::once_flag once;
    std::unique_ptr<std::byte[]> bytes;
  };

  Result<const Source*> find(std::string_view name) const {
    const auto it = sources_.find(name);
    if (it == sources_.end()) {
      std::vector<std::string_view> names;
      for (const auto& [known, source] : sources_) names.push_back(known);
      return not_found("{}: no tensor '{}'{}", path_, name, near_names_text(name, names));
    }
    const Source& source = it->second;
    if (!is_dequantizable(source.info->type->encoding)) {
      return unsupported(
          "{}: tensor '{}' is {}, which this build does not read; read are F32, F16, BF16, Q8_0, "
          "Q4_0, Q4_1, Q5_0, Q5_1, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_NL, IQ4_XS and MXFP4",
          source.file->path(), source.stored_name, source.info->type->name);
    }
    return &source;
  }

  /// What someone holds already, or else new.
  std::shared_ptr<Converted> converted_of(const Source& source) const {
    std::shared_ptr<Converted> out;
    {
      const std::scoped_lock lock(mutex_);
      std::weak_ptr<Converted>& known = converted_[&source];
      out = known.lock();
      if (out == nullptr) known = out = std::make_shared<Converted>();
    }
    std::call_once(out->once, [&] { out->bytes = Converter(source).run(); });
    return out;
  }

  Status open_parts() {
    ASSIGN_OR_RETURN(const auto paths, gguf::part_paths(path_));
    parts_.reserve(paths.size());
    for (const std::string& path : paths) {
      ASSIGN_OR_RETURN(gguf::File file, gguf::File::open(path));
      parts_.push_back(std::move(file));
      std::error_code error;
      fingerprint_.update(fmt::format("{}:{}:{};", fs::path(path).filename().string(),
                                      fs::file_size(path, error),
                                      fs::last_write_time(path, error).time_since_epoch().count()));
      fingerprint_.update(parts_.back().header_bytes());
      tensors_in_parts_ += parts_.back().header().tensors.size();
    }
    const gguf::Header& first = parts_.front().header();
    ASSIGN_OR_RETURN(const int64_t count, first.integer("split.count", 0));
    if (count > 0 && count != static_cast<int64_t>(parts_.size())) {
      return corrupt("{}: part of a model split in {}, whose names end in -00001-of-{:05}.gguf",
                     parts_.front().path(), count, count);
    }
    ASSIGN_OR_RETURN(const int64_t all, first.integer("split.tensors.count", -1));
    if (all >= 0 && all != static_cast<int64_t>(tensors_in_parts_)) {
      return corrupt("{}: {} parts hold {} tensors, the first promises {}", path_, parts_.size(),
                     tensors_in_parts_, all);
    }
    return ok_status();
  }

  const gguf::TensorInfo* find_stored(std::string_view name, const gguf::File** file) const {
    for (const gguf::File& part : parts_) {
      const auto it = part.header().tensors.find(name);
      if (it == part.header().tensors.end()) continue;
      *file = &part;
      return &it->second;
    }
    return nullptr;
  }

  GgufTensors config_tensors() const {
    using Numbers = std::optional<std::vector<double>>;
    GgufTensors out;
    out.find = [this](std::string_view name) {
      const gguf::File* file = nullptr;
      return find_stored(name, &file);
    };
    out.numbers = [this](std::string_view name) -> Result<Numbers> {
      const gguf::File* file = nullptr;
      const gguf::TensorInfo* info = find_stored(name, &file);
      if (info == nullptr) return Numbers();
      if (info->type->encoding != Encoding::kF32 || info->shape.size() != 1 ||
          info->shape[0] > kMaxNumbers) {
        return invalid_argument("tensor '{}' is no list of at most {} F32 numbers", name,
                                kMaxNumbers);
      }
      std::vector<float> values(static_cast<size_t>(info->shape[0]));
      std::memcpy(values.data(), file->data(*info), info->bytes);
      return Numbers(std::vector<double>(values.begin(), values.end()));
    };
    return out;
  }

  /// Heads whose rows are in pairs; 0 for all other tensors.
  Result<int64_t> paired_heads(const Source& source) const {
    if (source.restore != Restore::kQueryRows && source.restore != Restore::kKeyRows) {
      return int64_t{0};
    }
    const bool query = source.restore == Restore::kQueryRows;
    const int64_t heads = config_.at(query ? "num_attention_heads" : "num_key_value_heads");
    const int64_t rows = source.info->shape.empty() ? 0 : source.info->shape[0];
    if (heads < 1 || rows % (2 * heads) != 0) {
      return invalid_argument("tensor '{}' has {} rows, which are no pairs of {} heads",
                              source.stored_name, rows, heads);
    }
    if (source.info->shape.size() == 1 && source.info->type->block_elements != 1) {
      return unsupported("tensor '{}' is {}, a bias must be floats", source.stored_name,
                         source.info->type->name);
    }
    return heads;
  }

  Status add_source(std::string name, const Source& source) {
    const auto [it, is_new] = sources_.emplace(std::move(name), source);
    if (is_new) return ok_status();
    return corrupt("{}: tensor '{}' is there twice (as '{}')", source.file->path(),
                   source.stored_name, it->first);
  }

  /// Each expert of a stack is a tensor of its own.
  Status add_experts(const HfName& hf, const Source& stack) {
    const gguf::TensorInfo& all = *stack.info;
    const Json& count =
        config_[config_.contains("num_experts") ? "num_experts" : "num_local_experts"];
    if (all.shape.size() != 3 || count != all.shape[0]) {
      return invalid_argument("tensor '{}' is no stack of {} experts", stack.stored_name,
                              dump_json(count));
    }
    const auto experts = static_cast<uint64_t>(all.shape[0]);
    for (uint64_t i = 0; i < experts; ++i) {
      gguf::TensorInfo& one = made_.emplace_back(all);
      one.shape.erase(one.shape.begin());
      one.bytes = all.bytes / experts;
      one.offset = all.offset + i * one.bytes;
      Source source = stack;
      source.info = &one;
      RETURN_IF_ERROR(add_source(fmt::format("{}{}{}", hf.name, i, hf.after_expert), source));
    }
    return ok_status();
  }

  Status name_tensors() {
    for (const gguf::File& part : parts_) {
      for (const auto& [stored, info] : part.header().tensors) {
        const auto hf = hf_tensor_name(*architecture_, stored);
        if (!hf) continue;
        Source source{&part, &info, stored, hf->restore, 0};
        if (!hf->after_expert.empty()) {
          RETURN_IF_ERROR(add_experts(*hf, source));
          continue;
        }
        if (stored.ends_with("ffn_gate_inp_shexp.weight") && info.shape.size() == 1) {
          source.info = &made_.emplace_back(info);  // a matrix of one row
          made_.back().shape.insert(made_.back().shape.begin(), 1);
        }
        ASSIGN_OR_RETURN(source.heads, paired_heads(source));
        if (hf->restore == Restore::kTransposed && info.shape.size() != 2) {
          return invalid_argument("tensor '{}' has {} extents, it must have 2", stored,
                                  info.shape.size());
        }
        RETURN_IF_ERROR(add_source(hf->name, source));
      }
    }
    return ok_status();
  }

  std::string path_;
  std::vector<gguf::File> parts_;
  size_t tensors_in_parts_ = 0;
  const GgufArchitecture* architecture_ = nullptr;
  Json config_;
  std::map<std::string, std::string> assets_;
  std::map<std::string, Source, std::less<>> sources_;
  std::deque<gguf::TensorInfo> made_;  // of parts of stored tensors; sources_ points into it
  Hasher fingerprint_;
  mutable std::mutex mutex_;  // of the two below
  mutable std::map<const Source*, std::weak_ptr<Converted>> converted_;
  mutable std::set<std::shared_ptr<const void>> owned_;  // of tensor()'s views
};

}  // namespace

Result<std::unique_ptr<Checkpoint>> open_gguf(const std::string& path) {
  auto checkpoint = std::make_unique<GgufCheckpoint>();
  const Status status = checkpoint->open(path);
  if (!status.ok()) {
    const bool named = status.error().message.find(".gguf") != std::string::npos;
    return named ? status.error() : status.error().with_context(path);
  }
  return std::unique_ptr<Checkpoint>(std::move(checkpoint));
}

}  // namespace ramjet::checkpoint
