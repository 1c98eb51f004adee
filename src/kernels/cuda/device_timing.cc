#include "kernels/device_timing.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "base/clock.h"
#include "base/hash.h"
#include "device/cuda/bandwidth.h"
#include "device/cuda/cublaslt.h"
#include "kernels/cuda/device_sources.h"
#include "kernels/cuda/timing_memory.h"
#include "kernels/op_work.h"

namespace ramjet::kernels {

namespace cu = device::cuda;

struct DeviceStopwatch::Impl {
  StopwatchLimits limits;
  std::unique_ptr<cu::CudaDevice> device;
  std::string machine;
  DeviceFacts facts;
  cu::Stream stream;
  std::vector<cu::Event> events;  // repeats + 1
  std::unique_ptr<cuda::TimingMemory> memory;
  std::optional<Result<std::unique_ptr<cu::CublasLt>>> library;

  int launches(double floor) const {
    constexpr double kLeastUs = 3;
    const double count = limits.train_us / std::max(floor, kLeastUs);
    return std::clamp(static_cast<int>(std::lround(count)), 2, limits.most_launches);
  }
  /// `queue` puts the i-th launch on the stream, which captures.
  template <class Queue>
  Result<double> time(int count, Queue&& queue);
  Status warm_up();
  Result<cu::CublasLt*> cublaslt();
  Result<double> product_tflops(bool fp8);
};

template <class Queue>
Result<double> DeviceStopwatch::Impl::time(int count, Queue&& queue) {
  RETURN_IF_ERROR(cu::GraphExec::begin_capture(stream));
  Status queued = ok_status();
  for (int i = 0; i < count && queued.ok(); ++i) queued = queue(i);
  auto graph = cu::GraphExec::end_capture(stream);
  RETURN_IF_ERROR(std::move(queued));
  if (!graph.ok()) return graph.error();
  // The first warms up and hides the queueing of the others.
  RETURN_IF_ERROR(graph->launch(stream));
  RETURN_IF_ERROR(events[0].record(stream));
  for (size_t i = 1; i < events.size(); ++i) {
    RETURN_IF_ERROR(graph->launch(stream));
    RETURN_IF_ERROR(events[i].record(stream));
  }
  RETURN_IF_ERROR(events.back().synchronize());
  std::vector<double> us;
  for (size_t i = 1; i < events.size(); ++i) {
    ASSIGN_OR_RETURN(const float ms, events[i].elapsed_ms_since(events[i - 1]));
    us.push_back(1e3 * double{ms} / count);
  }
  std::nth_element(us.begin(), us.begin() + static_cast<std::ptrdiff_t>(us.size() / 2), us.end());
  return us[us.size() / 2];
}

/// An idle chip takes a while to reach its clocks.
Status DeviceStopwatch::Impl::warm_up() {
  constexpr size_t kBytes = size_t{128} << 20;
  constexpr double kSeconds = 0.15;
  const Clock& clock = SteadyClock::instance();
  ASSIGN_OR_RETURN(const cu::Driver* driver, cu::driver());
  ASSIGN_OR_RETURN(const uint64_t from, memory->pool(false, 2 * kBytes));
  for (const double start = clock.now_s(); clock.now_s() < start + kSeconds;) {
    RETURN_IF_ERROR(time(32, [&](int) {
      return cu::check(driver->copy_on_device(from + kBytes, from, kBytes, stream.get()),
                       "cuMemcpyDtoDAsync");
    }));
  }
  return ok_status();
}

Result<cu::CublasLt*> DeviceStopwatch::Impl::cublaslt() {
  if (!library) library.emplace(cu::CublasLt::create());
  if (!library->ok()) return library->error();
  return library->value().get();
}

Result<double> DeviceStopwatch::Impl::product_tflops(bool fp8) {
  constexpr int64_t kExtent = 8192;
  ASSIGN_OR_RETURN(cu::CublasLt * lt, cublaslt());
  RETURN_IF_ERROR(lt->plan({kExtent, kExtent, kExtent, fp8}));
  const size_t bytes = size_t{kExtent} * kExtent * (fp8 ? 1 : 2);
  ASSIGN_OR_RETURN(const uint64_t from, memory->pool(fp8, 2 * bytes));
  ASSIGN_OR_RETURN(const auto to, cu::DeviceBuffer::allocate(size_t{kExtent} * kExtent * 2));
  const float one = 1;
  ASSIGN_OR_RETURN(const auto scale, cu::DeviceBuffer::allocate(256));
  RETURN_IF_ERROR(scale.upload(std::as_bytes(std::span(&one, 1)), 0, stream));
  RETURN_IF_ERROR(stream.synchronize());
  ASSIGN_OR_RETURN(const double us, time(8, [&](int) {
                     return lt->run(from, from + bytes, to.get(), scale.get(), stream);
                   }));
  return 2.0 * kExtent * kExtent * kExtent / us * 1e-6;
}

DeviceStopwatch::DeviceStopwatch(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
DeviceStopwatch::~DeviceStopwatch() = default;

Result<std::unique_ptr<DeviceStopwatch>> DeviceStopwatch::open(StopwatchLimits limits) {
  auto impl = std::make_unique<Impl>();
  impl->limits = limits;
  ASSIGN_OR_RETURN(impl->device, cu::CudaDevice::open(0));
  RETURN_IF_ERROR(impl->device->bind());
  ASSIGN_OR_RETURN(impl->stream, cu::Stream::create());
  for (int i = 0; i <= std::max(limits.repeats, 1); ++i) {
    ASSIGN_OR_RETURN(cu::Event event, cu::Event::create(true));
    impl->events.push_back(std::move(event));
  }
  const cu::DeviceInfo& info = impl->device->info();
  ASSIGN_OR_RETURN(impl->memory, cuda::TimingMemory::create(info, impl->stream));
  ASSIGN_OR_RETURN(const cu::Driver* driver, cu::driver());
  impl->machine = fmt::format("{}, driver {}.{}", info.name, driver->version / 1000,
                              driver->version % 1000 / 10);
  if (const auto target = Target::gpu()) impl->facts = device_facts(*target);
  RETURN_IF_ERROR(impl->warm_up());
  return std::unique_ptr<DeviceStopwatch>(new DeviceStopwatch(std::move(impl)));
}

const std::string& DeviceStopwatch::machine() const { return impl_->machine; }

Result<double> DeviceStopwatch::us(DeviceOp& op, const OpDesc& desc, const Tactic& tactic,
                                   std::span<const int64_t> symbols) {
  Impl& w = *impl_;
  RETURN_IF_ERROR(w.memory->place(desc, &tactic, &op.plan(), symbols));
  const auto launch = [&](int i) -> Status {
    RETURN_IF_ERROR(op.bind(w.memory->operands(i)));
    return op.launch(w.memory->values(), w.memory->step(), w.stream);
  };
  return w.time(w.launches(floor_us(op_work(desc, symbols), w.facts)), launch);
}

Result<double> DeviceStopwatch::cublaslt_us(const OpDesc& desc, std::span<const int64_t> symbols) {
  Impl& w = *impl_;
  const auto* matmul = std::get_if<MatmulDesc>(desc.attrs);
  if (desc.op != OpKind::kMatmul || matmul == nullptr || !matmul->transpose_b) {
    return unsupported("cuBLASLt is timed for matmuls alone");
  }
  const TensorType &a = desc.inputs[0], &b = desc.inputs[1];
  cu::LtShape shape{a.shape(symbols).rows(), b.shape(symbols).rows(), b.shape(symbols).back()};
  shape.fp8 = b.dtype == DType::kF8E4M3;
  if (a.dtype != b.dtype || (b.dtype != DType::kBf16 && !shape.fp8)) {
    return unsupported("cuBLASLt is timed for bf16 and e4m3 alone");
  }
  ASSIGN_OR_RETURN(cu::CublasLt * lt, w.cublaslt());
  RETURN_IF_ERROR(w.memory->place(desc, nullptr, nullptr, symbols));
  RETURN_IF_ERROR(lt->plan(shape));
  const auto launch = [&](int i) {
    const LaunchOperands at = w.memory->operands(i);
    return lt->run(at.inputs[1], at.inputs[0], at.outputs[0], w.memory->one(), w.stream);
  };
  return w.time(w.launches(floor_us(op_work(desc, symbols), w.facts)), launch);
}

Result<DeviceCeilings> DeviceStopwatch::ceilings() {
  Impl& w = *impl_;
  DeviceCeilings ceilings;
  constexpr uint64_t kBytes = uint64_t{1} << 30;
  ASSIGN_OR_RETURN(const double copied, cu::measure_copy_bandwidth(*w.device, kBytes));
  ceilings.copy_tbps = copied * 1e-12;
  if (!w.cublaslt().ok()) return ceilings;
  ASSIGN_OR_RETURN(ceilings.bf16_tflops, w.product_tflops(false));
  if (w.facts.sm >= 89) {
    ASSIGN_OR_RETURN(ceilings.fp8_tflops, w.product_tflops(true));
  }
  return ceilings;
}

std::string plan_fingerprint(const DevicePlan& plan) {
  std::string text;
  for (const DeviceModule& module : plan.modules) {
    text += module.source;
    for (const std::string& define : module.defines) text += define + "\n";
  }
  for (const DeviceLaunch& launch : plan.launches) {
    text +=
        fmt::format("{} {} {} {}", launch.entry, launch.block, launch.cluster, launch.shared_bytes);
    for (const LaunchExtent& e : launch.grid) {
      text += fmt::format(" {}*{}+{}/{}*{}<{}", e.dim.factor, e.dim.symbol, e.dim.offset, e.divide,
                          e.multiply, e.most);
    }
    for (const TensorMapSpec& map : launch.maps) {
      text += fmt::format(" {} {}", fmt::join(map.box, "x"), map.swizzle_bytes);
    }
    text += "\n";
  }
  // Any change to the device sources makes all times old, as it does machine code.
  for (const cuda::DeviceSource& source : cuda::device_sources()) {
    text += fmt::format("{} {:016x}\n", source.name, hash64(source.text));
  }
  return hash128(text).hex();
}

}  // namespace ramjet::kernels
