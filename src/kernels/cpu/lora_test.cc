#include <gtest/gtest.h>

#include "base/thread_pool.h"

#include "kernels/kernel_test_util.h"

namespace ramjet::kernels {
namespace {

struct LoraCase {
  DType dtype = DType::kBf16;
  int64_t slots = 3, rank = 8, width = 64;
  std::vector<int64_t> columns = {64};
};

OpCase build(const LoraCase& m, const std::vector<int32_t>& slots) {
  const auto tokens = static_cast<int64_t>(slots.size());
  OpCase out{OpKind::kLora, std::monostate{}, {}, {}, {}, ""};
  out.inputs = {random_tensor(m.dtype, {tokens, m.width}), TestTensor::ints({tokens}, slots),
                random_tensor(DType::kF32, {m.slots}, 0.5f, 2)};
  int64_t columns = 0;
  for (const int64_t n : m.columns) {
    out.inputs.push_back(random_tensor(m.dtype, {m.slots, m.rank, m.width}));
    out.inputs.push_back(random_tensor(m.dtype, {m.slots, m.rank, n}));
    columns += n;
  }
  out.outputs = {TestTensor(m.dtype, {tokens, columns})};
  out.label = fmt::format("{} tokens, {} slots, rank {}, {} -> {} in {}", tokens, m.slots, m.rank,
                          m.width, columns, dtype_name(m.dtype));
  return out;
}

std::vector<int32_t> random_slots(int64_t tokens, int64_t slots) {
  std::vector<int32_t> out;
  for (int64_t i = 0; i < tokens; ++i) out.push_back(static_cast<int32_t>(pick(-1, slots - 1)));
  return out;
}

TEST(CpuLora, EveryDtypeShapeAndMixOfSlots) {
  const LoraCase cases[] = {
      {DType::kF32, 3, 8, 64, {64}},        {DType::kBf16, 2, 16, 96, {48, 16, 16}},
      {DType::kF16, 1, 4, 40, {33}},        {DType::kBf16, 5, 3, 7, {5, 600}},
      {DType::kF32, 4, 64, 200, {1100, 9}},
  };
  for (const LoraCase& each : cases) {
    for (const int64_t tokens : {1, 2, 5, 33}) {
      const double unit = unit_roundoff(each.dtype);
      const Tolerance tolerance{1e-4 * static_cast<double>(each.width), 2 * unit};
      expect_all_match(build(each, random_slots(tokens, each.slots)), tolerance);
    }
  }
}

TEST(CpuLora, RowsWithoutAnAdapterAreZero) {
  const LoraCase shape{DType::kBf16, 2, 8, 64, {32, 64}};
  for (const std::vector<int32_t>& slots :
       {std::vector<int32_t>{-1, -1, -1}, {2, 1000, -7}, {1, -1, 0}}) {
    OpCase test_case = build(shape, slots);
    expect_all_match(test_case, {1e-2, 1e-2});
    const std::vector<float> values = test_case.run_reference().outputs[0].values();
    for (size_t i = 0; i < values.size(); ++i) {
      const int32_t slot = slots[i / 96];
      if (slot < 0 || slot > 1) ASSERT_EQ(values[i], 0) << i;
    }
  }
}

/// What a token gets rests on nothing else in the step.
TEST(CpuLora, ARowIsTheSameInEveryBatch) {
  constexpr int64_t kWidth = 70, kColumns = 77;
  const std::vector<int32_t> slots = {2, 0, 1, 2, -1, 0, 0, 0, 0, 2};
  OpCase whole = build({DType::kF32, 3, 5, kWidth, {40, 37}}, slots);
  const std::vector<float> x = whole.inputs[0].values();
  for (const Isa isa : machine_isas()) {
    const Tactic* tactic = find_tactics(whole.desc(), Target{isa})[0];
    ThreadPool pool(2);
    const std::vector<float> all = whole.run(*tactic, pool).outputs[0].values();
    for (size_t row = 0; row < slots.size(); ++row) {
      OpCase one = whole;
      const auto from = x.begin() + static_cast<ptrdiff_t>(row) * kWidth;
      one.inputs[0] = TestTensor::of(DType::kF32, {1, kWidth}, {from, from + kWidth});
      one.inputs[1] = TestTensor::ints({1}, {slots[row]});
      one.outputs = {TestTensor(DType::kF32, {1, kColumns})};
      const std::vector<float> alone = one.run(*tactic, pool).outputs[0].values();
      for (size_t c = 0; c < kColumns; ++c) {
        ASSERT_EQ(alone[c], all[row * kColumns + c]) << row << " " << c;
      }
    }
  }
}

}  // namespace
}  // namespace ramjet::kernels
