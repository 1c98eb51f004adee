#include "runtime/session/adapter_memory.h"

#include <algorithm>
#include <cstring>
#include <optional>

#include "tensor/half.h"

namespace ramjet::runtime {
namespace {

constexpr std::string_view kScales = "lora_scales", kA = "lora_a.", kB = "lora_b.";
constexpr size_t kAlignment = 64;
constexpr uint64_t kMaxBytes = uint64_t{1} << 44;

size_t padded(int64_t bytes) {
  return (static_cast<size_t>(bytes) + kAlignment - 1) / kAlignment * kAlignment;
}

void put(DType dtype, std::byte* out, int64_t i, float value) {
  switch (dtype) {
    case DType::kBf16: reinterpret_cast<bf16_t*>(out)[i] = f32_to_bf16(value); return;
    case DType::kF16: reinterpret_cast<f16_t*>(out)[i] = f32_to_f16(value); return;
    default: reinterpret_cast<float*>(out)[i] = value; return;
  }
}

bool is_matrix(const TensorType& type) {
  const bool stored =
      type.dtype == DType::kF32 || type.dtype == DType::kBf16 || type.dtype == DType::kF16;
  return stored && type.rank() == 3 &&
         std::ranges::all_of(type.dims, [](const Dim& d) { return d.fixed() && d.offset > 0; });
}

Error misplaced(const engine::Binding& input) {
  return corrupt("the program's input '{}' is no part of an adapter's memory as this build has it",
                 input.name);
}

/// A slot of a [slots, rank, n] tensor.
std::byte* slot_of(const TensorView& view, int64_t slot) {
  return static_cast<std::byte*>(view.data) + slot * (view.bytes() / view.shape[0]);
}

}  // namespace

bool AdapterMemory::holds(std::string_view input) {
  return input == kScales || input.starts_with(kA) || input.starts_with(kB);
}

Result<AdapterMemory> AdapterMemory::create(const engine::Program& program) {
  AdapterMemory result;
  result.views_.resize(program.inputs.size());
  std::optional<size_t> scales;
  std::map<std::string_view, int> parts;  // 1: a, 2: b
  uint64_t bytes = 0;
  for (size_t i = 0; i < program.inputs.size(); ++i) {
    const engine::Binding& input = program.inputs[i];
    if (!holds(input.name)) continue;
    const TensorType& type = input.type;
    if (input.name == kScales) {
      if (type.dtype != DType::kF32 || type.rank() != 1 || !type.dims[0].fixed()) {
        return misplaced(input);
      }
      scales = i;
    } else {
      if (!is_matrix(type)) return misplaced(input);
      const bool is_a = input.name.starts_with(kA);
      const std::string module = input.name.substr(kA.size());
      (is_a ? result.modules_[module].a : result.modules_[module].b) = i;
      parts[std::string_view(input.name).substr(kA.size())] |= is_a ? 1 : 2;
      result.slots_ = type.dims[0].offset, result.rank_ = type.dims[1].offset;
    }
    result.views_[i] = {nullptr, type.dtype, type.shape({})};
    bytes += padded(result.views_[i].bytes());
    if (bytes > kMaxBytes) return misplaced(input);
  }
  if (bytes == 0) return result;
  if (!scales) return corrupt("the program has adapters but no input '{}'", kScales);
  result.scales_ = *scales;
  for (const auto& [module, found] : parts) {
    if (found != 3) return corrupt("the program has half an adapter for '{}'", module);
  }
  for (size_t i = 0; i < program.inputs.size(); ++i) {
    const TensorView& view = result.views_[i];
    if (view.shape.rank() == 0) continue;
    const bool same =
        view.shape[0] == result.slots_ && (i == *scales || view.shape[1] == result.rank_);
    if (!same) return misplaced(program.inputs[i]);
  }
  ASSIGN_OR_RETURN(result.memory_, AlignedMemory::allocate(bytes, "the adapters"));
  std::byte* at = result.memory_.data();
  for (TensorView& view : result.views_) {
    if (view.shape.rank() == 0) continue;
    view.data = at;
    at += padded(view.bytes());
  }
  return result;
}

Status AdapterMemory::check(const LoraWeights& weights) const {
  for (const LoraWeights::Part& part : weights.parts) {
    const auto found = modules_.find(part.module);
    if (found == modules_.end()) {
      return invalid_argument("the engine has no adapters for '{}'", part.module);
    }
    const auto elements = [&](size_t input) {
      return static_cast<size_t>(part.rank * views_[input].shape[2]);
    };
    if (part.rank < 0 || part.rank > rank_ || part.a.size() != elements(found->second.a) ||
        part.b.size() != elements(found->second.b)) {
      return invalid_argument("'{}': rank {} with {} and {} values do not fit the engine's rank {}",
                              part.module, part.rank, part.a.size(), part.b.size(), rank_);
    }
  }
  return ok_status();
}

Status AdapterMemory::set(int32_t slot, const LoraWeights& weights) {
  if (slot < 0 || slot >= slots_) return invalid_argument("slot {} of {}", slot, slots_);
  RETURN_IF_ERROR(check(weights));
  for (const auto& [name, module] : modules_) {
    for (const size_t input : {module.a, module.b}) {
      const TensorView& view = views_[input];
      std::memset(slot_of(view, slot), 0, static_cast<size_t>(view.bytes() / slots_));
    }
  }
  for (const LoraWeights::Part& part : weights.parts) {
    const Module& module = modules_.find(part.module)->second;
    const TensorView &a = views_[module.a], &b = views_[module.b];
    for (size_t i = 0; i < part.a.size(); ++i) {
      put(a.dtype, slot_of(a, slot), static_cast<int64_t>(i), part.a[i]);
    }
    const int64_t out = b.shape[2];
    for (int64_t n = 0; n < out; ++n) {
      for (int64_t r = 0; r < part.rank; ++r) {
        put(b.dtype, slot_of(b, slot), r * out + n, part.b[static_cast<size_t>(n * part.rank + r)]);
      }
    }
  }
  views_[scales_].as<float>()[slot] = weights.scale;
  return ok_status();
}

}  // namespace ramjet::runtime
