#include <gtest/gtest.h>

#include <numeric>

#include "base/thread_pool.h"
#include "kernels/cpu/kernels.h"
#include "kernels/kernel_test_util.h"
#include "kernels/reference/reference.h"

namespace ramjet::kernels {
namespace {

/// A ragged batch over a paged cache whose blocks lie in random order. Blocks that no sequence
/// owns, and slots past the end, hold NaN: a kernel that reads them is caught.
struct PagedBatch {
  std::vector<int32_t> query_start{0}, kv_len, table;
  int64_t blocks = 0, block_tokens = 16, columns = 0;
  TestKv kv;

  void add(int64_t queries, int64_t length) {
    query_start.push_back(query_start.back() + static_cast<int32_t>(queries));
    kv_len.push_back(static_cast<int32_t>(length));
  }
  int64_t rows() const { return query_start.back(); }

  void build(const AttentionDesc& desc, DType dtype, int64_t layers) {
    const auto sequences = static_cast<int64_t>(kv_len.size());
    for (int32_t length : kv_len) {
      columns = std::max<int64_t>(columns, (length + block_tokens - 1) / block_tokens);
    }
    blocks = sequences * columns + 3;
    std::vector<int32_t> order(static_cast<size_t>(blocks));
    std::iota(order.begin(), order.end(), 0);
    std::shuffle(order.begin(), order.end(), rng());
    table.assign(order.begin(), order.begin() + sequences * columns);
    const int64_t size = dtype_bytes(dtype), tokens = desc.num_kv_heads * block_tokens;
    const int64_t v_offset = tokens * desc.head_dim * size;
    const int64_t stride = v_offset + tokens * desc.v_head_dim * size;
    kv.view = {nullptr, dtype, layers, blocks, block_tokens, stride * blocks, stride, v_offset};
    kv.bytes.assign(static_cast<size_t>(stride * blocks * layers), std::byte{0xff});
  }
  /// Random keys and values at every position of every sequence, of one layer.
  void fill(const AttentionDesc& desc) {
    const int64_t size = dtype_bytes(kv.view.dtype);
    for (size_t s = 0; s < kv_len.size(); ++s) {
      for (int64_t p = 0; p < kv_len[s]; ++p) {
        const int64_t block =
            table[s * static_cast<size_t>(columns) + static_cast<size_t>(p / block_tokens)];
        std::byte* base =
            kv.bytes.data() + desc.kv_layer * kv.view.layer_stride + block * kv.view.block_stride;
        for (int64_t h = 0; h < desc.num_kv_heads; ++h) {
          const int64_t slot = h * block_tokens + p % block_tokens;
          for (int64_t i = 0; i < desc.head_dim; ++i) {
            reference::store_element(base + slot * desc.head_dim * size, kv.view.dtype, i,
                                     uniform(-1, 1));
          }
          for (int64_t i = 0; i < desc.v_head_dim; ++i) {
            reference::store_element(base + kv.view.v_offset + slot * desc.v_head_dim * size,
                                     kv.view.dtype, i, uniform(-1, 1));
          }
        }
      }
    }
  }
  std::vector<TestTensor> operands() const {
    const auto sequences = static_cast<int64_t>(kv_len.size());
    return {TestTensor::ints({sequences + 1}, query_start), TestTensor::ints({sequences}, kv_len),
            TestTensor::ints({sequences, columns}, table)};
  }
};

constexpr DType kReal[] = {DType::kF32, DType::kBf16, DType::kF16};
constexpr DType kCache[] = {DType::kF32, DType::kBf16, DType::kF16, DType::kF8E4M3};

AttentionDesc random_desc(int64_t dim) {
  AttentionDesc desc;
  desc.num_kv_heads = pick(1, 3);
  desc.num_heads = desc.num_kv_heads * pick(1, 4);
  desc.head_dim = dim;
  desc.v_head_dim = pick(0, 3) == 0 ? 8 * pick(1, 8) : dim;
  desc.scale = 4 / std::sqrt(static_cast<double>(dim));
  desc.kv_layer = pick(0, 1);
  desc.k_scale = 0.5, desc.v_scale = 0.75;  // of an eight-bit cache alone
  return desc;
}

OpCase attention_case(const AttentionDesc& desc, PagedBatch& batch, DType dtype) {
  OpCase test{OpKind::kPagedAttention, desc, {}, {}, {batch.kv}, ""};
  test.inputs = batch.operands();
  test.inputs.insert(test.inputs.begin(),
                     random_tensor(dtype, {batch.rows(), desc.num_heads * desc.head_dim}, -2, 2));
  if (desc.sinks) test.inputs.push_back(random_tensor(DType::kF32, {desc.num_heads}, -1, 3));
  test.outputs = {TestTensor(dtype, {batch.rows(), desc.num_heads * desc.v_head_dim})};
  test.label = "dim " + std::to_string(desc.head_dim) + "/" + std::to_string(desc.v_head_dim) +
               " heads " + std::to_string(desc.num_heads) + "/" +
               std::to_string(desc.num_kv_heads) + " window " + std::to_string(desc.window) +
               " cap " + std::to_string(desc.softcap);
  return test;
}

constexpr Tolerance kTolerance = {2e-5, 2e-5};
/// Probabilities are rounded to bf16 there; values are at most 1.
constexpr Tolerance kTileTolerance = {4e-3, 0};

TEST(CpuAttention, MixedBatchesOfEveryShape) {
  int round = 0;
  for (int64_t dim : {8, 16, 24, 64, 80, 96, 128, 256}) {
    for (DType dtype : kCache) {
      AttentionDesc desc = random_desc(dim);
      if (round % 2 == 1) desc.window = pick(1, 100);
      if (round % 3 == 1) desc.softcap = 2;
      desc.sinks = round % 4 == 2;
      PagedBatch batch;
      batch.block_tokens = int64_t{8} << pick(0, 3);
      batch.add(1, pick(1, 150));           // decode
      batch.add(pick(2, 40), 40);           // prefill, or its last chunk
      if (round % 5 == 0) batch.add(0, 7);  // nothing this step
      batch.add(3, pick(3, 200));
      batch.build(desc, dtype, 2);
      batch.fill(desc);
      expect_all_match(attention_case(desc, batch, kReal[round % 3]), kTolerance, kTileTolerance);
      ++round;
    }
  }
}

TEST(CpuAttention, WithoutACacheEachTokenSeesItsWholeSequence) {
  int round = 0;
  for (const int64_t dim : {8, 32, 64, 80}) {
    for (const int64_t longest : {1, 70, 530}) {  // the last takes two chunks of keys
      if (longest > 500 && dim > 8) continue;     // the reference takes its time
      AttentionDesc desc = random_desc(dim);
      desc.v_head_dim = dim, desc.kv_layer = 0;
      const std::vector<int32_t> lengths = {3, static_cast<int32_t>(longest), 1};
      std::vector<int32_t> starts = {0};
      for (const int32_t length : lengths) starts.push_back(starts.back() + length);
      const int64_t rows = starts.back();
      const DType dtype = kReal[round++ % 3];
      OpCase test{OpKind::kAttention, desc, {}, {}, {}, ""};
      test.inputs = {random_tensor(dtype, {rows, desc.num_heads * dim}, -2, 2),
                     random_tensor(dtype, {rows, desc.num_kv_heads * dim}),
                     random_tensor(dtype, {rows, desc.num_kv_heads * dim}),
                     TestTensor::ints({4}, starts), TestTensor::ints({3}, lengths)};
      test.outputs = {TestTensor(dtype, {rows, desc.num_heads * dim})};
      EXPECT_GE(expect_all_match(test, kTolerance, kTileTolerance), 1) << longest;
    }
  }
}

TEST(CpuAttention, LongContextsAreSharedByThreads) {
  for (int64_t window : {0, 900}) {
    AttentionDesc desc{.num_heads = 2, .num_kv_heads = 1, .head_dim = 16, .v_head_dim = 16};
    desc.scale = 0.5, desc.window = window;
    PagedBatch batch;
    batch.add(1, 2500), batch.add(2, 1025);
    batch.build(desc, DType::kBf16, 1);
    batch.fill(desc);
    expect_all_match(attention_case(desc, batch, DType::kF32), kTolerance, kTileTolerance);
  }
}

TEST(CpuAttention, ManyQueryBlocks) {
  AttentionDesc desc{.num_heads = 4, .num_kv_heads = 2, .head_dim = 32, .v_head_dim = 32};
  desc.scale = 0.3;
  PagedBatch batch;
  batch.add(200, 200), batch.add(130, 600);
  batch.build(desc, DType::kBf16, 1);
  batch.fill(desc);
  expect_all_match(attention_case(desc, batch, DType::kBf16), kTolerance, kTileTolerance);
}

TEST(CpuAttention, BlocksOutsideTheWindowAreNeverRead) {
  AttentionDesc desc{.num_heads = 1, .num_kv_heads = 1, .head_dim = 16, .v_head_dim = 16};
  desc.window = 20;
  PagedBatch batch;
  batch.add(2, 100);
  batch.build(desc, DType::kBf16, 1);
  batch.fill(desc);
  OpCase test = attention_case(desc, batch, DType::kF32);
  for (int i = 0; i < 4; ++i) test.inputs[3].view.as<int32_t>()[i] = -1000000;  // given back
  expect_all_match(test, kTolerance, kTileTolerance);
}

/// The tile kernel over emulated tile instructions, where the real ones may be missing.
TEST(CpuAttention, AmxIndexingUnderEmulation) {
  if (!Target{Isa::kAvx512}.runs_on(Target::host())) GTEST_SKIP() << "no AVX-512 here";
  Tactic tactic = *find_tactic("cpu.amx.paged_attention.v1");
  tactic.run = cpu::amx::paged_attention_emulated;
  ThreadPool one(1), two(2);
  for (int round = 0; round < 12; ++round) {
    AttentionDesc desc = random_desc(32 * pick(1, 4));
    desc.v_head_dim = round % 5 == 3 ? 64 : desc.head_dim;
    if (round % 2 == 1) desc.window = pick(1, 100);
    if (round % 3 == 1) desc.softcap = 2;
    desc.sinks = round % 4 == 2;
    PagedBatch batch;
    batch.block_tokens = int64_t{8} << pick(0, 3);
    batch.add(1, pick(1, 150));
    batch.add(pick(30, 90), round == 5 ? 700 : 90);  // past a chunk of keys
    batch.add(3, pick(3, 200));
    batch.build(desc, round == 7 ? DType::kF32 : DType::kBf16, 2);
    batch.fill(desc);
    OpCase test = attention_case(desc, batch, DType::kBf16);
    ASSERT_TRUE(tactic.supports(test.desc()));
    const OpCase got = test.run(tactic, two);
    EXPECT_EQ(difference(test.run_reference(), got, kTileTolerance), "") << test.label;
    EXPECT_EQ(got.outputs[0].bytes, test.run(tactic, one).outputs[0].bytes) << test.label;
  }
}

TEST(CpuAttention, AppendAndFusedAppend) {
  for (int round = 0; round < 8; ++round) {
    AttentionDesc desc = random_desc(8 * pick(1, 17));
    PagedBatch batch;
    batch.block_tokens = 8;
    batch.add(1, 9), batch.add(pick(1, 30), 31);
    const DType cache = kCache[round % 4];
    batch.build(desc, cache, 2);
    const int64_t rows = batch.rows(), k_width = desc.num_kv_heads * desc.head_dim;
    const DType dtype = kReal[pick(0, 2)];
    OpCase append{OpKind::kKvAppend, desc, batch.operands(), {}, {batch.kv}, ""};
    append.inputs.insert(append.inputs.begin(),
                         {random_tensor(dtype, {rows, k_width}),
                          random_tensor(dtype, {rows, desc.num_kv_heads * desc.v_head_dim})});
    expect_all_match(append, {1e-6, 1e-6});

    QkvDesc fused{desc, 2 * pick(0, desc.head_dim / 2), round % 2 == 0, round % 3 == 0, {}};
    OpCase qkv{OpKind::kQkvRopeAppend, fused, batch.operands(), {}, {batch.kv}, ""};
    const int64_t width =
        (desc.num_heads + desc.num_kv_heads) * desc.head_dim + desc.num_kv_heads * desc.v_head_dim;
    qkv.inputs.insert(qkv.inputs.begin(),
                      {random_tensor(dtype, {rows, width}),
                       random_tensor(DType::kF32, {rows, std::max<int64_t>(1, fused.rotary_dim)})});
    if (fused.qk_norm) {
      qkv.inputs.push_back(random_tensor(dtype, {desc.head_dim}));
      qkv.inputs.push_back(random_tensor(dtype, {desc.head_dim}));
    }
    qkv.outputs = {TestTensor(dtype, {rows, desc.num_heads * desc.head_dim})};
    // Eight bits: what lies at a boundary may be rounded to either side.
    expect_all_match(qkv, cache == DType::kF8E4M3 ? Tolerance{0.005, 0.13} : Tolerance{1e-5, 1e-5});
  }
}

}  // namespace
}  // namespace ramjet::kernels
