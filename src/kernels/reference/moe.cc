#include <algorithm>
#include <vector>

#include "base/thread_pool.h"
#include "kernels/moe_call.h"
#include "kernels/reference/reference.h"

namespace ramjet::kernels::reference {
namespace {

/// One expert's product of one row: `result` gets what the desc's epilogue makes of it.
void product_row(const MoeProduct& product, int64_t expert, const TensorView& a,
                 const TensorView& result) {
  const MatmulDesc& desc = *product.desc;
  const TensorView b = of_expert(*product.b, expert);
  const int64_t depth = b.shape[1], columns = b.shape[0] / desc.accumulators;
  std::vector<float> values(static_cast<size_t>(desc.accumulators));
  for (int64_t n = 0; n < columns; ++n) {
    values.resize(static_cast<size_t>(desc.accumulators));
    for (int64_t j = 0; j < desc.accumulators; ++j) {
      const int64_t row = weight_row(desc.accumulators, j, n, columns);
      double sum = 0;
      for (int64_t k = 0; k < depth; ++k) {
        sum += double{load(a, k)} * double{load(b, row * depth + k)};
      }
      if (product.scales != nullptr) sum *= double{load(of_expert(*product.scales, expert), row)};
      values[static_cast<size_t>(j)] = static_cast<float>(sum);
    }
    for (const TensorView& operand : product.operands) {
      values.push_back(load(of_expert(operand, expert), n));
    }
    float out = values[0];
    if (!desc.epilogue.empty()) desc.epilogue.evaluate(values, {&out, 1});
    store(result, n, out);
  }
}

}  // namespace

void moe_route(const KernelCall& call) {
  const auto& desc = std::get<MoeRouteDesc>(*call.attrs);
  const TensorView& logits = call.inputs[0];
  const int64_t experts = logits.shape.back(), rows = logits.shape[0];
  call.pool->parallel_for(rows, [&](int64_t begin, int64_t end, int) {
    std::vector<double> scores(static_cast<size_t>(experts));
    std::vector<int32_t> order(static_cast<size_t>(experts));
    for (int64_t row = begin; row < end; ++row) {
      for (size_t e = 0; e < order.size(); ++e) {
        order[e] = static_cast<int32_t>(e);
        scores[e] = double{load(logits, row * experts + static_cast<int64_t>(e))};
        if (std::isnan(scores[e])) scores[e] = -INFINITY;  // the order stays one
      }
      const auto score = [&](int32_t e) { return scores[static_cast<size_t>(e)]; };
      std::partial_sort(
          order.begin(), order.begin() + desc.k, order.end(),
          [&](int32_t a, int32_t b) { return score(a) != score(b) ? score(a) > score(b) : a < b; });
      const double top = score(order[0]);
      double all = 0, chosen = 0;
      for (double& value : scores) all += value = std::isinf(top) ? 1.0 : std::exp(value - top);
      for (int64_t i = 0; i < desc.k; ++i) chosen += score(order[static_cast<size_t>(i)]);
      const double factor = desc.scale / (desc.renormalize ? chosen : all);
      for (int64_t i = 0; i < desc.k; ++i) {
        const int32_t expert = order[static_cast<size_t>(i)];
        call.outputs[0].as<int32_t>()[row * desc.k + i] = expert;
        store(call.outputs[1], row * desc.k + i, static_cast<float>(score(expert) * factor));
      }
    }
  });
}

void moe(const KernelCall& call) {
  const MoeCall moe(call);
  const DType dtype = call.inputs[0].dtype;
  call.pool->parallel_for(moe.tokens, 1, [&](int64_t token, int64_t, int) {
    std::vector<std::byte> hidden(static_cast<size_t>(moe.hidden * dtype_bytes(dtype)));
    std::vector<float> result(static_cast<size_t>(moe.columns));
    std::vector<double> sum(static_cast<size_t>(moe.columns), 0.0);
    const TensorView h = {hidden.data(), dtype, {1, moe.hidden}};
    const TensorView y = {result.data(), DType::kF32, {1, moe.columns}};
    for (int64_t slot = token * moe.k; slot < (token + 1) * moe.k; ++slot) {
      product_row(moe.up, moe.ids[slot], moe.token_row(token), h);
      product_row(moe.down, moe.ids[slot], h, y);
      for (size_t n = 0; n < sum.size(); ++n) {
        sum[n] += double{moe.weights[slot]} * double{result[n]};
      }
    }
    for (int64_t n = 0; n < moe.columns; ++n) {
      store(call.outputs[0], token * moe.columns + n,
            static_cast<float>(sum[static_cast<size_t>(n)]));
    }
  });
}

}  // namespace ramjet::kernels::reference
