#include "kernels/cuda/gemm_sm90.h"

#include <algorithm>

#include "kernels/cuda/device_sources.h"

namespace ramjet::kernels::cuda {
namespace {

constexpr int kBlockW = 128;
constexpr int kRowBytes = 128;
constexpr int kSharedLimit = 227 << 10;

int stage_bytes(const GemmSm90Config& c) { return (kBlockW + c.block_t) * kRowBytes; }

int store_bytes(const GemmSm90Config& c) {
  const int tokens = std::min(c.block_t, 32);
  const int width = c.gated ? kBlockW / 2 : kBlockW;
  return (tokens * (width + 8) * 2 + 127) / 128 * 128;
}

int64_t k_blocks(const GemmSm90Config& c) { return c.k * (c.fp8 ? 1 : 2) / kRowBytes; }

/// wgmma_product() for 64 x n: an instruction with n / 2 accumulators is too long to write by hand.
std::string wgmma_product(int n, bool fp8) {
  const int count = n / 2;
  std::string registers, operands;
  for (int i = 0; i < count; ++i) {
    registers += fmt::format("{}%{}", i == 0 ? "" : ", ", i);
    operands += fmt::format("{}\"+f\"(d[{}])", i == 0 ? "" : ", ", i);
  }
  const std::string shape =
      fp8 ? fmt::format("m64n{}k32.f32.e4m3.e4m3", n) : fmt::format("m64n{}k16.f32.bf16.bf16", n);
  return fmt::format(
      "__device__ __forceinline__ void wgmma_product(float (&d)[{}], uint64_t a, uint64_t b, int "
      "add) {{\n  asm volatile(\"{{\\n.reg .pred p;\\nsetp.ne.b32 p, %{}, 0;\\n"
      "wgmma.mma_async.sync.aligned.{} {{{}}}, %{}, %{}, p, 1, 1{};\\n}}\\n\"\n"
      "      : {}\n      : \"l\"(a), \"l\"(b), \"r\"(add));\n}}\n",
      count, count + 2, shape, registers, count, count + 1, fp8 ? "" : ", 0, 0", operands);
}

}  // namespace

int gemm_sm90_stages(const GemmSm90Config& config) {
  if (config.stages > 0) return config.stages;
  const int room = kSharedLimit - 1024 - store_bytes(config) - 256;
  return std::min(12, room / stage_bytes(config));
}

unsigned gemm_sm90_shared_bytes(const GemmSm90Config& config) {
  const int stages = gemm_sm90_stages(config);
  return static_cast<unsigned>(stages * stage_bytes(config) + store_bytes(config) + stages * 16);
}

uint64_t gemm_sm90_flags_offset(const GemmSm90Config& config, int blocks) {
  return static_cast<uint64_t>(blocks) * kBlockW * static_cast<uint64_t>(config.block_t) * 4;
}
uint64_t gemm_sm90_workspace_bytes(const GemmSm90Config& config, int blocks) {
  return gemm_sm90_flags_offset(config, blocks) + static_cast<uint64_t>(blocks) * 4;
}

int gemm_sm90_grid(const GemmSm90Config& config, int64_t tokens, int multiprocessors) {
  const int64_t tiles_t = (tokens + config.block_t - 1) / config.block_t;
  const int64_t units = config.n / kBlockW * tiles_t * k_blocks(config);
  return static_cast<int>(std::clamp<int64_t>(units / 4, 1, multiprocessors));
}

device::cuda::NvrtcSource gemm_sm90_source(const GemmSm90Config& c) {
  device::cuda::NvrtcSource source;
  source.name = fmt::format("gemm_sm90_n{}_k{}_t{}{}{}", c.n, c.k, c.block_t, c.fp8 ? "_fp8" : "",
                            c.gated ? "_gated" : "");
  source.arch = "sm_90a";
  for (const DeviceSource& s : device_sources()) source.headers.push_back({s.name, s.text});
  source.source = "#include \"hopper.cuh\"\n" + wgmma_product(c.block_t, c.fp8) +
                  "#include \"gemm_sm90.cuh\"\n";
  source.defines = {fmt::format("GEMM_N={}", c.n),
                    fmt::format("GEMM_K={}", c.k),
                    fmt::format("GEMM_FP8={}", c.fp8 ? 1 : 0),
                    fmt::format("BLOCK_T={}", c.block_t),
                    fmt::format("STAGES={}", gemm_sm90_stages(c)),
                    fmt::format("GROUP_T={}", c.group_t),
                    fmt::format("GATED={}", c.gated ? 1 : 0),
                    fmt::format("HAS_BIAS={}", c.bias ? 1 : 0),
                    fmt::format("HAS_RESIDUAL={}", c.residual ? 1 : 0)};
  return source;
}

int64_t gemm_sm90_weight_offset(int64_t row, int64_t column_byte, int64_t k_bytes) {
  constexpr int64_t kTileRows = 64, kUnit = 16;
  const int64_t tile = row / kTileRows * (k_bytes / kRowBytes) + column_byte / kRowBytes;
  const int64_t r = row % kTileRows;
  const int64_t unit = column_byte % kRowBytes / kUnit;
  return (tile * kTileRows + r) * kRowBytes + (unit ^ (r % 8)) * kUnit + column_byte % kUnit;
}

}  // namespace ramjet::kernels::cuda
