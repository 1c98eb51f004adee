// cuBLASLt as a yardstick: found at run time where it exists; Ramjet's engines do not use it.
//
// Names, values and layouts follow NVIDIA's cuBLASLt reference (13.0); no header of it is needed.
// A device must be current (CudaDevice::bind). One thread at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/result.h"
#include "device/cuda/handles.h"

namespace ramjet::device::cuda {

/// y[m, n] = x[m, k] w[n, k]^T, row-major, f32 sums; bf16 throughout, or e4m3 operands with one
/// scale each and bf16 results.
struct LtShape {
  int64_t m = 0, n = 0, k = 0;
  bool fp8 = false;
};

class CublasLt {
 public:
  /// Errors: kUnavailable naming the library and where it was looked for.
  static Result<std::unique_ptr<CublasLt>> create();
  ~CublasLt();

  /// "13.0.2"
  std::string version() const;
  /// Takes the library's first choice for the shape. Errors: kUnsupported if it has none.
  Status plan(const LtShape& shape);
  /// Queues what was planned. Addresses are 256-aligned. `scale`: an f32 1 on the device.
  Status run(CuDevicePtr w, CuDevicePtr x, CuDevicePtr y, CuDevicePtr scale, const Stream& stream);

 private:
  struct Impl;
  explicit CublasLt(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace ramjet::device::cuda
