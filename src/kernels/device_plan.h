// DevicePlan: how a tactic runs one op on a GPU: sources to compile, launches, scratch memory.
//
// Written while an engine is built, never at run time. Values.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/kernel.h"
#include "op/launch.h"

namespace ramjet::kernels {

struct Tactic;

/// The GPU that an engine is for. Without one at hand the figures are those of the arch's
/// flagship.
struct DeviceFacts {
  int sm = 90;  // 80, 89, 90
  int multiprocessors = 132;
  int64_t shared_bytes = 227 << 10;  // most a block may have
  int64_t l2_bytes = 50 << 20;
  // What the cost model thinks it reaches.
  double tbps = 4.3;
  double bf16_tflops = 790;
  double fp8_tflops = 1350;
};

/// One translation unit; all sources of cuda/device are its headers, of those it includes.
struct DeviceModule {
  std::string name;                  // for messages and profiles: "gemm_n4096_k4096_t16"
  std::string source;                // "#include \"norm.cuh\"\n"
  std::vector<std::string> defines;  // "HEAD_DIM=128": sorted into the kernel's identity
  bool operator==(const DeviceModule&) const = default;
};

struct DevicePlan {
  std::vector<DeviceModule> modules;
  std::vector<DeviceLaunch> launches;  // in order; `module` indexes modules
  int64_t workspace_bytes = 0;         // with every symbol at its maximum
  int64_t flags_bytes = 0;             // of zeroed words (LaunchArgKind::kFlags)
};

/// Fills `plan` for a desc that the tactic supports. `variant` is the tactic's own.
using DevicePlanner = void (*)(const OpDesc& desc, const Tactic& tactic, const DeviceFacts& facts,
                               DevicePlan& plan);

}  // namespace ramjet::kernels
