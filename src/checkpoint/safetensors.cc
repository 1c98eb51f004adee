#include "checkpoint/safetensors.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <mutex>

#include "base/file.h"
#include "base/json.h"

namespace ramjet::checkpoint {
namespace {

constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the reference implementation's limit
constexpr int kMaxDepth = 8;
constexpr int kMaxRank = 64;

struct StoredType {
  std::string_view name;
  int64_t bytes;
  std::optional<DType> dtype;
};
constexpr std::array<StoredType, 15> kTypes = {{
    {"F32", 4, DType::kF32},
    {"F16", 2, DType::kF16},
    {"BF16", 2, DType::kBf16},
    {"F8_E4M3", 1, DType::kF8E4M3},
    {"F8_E5M2", 1, DType::kF8E5M2},
    {"I8", 1, DType::kI8},
    {"U8", 1, DType::kU8},
    {"I32", 4, DType::kI32},
    {"I64", 8, DType::kI64},
    {"BOOL", 1, DType::kBool},
    {"F64", 8, std::nullopt},
    {"I16", 2, std::nullopt},
    {"U16", 2, std::nullopt},
    {"U32", 4, std::nullopt},
    {"U64", 8, std::nullopt},
}};

std::string shown(std::string_view name) {
  return std::string(name.size() > 128 ? name.substr(0, 128) : name);
}

Result<uint64_t> unsigned_of(const Json& json, std::string_view field) {
  if (!json.is_number_unsigned()) {
    return corrupt("{} is {}, not a natural number", field, shown(dump_json(json)));
  }
  return json.get<uint64_t>();
}

/// The two ends of data_offsets, within `available` bytes.
Result<std::array<uint64_t, 2>> read_range(const Json& entry, uint64_t available) {
  const auto it = entry.find("data_offsets");
  if (it == entry.end() || !it->is_array() || it->size() != 2) {
    return corrupt("data_offsets is not a pair");
  }
  ASSIGN_OR_RETURN(const uint64_t begin, unsigned_of((*it)[0], "data_offsets"));
  ASSIGN_OR_RETURN(const uint64_t end, unsigned_of((*it)[1], "data_offsets"));
  if (begin > end) return corrupt("data_offsets end at {} before they begin at {}", end, begin);
  if (end > available) {
    return corrupt("wants {} bytes at offset {}, file has {} \u2014 truncated download?",
                   end - begin, begin, available);
  }
  return std::array<uint64_t, 2>{begin, end};
}

Result<std::vector<int64_t>> read_shape(const Json& entry) {
  const auto it = entry.find("shape");
  if (it == entry.end() || !it->is_array()) return corrupt("shape is not a list");
  if (it->size() > kMaxRank) return corrupt("rank {}, the limit is {}", it->size(), kMaxRank);
  std::vector<int64_t> shape;
  for (const Json& extent : *it) {
    ASSIGN_OR_RETURN(const uint64_t value, unsigned_of(extent, "shape"));
    if (value > uint64_t{1} << 48) return corrupt("an extent of {}", value);
    shape.push_back(static_cast<int64_t>(value));
  }
  return shape;
}

Result<uint64_t> bytes_of(const std::vector<int64_t>& shape, int64_t element_bytes) {
  if (std::find(shape.begin(), shape.end(), 0) != shape.end()) return uint64_t{0};
  uint64_t bytes = static_cast<uint64_t>(element_bytes);
  for (int64_t extent : shape) {
    if (__builtin_mul_overflow(bytes, static_cast<uint64_t>(extent), &bytes)) {
      return corrupt("shape overflows");
    }
  }
  return bytes;
}

Result<StoredTensor> read_entry(const Json& entry, uint64_t data_begin, uint64_t file_bytes) {
  if (!entry.is_object()) return corrupt("its entry is not an object");
  StoredTensor tensor;
  const auto dtype = entry.find("dtype");
  if (dtype == entry.end() || !dtype->is_string()) return corrupt("dtype is not a string");
  tensor.dtype_name = shown(dtype->get_ref<const std::string&>());
  ASSIGN_OR_RETURN(tensor.shape, read_shape(entry));
  ASSIGN_OR_RETURN(const auto range, read_range(entry, file_bytes - data_begin));
  tensor.offset = data_begin + range[0];
  tensor.bytes = range[1] - range[0];
  const auto* type = std::find_if(kTypes.begin(), kTypes.end(),
                                  [&](const auto& t) { return t.name == tensor.dtype_name; });
  if (type == kTypes.end()) return tensor;  // a newer type: only its range is known
  tensor.dtype = type->dtype;
  ASSIGN_OR_RETURN(const uint64_t wanted, bytes_of(tensor.shape, type->bytes));
  if (wanted != tensor.bytes) {
    return corrupt("{} of that shape has {} bytes, data_offsets hold {}", tensor.dtype_name, wanted,
                   tensor.bytes);
  }
  return tensor;
}

/// The format allows neither overlaps nor bytes that belong to no tensor.
Status check_coverage(const SafetensorsHeader& header, uint64_t file_bytes) {
  std::vector<const std::pair<const std::string, StoredTensor>*> sorted;
  for (const auto& item : header.tensors) sorted.push_back(&item);
  std::sort(sorted.begin(), sorted.end(), [](auto* a, auto* b) {
    return std::pair(a->second.offset, a->second.bytes) <
           std::pair(b->second.offset, b->second.bytes);
  });
  uint64_t position = header.bytes;
  for (const auto* item : sorted) {
    if (item->second.offset < position) {
      return corrupt("tensor '{}' overlaps another at offset {}", shown(item->first),
                     item->second.offset - header.bytes);
    }
    if (item->second.offset > position) {
      return corrupt("{} bytes before tensor '{}' belong to none", item->second.offset - position,
                     shown(item->first));
    }
    position += item->second.bytes;
  }
  if (position != file_bytes) {
    return corrupt("{} bytes after the last tensor belong to none", file_bytes - position);
  }
  return ok_status();
}

}  // namespace

Result<SafetensorsHeader> parse_safetensors(std::string_view file) {
  uint64_t length = 0;
  if (file.size() < sizeof(length)) {
    return corrupt("{} bytes are no safetensors file \u2014 truncated download?", file.size());
  }
  std::memcpy(&length, file.data(), sizeof(length));
  if (length > kMaxHeaderBytes) {
    return corrupt("header of {} bytes, the limit is {}; is it a safetensors file?", length,
                   kMaxHeaderBytes);
  }
  if (length > file.size() - sizeof(length)) {
    return corrupt("header wants {} bytes, file has {} \u2014 truncated download?", length,
                   file.size() - sizeof(length));
  }
  const Result<Json> json = parse_json(file.substr(sizeof(length), length), kMaxDepth);
  if (!json.ok()) return corrupt("header: {}", json.error().message);
  if (!json->is_object()) return corrupt("header is not a JSON object");
  SafetensorsHeader header;
  header.bytes = sizeof(length) + length;
  for (const auto& [name, entry] : json->items()) {
    if (name == "__metadata__") continue;
    Result<StoredTensor> tensor = read_entry(entry, header.bytes, file.size());
    if (!tensor.ok()) {
      return corrupt("tensor '{}' {}", shown(name), std::move(tensor).error().message);
    }
    header.tensors.emplace(name, *std::move(tensor));
  }
  RETURN_IF_ERROR(check_coverage(header, file.size()));
  return header;
}

struct Safetensors::Impl {
  MappedFile file;
  SafetensorsHeader header;
  std::mutex mutex;  // of copies
  std::map<const StoredTensor*, std::unique_ptr<std::byte[]>> copies;

  /// Bytes of a tensor at an address its dtype may be read from.
  const std::byte* data(const StoredTensor& tensor) {
    const std::byte* mapped = file.bytes().data() + tensor.offset;
    const auto alignment = static_cast<uintptr_t>(dtype_bytes(*tensor.dtype));
    if (reinterpret_cast<uintptr_t>(mapped) % alignment == 0) return mapped;
    const std::scoped_lock lock(mutex);
    std::unique_ptr<std::byte[]>& copy = copies[&tensor];
    if (copy == nullptr) {
      copy = std::make_unique_for_overwrite<std::byte[]>(tensor.bytes);
      std::memcpy(copy.get(), mapped, tensor.bytes);
    }
    return copy.get();
  }
};

Safetensors::Safetensors(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Safetensors::Safetensors(Safetensors&&) noexcept = default;
Safetensors& Safetensors::operator=(Safetensors&&) noexcept = default;
Safetensors::~Safetensors() = default;

Result<Safetensors> Safetensors::open(const std::string& path) {
  auto impl = std::make_unique<Impl>();
  ASSIGN_OR_RETURN(impl->file, MappedFile::open(path));
  Result<SafetensorsHeader> header = parse_safetensors(impl->file.text());
  if (!header.ok()) return header.error().with_context(path);
  impl->header = *std::move(header);
  return Safetensors(std::move(impl));
}

const std::string& Safetensors::path() const { return impl_->file.path(); }
const SafetensorsHeader& Safetensors::header() const { return impl_->header; }
std::string_view Safetensors::header_text() const {
  return impl_->file.text().substr(0, impl_->header.bytes);
}

Result<TensorView> Safetensors::tensor(std::string_view name) const {
  const auto it = impl_->header.tensors.find(name);
  if (it == impl_->header.tensors.end()) return not_found("{}: no tensor '{}'", path(), name);
  const StoredTensor& tensor = it->second;
  if (!tensor.dtype) {
    return unsupported("{}: tensor '{}' is {}, which this build does not read", path(), name,
                       tensor.dtype_name);
  }
  if (tensor.shape.size() > Shape::kMaxRank) {
    return unsupported("{}: tensor '{}' has rank {}, the limit is {}", path(), name,
                       tensor.shape.size(), Shape::kMaxRank);
  }
  TensorView view;
  view.data = const_cast<std::byte*>(impl_->data(tensor));  // mapped read-only; nobody writes
  view.dtype = *tensor.dtype;
  view.shape = Shape(std::span<const int64_t>(tensor.shape));
  return view;
}

}  // namespace ramjet::checkpoint
