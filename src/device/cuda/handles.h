// Owners of CUDA objects. Each frees what it holds; all are movable, none copyable.
//
// A CudaDevice must be current on the calling thread (bind()) for everything else. Thread-safety is
// the driver's: objects may be used from several threads, one at a time.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "device/cuda/driver.h"

namespace ramjet::device::cuda {

struct DeviceInfo {
  int ordinal = 0;
  std::string name;
  int major = 0, minor = 0;  // compute capability
  int multiprocessors = 0;
  int64_t l2_bytes = 0;
  int64_t memory_bytes = 0;
  int64_t shared_bytes = 0;  // most a block may opt in to
  std::string arch() const;  // "sm_90a" where such code runs, else "sm_80", ...
};

/// Every device of this machine. Errors: kUnavailable.
Result<std::vector<DeviceInfo>> list_devices();

/// The primary context of one device.
class CudaDevice {
 public:
  static Result<std::unique_ptr<CudaDevice>> open(int ordinal);
  ~CudaDevice();
  const DeviceInfo& info() const { return info_; }
  /// Makes it current on the calling thread.
  Status bind() const;
  struct Memory {
    int64_t free_bytes = 0;
    int64_t total_bytes = 0;
  };
  Result<Memory> memory() const;
  Status synchronize() const;

 private:
  explicit CudaDevice(DeviceInfo info, CuContext context)
      : info_(std::move(info)), context_(context) {}
  DeviceInfo info_;
  CuContext context_ = nullptr;
};

/// A handle H freed by Traits::free(table, H).
template <class H, class Traits>
class Handle {
 public:
  Handle() = default;
  explicit Handle(H handle) : handle_(handle) {}
  Handle(Handle&& other) noexcept : handle_(std::exchange(other.handle_, H{})) {}
  Handle& operator=(Handle&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  ~Handle() {
    if (handle_ == H{}) return;
    if (auto table = driver(); table.ok()) Traits::free(**table, handle_);
  }
  H get() const { return handle_; }
  explicit operator bool() const { return handle_ != H{}; }

 private:
  H handle_{};
};

struct StreamTraits {
  static void free(const Driver& d, CuStream h) { d.stream_destroy(h); }
};
struct EventTraits {
  static void free(const Driver& d, CuEvent h) { d.event_destroy(h); }
};
struct ModuleTraits {
  static void free(const Driver& d, CuModule h) { d.module_unload(h); }
};
struct GraphTraits {
  static void free(const Driver& d, CuGraphExec h) { d.graph_exec_destroy(h); }
};
struct DeviceMemoryTraits {
  static void free(const Driver& d, CuDevicePtr h) { d.memory_free(h); }
};
struct PinnedMemoryTraits {
  static void free(const Driver& d, void* h) { d.host_free(h); }
};

/// A non-blocking stream.
class Stream : public Handle<CuStream, StreamTraits> {
 public:
  using Handle::Handle;
  static Result<Stream> create();
  Status synchronize() const;
};

class Event : public Handle<CuEvent, EventTraits> {
 public:
  using Handle::Handle;
  /// `timed` events cost more; only they measure.
  static Result<Event> create(bool timed);
  Status record(const Stream& stream) const;
  Status synchronize() const;
  /// Milliseconds from `start` to this; both recorded, timed and done.
  Result<float> elapsed_ms_since(const Event& start) const;
};

class DeviceBuffer : public Handle<CuDevicePtr, DeviceMemoryTraits> {
 public:
  DeviceBuffer() = default;
  static Result<DeviceBuffer> allocate(size_t bytes);
  size_t bytes() const { return bytes_; }
  Status upload(std::span<const std::byte> from, size_t offset, const Stream& stream) const;
  Status download(std::span<std::byte> to, size_t offset, const Stream& stream) const;
  Status fill(unsigned char value, const Stream& stream) const;
  /// Rows of `row_bytes` that lie end to end in `from`, each `pitch` bytes after the last.
  Status upload_rows(std::span<const std::byte> from, size_t row_bytes, size_t pitch,
                     const Stream& stream) const;

 private:
  DeviceBuffer(CuDevicePtr pointer, size_t bytes) : Handle(pointer), bytes_(bytes) {}
  size_t bytes_ = 0;
};

/// Page-locked host memory.
class PinnedBuffer : public Handle<void*, PinnedMemoryTraits> {
 public:
  PinnedBuffer() = default;
  static Result<PinnedBuffer> allocate(size_t bytes);
  std::span<std::byte> span() const { return {static_cast<std::byte*>(get()), bytes_}; }

 private:
  PinnedBuffer(void* pointer, size_t bytes) : Handle(pointer), bytes_(bytes) {}
  size_t bytes_ = 0;
};

struct LaunchShape {
  unsigned grid[3] = {1, 1, 1};
  unsigned block[3] = {1, 1, 1};
  unsigned cluster[3] = {1, 1, 1};
  unsigned shared_bytes = 0;
  bool programmatic = false;  // may start while its predecessor drains (griddepcontrol)
};

class Module : public Handle<CuModule, ModuleTraits> {
 public:
  using Handle::Handle;
  static Result<Module> load(std::string_view cubin);
  /// The kernel, with its dynamic shared memory limit raised to `shared_bytes`.
  Result<CuFunction> function(const char* name, unsigned shared_bytes) const;
};

/// `params` points at each kernel argument in order.
Status launch(CuFunction function, const LaunchShape& shape, std::span<void*> params,
              const Stream& stream);

/// What was launched on a stream between begin_capture and here, as one launch.
class GraphExec : public Handle<CuGraphExec, GraphTraits> {
 public:
  using Handle::Handle;
  static Status begin_capture(const Stream& stream);
  static Result<GraphExec> end_capture(const Stream& stream);
  Status launch(const Stream& stream) const;
};

}  // namespace ramjet::device::cuda
