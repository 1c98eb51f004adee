#include "kernels/cpu/moe.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/check.h"
#include "base/thread_pool.h"
#include "kernels/cpu/layouts.h"
#include "kernels/cpu/matmul_plan.h"
#include "kernels/moe_call.h"
#include "tensor/half.h"

namespace ramjet::kernels::cpu {
namespace {

constexpr int64_t kRows = 512;           // of a group, at a time: what stays in cache
constexpr int64_t kFewElements = 16384;  // that one thread adds sooner than several

int64_t aligned(int64_t bytes) { return (bytes + 63) / 64 * 64; }

/// The workspace, part by part.
struct Scratch {
  int32_t* slots;       // of all tokens, grouped by expert
  int32_t* start;       // of each expert's group, and the end
  std::byte* gathered;  // rows of x
  std::byte* hidden;
  float* result;  // of kRows
  float* sum;     // of all tokens
  std::span<std::byte> matmul;

  struct Extents {
    int64_t tokens, k, experts, width, hidden, columns, element;
  };
  /// With null memory, measures.
  static int64_t carve(const Extents& x, std::byte* memory, Scratch* out) {
    int64_t used = 0;
    const auto take = [&](int64_t bytes) {
      std::byte* const at = memory == nullptr ? nullptr : memory + used;
      used += aligned(bytes);
      return at;
    };
    const int64_t rows = std::min(x.tokens, kRows);
    Scratch parts;
    parts.slots = reinterpret_cast<int32_t*>(take(x.tokens * x.k * 4));
    parts.start = reinterpret_cast<int32_t*>(take((x.experts + 1) * 4));
    parts.gathered = take(rows * x.width * x.element);
    parts.hidden = take(rows * x.hidden * x.element);
    parts.result = reinterpret_cast<float*>(take(rows * x.columns * 4));
    parts.sum = reinterpret_cast<float*>(take(x.tokens * x.columns * 4));
    const int64_t deepest = std::max(x.width, x.hidden);
    const int64_t tiles = (rows + 31) / 32 * 32 * ((deepest + 31) / 32 * 32) * 2;  // amx_workspace
    parts.matmul = {take(tiles), static_cast<size_t>(tiles)};
    if (out != nullptr) *out = parts;
    return used;
  }
};

/// Slots (token * k + choice) by expert, in order of the token within each.
void group_slots(const MoeCall& moe, const Scratch& scratch) {
  std::fill_n(scratch.start, moe.experts + 1, 0);
  const int64_t slots = moe.tokens * moe.k;
  for (int64_t i = 0; i < slots; ++i) ++scratch.start[moe.ids[i] + 1];
  for (int64_t e = 0; e < moe.experts; ++e) scratch.start[e + 1] += scratch.start[e];
  for (int64_t i = 0; i < slots; ++i) {
    scratch.slots[scratch.start[moe.ids[i]]++] = static_cast<int32_t>(i);
  }
  // Each start moved to its end, which is the next one's start.
  for (int64_t e = moe.experts; e > 0; --e) scratch.start[e] = scratch.start[e - 1];
  scratch.start[0] = 0;
}

struct Group {
  int64_t expert = 0;
  std::span<const int32_t> slots;  // at most kRows
  int64_t rows() const { return static_cast<int64_t>(slots.size()); }
};

class MoeWork {
 public:
  MoeWork(const KernelCall& call, CpuKernel matmul) : call_(call), moe_(call), matmul_(matmul) {
    const Scratch::Extents extents = {moe_.tokens,
                                      moe_.k,
                                      moe_.experts,
                                      moe_.width,
                                      moe_.hidden,
                                      moe_.columns,
                                      dtype_bytes(moe_.x->dtype)};
    CHECK(Scratch::carve(extents, nullptr, nullptr) <= std::ssize(call.workspace));
    Scratch::carve(extents, call.workspace.data(), &scratch_);
  }

  void run() {
    group_slots(moe_, scratch_);
    std::memset(scratch_.sum, 0, static_cast<size_t>(moe_.tokens * moe_.columns) * sizeof(float));
    for (int64_t e = 0; e < moe_.experts; ++e) {
      for (int64_t i = scratch_.start[e]; i < scratch_.start[e + 1]; i += kRows) {
        const int64_t count = std::min<int64_t>(kRows, scratch_.start[e + 1] - i);
        run_group({e, {scratch_.slots + i, static_cast<size_t>(count)}});
      }
    }
    spread(moe_.tokens, [&](int64_t token) { store_row(token); });
  }

 private:
  template <class F>
  void spread(int64_t rows, F row) {
    if (rows * moe_.columns <= kFewElements) {
      for (int64_t i = 0; i < rows; ++i) row(i);
      return;
    }
    call_.pool->parallel_for(rows, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) row(i);
    });
  }

  void run_group(const Group& group) {
    const DType dtype = moe_.x->dtype;
    const int64_t row_bytes = moe_.width * dtype_bytes(dtype);
    spread(group.rows(), [&](int64_t i) {
      const int64_t token = group.slots[static_cast<size_t>(i)] / moe_.k;
      std::memcpy(scratch_.gathered + i * row_bytes, moe_.token_row(token).data,
                  static_cast<size_t>(row_bytes));
    });
    const TensorView hidden = {scratch_.hidden, dtype, {group.rows(), moe_.hidden}};
    multiply(moe_.up, group, {scratch_.gathered, dtype, {group.rows(), moe_.width}}, hidden);
    multiply(moe_.down, group, hidden,
             {scratch_.result, DType::kF32, {group.rows(), moe_.columns}});
    spread(group.rows(), [&](int64_t i) {  // a token is in a group once: its experts are distinct
      const int32_t slot = group.slots[static_cast<size_t>(i)];
      const float weight = moe_.weights[slot];
      const float* const from = scratch_.result + i * moe_.columns;
      float* const to = scratch_.sum + slot / moe_.k * moe_.columns;
      for (int64_t n = 0; n < moe_.columns; ++n) to[n] += weight * from[n];
    });
  }

  void multiply(const MoeProduct& product, const Group& group, const TensorView& a,
                const TensorView& result) {
    TensorView inputs[3 + kMaxFusedOperands];
    size_t count = 0;
    inputs[count++] = a;
    inputs[count++] = packed(*product.b, group.expert);
    if (product.scales != nullptr) inputs[count++] = of_expert(*product.scales, group.expert);
    for (const TensorView& operand : product.operands) {
      inputs[count++] = of_expert(operand, group.expert);
    }
    KernelCall call = call_;
    call.inputs = {inputs, count};
    call.outputs = {&result, 1};
    call.workspace = scratch_.matmul;
    call.product = product.desc;
    matmul_(call);
  }

  /// One expert's matrix where all lie packed: whole panels of rows, columns padded.
  static TensorView packed(const TensorView& stacked, int64_t expert) {
    TensorView one = of_expert(stacked, 0);
    const int64_t bytes =
        padded_rows(one.shape[0]) * padded_cols(one.shape[1], one.dtype) * dtype_bytes(one.dtype);
    one.data = static_cast<std::byte*>(stacked.data) + expert * bytes;
    return one;
  }

  void store_row(int64_t token) {
    const float* const from = scratch_.sum + token * moe_.columns;
    const TensorView& out = call_.outputs[0];
    const int64_t at = token * moe_.columns;
    switch (out.dtype) {
      case DType::kBf16:
        for (int64_t n = 0; n < moe_.columns; ++n) {
          out.as<bf16_t>()[at + n] = f32_to_bf16(from[n]);
        }
        return;
      case DType::kF16:
        for (int64_t n = 0; n < moe_.columns; ++n) out.as<f16_t>()[at + n] = f32_to_f16(from[n]);
        return;
      default:
        std::memcpy(out.as<float>() + at, from, static_cast<size_t>(moe_.columns) * sizeof(float));
    }
  }

  const KernelCall& call_;
  MoeCall moe_;
  CpuKernel matmul_;
  Scratch scratch_;
};

/// One expert's product as a matmul of its own, for those who judge matmuls.
struct ProductDesc {
  OpAttrs attrs;
  std::vector<TensorType> inputs, outputs;
  ProductDesc(const OpDesc& desc, const MatmulDesc& product, const TensorType& a)
      : attrs(product), inputs{a} {}
  void add(const TensorType& stacked) {
    inputs.push_back({stacked.dtype, {stacked.dims.begin() + 1, stacked.dims.end()}});
  }
};

bool products_ok(const OpDesc& desc, bool (*matmul_ok)(const OpDesc&, bool), bool bf16) {
  if (!reference_tactic(OpKind::kMoe)->supports(desc)) return false;
  const auto& moe = std::get<MoeDesc>(*desc.attrs);
  const bool scaled = moe.up.quant != WeightQuant::kNone;
  const auto extra = [](const MatmulDesc& m) {
    return m.epilogue.empty() ? 0 : m.epilogue.num_inputs - static_cast<int>(m.accumulators);
  };
  TensorType hidden = desc.inputs[0];
  hidden.dims[1] = Dim(desc.inputs[1].dims[1].offset / moe.up.accumulators);
  TensorType result = desc.outputs[0];
  result.dtype = DType::kF32;
  size_t next = scaled ? 7 : 5;
  for (const bool up : {true, false}) {
    const MatmulDesc& product = up ? moe.up : moe.down;
    ProductDesc one(desc, product, up ? desc.inputs[0] : hidden);
    one.add(desc.inputs[up ? 1 : 2]);
    if (one.inputs[1].dims[0].offset % 32 != 0) return false;
    if (scaled) one.add(desc.inputs[up ? 5 : 6]);
    for (int i = 0; i < extra(product); ++i) one.add(desc.inputs[next++]);
    one.outputs.push_back(up ? hidden : result);
    if (!matmul_ok({OpKind::kMatmul, &one.attrs, one.inputs, one.outputs, desc.symbols}, bf16)) {
      return false;
    }
  }
  return true;
}

}  // namespace

void moe(const KernelCall& call, CpuKernel matmul) {
  if (call.outputs[0].elements() == 0) return;
  MoeWork(call, matmul).run();
}

bool moe_ok(const OpDesc& desc, bool bf16) { return products_ok(desc, packed_matmul_ok, bf16); }
bool amx_moe_ok(const OpDesc& desc, bool bf16) { return products_ok(desc, amx_matmul_ok, bf16); }

int64_t moe_workspace(const OpDesc& desc) {
  const auto& moe = std::get<MoeDesc>(*desc.attrs);
  const Dim& rows = desc.inputs[0].dims[0];
  const int64_t tokens =
      rows.fixed() ? rows.offset
                   : rows.factor * desc.symbols[static_cast<size_t>(rows.symbol)].max + rows.offset;
  return Scratch::carve(
      {tokens, desc.inputs[3].dims[1].offset, desc.inputs[1].dims[0].offset,
       desc.inputs[0].dims[1].offset, desc.inputs[1].dims[1].offset / moe.up.accumulators,
       desc.outputs[0].dims[1].offset, dtype_bytes(desc.inputs[0].dtype)},
      nullptr, nullptr);
}

}  // namespace ramjet::kernels::cpu
