#include "kernels/cpu/row_ops.h"

#include <algorithm>

#include "base/thread_pool.h"
#include "kernels/cpu/broadcast.h"
#include "kernels/paging.h"
#include "kernels/registry.h"

namespace ramjet::kernels::cpu {
namespace {

// A row op keeps up to four f32 rows in scratch.
constexpr int64_t kMaxRow = static_cast<int64_t>(ThreadPool::kScratchBytes) / 16 - 64;
constexpr int64_t kMaxHeadDim = 256, kMaxGroup = 112;

bool oracle_takes(const OpDesc& desc) { return reference_tactic(desc.op)->supports(desc); }
bool all_real(std::span<const TensorType> types) {
  return std::all_of(types.begin(), types.end(), [](const TensorType& type) {
    return type.dtype == DType::kF32 || type.dtype == DType::kBf16 || type.dtype == DType::kF16;
  });
}
/// The last axis has a number for its extent, and a row fits in scratch.
bool row_fits(const TensorType& type) {
  if (type.dims.empty()) return false;
  const Dim& last = type.dims.back();
  return last.fixed() && last.offset > 0 && last.offset <= kMaxRow;
}
bool last_axis(int64_t axis, const TensorType& type) {
  return axis == -1 || axis == type.rank() - 1;
}
bool heads_fit(const AttentionDesc& desc) {
  const int64_t width =
      (desc.num_heads + 2 * desc.num_kv_heads + 2) * std::max(desc.head_dim, value_dim(desc));
  return width <= kMaxRow;
}

}  // namespace

bool pointwise_ok(const OpDesc& desc) {
  return oracle_takes(desc) && all_real(desc.outputs) && desc.inputs.size() <= kMaxProgramInputs &&
         std::get<PointwiseDesc>(*desc.attrs).program.instrs.size() <= kMaxProgramInstrs;
}
bool norm_ok(const OpDesc& desc) { return oracle_takes(desc) && row_fits(desc.inputs[0]); }
bool add_norm_ok(const OpDesc& desc) { return norm_ok(desc); }
bool quantize_ok(const OpDesc& desc) { return norm_ok(desc); }
bool embedding_ok(const OpDesc& desc) { return oracle_takes(desc) && row_fits(desc.inputs[1]); }
bool softmax_ok(const OpDesc& desc) {
  return oracle_takes(desc) && row_fits(desc.inputs[0]) &&
         last_axis(std::get<AxisDesc>(*desc.attrs).axis, desc.inputs[0]);
}
bool reduce_ok(const OpDesc& desc) {
  return oracle_takes(desc) && row_fits(desc.inputs[0]) && all_real(desc.outputs) &&
         last_axis(std::get<ReduceDesc>(*desc.attrs).axis, desc.inputs[0]);
}
bool rope_table_ok(const OpDesc& desc) {
  return oracle_takes(desc) && std::get<RopeSpec>(*desc.attrs).rotary_dim <= kMaxRow;
}
bool rope_ok(const OpDesc& desc) { return oracle_takes(desc) && row_fits(desc.inputs[0]); }
bool kv_append_ok(const OpDesc& desc) {
  return oracle_takes(desc) && heads_fit(std::get<AttentionDesc>(*desc.attrs));
}
bool qkv_ok(const OpDesc& desc) {
  return oracle_takes(desc) && heads_fit(std::get<QkvDesc>(*desc.attrs).attention);
}
bool attention_ok(const OpDesc& desc) {
  if (!oracle_takes(desc)) return false;
  const auto& a = std::get<AttentionDesc>(*desc.attrs);
  return a.head_dim <= kMaxHeadDim && value_dim(a) <= kMaxHeadDim &&
         a.num_heads / a.num_kv_heads <= kMaxGroup;
}
bool amx_attention_ok(const OpDesc& desc) {
  if (!attention_ok(desc) || desc.inputs[0].dtype != DType::kBf16) return false;
  if (desc.op == OpKind::kAttention && desc.inputs[1].dtype != DType::kBf16) return false;
  const auto& a = std::get<AttentionDesc>(*desc.attrs);
  return a.head_dim % 32 == 0 && value_dim(a) % 32 == 0;
}
int64_t attention_workspace(const OpDesc&) { return int64_t{8} << 20; }

}  // namespace ramjet::kernels::cpu
