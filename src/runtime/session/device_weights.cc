#include "runtime/session/device_weights.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <mutex>
#include <optional>
#include <thread>

#include "base/clock.h"
#include "base/log.h"
#include "base/thread_pool.h"
#include "engine/dummy_weights.h"

namespace ramjet::runtime {
namespace {

namespace cu = device::cuda;

constexpr size_t kChunkBytes = size_t{8} << 20;
constexpr uint64_t kAlignment = 256;  // tensor maps want 16, caches like lines
constexpr int kMostThreads = 16;      // PCIe is full before

/// A part of one weight: what one page-locked buffer carries.
struct Chunk {
  size_t weight = 0;
  uint64_t from = 0;  // within the weight
  uint64_t bytes = 0;
};

/// One thread of the upload: two buffers, so that one is filled while the other travels.
class Uploader {
 public:
  Uploader(const engine::EngineFile& file, const cu::DeviceBuffer& to,
           std::span<const uint64_t> offsets)
      : file_(file), to_(to), offsets_(offsets) {}

  Status open(const cu::CudaDevice& device) {
    RETURN_IF_ERROR(device.bind());
    ASSIGN_OR_RETURN(stream_, cu::Stream::create());
    for (Lane& lane : lanes_) {
      ASSIGN_OR_RETURN(lane.buffer, cu::PinnedBuffer::allocate(kChunkBytes));
      ASSIGN_OR_RETURN(lane.sent, cu::Event::create(false));
    }
    return ok_status();
  }

  Status send(const Chunk& chunk) {
    Lane& lane = lanes_[next_++ % std::size(lanes_)];
    RETURN_IF_ERROR(lane.sent.synchronize());
    const std::span<std::byte> out = lane.buffer.span().first(chunk.bytes);
    const engine::WeightEntry& entry = file_.manifest().weights[chunk.weight];
    if (entry.seed == 0) {
      std::memcpy(out.data(), file_.weight(chunk.weight).data() + chunk.from, out.size());
    } else {
      const auto element = static_cast<uint64_t>(dtype_bytes(entry.type.dtype));
      engine::fill_dummy(out, entry.type.dtype, entry.seed,
                         engine::dummy_kind(entry.name, entry.type.rank()), chunk.from / element);
    }
    RETURN_IF_ERROR(to_.upload(out, offsets_[chunk.weight] + chunk.from, stream_));
    return lane.sent.record(stream_);
  }

  Status finish() const { return stream_.synchronize(); }

 private:
  struct Lane {
    cu::PinnedBuffer buffer;
    cu::Event sent;
  };
  const engine::EngineFile& file_;
  const cu::DeviceBuffer& to_;
  std::span<const uint64_t> offsets_;
  cu::Stream stream_;
  Lane lanes_[2];
  size_t next_ = 0;
};

Status upload_all(std::span<const Chunk> chunks, Uploader& uploader, std::atomic<size_t>& next,
                  const cu::CudaDevice& device) {
  RETURN_IF_ERROR(uploader.open(device));
  for (size_t i = next++; i < chunks.size(); i = next++) RETURN_IF_ERROR(uploader.send(chunks[i]));
  return uploader.finish();
}

std::vector<Chunk> chunks_of(const engine::Manifest& manifest) {
  std::vector<Chunk> chunks;
  for (size_t i = 0; i < manifest.weights.size(); ++i) {
    const uint64_t bytes = manifest.weights[i].bytes;
    for (uint64_t at = 0; at < bytes; at += kChunkBytes) {
      chunks.push_back({i, at, std::min<uint64_t>(kChunkBytes, bytes - at)});
    }
  }
  return chunks;
}

}  // namespace

Result<std::shared_ptr<const DeviceWeights>> DeviceWeights::load(const engine::EngineFile& file,
                                                                 const cu::CudaDevice& device,
                                                                 int num_threads) {
  const double start = SteadyClock::instance().now_s();
  auto weights = std::shared_ptr<DeviceWeights>(new DeviceWeights());
  uint64_t bytes = 0;
  for (const engine::WeightEntry& entry : file.manifest().weights) {
    weights->offsets_.push_back(bytes);
    bytes = (bytes + entry.bytes + kAlignment - 1) / kAlignment * kAlignment;
    weights->report_.bytes += entry.bytes;
  }
  ASSIGN_OR_RETURN(const cu::CudaDevice::Memory memory, device.memory());
  if (bytes > static_cast<uint64_t>(memory.free_bytes)) {
    return make_error(ErrorCode::kResourceExhausted,
                      "the weights take {:.2f} GB, {} has {:.2f} of {:.2f} GB free; quantize them "
                      "(--quantize fp8) or use a larger GPU",
                      static_cast<double>(bytes) * 1e-9, device.info().name,
                      static_cast<double>(memory.free_bytes) * 1e-9,
                      static_cast<double>(memory.total_bytes) * 1e-9);
  }
  ASSIGN_OR_RETURN(weights->memory_, cu::DeviceBuffer::allocate(std::max<uint64_t>(bytes, 1)));

  const std::vector<Chunk> chunks = chunks_of(file.manifest());
  const int wanted = std::clamp(num_threads > 0 ? num_threads : allowed_cpus(), 1, kMostThreads);
  const size_t count =
      std::min<size_t>(static_cast<size_t>(wanted), std::max<size_t>(chunks.size(), 1));
  std::atomic<size_t> next = 0;
  std::vector<Status> results(count, ok_status());
  std::vector<std::thread> threads;
  for (size_t i = 0; i < count; ++i) {
    threads.emplace_back([&, i] {
      Uploader uploader(file, weights->memory_, weights->offsets_);
      results[i] = upload_all(chunks, uploader, next, device);
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const Status& result : results) RETURN_IF_ERROR(result);
  weights->report_.seconds = SteadyClock::instance().now_s() - start;
  log_info("weights: {:.2f} GB on {} in {:.2f} s ({:.1f} GB/s, {} threads)",
           static_cast<double>(weights->report_.bytes) * 1e-9, device.info().name,
           weights->report_.seconds,
           static_cast<double>(weights->report_.bytes) * 1e-9 / weights->report_.seconds, count);
  return std::shared_ptr<const DeviceWeights>(std::move(weights));
}

Result<std::shared_ptr<const DeviceModules>> DeviceModules::load(const engine::EngineFile& file) {
  auto modules = std::shared_ptr<DeviceModules>(new DeviceModules());
  const std::vector<engine::KernelImage>& images = file.manifest().kernels;
  for (size_t i = 0; i < images.size(); ++i) {
    auto module = cu::Module::load(file.kernel(i));
    if (!module.ok()) {
      return module.error().with_context(
          fmt::format("{}: machine code '{}'", file.path(), images[i].name));
    }
    modules->names_.push_back(images[i].name);
    modules->modules_.push_back(std::move(*module));
  }
  return std::shared_ptr<const DeviceModules>(std::move(modules));
}

Result<cu::CuFunction> DeviceModules::function(const DeviceLaunch& launch) const {
  const auto index = static_cast<size_t>(launch.module);
  auto function = modules_[index].function(launch.entry.c_str(), launch.shared_bytes);
  if (function.ok()) return *function;
  return function.error().with_context(fmt::format("{} of {}", launch.entry, names_[index]));
}

}  // namespace ramjet::runtime
