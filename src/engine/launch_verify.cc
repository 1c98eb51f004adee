#include "engine/launch_verify.h"

#include <algorithm>

namespace ramjet::engine {
namespace {

constexpr int64_t kMaxNumber = int64_t{1} << 40;
constexpr size_t kMaxArgs = 64;
constexpr size_t kMaxMapRank = 5;
constexpr int64_t kMaxBox = 256;

bool below(int64_t index, size_t count) { return index >= 0 && static_cast<size_t>(index) < count; }
bool within(int64_t value, int64_t least, int64_t most) { return value >= least && value <= most; }

class LaunchVerifier {
 public:
  LaunchVerifier(const LaunchRecord& record, const Program& program, const Manifest& manifest)
      : record_(record), program_(program), manifest_(manifest) {}

  Status verify(const DeviceLaunch& launch) const {
    if (!below(launch.module, manifest_.kernels.size())) {
      return corrupt("kernel {} of {}", launch.module, manifest_.kernels.size());
    }
    if (launch.entry.empty()) return corrupt("a launch without an entry");
    if (!within(launch.block, 1, 1024) || !within(launch.cluster, 1, 16) ||
        launch.shared_bytes > 256u << 10) {
      return corrupt("{} threads, clusters of {}, {} bytes of shared memory", launch.block,
                     launch.cluster, launch.shared_bytes);
    }
    for (const LaunchExtent& extent : launch.grid) {
      if (!valid(extent.dim) || !within(extent.divide, 1, kMaxNumber) ||
          !within(extent.multiply, 1, 1 << 20) || !within(extent.most, 1, INT32_MAX)) {
        return corrupt("a grid of {}/{}*{} at most {}", extent.dim.offset, extent.divide,
                       extent.multiply, extent.most);
      }
    }
    if (launch.args.size() > kMaxArgs) return corrupt("{} arguments", launch.args.size());
    for (const LaunchArg& arg : launch.args) {
      const bool good =
          arg.kind == LaunchArgKind::kTensorMap ? below(arg.index, launch.maps.size()) : valid(arg);
      if (!good) return bad_argument(arg);
    }
    for (const TensorMapSpec& map : launch.maps) RETURN_IF_ERROR(tensor_map(map));
    return ok_status();
  }

 private:
  static Error bad_argument(const LaunchArg& arg) {
    return corrupt("argument of kind {}, operand {}, value {}", static_cast<int>(arg.kind),
                   arg.index, arg.value);
  }

  bool valid(const Dim& dim) const {
    if (!within(dim.offset, -kMaxNumber, kMaxNumber)) return false;
    if (dim.fixed()) return dim.symbol == -1 && dim.factor == 0;
    return below(dim.symbol, program_.symbols.size()) && within(dim.factor, 1, 1 << 20);
  }

  bool valid(const LaunchArg& arg) const {
    switch (arg.kind) {
      case LaunchArgKind::kInput:
        return below(arg.index, record_.inputs.size()) && within(arg.value, 0, kMaxNumber);
      case LaunchArgKind::kOutput:
        return below(arg.index, record_.outputs.size()) && within(arg.value, 0, kMaxNumber);
      case LaunchArgKind::kWorkspace: {
        if (record_.workspace < 0) return false;
        const uint64_t bytes = program_.arena[static_cast<size_t>(record_.workspace)].bytes;
        return arg.value >= 0 && static_cast<uint64_t>(arg.value) <= bytes;
      }
      case LaunchArgKind::kFlags:
        return arg.value >= 0 && static_cast<uint64_t>(arg.value) <= manifest_.flags_bytes;
      case LaunchArgKind::kKvLayer:
        return below(arg.index, manifest_.kv_groups.size()) &&
               within(arg.value, 0,
                      manifest_.kv_groups[static_cast<size_t>(arg.index)].num_layers - 1);
      case LaunchArgKind::kKvNumBlocks: return !manifest_.kv_groups.empty();
      case LaunchArgKind::kSymbol: return below(arg.index, program_.symbols.size());
      case LaunchArgKind::kInt32:
      case LaunchArgKind::kFloat32: return within(arg.value, INT32_MIN, INT32_MAX);
      case LaunchArgKind::kNone:
      case LaunchArgKind::kTensorMap: return false;
    }
    return false;
  }

  Status tensor_map(const TensorMapSpec& map) const {
    const LaunchArgKind kind = map.base.kind;
    const bool pointer = kind == LaunchArgKind::kInput || kind == LaunchArgKind::kOutput ||
                         kind == LaunchArgKind::kWorkspace || kind == LaunchArgKind::kKvLayer;
    if (!pointer || !valid(map.base)) return bad_argument(map.base);
    const size_t rank = map.extents.size();
    const auto good_dim = [&](const Dim& dim) { return valid(dim); };
    const auto good_stride = [](int64_t stride) { return within(stride, 1, kMaxNumber); };
    const auto good_box = [](int64_t box) { return within(box, 1, kMaxBox); };
    const int swizzle = map.swizzle_bytes;
    if (rank < 1 || rank > kMaxMapRank || map.strides.size() + 1 != rank ||
        map.box.size() != rank || !std::ranges::all_of(map.extents, good_dim) ||
        !std::ranges::all_of(map.strides, good_stride) || !std::ranges::all_of(map.box, good_box) ||
        (swizzle != 0 && swizzle != 32 && swizzle != 64 && swizzle != 128)) {
      return corrupt("a tensor map of {} extents, {} strides, a box of {}, swizzle {}", rank,
                     map.strides.size(), map.box.size(), swizzle);
    }
    return ok_status();
  }

  const LaunchRecord& record_;
  const Program& program_;
  const Manifest& manifest_;
};

}  // namespace

Status verify_launches(const LaunchRecord& record, const Program& program,
                       const Manifest& manifest) {
  const LaunchVerifier verifier(record, program, manifest);
  for (const TacticChoice& choice : record.choices) {
    for (const DeviceLaunch& launch : choice.launches) RETURN_IF_ERROR(verifier.verify(launch));
  }
  return ok_status();
}

}  // namespace ramjet::engine
