// Test support: builds one op with random operands, runs it with any tactic, compares.
//
// Every run gets fresh outputs and workspace filled with poison, its own copy of the KV pools, and
// its weights packed as the tactic wants.
#pragma once

#include <cmath>
#include <cstdint>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "kernels/kernel.h"
#include "kernels/registry.h"

namespace ramjet {
class ThreadPool;
}

namespace ramjet::kernels {

struct TestTensor {
  std::vector<std::byte> bytes;
  TensorView view;

  TestTensor() = default;
  TestTensor(DType dtype, Shape shape);
  TestTensor(const TestTensor& other);
  TestTensor& operator=(const TestTensor& other);
  TestTensor(TestTensor&&) = default;
  TestTensor& operator=(TestTensor&&) = default;

  static TestTensor of(DType dtype, Shape shape, const std::vector<float>& values);
  static TestTensor ints(Shape shape, const std::vector<int32_t>& values);
  std::vector<float> values() const;
};

/// The seed of this test process, printed once; RNG() is seeded with it.
std::mt19937_64& rng();
float uniform(float low, float high);
int64_t pick(int64_t low, int64_t high);  // both inclusive
TestTensor random_tensor(DType dtype, Shape shape, float low = -1, float high = 1);

struct TestKv {
  std::vector<std::byte> bytes;
  KvView view;  // base is set at each run
};

struct OpCase {
  OpKind op = OpKind::kPointwise;
  OpAttrs attrs;
  std::vector<TestTensor> inputs;
  std::vector<TestTensor> outputs;  // dtype and shape; contents are the last run's
  std::vector<TestKv> kv;
  std::string label;

  OpDesc desc();
  /// Runs and leaves results in outputs and kv.
  OpCase run(const Tactic& tactic, ThreadPool& pool) const;
  OpCase run_reference() const;

  std::vector<TensorType> input_types, output_types;  // what desc() refers to
};

struct Tolerance {
  double absolute = 1e-5;
  double relative = 1e-5;
};
/// "" if every output and cache element agrees (NaN with NaN), else the first that does not.
std::string difference(const OpCase& want, const OpCase& got, Tolerance tolerance);
/// Half a unit in the last place of a dtype, relative: 2^-8 for bf16.
double unit_roundoff(DType dtype);

/// Runs every tactic that this machine can run against the reference, on 1, 2 and 3 threads.
/// Fails the current test on a difference, and returns how many tactics ran. Tactics on tiles may
/// have a tolerance of their own: they round what they multiply to bf16.
int expect_all_match(OpCase test_case, Tolerance tolerance,
                     std::optional<Tolerance> on_tiles = std::nullopt);

/// Instruction sets of this machine beyond scalar; the others are named in a skip.
std::vector<Isa> machine_isas();

}  // namespace ramjet::kernels
