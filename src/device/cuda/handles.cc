#include "device/cuda/handles.h"

namespace ramjet::device::cuda {
namespace {

Result<int> attribute(const Driver& d, CuDevice device, CuDeviceAttribute which) {
  int value = 0;
  RETURN_IF_ERROR(check(d.device_attribute(&value, which, device), "cuDeviceGetAttribute"));
  return value;
}

Result<DeviceInfo> device_info(const Driver& d, int ordinal) {
  CuDevice device = 0;
  RETURN_IF_ERROR(check(d.device_get(&device, ordinal), "cuDeviceGet"));
  DeviceInfo info;
  info.ordinal = ordinal;
  char name[256] = {};
  RETURN_IF_ERROR(check(d.device_name(name, sizeof(name), device), "cuDeviceGetName"));
  info.name = name;
  ASSIGN_OR_RETURN(info.major, attribute(d, device, kCuComputeCapabilityMajor));
  ASSIGN_OR_RETURN(info.minor, attribute(d, device, kCuComputeCapabilityMinor));
  ASSIGN_OR_RETURN(info.multiprocessors, attribute(d, device, kCuMultiprocessorCount));
  ASSIGN_OR_RETURN(info.l2_bytes, attribute(d, device, kCuL2CacheSize));
  ASSIGN_OR_RETURN(info.shared_bytes, attribute(d, device, kCuMaxSharedMemoryPerBlockOptin));
  size_t bytes = 0;
  RETURN_IF_ERROR(check(d.device_total_memory(&bytes, device), "cuDeviceTotalMem"));
  info.memory_bytes = static_cast<int64_t>(bytes);
  return info;
}

}  // namespace

std::string DeviceInfo::arch() const {
  const std::string plain = fmt::format("sm_{}{}", major, minor);
  return major >= 9 ? plain + "a" : plain;  // wgmma and setmaxnreg are in the "a" sets
}

Result<std::vector<DeviceInfo>> list_devices() {
  ASSIGN_OR_RETURN(const Driver* d, driver());
  int count = 0;
  RETURN_IF_ERROR(check(d->device_count(&count), "cuDeviceGetCount"));
  std::vector<DeviceInfo> devices;
  for (int i = 0; i < count; ++i) {
    ASSIGN_OR_RETURN(DeviceInfo info, device_info(*d, i));
    devices.push_back(std::move(info));
  }
  return devices;
}

Result<std::unique_ptr<CudaDevice>> CudaDevice::open(int ordinal) {
  ASSIGN_OR_RETURN(const Driver* d, driver());
  int count = 0;
  RETURN_IF_ERROR(check(d->device_count(&count), "cuDeviceGetCount"));
  if (ordinal < 0 || ordinal >= count) {
    return invalid_argument("device {}: this machine has {}", ordinal, count);
  }
  ASSIGN_OR_RETURN(DeviceInfo info, device_info(*d, ordinal));
  CuContext context = nullptr;
  RETURN_IF_ERROR(check(d->primary_context_retain(&context, ordinal), "cuDevicePrimaryCtxRetain"));
  auto device = std::unique_ptr<CudaDevice>(new CudaDevice(std::move(info), context));
  RETURN_IF_ERROR(device->bind());
  return device;
}

CudaDevice::~CudaDevice() {
  if (auto d = driver(); d.ok()) (*d)->primary_context_release(info_.ordinal);
}

Status CudaDevice::bind() const {
  ASSIGN_OR_RETURN(const Driver* d, driver());
  return check(d->context_set_current(context_), "cuCtxSetCurrent");
}

Result<CudaDevice::Memory> CudaDevice::memory() const {
  ASSIGN_OR_RETURN(const Driver* d, driver());
  size_t free_bytes = 0, total_bytes = 0;
  RETURN_IF_ERROR(check(d->memory_info(&free_bytes, &total_bytes), "cuMemGetInfo"));
  return Memory{static_cast<int64_t>(free_bytes), static_cast<int64_t>(total_bytes)};
}

Status CudaDevice::synchronize() const {
  ASSIGN_OR_RETURN(const Driver* d, driver());
  return check(d->context_synchronize(), "cuCtxSynchronize");
}

Result<Stream> Stream::create() {
  ASSIGN_OR_RETURN(const Driver* d, driver());
  CuStream stream = nullptr;
  constexpr unsigned kNonBlocking = 1;
  RETURN_IF_ERROR(check(d->stream_create(&stream, kNonBlocking), "cuStreamCreate"));
  return Stream(stream);
}

Status Stream::synchronize() const {
  ASSIGN_OR_RETURN(const Driver* d, driver());
  return check(d->stream_synchronize(get()), "cuStreamSynchronize");
}

Result<Event> Event::create(bool timed) {
  ASSIGN_OR_RETURN(const Driver* d, driver());
  CuEvent event = nullptr;
  constexpr unsigned kDisableTiming = 2;
  RETURN_IF_ERROR(check(d->event_create(&event, timed ? 0 : kDisableTiming), "cuEventCreate"));
  return Event(event);
}

Status Event::record(const Stream& stream) const {
  ASSIGN_OR_RETURN(const Driver* d, driver());
  return check(d->event_record(get(), stream.get()), "cuEventRecord");
}

Status Event::synchronize() const {
  ASSIGN_OR_RETURN(const Driver* d, driver());
  return check(d->event_synchronize(get()), "cuEventSynchronize");
}

Result<float> Event::elapsed_ms_since(const Event& start) const {
  ASSIGN_OR_RETURN(const Driver* d, driver());
  float ms = 0;
  RETURN_IF_ERROR(check(d->event_elapsed(&ms, start.get(), get()), "cuEventElapsedTime"));
  return ms;
}

Result<DeviceBuffer> DeviceBuffer::allocate(size_t bytes) {
  ASSIGN_OR_RETURN(const Driver* d, driver());
  CuDevicePtr pointer = 0;
  Status status = check(d->memory_alloc(&pointer, bytes), "cuMemAlloc");
  if (!status.ok()) return status.error().with_context(fmt::format("{} bytes", bytes));
  return DeviceBuffer(pointer, bytes);
}

Status DeviceBuffer::upload(std::span<const std::byte> from, size_t offset,
                            const Stream& stream) const {
  ASSIGN_OR_RETURN(const Driver* d, driver());
  return check(d->copy_to_device(get() + offset, from.data(), from.size(), stream.get()),
               "cuMemcpyHtoDAsync");
}

Status DeviceBuffer::download(std::span<std::byte> to, size_t offset, const Stream& stream) const {
  ASSIGN_OR_RETURN(const Driver* d, driver());
  return check(d->copy_to_host(to.data(), get() + offset, to.size(), stream.get()),
               "cuMemcpyDtoHAsync");
}

Status DeviceBuffer::fill(unsigned char value, const Stream& stream) const {
  ASSIGN_OR_RETURN(const Driver* d, driver());
  return check(d->fill_bytes(get(), value, bytes_, stream.get()), "cuMemsetD8Async");
}

Status DeviceBuffer::upload_rows(std::span<const std::byte> from, size_t row_bytes, size_t pitch,
                                 const Stream& stream) const {
  if (from.empty()) return ok_status();
  ASSIGN_OR_RETURN(const Driver* d, driver());
  CuMemcpy2d copy = {};
  constexpr int kHost = 1, kDevice = 2;
  copy.from_type = kHost;
  copy.from_host = from.data();
  copy.from_pitch = row_bytes;
  copy.to_type = kDevice;
  copy.to_device = get();
  copy.to_pitch = pitch;
  copy.width_bytes = row_bytes;
  copy.height = from.size() / row_bytes;
  return check(d->copy_rows(&copy, stream.get()), "cuMemcpy2DAsync");
}

Result<PinnedBuffer> PinnedBuffer::allocate(size_t bytes) {
  ASSIGN_OR_RETURN(const Driver* d, driver());
  void* pointer = nullptr;
  RETURN_IF_ERROR(check(d->host_alloc(&pointer, bytes, 0), "cuMemHostAlloc"));
  return PinnedBuffer(pointer, bytes);
}

Result<Module> Module::load(std::string_view cubin) {
  ASSIGN_OR_RETURN(const Driver* d, driver());
  CuModule module = nullptr;
  RETURN_IF_ERROR(check(d->module_load(&module, cubin.data()), "cuModuleLoadData"));
  return Module(module);
}

Result<CuFunction> Module::function(const char* name, unsigned shared_bytes) const {
  ASSIGN_OR_RETURN(const Driver* d, driver());
  CuFunction function = nullptr;
  RETURN_IF_ERROR(check(d->module_function(&function, get(), name), "cuModuleGetFunction"));
  constexpr unsigned kDefaultLimit = 48 << 10;
  if (shared_bytes > kDefaultLimit) {
    RETURN_IF_ERROR(check(d->function_set_attribute(function, kCuFuncMaxDynamicSharedBytes,
                                                    static_cast<int>(shared_bytes)),
                          "cuFuncSetAttribute"));
  }
  return function;
}

Status launch(CuFunction function, const LaunchShape& shape, std::span<void*> params,
              const Stream& stream) {
  ASSIGN_OR_RETURN(const Driver* d, driver());
  CuLaunchAttribute attributes[2] = {};
  unsigned count = 0;
  if (shape.cluster[0] * shape.cluster[1] * shape.cluster[2] > 1) {
    attributes[count].id = kCuLaunchClusterDimension;
    attributes[count++].value.cluster = {shape.cluster[0], shape.cluster[1], shape.cluster[2]};
  }
  if (shape.programmatic) {
    attributes[count].id = kCuLaunchProgrammaticStreamSerialization;
    attributes[count++].value.programmatic = 1;
  }
  const CuLaunchConfig config = {shape.grid[0],  shape.grid[1],  shape.grid[2],      shape.block[0],
                                 shape.block[1], shape.block[2], shape.shared_bytes, stream.get(),
                                 attributes,     count};
  return check(d->launch(&config, function, params.data(), nullptr), "cuLaunchKernelEx");
}

Status GraphExec::begin_capture(const Stream& stream) {
  ASSIGN_OR_RETURN(const Driver* d, driver());
  constexpr int kThreadLocal = 1;
  return check(d->stream_begin_capture(stream.get(), kThreadLocal), "cuStreamBeginCapture");
}

Result<GraphExec> GraphExec::end_capture(const Stream& stream) {
  ASSIGN_OR_RETURN(const Driver* d, driver());
  CuGraph graph = nullptr;
  RETURN_IF_ERROR(check(d->stream_end_capture(stream.get(), &graph), "cuStreamEndCapture"));
  CuGraphExec exec = nullptr;
  const CuResult result = d->graph_instantiate(&exec, graph, 0);
  d->graph_destroy(graph);
  RETURN_IF_ERROR(check(result, "cuGraphInstantiate"));
  return GraphExec(exec);
}

Status GraphExec::launch(const Stream& stream) const {
  ASSIGN_OR_RETURN(const Driver* d, driver());
  return check(d->graph_launch(get(), stream.get()), "cuGraphLaunch");
}

}  // namespace ramjet::device::cuda
