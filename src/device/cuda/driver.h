// The CUDA driver API as a table of functions found at run time: our own prototypes, no CUDA
// header.
//
// Names, values and layouts follow NVIDIA's CUDA Driver API reference (13.0). One table a process,
// loaded at first use and kept; thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/result.h"

namespace ramjet::device::cuda {

using CuResult = int;
using CuDevice = int;
using CuDevicePtr = uint64_t;
using CuContext = struct CuContextOpaque*;
using CuStream = struct CuStreamOpaque*;
using CuEvent = struct CuEventOpaque*;
using CuModule = struct CuModuleOpaque*;
using CuFunction = struct CuFunctionOpaque*;
using CuGraph = struct CuGraphOpaque*;
using CuGraphExec = struct CuGraphExecOpaque*;

inline constexpr CuResult kCuSuccess = 0;
inline constexpr CuResult kCuErrorOutOfMemory = 2;
inline constexpr CuResult kCuErrorNotReady = 600;

enum CuDeviceAttribute : int {
  kCuMaxSharedMemoryPerBlockOptin = 97,
  kCuMultiprocessorCount = 16,
  kCuL2CacheSize = 38,
  kCuClockRate = 13,
  kCuComputeCapabilityMajor = 75,
  kCuComputeCapabilityMinor = 76,
  kCuMaxRegistersPerMultiprocessor = 82,
};
enum CuFunctionAttribute : int {
  kCuFuncSharedBytes = 1,
  kCuFuncLocalBytes = 3,
  kCuFuncNumRegs = 4,
  kCuFuncMaxDynamicSharedBytes = 8,
  kCuFuncNonPortableClusterSize = 14,
};

enum CuLaunchAttributeId : int {
  kCuLaunchClusterDimension = 4,
  kCuLaunchProgrammaticStreamSerialization = 6,
};
struct CuLaunchAttribute {
  CuLaunchAttributeId id;
  char pad[4];
  union {
    char bytes[64];
    struct {
      unsigned x, y, z;
    } cluster;
    int programmatic;
  } value;
};
struct CuLaunchConfig {
  unsigned grid_x, grid_y, grid_z;
  unsigned block_x, block_y, block_z;
  unsigned shared_bytes;
  CuStream stream;
  CuLaunchAttribute* attributes;
  unsigned num_attributes;
};

/// CUDA_MEMCPY2D; memory types: 1 host, 2 device.
struct CuMemcpy2d {
  size_t from_x, from_y;
  int from_type;
  const void* from_host;
  CuDevicePtr from_device;
  void* from_array;
  size_t from_pitch;
  size_t to_x, to_y;
  int to_type;
  void* to_host;
  CuDevicePtr to_device;
  void* to_array;
  size_t to_pitch;
  size_t width_bytes, height;
};

/// Opaque TMA descriptor, passed to kernels as a __grid_constant__ parameter.
struct alignas(64) CuTensorMap {
  uint64_t opaque[16];
};
enum CuTensorMapDataType : int {
  kCuTensorU8 = 0,
  kCuTensorF16 = 6,
  kCuTensorF32 = 7,
  kCuTensorBf16 = 9,
};
enum CuTensorMapSwizzle : int {
  kCuSwizzleNone = 0,
  kCuSwizzle32 = 1,
  kCuSwizzle64 = 2,
  kCuSwizzle128 = 3
};

// name, exported symbol, parameters
#define RAMJET_CUDA_DRIVER(X)                                                                      \
  X(init, "cuInit", (unsigned flags))                                                              \
  X(driver_version, "cuDriverGetVersion", (int* version))                                          \
  X(error_name, "cuGetErrorName", (CuResult error, const char** text))                             \
  X(error_string, "cuGetErrorString", (CuResult error, const char** text))                         \
  X(device_count, "cuDeviceGetCount", (int* count))                                                \
  X(device_get, "cuDeviceGet", (CuDevice * device, int ordinal))                                   \
  X(device_name, "cuDeviceGetName", (char* name, int length, CuDevice device))                     \
  X(device_attribute, "cuDeviceGetAttribute", (int* value, int attribute, CuDevice device))        \
  X(device_total_memory, "cuDeviceTotalMem_v2", (size_t * bytes, CuDevice device))                 \
  X(primary_context_retain, "cuDevicePrimaryCtxRetain", (CuContext * context, CuDevice device))    \
  X(primary_context_release, "cuDevicePrimaryCtxRelease_v2", (CuDevice device))                    \
  X(context_set_current, "cuCtxSetCurrent", (CuContext context))                                   \
  X(context_synchronize, "cuCtxSynchronize", ())                                                   \
  X(memory_info, "cuMemGetInfo_v2", (size_t * free_bytes, size_t * total_bytes))                   \
  X(memory_alloc, "cuMemAlloc_v2", (CuDevicePtr * pointer, size_t bytes))                          \
  X(memory_free, "cuMemFree_v2", (CuDevicePtr pointer))                                            \
  X(host_alloc, "cuMemHostAlloc", (void** pointer, size_t bytes, unsigned flags))                  \
  X(host_free, "cuMemFreeHost", (void* pointer))                                                   \
  X(host_register, "cuMemHostRegister_v2", (void* pointer, size_t bytes, unsigned flags))          \
  X(host_unregister, "cuMemHostUnregister", (void* pointer))                                       \
  X(copy_to_device, "cuMemcpyHtoDAsync_v2",                                                        \
    (CuDevicePtr to, const void* from, size_t bytes, CuStream stream))                             \
  X(copy_to_host, "cuMemcpyDtoHAsync_v2",                                                          \
    (void* to, CuDevicePtr from, size_t bytes, CuStream stream))                                   \
  X(copy_on_device, "cuMemcpyDtoDAsync_v2",                                                        \
    (CuDevicePtr to, CuDevicePtr from, size_t bytes, CuStream stream))                             \
  X(copy_rows, "cuMemcpy2DAsync_v2", (const CuMemcpy2d* copy, CuStream stream))                    \
  X(fill_bytes, "cuMemsetD8Async",                                                                 \
    (CuDevicePtr to, unsigned char value, size_t bytes, CuStream stream))                          \
  X(fill_words, "cuMemsetD32Async",                                                                \
    (CuDevicePtr to, unsigned value, size_t words, CuStream stream))                               \
  X(stream_create, "cuStreamCreate", (CuStream * stream, unsigned flags))                          \
  X(stream_destroy, "cuStreamDestroy_v2", (CuStream stream))                                       \
  X(stream_synchronize, "cuStreamSynchronize", (CuStream stream))                                  \
  X(stream_query, "cuStreamQuery", (CuStream stream))                                              \
  X(stream_wait_event, "cuStreamWaitEvent", (CuStream stream, CuEvent event, unsigned flags))      \
  X(stream_begin_capture, "cuStreamBeginCapture_v2", (CuStream stream, int mode))                  \
  X(stream_end_capture, "cuStreamEndCapture", (CuStream stream, CuGraph * graph))                  \
  X(event_create, "cuEventCreate", (CuEvent * event, unsigned flags))                              \
  X(event_destroy, "cuEventDestroy_v2", (CuEvent event))                                           \
  X(event_record, "cuEventRecord", (CuEvent event, CuStream stream))                               \
  X(event_query, "cuEventQuery", (CuEvent event))                                                  \
  X(event_synchronize, "cuEventSynchronize", (CuEvent event))                                      \
  X(event_elapsed, "cuEventElapsedTime", (float* ms, CuEvent start, CuEvent end))                  \
  X(module_load, "cuModuleLoadData", (CuModule * module, const void* image))                       \
  X(module_unload, "cuModuleUnload", (CuModule module))                                            \
  X(module_function, "cuModuleGetFunction",                                                        \
    (CuFunction * function, CuModule module, const char* name))                                    \
  X(function_attribute, "cuFuncGetAttribute", (int* value, int attribute, CuFunction function))    \
  X(function_set_attribute, "cuFuncSetAttribute", (CuFunction function, int attribute, int value)) \
  X(occupancy, "cuOccupancyMaxActiveBlocksPerMultiprocessor",                                      \
    (int* blocks, CuFunction function, int block_size, size_t shared_bytes))                       \
  X(launch, "cuLaunchKernelEx",                                                                    \
    (const CuLaunchConfig* config, CuFunction function, void** params, void** extra))              \
  X(graph_instantiate, "cuGraphInstantiateWithFlags",                                              \
    (CuGraphExec * exec, CuGraph graph, unsigned long long flags))                                 \
  X(graph_launch, "cuGraphLaunch", (CuGraphExec exec, CuStream stream))                            \
  X(graph_exec_destroy, "cuGraphExecDestroy", (CuGraphExec exec))                                  \
  X(graph_destroy, "cuGraphDestroy", (CuGraph graph))                                              \
  X(tensor_map_encode, "cuTensorMapEncodeTiled",                                                   \
    (CuTensorMap * map, int type, unsigned rank, void* address, const uint64_t* extents,           \
     const uint64_t* strides, const uint32_t* box, const uint32_t* element_strides,                \
     int interleave, int swizzle, int l2_promotion, int oob_fill))

struct Driver {
#define X(name, symbol, parameters) CuResult(*name) parameters = nullptr;
  RAMJET_CUDA_DRIVER(X)
#undef X
  int version = 0;  // 13000 for CUDA 13.0
};

/// The process's table, initialised. Errors: kUnavailable (no driver library, no device),
/// kUnsupported (a driver too old: names the symbol).
Result<const Driver*> driver();

/// Ok, or an Error that names the call, CUDA's own name and text for it, and a remedy where one is
/// known. Out of memory is kResourceExhausted; all else kInternal.
Status check(CuResult result, std::string_view call);

}  // namespace ramjet::device::cuda
