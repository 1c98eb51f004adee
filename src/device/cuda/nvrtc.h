// NVRTC at run time: device source to machine code while an engine is built. Serving needs none.
//
// Thread-safe: compile() may run on several threads at once.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace ramjet::device::cuda {

/// A source that others include by name; nothing is read from disk.
struct NvrtcHeader {
  std::string_view name;
  std::string_view source;
};

struct NvrtcSource {
  std::string name;    // shown in messages
  std::string source;  // CUDA C++17, no headers but those given
  std::string arch;    // "sm_90a"
  std::vector<NvrtcHeader> headers;
  std::vector<std::string> defines;  // "BLOCK_M=128"
};

struct NvrtcResult {
  std::string cubin;
  std::string log;  // ptxas' resource lines: registers, spills, shared memory
};

/// "13.0". Errors: kUnavailable when libnvrtc is absent.
Result<std::string> nvrtc_version();
/// Errors: kUnavailable; kInvalidArgument with the compiler's log (a defect of the source).
Result<NvrtcResult> nvrtc_compile(const NvrtcSource& source);

}  // namespace ramjet::device::cuda
