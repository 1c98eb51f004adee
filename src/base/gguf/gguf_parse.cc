#include <algorithm>
#include <array>
#include <cstring>

#include "base/gguf/gguf.h"

namespace ramjet::gguf {
namespace {

constexpr uint64_t kMaxNameBytes = 65535;
constexpr uint32_t kMaxRank = 4;
constexpr std::string_view kAlignmentKey = "general.alignment";

// Names and block layouts: the type traits of ggml.c.
constexpr std::array kTypes = {
    TensorType{Encoding::kF32, "F32", 1, 4},
    TensorType{Encoding::kF16, "F16", 1, 2},
    TensorType{Encoding::kQ4_0, "Q4_0", 32, 18},
    TensorType{Encoding::kQ4_1, "Q4_1", 32, 20},
    TensorType{Encoding::kQ5_0, "Q5_0", 32, 22},
    TensorType{Encoding::kQ5_1, "Q5_1", 32, 24},
    TensorType{Encoding::kQ8_0, "Q8_0", 32, 34},
    TensorType{Encoding{9}, "Q8_1", 32, 36},
    TensorType{Encoding::kQ2_K, "Q2_K", 256, 84},
    TensorType{Encoding::kQ3_K, "Q3_K", 256, 110},
    TensorType{Encoding::kQ4_K, "Q4_K", 256, 144},
    TensorType{Encoding::kQ5_K, "Q5_K", 256, 176},
    TensorType{Encoding::kQ6_K, "Q6_K", 256, 210},
    TensorType{Encoding{15}, "Q8_K", 256, 292},
    TensorType{Encoding{16}, "IQ2_XXS", 256, 66},
    TensorType{Encoding{17}, "IQ2_XS", 256, 74},
    TensorType{Encoding{18}, "IQ3_XXS", 256, 98},
    TensorType{Encoding{19}, "IQ1_S", 256, 50},
    TensorType{Encoding::kIq4Nl, "IQ4_NL", 32, 18},
    TensorType{Encoding{21}, "IQ3_S", 256, 110},
    TensorType{Encoding{22}, "IQ2_S", 256, 82},
    TensorType{Encoding::kIq4Xs, "IQ4_XS", 256, 136},
    TensorType{Encoding{24}, "I8", 1, 1},
    TensorType{Encoding{25}, "I16", 1, 2},
    TensorType{Encoding{26}, "I32", 1, 4},
    TensorType{Encoding{27}, "I64", 1, 8},
    TensorType{Encoding{28}, "F64", 1, 8},
    TensorType{Encoding{29}, "IQ1_M", 256, 56},
    TensorType{Encoding::kBf16, "BF16", 1, 2},
    TensorType{Encoding{34}, "TQ1_0", 256, 54},
    TensorType{Encoding{35}, "TQ2_0", 256, 66},
    TensorType{Encoding::kMxfp4, "MXFP4", 32, 17},
    TensorType{Encoding{40}, "NVFP4", 64, 36},
    TensorType{Encoding{41}, "Q1_0", 128, 18},
};

/// Bytes of one value; 0 for strings and arrays.
uint64_t value_bytes(ValueType type) {
  switch (type) {
    case ValueType::kU8:
    case ValueType::kI8:
    case ValueType::kBool: return 1;
    case ValueType::kU16:
    case ValueType::kI16: return 2;
    case ValueType::kU32:
    case ValueType::kI32:
    case ValueType::kF32: return 4;
    case ValueType::kU64:
    case ValueType::kI64:
    case ValueType::kF64: return 8;
    default: return 0;
  }
}

std::string shown(std::string_view name) { return std::string(name.substr(0, 128)); }

class Cursor {
 public:
  explicit Cursor(std::string_view file) : file_(file) {}
  uint64_t offset() const { return offset_; }
  uint64_t left() const { return file_.size() - offset_; }

  Result<std::string_view> take(uint64_t bytes) {
    if (bytes > left()) {
      return corrupt("wants {} bytes at offset {}, file has {} \u2014 truncated download?", bytes,
                     offset_, file_.size());
    }
    const std::string_view out = file_.substr(offset_, bytes);
    offset_ += bytes;
    return out;
  }
  template <class T>
  Result<T> number() {
    ASSIGN_OR_RETURN(const std::string_view bytes, take(sizeof(T)));
    T out;
    std::memcpy(&out, bytes.data(), sizeof(T));
    return out;
  }
  /// A string with its length; the text alone comes back.
  Result<std::string_view> string() {
    ASSIGN_OR_RETURN(const uint64_t size, number<uint64_t>());
    return take(size);
  }
  Result<std::string_view> name() {
    ASSIGN_OR_RETURN(const std::string_view out, string());
    if (out.empty() || out.size() > kMaxNameBytes) {
      return corrupt("a name of {} bytes, the limit is {}", out.size(), kMaxNameBytes);
    }
    return out;
  }

 private:
  std::string_view file_;
  uint64_t offset_ = 0;
};

Result<ValueType> read_type(Cursor& cursor) {
  ASSIGN_OR_RETURN(const uint32_t type, cursor.number<uint32_t>());
  if (type > static_cast<uint32_t>(ValueType::kF64)) return corrupt("has unknown type {}", type);
  return static_cast<ValueType>(type);
}

Status check_flags(const Value& value) {
  const bool good =
      value.type != ValueType::kBool ||
      std::all_of(value.bytes.begin(), value.bytes.end(), [](char c) { return c == 0 || c == 1; });
  if (!good) return corrupt("is a bool that is neither 0 nor 1");
  return ok_status();
}

Result<Value> read_value(Cursor& cursor) {
  Value value;
  ASSIGN_OR_RETURN(value.type, read_type(cursor));
  if (value.type == ValueType::kArray) {
    value.is_array = true;
    ASSIGN_OR_RETURN(value.type, read_type(cursor));
    if (value.type == ValueType::kArray) return unsupported("is an array of arrays");
    ASSIGN_OR_RETURN(value.count, cursor.number<uint64_t>());
  }
  const uint64_t size = value_bytes(value.type);
  const uint64_t least = size > 0 ? size : sizeof(uint64_t);
  if (value.count > cursor.left() / least) {
    return corrupt("wants {} elements at offset {}, file has {} bytes \u2014 truncated download?",
                   value.count, cursor.offset(), cursor.offset() + cursor.left());
  }
  if (size > 0) {
    ASSIGN_OR_RETURN(value.bytes, cursor.take(size * value.count));
    RETURN_IF_ERROR(check_flags(value));
    return value;
  }
  Cursor start = cursor;
  for (uint64_t i = 0; i < value.count; ++i) RETURN_IF_ERROR(cursor.string());
  ASSIGN_OR_RETURN(value.bytes, start.take(cursor.offset() - start.offset()));
  return value;
}

Status read_metadata(Cursor& cursor, uint64_t count, Header& header) {
  for (uint64_t i = 0; i < count; ++i) {
    const Result<std::string_view> key = cursor.name();
    if (!key.ok()) return corrupt("metadata key {} of {} {}", i + 1, count, key.error().message);
    const Result<Value> value = read_value(cursor);
    if (!value.ok()) return value.error().with_context("metadata '" + shown(*key) + "'");
    if (!header.metadata.emplace(*key, *value).second) {
      return corrupt("metadata '{}' is there twice", shown(*key));
    }
  }
  return ok_status();
}

Status read_alignment(Header& header) {
  if (header.find(kAlignmentKey) == nullptr) return ok_status();
  ASSIGN_OR_RETURN(const int64_t alignment, header.integer(kAlignmentKey));
  if (alignment < 8 || alignment > 1 << 30 || (alignment & (alignment - 1)) != 0) {
    return corrupt("metadata '{}' is {}, it must be a power of two from 8 on", kAlignmentKey,
                   alignment);
  }
  header.alignment = static_cast<uint64_t>(alignment);
  return ok_status();
}

/// Offsets are left as the file has them: from the beginning of the data.
Result<TensorInfo> read_tensor(Cursor& cursor) {
  TensorInfo tensor;
  ASSIGN_OR_RETURN(const uint32_t rank, cursor.number<uint32_t>());
  if (rank > kMaxRank) return corrupt("has {} extents, the limit is {}", rank, kMaxRank);
  uint64_t elements = 1;
  for (uint32_t i = 0; i < rank; ++i) {
    ASSIGN_OR_RETURN(const uint64_t extent, cursor.number<uint64_t>());
    if (extent == 0 || extent > uint64_t{1} << 48 ||
        __builtin_mul_overflow(elements, extent, &elements)) {
      return corrupt("has an extent of {}", extent);
    }
    tensor.shape.insert(tensor.shape.begin(), static_cast<int64_t>(extent));
  }
  ASSIGN_OR_RETURN(const uint32_t type, cursor.number<uint32_t>());
  tensor.type = find_tensor_type(type);
  if (tensor.type == nullptr) return unsupported("is of type {}, which is not known", type);
  const int64_t row = rank == 0 ? 1 : tensor.shape.back();
  if (row % tensor.type->block_elements != 0) {
    return corrupt("has rows of {} elements, which are no whole blocks of {} in {}", row,
                   tensor.type->block_elements, tensor.type->name);
  }
  const auto blocks = elements / static_cast<uint64_t>(tensor.type->block_elements);
  if (__builtin_mul_overflow(blocks, static_cast<uint64_t>(tensor.type->block_bytes),
                             &tensor.bytes)) {
    return corrupt("has extents whose product overflows");
  }
  ASSIGN_OR_RETURN(tensor.offset, cursor.number<uint64_t>());
  return tensor;
}

Status read_tensors(Cursor& cursor, uint64_t count, Header& header) {
  for (uint64_t i = 0; i < count; ++i) {
    const Result<std::string_view> name = cursor.name();
    if (!name.ok()) return corrupt("tensor {} of {} {}", i + 1, count, name.error().message);
    Result<TensorInfo> tensor = read_tensor(cursor);
    if (!tensor.ok()) {
      return Error{tensor.error().code,
                   "tensor '" + shown(*name) + "' " + std::move(tensor).error().message};
    }
    if (!header.tensors.emplace(*name, *std::move(tensor)).second) {
      return corrupt("tensor '{}' is there twice", shown(*name));
    }
  }
  return ok_status();
}

/// Makes offsets absolute; each tensor aligned, within the file and apart from all others.
Status place_tensors(Header& header, uint64_t file_bytes) {
  std::vector<const std::pair<const std::string_view, TensorInfo>*> sorted;
  for (auto& item : header.tensors) {
    TensorInfo& tensor = item.second;
    if (tensor.offset % header.alignment != 0) {
      return corrupt("tensor '{}' is misaligned: offset {} is no multiple of {}", shown(item.first),
                     tensor.offset, header.alignment);
    }
    const uint64_t available = file_bytes - std::min(file_bytes, header.data_begin);
    if (tensor.offset > available || tensor.bytes > available - tensor.offset) {
      return corrupt(
          "tensor '{}' wants {} bytes at offset {} of the data, file has {} \u2014 truncated "
          "download?",
          shown(item.first), tensor.bytes, tensor.offset, available);
    }
    tensor.offset += header.data_begin;
    sorted.push_back(&item);
  }
  std::sort(sorted.begin(), sorted.end(),
            [](auto* a, auto* b) { return a->second.offset < b->second.offset; });
  for (size_t i = 1; i < sorted.size(); ++i) {
    const TensorInfo& before = sorted[i - 1]->second;
    if (before.offset + before.bytes > sorted[i]->second.offset) {
      return corrupt("tensor '{}' overlaps '{}' at offset {}", shown(sorted[i]->first),
                     shown(sorted[i - 1]->first), sorted[i]->second.offset);
    }
  }
  return ok_status();
}

Status check_version(uint32_t version) {
  if (version == 2 || version == 3) return ok_status();
  if (version == 1)
    return unsupported("GGUF version 1; convert the model again (2 and 3 are read)");
  if ((version & 0xffff) == 0) return unsupported("a big-endian GGUF; only little-endian is read");
  return unsupported("GGUF version {}; 2 and 3 are read", version);
}

}  // namespace

const TensorType* find_tensor_type(uint32_t id) {
  const auto* it = std::find_if(kTypes.begin(), kTypes.end(), [id](const TensorType& type) {
    return static_cast<uint32_t>(type.encoding) == id;
  });
  return it == kTypes.end() ? nullptr : it;
}

Result<Header> parse(std::string_view file) {
  Cursor cursor(file);
  const Result<std::string_view> magic = cursor.take(4);
  if (!magic.ok() || *magic != "GGUF") return corrupt("not a GGUF file: it does not begin so");
  Header header;
  ASSIGN_OR_RETURN(header.version, cursor.number<uint32_t>());
  RETURN_IF_ERROR(check_version(header.version));
  ASSIGN_OR_RETURN(const uint64_t tensors, cursor.number<uint64_t>());
  ASSIGN_OR_RETURN(const uint64_t keys, cursor.number<uint64_t>());
  RETURN_IF_ERROR(read_metadata(cursor, keys, header));
  RETURN_IF_ERROR(read_alignment(header));
  RETURN_IF_ERROR(read_tensors(cursor, tensors, header));
  const uint64_t alignment = header.alignment;
  header.data_begin = (cursor.offset() + alignment - 1) / alignment * alignment;
  RETURN_IF_ERROR(place_tensors(header, file.size()));
  header.data_begin = std::min<uint64_t>(header.data_begin, file.size());
  return header;
}

}  // namespace ramjet::gguf
