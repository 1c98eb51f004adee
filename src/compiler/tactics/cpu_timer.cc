#include "compiler/tactics/cpu_timer.h"

#include <ramjet/version.h>

#include <algorithm>
#include <cstring>

#include "base/clock.h"
#include "base/hash.h"
#include "compiler/rewrite.h"
#include "compiler/tactics/machine.h"
#include "engine/dummy_weights.h"
#include "op/fields.h"

namespace ramjet::compiler {
namespace {

constexpr size_t kPoolBytes = size_t{64} << 20;
constexpr size_t kAlignment = 64;

std::string key_of(const kernels::Tactic& tactic, const kernels::OpDesc& desc,
                   std::span<const int64_t> symbols) {
  std::string text = attrs_text(*desc.attrs);
  for (const auto* types : {&desc.inputs, &desc.outputs}) {
    for (const TensorType& type : *types) {
      text += fmt::format("|{}{}", dtype_name(type.dtype), type.shape(symbols).text());
    }
  }
  return fmt::format("{} {}", tactic.name, hash128(text).hex());
}

/// Bytes that hold finite numbers of moderate size in any packed arrangement.
void fill(std::span<std::byte> out, DType dtype) {
  constexpr size_t kPattern = 64 << 10;
  const size_t first = std::min(out.size(), kPattern);
  engine::fill_dummy(out.first(first), dtype, 1, engine::DummyKind::kMatrix);
  for (size_t done = first; done < out.size(); done *= 2) {
    std::memcpy(out.data() + done, out.data(), std::min(done, out.size() - done));
  }
}

}  // namespace

CpuTimer::CpuTimer(int num_threads, TimingLimits limits)
    : threads_(num_threads),
      limits_(limits),
      cache_(fmt::format("{} {} {}", machine_name(), threads_.size(), RAMJET_VERSION)) {}

std::string CpuTimer::machine() const { return machine_name(); }

bool CpuTimer::can_time(OpKind op) const {
  switch (op) {
    case OpKind::kMatmul:
    case OpKind::kPointwise:
    case OpKind::kNorm:
    case OpKind::kAddNorm:
    case OpKind::kReduce:
    case OpKind::kSoftmax:
    case OpKind::kTranspose:
    case OpKind::kConv: return true;
    default: return false;
  }
}

void CpuTimer::reserve(DType dtype, size_t bytes) {
  std::vector<std::byte>& memory = pools_[dtype];
  const size_t wanted = std::max(kPoolBytes, bytes) + kAlignment;
  if (memory.size() >= wanted) return;
  memory = std::vector<std::byte>(wanted);
  fill(memory, dtype);
}

std::byte* CpuTimer::slice(DType dtype, size_t bytes) {
  std::vector<std::byte>& memory = pools_[dtype];
  const size_t room = memory.size() - kAlignment;
  if (cursor_ + bytes > room) cursor_ = 0;
  const auto address = reinterpret_cast<uintptr_t>(memory.data());
  std::byte* const start = memory.data() + (kAlignment - address % kAlignment) % kAlignment;
  std::byte* const result = start + cursor_;
  cursor_ = (cursor_ + bytes + kAlignment - 1) / kAlignment * kAlignment;
  return result;
}

Result<std::optional<double>> CpuTimer::us(const kernels::Tactic& tactic,
                                           const kernels::OpDesc& desc,
                                           std::span<const int64_t> symbols) {
  const std::string key = key_of(tactic, desc, symbols);
  if (const auto known = cache_.find(key)) return known;
  return again(tactic, desc, symbols);
}

Result<std::optional<double>> CpuTimer::again(const kernels::Tactic& tactic,
                                              const kernels::OpDesc& desc,
                                              std::span<const int64_t> symbols) {
  if (spent_s_ >= limits_.budget_s) return std::optional<double>();
  const double start = SteadyClock::instance().now_s();
  double us = measure(tactic, desc, symbols);
  spent_s_ += SteadyClock::instance().now_s() - start;
  const std::string key = key_of(tactic, desc, symbols);
  if (const auto known = cache_.find(key)) us = std::min(us, *known);
  cache_.add(key, us);
  return std::optional<double>(us);
}

double CpuTimer::measure(const kernels::Tactic& tactic, const kernels::OpDesc& desc,
                         std::span<const int64_t> symbols) {
  const int laid_out = has_layout(desc.op, 1) ? 1 : -1;  // of the ops that are timed
  const kernels::WeightLayout* layout = kernels::find_layout(tactic.weight_layout);
  std::vector<TensorView> inputs, outputs;
  std::vector<size_t> bytes;
  for (size_t i = 0; i < desc.inputs.size(); ++i) {
    const TensorType& type = desc.inputs[i];
    inputs.push_back({nullptr, type.dtype, type.shape(symbols)});
    size_t size = static_cast<size_t>(inputs[i].bytes());
    if (static_cast<int>(i) == laid_out && layout != nullptr) {
      size = static_cast<size_t>(
          layout->packed_bytes(inputs[i].shape.rows(), inputs[i].shape.back(), type.dtype));
    }
    bytes.push_back(size);
    reserve(type.dtype, size);
  }
  for (size_t i = 0; i < inputs.size(); ++i) inputs[i].data = slice(inputs[i].dtype, bytes[i]);
  std::vector<std::vector<std::byte>> memory;
  auto allocate = [&](size_t size) {
    memory.emplace_back(size + kAlignment);
    const auto address = reinterpret_cast<uintptr_t>(memory.back().data());
    return memory.back().data() + (kAlignment - address % kAlignment) % kAlignment;
  };
  for (const TensorType& type : desc.outputs) {
    outputs.push_back({nullptr, type.dtype, type.shape(symbols)});
    outputs.back().data = allocate(static_cast<size_t>(outputs.back().bytes()));
  }
  const size_t scratch =
      tactic.workspace_bytes == nullptr ? 0 : static_cast<size_t>(tactic.workspace_bytes(desc));
  const kernels::KernelCall call{desc.attrs, inputs,   outputs, {allocate(scratch), scratch},
                                 {},         &threads_};
  const Clock& clock = SteadyClock::instance();
  double total = 0, best = 0;
  for (int run = 0; run <= limits_.max_runs; ++run) {
    // Weights rotate; activations stay, as they would be in cache.
    if (laid_out >= 0) {
      const size_t i = static_cast<size_t>(laid_out);
      inputs[i].data = slice(inputs[i].dtype, bytes[i]);
    }
    const double start = clock.now_s();
    tactic.run(call);
    const double seconds = clock.now_s() - start;
    const bool warm_up = run == 0;
    if (!warm_up || seconds > limits_.per_point_s) {
      best = best == 0 ? seconds : std::min(best, seconds);
    }
    total += seconds;
    if (total > limits_.per_point_s && (run >= 3 || seconds > limits_.per_point_s)) break;
  }
  return std::max(best * 1e6, 1e-3);
}

}  // namespace ramjet::compiler
