// For tests: weights in memory, and a plain interpreter of an engine's first program.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/thread_pool.h"
#include "compiler/compiler.h"
#include "engine/engine_file.h"

namespace ramjet::compiler::test {

/// Row-major tensors by name.
class MapSource final : public WeightSource {
 public:
  struct Entry {
    DType dtype = DType::kF32;
    Shape shape;
    std::vector<std::byte> bytes;
  };
  std::map<std::string, Entry> tensors;

  void set(const std::string& name, Shape shape, const std::vector<float>& values,
           DType dtype = DType::kF32);
  Result<TensorView> view(std::string_view name) const override;
};

/// Values as `dtype` bytes and back (f32, bf16, f16, f8e4m3).
std::vector<std::byte> encode(const std::vector<float>& values, DType dtype);
std::vector<float> decode(std::span<const std::byte> bytes, DType dtype);

struct HostValue {
  DType dtype = DType::kF32;
  Shape shape;
  std::vector<std::byte> bytes;
};

/// Runs program 0 with inputs in its order; the symbols' values are given. One output each.
std::vector<HostValue> run_engine(const engine::EngineFile& file, std::vector<HostValue> inputs,
                                  const std::vector<int64_t>& symbols, ThreadPool& pool);

/// A fresh path in the temporary folder; the file is removed with the object.
class TemporaryFile {
 public:
  explicit TemporaryFile(std::string_view name);
  ~TemporaryFile();
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace ramjet::compiler::test
