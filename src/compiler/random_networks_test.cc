// Fifty random pointwise networks around a matmul: each builds to one kernel; with fusion off to
// several; the results are equal.
#include <gtest/gtest.h>
#include <ramjet/functional.h>

#include <cmath>
#include <random>

#include "compiler/test_engine.h"
#include "ir/network.h"

namespace ramjet::compiler {
namespace {

constexpr int kNetworks = 50;

/// A network, its weights, and the inputs of one run.
struct Sample {
  Network network;
  test::MapSource weights;
  std::vector<test::HostValue> inputs;
  std::vector<int64_t> symbols;
};

class Generator {
 public:
  Generator(uint32_t seed, Sample& sample) : random_(seed), sample_(sample) {
    dtype_ = seed % 2 == 0 ? DType::kF32 : DType::kBf16;
    k_ = 8 * pick(1, 8);
    n_ = chance(0.4) ? k_ : 8 * pick(1, 8);
    rows_ = pick(1, 17);
    middle_ = chance(0.2) ? 3 : 0;  // sometimes a is of rank 3
    sample_.symbols = {rows_};
  }

  void run() {
    Network& net = sample_.network;
    net.set_profile("rows", {1, 8, 32});
    const Tensor x = tensor(k_);
    std::vector<Tensor> made{x};
    const Tensor a = chain(x, k_, pick(0, 5), made);
    const bool transposed = chance(0.5);
    const Tensor w = transposed ? weight({n_, k_}, 0.3f) : weight({k_, n_}, 0.3f);
    const Tensor product = matmul(a, w, transposed);
    // Values from before the matmul may come back behind it, as residuals do.
    std::vector<Tensor> after{product};
    if (k_ == n_) after.insert(after.end(), made.begin(), made.end());
    const Tensor y = chain(product, n_, pick(1, 7), after);
    net.mark_output("y", y);
    const size_t first = k_ == n_ ? made.size() + 1 : 1;
    int marks = 0;
    for (size_t i = first; i + 1 < after.size() && marks < 2; ++i) {
      if (chance(0.2)) net.mark_output("mark" + std::to_string(marks++), after[i]);
    }
  }

 private:
  int64_t pick(int64_t low, int64_t high) {
    return std::uniform_int_distribution<int64_t>(low, high)(random_);
  }
  bool chance(double share) { return std::uniform_real_distribution<>(0, 1)(random_) < share; }
  std::vector<float> numbers(int64_t count, float scale) {
    std::normal_distribution<float> normal(0, scale);
    std::vector<float> values(static_cast<size_t>(count));
    for (float& value : values) value = normal(random_);
    return values;
  }

  Tensor input(std::vector<Extent> extents) {
    Shape shape;
    for (const Extent& extent : extents) {
      shape.push_back(std::holds_alternative<std::string>(extent) ? rows_
                                                                  : std::get<int64_t>(extent));
    }
    const std::string name = "in" + std::to_string(sample_.inputs.size());
    sample_.inputs.push_back(
        {dtype_, shape, test::encode(numbers(shape.elements(), 1.0f), dtype_)});
    return sample_.network.input(name, dtype_, extents);
  }
  Tensor tensor(int64_t width) {
    if (middle_ > 0) return input({"rows", middle_, width});
    return input({"rows", width});
  }
  Tensor weight(const std::vector<int64_t>& extents, float scale) {
    const std::string name = "w" + std::to_string(sample_.weights.tensors.size());
    const Shape shape{std::span<const int64_t>(extents)};
    sample_.weights.set(name, shape, numbers(shape.elements(), scale), dtype_);
    return sample_.network.weight(name, dtype_, extents);
  }
  /// A new operand: tensor, row, column or scalar; sometimes with an op of its own.
  Tensor operand(int64_t width) {
    Tensor value;
    switch (pick(0, 5)) {
      case 0: value = tensor(width); break;
      case 1: value = input({width}); break;
      case 2: value = weight({width}, 1.0f); break;
      case 3: value = middle_ > 0 ? input({"rows", 1, 1}) : input({"rows", 1}); break;
      case 4: value = weight({1}, 1.0f); break;
      default: value = weight({1, width}, 1.0f); break;
    }
    return chance(0.3) ? unary(value) : value;
  }
  Tensor unary(Tensor x) {
    switch (pick(0, 11)) {
      case 0: return relu(x);
      case 1: return silu(x);
      case 2: return gelu(x);
      case 3: return gelu_tanh(x);
      case 4: return sigmoid(x);
      case 5: return tanh(x);
      case 6: return exp(-abs(x));
      case 7: return sqrt(abs(x) + 0.5f);
      case 8: return x * 0.5f + 1.0f;
      case 9: return 1.0f - x;
      case 10: return log(abs(x) + 1.0f);
      default: return -x;
    }
  }
  Tensor binary(Tensor a, Tensor b) {
    switch (pick(0, 6)) {
      case 0: return a + b;
      case 1: return a - b;
      case 2: return a * sigmoid(b);
      case 3: return maximum(a, b);
      case 4: return minimum(a, b);
      case 5: return a / (abs(b) + 1.0f);
      default: return b + a;
    }
  }
  /// `count` ops from `start` on, each using the last; every value is added to `made`.
  Tensor chain(Tensor start, int64_t width, int64_t count, std::vector<Tensor>& made) {
    Tensor last = start;
    for (int64_t i = 0; i < count; ++i) {
      if (chance(0.45)) {
        last = unary(last);
      } else if (chance(0.4)) {
        last =
            binary(last, made[static_cast<size_t>(pick(0, static_cast<int64_t>(made.size()) - 1))]);
      } else {
        last = binary(last, operand(width));
      }
      made.push_back(last);
    }
    return last;
  }

  std::mt19937 random_;
  Sample& sample_;
  DType dtype_ = DType::kF32;
  int64_t k_ = 0, n_ = 0, rows_ = 0, middle_ = 0;
};

Result<engine::EngineFile> build(const Sample& sample, bool fused, const std::string& path) {
  CompileOptions options;
  options.target = kernels::Target::host();
  options.tune = false;
  options.num_threads = 1;
  if (!fused) options.disabled_passes = {"fuse_matmul", "fuse_pointwise"};
  ASSIGN_OR_RETURN(const BuildReport report,
                   compile(sample.network.impl().graph, sample.weights, {}, {}, path, options));
  return engine::EngineFile::open(report.path, engine::EngineFile::Verify::kChecksums);
}

/// Root mean square of the difference, relative to that of the values.
double difference(const test::HostValue& a, const test::HostValue& b) {
  const auto x = test::decode(a.bytes, a.dtype), y = test::decode(b.bytes, b.dtype);
  double square = 0, scale = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    EXPECT_TRUE(std::isfinite(x[i]) && std::isfinite(y[i]));
    square += std::pow(static_cast<double>(x[i]) - y[i], 2);
    scale += std::pow(static_cast<double>(y[i]), 2);
  }
  return std::sqrt(square / std::max(scale, 1e-30));
}

TEST(RandomNetworks, FuseIntoOneKernel) {
  ThreadPool pool(2);
  for (uint32_t seed = 0; seed < kNetworks; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Sample sample;
    Generator(seed, sample).run();
    ASSERT_TRUE(sample.network.status().ok()) << sample.network.status().error().message;
    SCOPED_TRACE(sample.network.text());
    const test::TemporaryFile fused_path("fused.engine"), plain_path("plain.engine");
    const auto fused = build(sample, true, fused_path.path());
    ASSERT_TRUE(fused.ok()) << fused.error().message;
    const auto plain = build(sample, false, plain_path.path());
    ASSERT_TRUE(plain.ok()) << plain.error().message;
    EXPECT_EQ(fused->manifest().programs[0].records.size(), 1u);
    EXPECT_GT(plain->manifest().programs[0].records.size(), 1u);
    const auto got = test::run_engine(*fused, sample.inputs, sample.symbols, pool);
    const auto wanted = test::run_engine(*plain, sample.inputs, sample.symbols, pool);
    ASSERT_EQ(got.size(), wanted.size());
    for (size_t i = 0; i < got.size(); ++i) {
      const double bound = got[i].dtype == DType::kF32 ? 1e-5 : 0.03;
      EXPECT_LE(difference(got[i], wanted[i]), bound) << "output " << i;
    }
    if (::testing::Test::HasFailure()) break;
  }
}

}  // namespace
}  // namespace ramjet::compiler
