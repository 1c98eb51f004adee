#include <gtest/gtest.h>

#include <cstring>
#include <mutex>

#include "base/thread_pool.h"
#include "kernels/kernel_test_util.h"
#include "kernels/reference/reference.h"

namespace ramjet::kernels {

TestTensor::TestTensor(DType dtype, Shape shape) {
  view = {nullptr, dtype, shape};
  bytes.assign(static_cast<size_t>(view.bytes()), std::byte{0xff});  // NaN in every float
  view.data = bytes.data();
}
TestTensor::TestTensor(const TestTensor& other) : bytes(other.bytes), view(other.view) {
  view.data = bytes.data();
}
TestTensor& TestTensor::operator=(const TestTensor& other) {
  bytes = other.bytes;
  view = other.view;
  view.data = bytes.data();
  return *this;
}
TestTensor TestTensor::of(DType dtype, Shape shape, const std::vector<float>& values) {
  TestTensor tensor(dtype, shape);
  for (size_t i = 0; i < values.size(); ++i) {
    if (dtype == DType::kI8) {
      tensor.view.as<int8_t>()[i] = static_cast<int8_t>(values[i]);
    } else {
      reference::store(tensor.view, static_cast<int64_t>(i), values[i]);
    }
  }
  return tensor;
}
TestTensor TestTensor::ints(Shape shape, const std::vector<int32_t>& values) {
  TestTensor tensor(DType::kI32, shape);
  if (!values.empty()) std::memcpy(tensor.bytes.data(), values.data(), tensor.bytes.size());
  return tensor;
}
std::vector<float> TestTensor::values() const {
  std::vector<float> out(static_cast<size_t>(view.elements()));
  for (size_t i = 0; i < out.size(); ++i) {
    out[i] = reference::load(view, static_cast<int64_t>(i));
  }
  return out;
}

std::mt19937_64& rng() {
  static std::mt19937_64 engine = [] {
    const int fixed = GTEST_FLAG_GET(random_seed);
    const int seed = fixed != 0 ? fixed : static_cast<int>(std::random_device{}() % 99999 + 1);
    std::fprintf(stderr, "random inputs: --gtest_random_seed=%d\n", seed);
    return std::mt19937_64(static_cast<uint64_t>(seed));
  }();
  return engine;
}
float uniform(float low, float high) {
  return std::uniform_real_distribution<float>(low, high)(rng());
}
int64_t pick(int64_t low, int64_t high) {
  return std::uniform_int_distribution<int64_t>(low, high)(rng());
}
TestTensor random_tensor(DType dtype, Shape shape, float low, float high) {
  std::vector<float> values(static_cast<size_t>(shape.elements()));
  for (float& value : values) value = uniform(low, high);
  return TestTensor::of(dtype, shape, values);
}

OpDesc OpCase::desc() {
  const auto type_of = [](const TestTensor& tensor) {
    TensorType type{tensor.view.dtype, {}};
    for (int64_t extent : tensor.view.shape.dims()) type.dims.emplace_back(extent);
    return type;
  };
  input_types.clear(), output_types.clear();
  for (const TestTensor& tensor : inputs) input_types.push_back(type_of(tensor));
  for (const TestTensor& tensor : outputs) output_types.push_back(type_of(tensor));
  return {op, &attrs, input_types, output_types, {}};
}

OpCase OpCase::run(const Tactic& tactic, ThreadPool& pool) const {
  OpCase result = *this;
  std::vector<TensorView> in, out;
  for (TestTensor& tensor : result.inputs) in.push_back(tensor.view);
  std::vector<std::vector<std::byte>> packed;
  for (size_t i = 0; i < in.size(); ++i) {
    if (layout_of(tactic, i) == "row_major") continue;
    const WeightLayout* layout = find_layout(layout_of(tactic, i));
    const TensorView& b = in[i];
    const int64_t rows = b.shape.rows(), cols = b.shape.back();
    const auto bytes = static_cast<size_t>(layout->packed_bytes(rows, cols, b.dtype));
    packed.emplace_back(bytes + 64);
    const size_t skew = (64 - reinterpret_cast<uintptr_t>(packed.back().data()) % 64) % 64;
    const std::span<std::byte> target = std::span(packed.back()).subspan(skew, bytes);
    layout->pack(result.inputs[i].bytes, rows, cols, b.dtype, target);
    in[i].data = target.data();
  }
  for (TestTensor& tensor : result.outputs) {
    tensor = TestTensor(tensor.view.dtype, tensor.view.shape);
    out.push_back(tensor.view);
  }
  std::vector<KvView> kv_views;
  for (TestKv& pool_kv : result.kv) {
    pool_kv.view.base = pool_kv.bytes.data();
    kv_views.push_back(pool_kv.view);
  }
  const OpDesc described = result.desc();
  const int64_t scratch = tactic.workspace_bytes ? tactic.workspace_bytes(described) : 0;
  std::vector<std::byte> workspace(static_cast<size_t>(scratch), std::byte{0xff});
  tactic.run({&result.attrs, in, out, workspace, kv_views, &pool});
  return result;
}

OpCase OpCase::run_reference() const {
  ThreadPool pool(1);
  return run(*reference_tactic(op), pool);
}

double unit_roundoff(DType dtype) {
  if (dtype == DType::kBf16) return 0x1p-8;
  return dtype == DType::kF16 ? 0x1p-11 : 0x1p-24;
}

namespace {

bool close(float want, float got, Tolerance tolerance) {
  if (std::isnan(want) || std::isnan(got)) return std::isnan(want) == std::isnan(got);
  if (std::isinf(want) || std::isinf(got)) return want == got;
  const double error = std::abs(double{want} - double{got});
  return error <= tolerance.absolute + tolerance.relative * std::abs(double{want});
}

std::string compare(const char* what, size_t index, const std::vector<float>& want,
                    const std::vector<float>& got, Tolerance tolerance) {
  for (size_t i = 0; i < want.size(); ++i) {
    if (close(want[i], got[i], tolerance)) continue;
    char text[160];
    std::snprintf(text, sizeof text, "%s %zu element %zu of %zu: want %.9g, got %.9g", what, index,
                  i, want.size(), double{want[i]}, double{got[i]});
    return text;
  }
  return "";
}

std::vector<float> kv_values(const TestKv& kv) {
  const auto size = static_cast<size_t>(dtype_bytes(kv.view.dtype));
  std::vector<float> out(kv.bytes.size() / size);
  for (size_t i = 0; i < out.size(); ++i) {
    out[i] = reference::load_element(kv.bytes.data(), kv.view.dtype, static_cast<int64_t>(i));
  }
  return out;
}

}  // namespace

std::string difference(const OpCase& want, const OpCase& got, Tolerance tolerance) {
  for (size_t i = 0; i < want.outputs.size(); ++i) {
    const double ulp = 2 * unit_roundoff(want.outputs[i].view.dtype);
    const Tolerance widened{tolerance.absolute, tolerance.relative + ulp};
    auto text = compare("output", i, want.outputs[i].values(), got.outputs[i].values(), widened);
    if (!text.empty()) return text;
  }
  for (size_t i = 0; i < want.kv.size(); ++i) {
    const double ulp = 2 * unit_roundoff(want.kv[i].view.dtype);
    const Tolerance widened{tolerance.absolute, tolerance.relative + ulp};
    auto text = compare("kv group", i, kv_values(want.kv[i]), kv_values(got.kv[i]), widened);
    if (!text.empty()) return text;
  }
  return "";
}

std::vector<Isa> machine_isas() {
  std::vector<Isa> isas;
  std::string missing;
  for (Isa isa : {Isa::kAvx2, Isa::kAvx512, Isa::kAmx}) {
    const Target target{isa};
    if (target.runs_on(Target::host())) {
      isas.push_back(isa);
    } else {
      missing += " " + target.name();
    }
  }
  static std::once_flag once;
  std::call_once(once, [&] {
    std::fprintf(stderr, "instruction sets: %zu run here; skipped:%s\n", isas.size(),
                 missing.empty() ? " none" : missing.c_str());
  });
  return isas;
}

int expect_all_match(OpCase test_case, Tolerance tolerance, std::optional<Tolerance> on_tiles) {
  machine_isas();
  const OpCase want = test_case.run_reference();
  int ran = 0;
  static ThreadPool pools[] = {ThreadPool(1), ThreadPool(2), ThreadPool(3)};
  for (const Tactic* tactic : find_tactics(test_case.desc(), Target::host())) {
    if (tactic == reference_tactic(test_case.op)) continue;
    ++ran;
    const OpCase single = test_case.run(*tactic, pools[0]);
    const Tolerance allowed = tactic->isa == Isa::kAmx ? on_tiles.value_or(tolerance) : tolerance;
    EXPECT_EQ(difference(want, single, allowed), "") << tactic->name << " " << test_case.label;
    for (ThreadPool* pool : {&pools[1], &pools[2]}) {
      const OpCase got = test_case.run(*tactic, *pool);
      for (size_t i = 0; i < got.outputs.size(); ++i) {
        EXPECT_TRUE(got.outputs[i].bytes == single.outputs[i].bytes)
            << tactic->name << " depends on the number of threads: " << pool->size() << " "
            << test_case.label;
      }
      EXPECT_EQ(difference(single, got, {0, 0}), "") << tactic->name << " " << test_case.label;
    }
  }
  return ran;
}

}  // namespace ramjet::kernels
