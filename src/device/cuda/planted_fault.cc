#include "device/cuda/planted_fault.h"

#include "device/cuda/handles.h"

namespace ramjet::device::cuda {
namespace {

// PTX, which the driver itself compiles: no NVRTC is needed.
constexpr char kWild[] = R"(.version 7.0
.target sm_80
.address_size 64
.visible .entry wild(.param .u64 address)
{
  .reg .u64 %p;
  .reg .u32 %one;
  ld.param.u64 %p, [address];
  cvta.to.global.u64 %p, %p;
  mov.u32 %one, 1;
  st.global.u32 [%p], %one;
  ret;
}
)";

}  // namespace

Status plant_illegal_address() {
  // All outlive the call: a faulting context cannot free them, and the process ends soon.
  static auto& device = *new std::unique_ptr<CudaDevice>;
  static Module& module = *new Module;
  static Stream& stream = *new Stream;
  ASSIGN_OR_RETURN(device, CudaDevice::open(0));  // current on this thread from here on
  ASSIGN_OR_RETURN(module, Module::load(kWild));
  ASSIGN_OR_RETURN(stream, Stream::create());
  ASSIGN_OR_RETURN(const CuFunction wild, module.function("wild", 0));
  uint64_t address = 16;
  void* parameters[] = {&address};
  return launch(wild, LaunchShape{}, parameters, stream);
}

}  // namespace ramjet::device::cuda
