#include "kernels/device_launch.h"

#include <fmt/format.h>

#include <cstring>
#include <deque>

#include "base/env.h"
#include "base/file.h"
#include "base/hash.h"
#include "device/cuda/nvrtc.h"
#include "kernels/cuda/device_sources.h"

namespace ramjet::kernels {

namespace cu = device::cuda;

namespace {

constexpr size_t kMaxCubinBytes = size_t{64} << 20;

/// Everything that decides the machine code, as a file name in the cache.
std::string cache_path(const cu::NvrtcSource& source, const std::string& compiler) {
  std::string text = compiler + "\n" + source.arch + "\n" + source.source + "\n";
  for (const std::string& define : source.defines) text += define + "\n";
  for (const cu::NvrtcHeader& header : source.headers) {
    text += fmt::format("{} {:016x}\n", header.name, hash64(header.source));
  }
  return fmt::format("{}/kernels/{}.cubin", cache_directory(), hash128(text).hex());
}

cu::CuTensorMapDataType map_type(DType dtype) {
  switch (dtype) {
    case DType::kF32: return cu::kCuTensorF32;
    case DType::kF16: return cu::kCuTensorF16;
    case DType::kBf16: return cu::kCuTensorBf16;
    default: return cu::kCuTensorU8;
  }
}

int map_swizzle(int bytes) {
  return bytes == 128  ? cu::kCuSwizzle128
         : bytes == 64 ? cu::kCuSwizzle64
         : bytes == 32 ? cu::kCuSwizzle32
                       : cu::kCuSwizzleNone;
}

Result<uint64_t> address_of(const LaunchArg& arg, const LaunchOperands& operands) {
  const auto index = static_cast<size_t>(arg.index);
  const auto offset = static_cast<uint64_t>(arg.value);
  switch (arg.kind) {
    case LaunchArgKind::kInput:
      if (index < operands.inputs.size()) return operands.inputs[index] + offset;
      break;
    case LaunchArgKind::kOutput:
      if (index < operands.outputs.size()) return operands.outputs[index] + offset;
      break;
    case LaunchArgKind::kWorkspace: return operands.workspace + offset;
    case LaunchArgKind::kFlags: return operands.flags + offset;
    case LaunchArgKind::kSymbol:
      if (index < operands.most.size()) return operands.symbols + index * sizeof(int32_t);
      break;
    case LaunchArgKind::kKvLayer:
      if (index < operands.kv.size()) {
        const DeviceKv& kv = operands.kv[index];
        return kv.base + offset * static_cast<uint64_t>(kv.layer_stride);
      }
      break;
    default: break;
  }
  return invalid_argument("a launch wants operand {} of kind {}, which the record lacks", arg.index,
                          static_cast<int>(arg.kind));
}

Result<cu::CuTensorMap> encode(const TensorMapSpec& spec, const LaunchOperands& operands) {
  constexpr size_t kMaxRank = 5;
  const size_t rank = spec.extents.size();
  if (rank == 0 || rank > kMaxRank || spec.strides.size() + 1 != rank || spec.box.size() != rank) {
    return invalid_argument("a tensor map of {} extents, {} strides and a box of {}", rank,
                            spec.strides.size(), spec.box.size());
  }
  ASSIGN_OR_RETURN(const uint64_t base, address_of(spec.base, operands));
  uint64_t extents[kMaxRank], strides[kMaxRank];
  uint32_t box[kMaxRank], ones[kMaxRank];
  for (size_t i = 0; i < rank; ++i) {
    int64_t extent = spec.extents[i].evaluate(operands.most);
    if (extent == -1 && spec.base.kind == LaunchArgKind::kKvLayer) {
      extent = operands.kv[static_cast<size_t>(spec.base.index)].num_blocks;
    }
    extents[i] = static_cast<uint64_t>(extent);
    if (i > 0) strides[i - 1] = static_cast<uint64_t>(spec.strides[i - 1]);
    box[i] = static_cast<uint32_t>(spec.box[i]);
    ones[i] = 1;
  }
  ASSIGN_OR_RETURN(const cu::Driver* driver, cu::driver());
  cu::CuTensorMap map = {};
  constexpr int kNoInterleave = 0, kPromote256 = 3, kFillZero = 0;
  RETURN_IF_ERROR(cu::check(
      driver->tensor_map_encode(&map, map_type(spec.dtype), static_cast<unsigned>(rank),
                                reinterpret_cast<void*>(base), extents, strides, box, ones,
                                kNoInterleave, map_swizzle(spec.swizzle_bytes), kPromote256,
                                kFillZero),
      fmt::format("cuTensorMapEncodeTiled (base {:#x}, extents {}, box {})", base,
                  fmt::join(extents, extents + rank, "x"), fmt::join(box, box + rank, "x"))));
  return map;
}

}  // namespace

Result<CompiledModule> compile_device_module(const DeviceModule& module, std::string_view arch,
                                             bool use_cache) {
  cu::NvrtcSource source;
  source.name = module.name;
  source.arch = arch;
  source.source = module.source;
  source.defines = module.defines;
  for (const cuda::DeviceSource& s : cuda::device_sources()) {
    source.headers.push_back({s.name, s.text});
  }
  ASSIGN_OR_RETURN(const std::string compiler, cu::nvrtc_version());
  const std::string path = cache_path(source, compiler);
  if (use_cache) {
    if (auto known = read_file(path, kMaxCubinBytes); known.ok() && !known->empty()) {
      return CompiledModule{std::move(*known), ""};
    }
  }
  ASSIGN_OR_RETURN(cu::NvrtcResult result, cu::nvrtc_compile(source));
  // Failing to remember it is no error.
  if (use_cache && make_directories(cache_directory() + "/kernels").ok()) {
    (void)write_file_atomically(path, result.cubin);
  }
  return CompiledModule{std::move(result.cubin), std::move(result.log)};
}

struct BoundLaunch::Impl {
  const DeviceLaunch* launch = nullptr;
  cu::CuFunction function = nullptr;
  std::vector<uint64_t> scalars;
  std::deque<cu::CuTensorMap> maps;  // 64-aligned, never moved
  std::vector<void*> params;
};

BoundLaunch::BoundLaunch(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
BoundLaunch::BoundLaunch(BoundLaunch&&) noexcept = default;
BoundLaunch& BoundLaunch::operator=(BoundLaunch&&) noexcept = default;
BoundLaunch::~BoundLaunch() = default;
const DeviceLaunch& BoundLaunch::record() const { return *impl_->launch; }

Result<BoundLaunch> BoundLaunch::bind(const DeviceLaunch& launch, cu::CuFunction function,
                                      const LaunchOperands& operands) {
  auto impl = std::make_unique<Impl>();
  impl->launch = &launch;
  impl->function = function;
  impl->scalars.reserve(launch.args.size());
  for (const LaunchArg& arg : launch.args) {
    if (arg.kind == LaunchArgKind::kTensorMap) {
      if (arg.index < 0 || static_cast<size_t>(arg.index) >= launch.maps.size()) {
        return invalid_argument("{}: tensor map {} of {}", launch.entry, arg.index,
                                launch.maps.size());
      }
      ASSIGN_OR_RETURN(const cu::CuTensorMap map,
                       encode(launch.maps[static_cast<size_t>(arg.index)], operands));
      impl->maps.push_back(map);
      impl->params.push_back(&impl->maps.back());
      continue;
    }
    uint64_t value = 0;
    if (arg.kind == LaunchArgKind::kInt32 || arg.kind == LaunchArgKind::kFloat32) {
      value = static_cast<uint32_t>(arg.value);
    } else if (arg.kind == LaunchArgKind::kKvNumBlocks) {
      value = operands.kv.empty() ? 0 : static_cast<uint64_t>(operands.kv[0].num_blocks);
    } else {
      ASSIGN_OR_RETURN(value, address_of(arg, operands));
    }
    impl->scalars.push_back(value);
    impl->params.push_back(&impl->scalars.back());
  }
  return BoundLaunch(std::move(impl));
}

Status BoundLaunch::launch(std::span<const int64_t> symbols, const cu::Stream& stream) const {
  const DeviceLaunch& record = *impl_->launch;
  cu::LaunchShape shape;
  for (size_t i = 0; i < 3; ++i) {
    shape.grid[i] = static_cast<unsigned>(record.grid[i].evaluate(symbols));
  }
  shape.block[0] = record.block;
  shape.cluster[0] = record.cluster;
  shape.shared_bytes = record.shared_bytes;
  shape.programmatic = record.programmatic;
  return cu::launch(impl_->function, shape, impl_->params, stream);
}

struct DeviceOp::Impl {
  DevicePlan plan;
  std::vector<std::string> logs;
  std::vector<cu::Module> modules;
  std::vector<cu::CuFunction> functions;  // of each launch
  std::vector<BoundLaunch> bound;
};

DeviceOp::DeviceOp(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
DeviceOp::DeviceOp(DeviceOp&&) noexcept = default;
DeviceOp& DeviceOp::operator=(DeviceOp&&) noexcept = default;
DeviceOp::~DeviceOp() = default;
const DevicePlan& DeviceOp::plan() const { return impl_->plan; }
const std::vector<std::string>& DeviceOp::logs() const { return impl_->logs; }

Result<DeviceOp> DeviceOp::create(DevicePlan plan, std::string_view arch) {
  auto impl = std::make_unique<Impl>();
  impl->plan = std::move(plan);
  for (const DeviceModule& source : impl->plan.modules) {
    ASSIGN_OR_RETURN(CompiledModule compiled, compile_device_module(source, arch));
    ASSIGN_OR_RETURN(cu::Module module, cu::Module::load(compiled.cubin));
    impl->modules.push_back(std::move(module));
    impl->logs.push_back(std::move(compiled.log));
  }
  for (const DeviceLaunch& launch : impl->plan.launches) {
    const cu::Module& module = impl->modules[static_cast<size_t>(launch.module)];
    ASSIGN_OR_RETURN(const cu::CuFunction function,
                     module.function(launch.entry.c_str(), launch.shared_bytes));
    impl->functions.push_back(function);
  }
  return DeviceOp(std::move(impl));
}

Status DeviceOp::bind(const LaunchOperands& operands) {
  impl_->bound.clear();
  for (size_t i = 0; i < impl_->plan.launches.size(); ++i) {
    ASSIGN_OR_RETURN(BoundLaunch bound,
                     BoundLaunch::bind(impl_->plan.launches[i], impl_->functions[i], operands));
    impl_->bound.push_back(std::move(bound));
  }
  return ok_status();
}

Status DeviceOp::launch(std::span<const int64_t> symbols, Step step, const cu::Stream& stream) {
  for (const BoundLaunch& bound : impl_->bound) {
    if (bound.record().when == LaunchWhen::kAnySingle && !step.any_single) continue;
    if (bound.record().when == LaunchWhen::kAnyMany && !step.any_many) continue;
    RETURN_IF_ERROR(bound.launch(symbols, stream));
  }
  return ok_status();
}

}  // namespace ramjet::kernels
