// A user's network: defined, built with a dynamic profile, saved, loaded, run, fused.
#include <gtest/gtest.h>
#include <ramjet/builder.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <random>

namespace ramjet {
namespace {

HostTensor host(const std::vector<float>& values, std::vector<int64_t> extents) {
  HostTensor tensor{DType::kF32, std::move(extents), {}};
  tensor.bytes.resize(values.size() * 4);
  std::memcpy(tensor.bytes.data(), values.data(), tensor.bytes.size());
  return tensor;
}

std::vector<float> values_of(const HostTensor& tensor) {
  std::vector<float> values(tensor.bytes.size() / 4);
  std::memcpy(values.data(), tensor.bytes.data(), tensor.bytes.size());
  return values;
}

std::vector<float> random_values(size_t n, std::mt19937& rng, float low = -1, float high = 1) {
  std::uniform_real_distribution<float> uniform(low, high);
  std::vector<float> values(n);
  for (float& v : values) v = uniform(rng);
  return values;
}

Status give(Network& net, std::string_view name, const std::vector<float>& values,
            const std::vector<int64_t>& extents) {
  return net.set_weight(name, DType::kF32, extents, std::as_bytes(std::span(values)));
}

std::unique_ptr<Context> build_context(const Network& net, const BuildOptions& options) {
  const std::string path = testing::TempDir() + "/network.engine";
  auto report = build_network(net, path, options);
  EXPECT_TRUE(report.ok()) << (report.ok() ? "" : report.error().message);
  if (!report.ok()) return nullptr;
  auto engine = Engine::load(path);
  EXPECT_TRUE(engine.ok()) << (engine.ok() ? "" : engine.error().message);
  if (!engine.ok()) return nullptr;
  auto context = Context::create(*engine, 2);
  EXPECT_TRUE(context.ok()) << (context.ok() ? "" : context.error().message);
  return context.ok() ? std::move(*context) : nullptr;
}

constexpr int64_t kIn = 40, kOut = 24;

TEST(Network, ReluMatmulBiasIsOneKernelAndRight) {
  std::mt19937 rng(1);
  const auto w = random_values(kIn * kOut, rng), b = random_values(kOut, rng);
  Network net("mlp");
  ASSERT_TRUE(give(net, "w", w, {kIn, kOut}).ok());
  ASSERT_TRUE(give(net, "b", b, {kOut}).ok());
  Tensor x = net.input("x", DType::kF32, {"rows", kIn});
  net.mark_output("y", relu(matmul(x, net.weight("w")) + net.weight("b")));
  net.set_profile("rows", {1, 8, 33});
  BuildOptions options;
  options.tune = false;
  auto context = build_context(net, options);
  ASSERT_NE(context, nullptr);
  EXPECT_EQ(context->num_launches(), 1);
  for (int64_t rows : {1, 7, 33}) {
    const auto input = random_values(static_cast<size_t>(rows * kIn), rng);
    ASSERT_TRUE(context->set_input("x", host(input, {rows, kIn})).ok());
    ASSERT_TRUE(context->run().ok());
    const auto y = values_of(*context->output("y"));
    ASSERT_EQ(y.size(), static_cast<size_t>(rows * kOut));
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t n = 0; n < kOut; ++n) {
        double sum = b[static_cast<size_t>(n)];
        for (int64_t k = 0; k < kIn; ++k) {
          sum += double{input[static_cast<size_t>(r * kIn + k)]} *
                 w[static_cast<size_t>(k * kOut + n)];
        }
        EXPECT_NEAR(y[static_cast<size_t>(r * kOut + n)], std::max(sum, 0.0), 1e-4);
      }
    }
  }
}

TEST(Network, MisuseIsAnErrorThatNamesIt) {
  Network net("bad");
  Tensor x = net.input("x", DType::kF32, {"rows", 8});
  Tensor w = net.weight("w", DType::kF32, {9, 4});
  net.mark_output("y", matmul(x, w));
  net.set_profile("rows", {1, 2, 4});
  auto report = build_network(net, testing::TempDir() + "/bad.engine", {});
  ASSERT_FALSE(report.ok());
  EXPECT_NE(report.error().message.find("matmul"), std::string::npos) << report.error().message;
  EXPECT_FALSE(std::filesystem::exists(testing::TempDir() + "/bad.engine"));
}

TEST(Network, InputsOutsideTheProfileOrOfAnotherTypeAreRefused) {
  std::mt19937 rng(2);
  Network net("io");
  ASSERT_TRUE(give(net, "w", random_values(kIn * kOut, rng), {kIn, kOut}).ok());
  Tensor x = net.input("x", DType::kF32, {"rows", kIn});
  net.mark_output("y", matmul(x, net.weight("w")));
  net.set_profile("rows", {1, 2, 4});
  auto context = build_context(net, {});
  ASSERT_NE(context, nullptr);
  EXPECT_FALSE(context->run().ok());  // nothing set
  EXPECT_FALSE(context->set_input("z", host({1}, {1})).ok());
  EXPECT_FALSE(context->set_input("x", host(random_values(10, rng), {1, 10})).ok());
  ASSERT_TRUE(context->set_input("x", host(random_values(5 * kIn, rng), {5, kIn})).ok());
  Status status = context->run();
  ASSERT_FALSE(status.ok());
  EXPECT_NE(status.error().message.find("rows"), std::string::npos) << status.error().message;
}

/// A random expression of depth `depth` over the pool; all operands broadcast against [rows, n].
Tensor random_expression(Network& net, Tensor start, int64_t n, int depth, std::mt19937& rng) {
  std::vector<Tensor> pool = {start};
  for (int i = 0; i < depth; ++i) {
    Tensor a = pool[rng() % pool.size()];
    if (i == depth - 1) a = pool.back();  // the last op uses the newest value
    Tensor out;
    switch (rng() % 12) {
      case 0: out = relu(a); break;
      case 1: out = silu(a); break;
      case 2: out = gelu(a); break;
      case 3: out = tanh(a); break;
      case 4: out = sigmoid(a); break;
      case 5: out = a * 0.5f + 0.25f; break;
      case 6: out = abs(a) - 0.125f; break;
      case 7: out = a + pool[rng() % pool.size()]; break;
      case 8: out = a * sigmoid(pool[rng() % pool.size()]); break;
      case 9: out = maximum(a, pool[rng() % pool.size()]); break;
      case 10: {
        const std::string name = "row" + std::to_string(rng());
        EXPECT_TRUE(give(net, name, random_values(static_cast<size_t>(n), rng), {n}).ok());
        out = a * net.weight(name);
        break;
      }
      default: out = square(a) * 0.25f; break;
    }
    pool.push_back(out);
  }
  return pool.back();
}

class PointwiseAroundMatmul : public testing::TestWithParam<int> {};

TEST_P(PointwiseAroundMatmul, FusesToOneKernelWithEqualResults) {
  std::mt19937 rng(static_cast<unsigned>(1000 + GetParam()));
  Network net("random");
  const auto w = random_values(kIn * kOut, rng, -0.3f, 0.3f);
  ASSERT_TRUE(give(net, "w", w, {kIn, kOut}).ok());
  Tensor x = net.input("x", DType::kF32, {"rows", kIn});
  const int before = static_cast<int>(rng() % 4);
  Tensor a = before > 0 ? random_expression(net, x, kIn, before, rng) : x;
  Tensor product = matmul(a, net.weight("w"));
  Tensor y = random_expression(net, product, kOut, 1 + static_cast<int>(rng() % 6), rng);
  Tensor other;
  if (rng() % 3 == 0) {  // an operand of the full shape
    other = net.input("other", DType::kF32, {"rows", kOut});
    y = y + other;
  }
  net.mark_output("y", y);
  net.set_profile("rows", {1, 8, 64});
  ASSERT_TRUE(net.status().ok()) << net.status().error().message;

  BuildOptions fused, plain;
  fused.tune = plain.tune = false;
  plain.disabled_passes = {"fuse_qkv", "fuse_gated", "fuse_matmul", "fuse_norm", "fuse_pointwise"};
  auto one = build_context(net, fused);
  auto many = build_context(net, plain);
  ASSERT_NE(one, nullptr);
  ASSERT_NE(many, nullptr);
  EXPECT_EQ(one->num_launches(), 1) << net.text();
  EXPECT_GT(many->num_launches(), 1) << net.text();
  for (int64_t rows : {1, 5, 64}) {
    const auto input = random_values(static_cast<size_t>(rows * kIn), rng);
    const auto extra = random_values(static_cast<size_t>(rows * kOut), rng);
    for (Context* context : {one.get(), many.get()}) {
      ASSERT_TRUE(context->set_input("x", host(input, {rows, kIn})).ok());
      if (other.valid()) {
        ASSERT_TRUE(context->set_input("other", host(extra, {rows, kOut})).ok());
      }
      ASSERT_TRUE(context->run().ok());
    }
    const auto p = values_of(*one->output("y")), q = values_of(*many->output("y"));
    ASSERT_EQ(p.size(), q.size());
    for (size_t i = 0; i < p.size(); ++i) {
      ASSERT_NEAR(p[i], q[i], 1e-5f * std::max(1.0f, std::fabs(q[i]))) << net.text();
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Random, PointwiseAroundMatmul, testing::Range(0, 50));

}  // namespace
}  // namespace ramjet
