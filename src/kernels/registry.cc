#include "kernels/registry.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/env.h"
#include "base/log.h"
#include "kernels/cpu/cpu_tactics.h"
#include "kernels/cpu/isa.h"
#include "kernels/reference/reference.h"

namespace ramjet::kernels {
namespace {

constexpr std::array<std::string_view, 4> kIsaNames = {"scalar", "avx2", "avx512", "amx"};
constexpr std::string_view kPrefix = "cpu-";

std::optional<Isa> parse_isa(std::string_view name) {
  const auto* const it = std::find(kIsaNames.begin(), kIsaNames.end(), name);
  if (it == kIsaNames.end()) return std::nullopt;
  return static_cast<Isa>(it - kIsaNames.begin());
}

int64_t row_major_bytes(int64_t rows, int64_t cols, DType dtype) {
  return rows * cols * dtype_bytes(dtype);
}
void row_major_pack(std::span<const std::byte> source, int64_t, int64_t, DType,
                    std::span<std::byte> out) {
  if (!source.empty()) std::memcpy(out.data(), source.data(), source.size());
}
constexpr WeightLayout kRowMajor = {"row_major", row_major_bytes, row_major_pack};

}  // namespace

std::string Target::name() const {
  return std::string(kPrefix) + std::string(kIsaNames[static_cast<size_t>(isa)]);
}

Result<Target> Target::parse(std::string_view name) {
  if (name.starts_with(kPrefix)) {
    if (const auto isa = parse_isa(name.substr(kPrefix.size()))) return Target{*isa};
  }
  return invalid_argument(
      "target '{}' is unknown: this build has cpu-scalar, cpu-avx2, cpu-avx512 and cpu-amx", name);
}

Target Target::host() {
  static const Target target = [] {
    Isa isa = cpu::machine_isa();
    if (const auto cap = env("RAMJET_ISA")) {
      const auto parsed = parse_isa(*cap);
      if (!parsed) log_warn("RAMJET_ISA={} is none of scalar, avx2, avx512, amx: ignored", *cap);
      if (parsed) isa = std::min(isa, *parsed);
    }
    return Target{isa};
  }();
  return target;
}

std::vector<const Tactic*> find_tactics(const OpDesc& desc, const Target& target) {
  std::vector<const Tactic*> found;
  for (const Tactic& tactic : cpu::tactics()) {
    if (tactic.op == desc.op && tactic.isa <= target.isa && tactic.supports(desc)) {
      found.push_back(&tactic);
    }
  }
  std::stable_sort(found.begin(), found.end(),
                   [](const Tactic* a, const Tactic* b) { return a->priority > b->priority; });
  const Tactic* const oracle = reference_tactic(desc.op);
  if (oracle != nullptr && oracle->supports(desc)) found.push_back(oracle);
  return found;
}

const Tactic* find_tactic(std::string_view name) {
  for (const auto& table : {cpu::tactics(), reference::tactics()}) {
    for (const Tactic& tactic : table) {
      if (tactic.name == name) return &tactic;
    }
  }
  return nullptr;
}

const Tactic* reference_tactic(OpKind op) {
  for (const Tactic& tactic : reference::tactics()) {
    if (tactic.op == op) return &tactic;
  }
  return nullptr;
}

const WeightLayout* find_layout(std::string_view name) {
  if (name == kRowMajor.name) return &kRowMajor;
  for (const WeightLayout& layout : cpu::layouts()) {
    if (layout.name == name) return &layout;
  }
  return nullptr;
}

}  // namespace ramjet::kernels
