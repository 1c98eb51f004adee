// Builder: compiles a user's network into an engine file, and Context runs one.
//
//   Network net("mlp");
//   Tensor x = net.input("x", DType::kF32, {"rows", 64});
//   net.mark_output("y", relu(matmul(x, net.weight("w")) + net.weight("b")));
//   net.set_profile("rows", {1, 32, 256});
//   build_network(net, "mlp.engine", {});
#pragma once

#include <ramjet/engine.h>
#include <ramjet/functional.h>

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace ramjet {

/// Compiles `network` with the weights given to it. One fused kernel serves a matmul and the
/// pointwise ops around it. The network is not changed.
Result<BuildReport> build_network(const Network& network, const std::string& engine_path,
                                  const BuildOptions& options);

/// Host memory of an input or output: row-major.
struct HostTensor {
  DType dtype = DType::kF32;
  std::vector<int64_t> extents;
  std::vector<std::byte> bytes;
};

/// What an input or output is. Its extents are numbers, symbols, or of a symbol ("rows*8+1").
struct TensorSpec {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<Extent> extents;
};

/// Runs a program of an engine, on the CPU or on the GPU that it was built for. One thread at a
/// time; contexts may share an engine.
class Context {
 public:
  static Result<std::unique_ptr<Context>> create(std::shared_ptr<const Engine> engine,
                                                 int num_threads = 0,
                                                 std::string_view program = "main");
  ~Context();
  std::vector<TensorSpec> inputs() const;
  std::vector<TensorSpec> outputs() const;
  /// Copies the input. Errors name the input, its dtype, extents and profile.
  Status set_input(std::string_view name, const HostTensor& tensor);
  Status run();
  Result<HostTensor> output(std::string_view name) const;
  /// Kernel launches of one run.
  int num_launches() const;

 private:
  struct Impl;
  explicit Context(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace ramjet
