// DeviceLaunch: one kernel launch as the engine stores it. Tactics write it, the engine keeps it,
// the runtime binds and launches it; it knows no op.
//
// Sizes that change from step to step reach a kernel through device memory: every symbol's value
// is an i32 there, and a grid is laid out for the largest value of a bucket, so that one captured
// graph serves every batch within it. Blocks beyond the work return at once.
#pragma once

#include <ramjet/dtype.h>

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "op/dim.h"

namespace ramjet {

/// clamp(ceil(dim / divide) * multiply, 1, most)
struct LaunchExtent {
  Dim dim = 1;
  int64_t divide = 1;
  int64_t multiply = 1;
  int64_t most = INT32_MAX;

  LaunchExtent() = default;
  LaunchExtent(int64_t number) : dim(number) {}
  static LaunchExtent ceil(Dim dim, int64_t divide, int64_t multiply = 1,
                           int64_t most = INT32_MAX) {
    LaunchExtent extent;
    extent.dim = dim;
    extent.divide = divide;
    extent.multiply = multiply;
    extent.most = most;
    return extent;
  }
  int64_t evaluate(std::span<const int64_t> symbols) const;
  bool operator==(const LaunchExtent&) const = default;
};

// The values of the enumerations below are part of the engine format; new ones go to the end.
enum class LaunchArgKind : uint8_t {
  kNone,
  kInput,        // pointer: operand `index` of the record + `value` bytes
  kOutput,       // pointer: result `index` of the record + `value` bytes
  kWorkspace,    // pointer: the record's workspace + `value` bytes; undefined content
  kFlags,        // pointer: u32 words that are zero when a launch begins and when it ends
  kKvLayer,      // pointer: layer `value` of KV group `index`
  kKvNumBlocks,  // i32: blocks in the cache
  kSymbol,       // pointer: const i32, the value of symbol `index` in this step
  kInt32,        // `value`
  kFloat32,      // the low 32 bits of `value`
  kTensorMap,    // 128 bytes, 64-aligned: entry `index` of the launch's maps
};

struct LaunchArg {
  LaunchArgKind kind = LaunchArgKind::kNone;
  int32_t index = 0;
  int64_t value = 0;
  bool operator==(const LaunchArg&) const = default;

  static LaunchArg input(int index, int64_t offset = 0) {
    return {LaunchArgKind::kInput, index, offset};
  }
  static LaunchArg output(int index, int64_t offset = 0) {
    return {LaunchArgKind::kOutput, index, offset};
  }
  static LaunchArg workspace(int64_t offset = 0) { return {LaunchArgKind::kWorkspace, 0, offset}; }
  static LaunchArg flags() { return {LaunchArgKind::kFlags, 0, 0}; }
  static LaunchArg kv_layer(int64_t group, int64_t layer) {
    return {LaunchArgKind::kKvLayer, static_cast<int32_t>(group), layer};
  }
  static LaunchArg kv_num_blocks() { return {LaunchArgKind::kKvNumBlocks, 0, 0}; }
  static LaunchArg symbol(int index) { return {LaunchArgKind::kSymbol, index, 0}; }
  static LaunchArg int32(int32_t value) { return {LaunchArgKind::kInt32, 0, value}; }
  static LaunchArg float32(float value);
  static LaunchArg tensor_map(int index) { return {LaunchArgKind::kTensorMap, index, 0}; }
};

/// A tensor map (CUDA driver API, cuTensorMapEncodeTiled), encoded when operands are bound.
/// Innermost dimension first. Symbolic extents are taken at their maximum; an extent of -1 is
/// the number of blocks in the cache.
struct TensorMapSpec {
  LaunchArg base;  // kInput, kOutput, kWorkspace or kKvLayer
  DType dtype = DType::kBf16;
  std::vector<Dim> extents;      // elements
  std::vector<int64_t> strides;  // bytes, of all dimensions but the innermost
  std::vector<int64_t> box;      // elements
  int32_t swizzle_bytes = 128;   // 0, 32, 64, 128
  bool operator==(const TensorMapSpec&) const = default;
};

enum class LaunchWhen : uint8_t {
  kAlways,
  kAnySingle,  // some sequence has one query token in this step
  kAnyMany,    // some sequence has more than one
};

struct DeviceLaunch {
  int32_t module = 0;  // of the plan, later of the engine's kernels
  std::string entry;   // extern "C" name
  std::array<LaunchExtent, 3> grid;
  uint32_t block = 1;    // threads
  uint32_t cluster = 1;  // blocks, along x
  uint32_t shared_bytes = 0;
  bool programmatic = true;  // calls griddepcontrol.wait before it touches what others write
  LaunchWhen when = LaunchWhen::kAlways;
  std::vector<LaunchArg> args;
  std::vector<TensorMapSpec> maps;
  bool operator==(const DeviceLaunch&) const = default;
};

}  // namespace ramjet
