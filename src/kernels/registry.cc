#include "kernels/registry.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/env.h"
#include "base/log.h"
#include "device/cuda/handles.h"
#include "kernels/cpu/cpu_tactics.h"
#include "kernels/cpu/isa.h"
#include "kernels/cuda/cuda_tactics.h"
#include "kernels/reference/reference.h"

namespace ramjet::kernels {
namespace {

constexpr std::array<std::string_view, 4> kIsaNames = {"scalar", "avx2", "avx512", "amx"};
constexpr std::string_view kPrefix = "cpu-";

struct Arch {
  int sm;
  std::string_view name;
};
constexpr std::array<Arch, 3> kArchs = {{{80, "sm_80"}, {89, "sm_89"}, {90, "sm_90a"}}};

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
  for (const Arch& arch : kArchs) {
    if (arch.sm == sm) return std::string(arch.name);
  }
  return std::string(kPrefix) + std::string(kIsaNames[static_cast<size_t>(isa)]);
}

Result<Target> Target::parse(std::string_view name) {
  if (name.starts_with(kPrefix)) {
    if (const auto isa = parse_isa(name.substr(kPrefix.size()))) return Target{*isa};
  }
  for (const Arch& arch : kArchs) {
    if (arch.name == name) return Target{Isa::kScalar, arch.sm};
  }
  return invalid_argument(
      "target '{}' is unknown: this build has cpu-scalar, cpu-avx2, cpu-avx512, cpu-amx, sm_80, "
      "sm_89 and sm_90a",
      name);
}

bool Target::runs_on(const Target& machine) const {
  if (!is_gpu()) return isa <= machine.isa;
  return sm == 90 ? machine.sm == 90 : machine.sm >= sm && machine.sm < 90;
}

std::optional<Target> Target::gpu() {
  if (env("RAMJET_DEVICE") == "cpu") return std::nullopt;
  const auto devices = device::cuda::list_devices();
  if (!devices.ok() || devices->empty()) return std::nullopt;
  const device::cuda::DeviceInfo& first = devices->front();
  const int sm = first.major * 10 + first.minor;
  if (sm == 90) return Target{Isa::kScalar, 90};
  if (sm >= 80 && sm < 90) return Target{Isa::kScalar, sm == 89 ? 89 : 80};
  return std::nullopt;
}

bool Target::runs_here() const {
  if (!is_gpu()) return runs_on(host());
  const auto machine = gpu();
  return machine && runs_on(*machine);
}

Target Target::best() { return gpu().value_or(host()); }

DeviceFacts device_facts(const Target& target) {
  DeviceFacts facts;
  facts.sm = target.sm;
  if (target.sm == 80) {  // A100
    facts = {80, 108, 163 << 10, 40 << 20, 1.8, 280, 0};
  } else if (target.sm == 89) {  // L40S
    facts = {89, 142, 99 << 10, 96 << 20, 0.8, 330, 660};
  }
  if (!target.is_gpu() || !target.runs_here()) return facts;
  const auto devices = device::cuda::list_devices();
  if (!devices.ok() || devices->empty()) return facts;
  facts.multiprocessors = devices->front().multiprocessors;
  facts.shared_bytes = devices->front().shared_bytes;
  facts.l2_bytes = devices->front().l2_bytes;
  return facts;
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

namespace {

void add_candidates(std::span<const Tactic> table, const OpDesc& desc, const Target& target,
                    std::vector<const Tactic*>& found) {
  for (const Tactic& tactic : table) {
    const bool runs = target.is_gpu() ? tactic.sm <= target.sm : tactic.isa <= target.isa;
    if (tactic.op == desc.op && runs && tactic.supports(desc)) found.push_back(&tactic);
  }
}

const Tactic* named(std::span<const Tactic> table, std::string_view name) {
  for (const Tactic& tactic : table) {
    if (tactic.name == name) return &tactic;
  }
  return nullptr;
}

}  // namespace

std::string_view layout_of(const Tactic& tactic, size_t operand) {
  if (!has_layout(tactic.op, operand)) return kRowMajor.name;
  const bool down = tactic.op == OpKind::kMoe && operand == 2 && !tactic.down_layout.empty();
  return down ? tactic.down_layout : tactic.weight_layout;
}

std::string own_sum_order(const OpDesc&, const Tactic& tactic) { return std::string(tactic.name); }

std::vector<const Tactic*> find_tactics(const OpDesc& desc, const Target& target, bool invariant) {
  std::vector<const Tactic*> found;
  if (target.is_gpu()) {
    for (const auto table : cuda::tactic_tables()) add_candidates(table, desc, target, found);
  } else {
    add_candidates(cpu::tactics(), desc, target, found);
  }
  std::stable_sort(found.begin(), found.end(),
                   [](const Tactic* a, const Tactic* b) { return a->priority > b->priority; });
  if (!invariant) {
    std::erase_if(found, [](const Tactic* tactic) { return tactic->invariant_only; });
  }
  if (target.is_gpu()) return found;
  const Tactic* const oracle = reference_tactic(desc.op);
  if (oracle != nullptr && oracle->supports(desc)) found.push_back(oracle);
  return found;
}

const Tactic* find_tactic(std::string_view name) {
  for (const auto table : {cpu::tactics(), reference::tactics()}) {
    if (const Tactic* tactic = named(table, name)) return tactic;
  }
  for (const auto table : cuda::tactic_tables()) {
    if (const Tactic* tactic = named(table, name)) return tactic;
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
  for (const auto layouts : {cpu::layouts(), cuda::layouts()}) {
    for (const WeightLayout& layout : layouts) {
      if (layout.name == name) return &layout;
    }
  }
  return nullptr;
}

}  // namespace ramjet::kernels
