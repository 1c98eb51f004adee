#include <algorithm>
#include <cstring>
#include <numeric>
#include <vector>

#include "base/thread_pool.h"
#include "kernels/reference/reference.h"

namespace ramjet::kernels::reference {
namespace {

int resolve_axis(int64_t axis, int rank) { return static_cast<int>(axis < 0 ? axis + rank : axis); }

/// A tensor seen as [outer, extent, inner] around one axis.
struct AxisView {
  int64_t outer = 1, extent = 1, inner = 1;
  AxisView(const Shape& shape, int axis) : extent(shape[axis]) {
    for (int i = 0; i < axis; ++i) outer *= shape[i];
    for (int i = axis + 1; i < shape.rank(); ++i) inner *= shape[i];
  }
};

}  // namespace

void embedding(const KernelCall& call) {
  const auto scale = static_cast<float>(std::get<EmbeddingDesc>(*call.attrs).scale);
  const TensorView& ids = call.inputs[0];
  const TensorView& table = call.inputs[1];
  const int64_t width = table.shape.back();
  for (int64_t row = 0; row < ids.elements(); ++row) {
    const int64_t id = ids.as<int32_t>()[row];
    DCHECK(id >= 0 && id < table.shape[0]);
    for (int64_t i = 0; i < width; ++i) {
      store(call.outputs[0], row * width + i, load(table, id * width + i) * scale);
    }
  }
}

void gather_rows(const KernelCall& call) {
  const TensorView& x = call.inputs[0];
  const TensorView& rows = call.inputs[1];
  const int64_t bytes = x.shape.back() * dtype_bytes(x.dtype);
  for (int64_t i = 0; i < rows.elements(); ++i) {
    std::memcpy(call.outputs[0].as<std::byte>() + i * bytes,
                x.as<std::byte>() + rows.as<int32_t>()[i] * bytes, static_cast<size_t>(bytes));
  }
}

void reduce(const KernelCall& call) {
  const auto& desc = std::get<ReduceDesc>(*call.attrs);
  const TensorView& x = call.inputs[0];
  const AxisView view(x.shape, resolve_axis(desc.axis, x.shape.rank()));
  for (int64_t o = 0; o < view.outer; ++o) {
    for (int64_t i = 0; i < view.inner; ++i) {
      double sum = 0;
      float extreme = 0;
      for (int64_t e = 0; e < view.extent; ++e) {
        const float value = load(x, (o * view.extent + e) * view.inner + i);
        sum += value;
        const bool better = desc.kind == ReduceKind::kMin ? value < extreme : value > extreme;
        if (e == 0 || better || std::isnan(value)) extreme = value;
        if (std::isnan(extreme)) break;  // a NaN wins
      }
      if (desc.kind == ReduceKind::kMean) sum /= static_cast<double>(view.extent);
      const bool additive = desc.kind == ReduceKind::kSum || desc.kind == ReduceKind::kMean;
      store(call.outputs[0], o * view.inner + i, additive ? static_cast<float>(sum) : extreme);
    }
  }
}

void softmax(const KernelCall& call) {
  const TensorView& x = call.inputs[0];
  const AxisView view(x.shape, resolve_axis(std::get<AxisDesc>(*call.attrs).axis, x.shape.rank()));
  for (int64_t o = 0; o < view.outer; ++o) {
    for (int64_t i = 0; i < view.inner; ++i) {
      const auto at = [&](int64_t e) { return (o * view.extent + e) * view.inner + i; };
      float top = -INFINITY;
      for (int64_t e = 0; e < view.extent; ++e) top = std::max(top, load(x, at(e)));
      double sum = 0;
      for (int64_t e = 0; e < view.extent; ++e) sum += std::exp(double{load(x, at(e))} - top);
      for (int64_t e = 0; e < view.extent; ++e) {
        const double share = std::exp(double{load(x, at(e))} - top) / sum;
        store(call.outputs[0], at(e), static_cast<float>(share));
      }
    }
  }
}

void reshape(const KernelCall& call) {
  const auto bytes = static_cast<size_t>(call.inputs[0].bytes());
  if (bytes > 0) std::memmove(call.outputs[0].data, call.inputs[0].data, bytes);
}

void transpose(const KernelCall& call) {
  const auto& permutation = std::get<TransposeDesc>(*call.attrs).permutation;
  const TensorView& x = call.inputs[0];
  const TensorView& out = call.outputs[0];
  const int rank = x.shape.rank();
  const int64_t size = dtype_bytes(x.dtype);
  for (int64_t flat = 0; flat < out.elements(); ++flat) {
    int64_t rest = flat, source = 0;
    for (int i = rank - 1; i >= 0; --i) {  // axis i of the result is axis permutation[i] of x
      const int64_t coordinate = rest % out.shape[i];
      rest /= out.shape[i];
      int64_t stride = 1;
      for (int j = static_cast<int>(permutation[static_cast<size_t>(i)]) + 1; j < rank; ++j) {
        stride *= x.shape[j];
      }
      source += coordinate * stride;
    }
    std::memcpy(out.as<std::byte>() + flat * size, x.as<std::byte>() + source * size,
                static_cast<size_t>(size));
  }
}

void slice(const KernelCall& call) {
  const auto& desc = std::get<SliceDesc>(*call.attrs);
  const TensorView& x = call.inputs[0];
  const AxisView view(x.shape, resolve_axis(desc.axis, x.shape.rank()));
  const int64_t line = view.inner * dtype_bytes(x.dtype);
  for (int64_t o = 0; o < view.outer; ++o) {
    std::memcpy(call.outputs[0].as<std::byte>() + o * desc.length * line,
                x.as<std::byte>() + (o * view.extent + desc.start) * line,
                static_cast<size_t>(desc.length * line));
  }
}

void concat(const KernelCall& call) {
  const TensorView& out = call.outputs[0];
  const int axis = resolve_axis(std::get<AxisDesc>(*call.attrs).axis, out.shape.rank());
  const AxisView whole(out.shape, axis);
  const int64_t line = whole.inner * dtype_bytes(out.dtype);
  int64_t start = 0;
  for (const TensorView& x : call.inputs) {
    const int64_t extent = x.shape[axis];
    for (int64_t o = 0; o < whole.outer && extent > 0; ++o) {
      std::memcpy(out.as<std::byte>() + (o * whole.extent + start) * line,
                  x.as<std::byte>() + o * extent * line, static_cast<size_t>(extent * line));
    }
    start += extent;
  }
}

void topk(const KernelCall& call) {
  const auto k = std::get<TopkDesc>(*call.attrs).k;
  const TensorView& x = call.inputs[0];
  const int64_t width = x.shape.back();
  std::vector<int32_t> order(static_cast<size_t>(width));
  for (int64_t row = 0; row < x.shape.rows(); ++row) {
    // A NaN is larger than any number; equal values go by index.
    const auto before = [&](int32_t i, int32_t j) {
      const float a = load(x, row * width + i), b = load(x, row * width + j);
      if (std::isnan(a) != std::isnan(b)) return std::isnan(a);
      if (!std::isnan(a) && a != b) return a > b;
      return i < j;
    };
    std::iota(order.begin(), order.end(), 0);
    std::partial_sort(order.begin(), order.begin() + k, order.end(), before);
    for (int64_t i = 0; i < k; ++i) {
      const int32_t index = order[static_cast<size_t>(i)];
      store(call.outputs[0], row * k + i, load(x, row * width + index));
      call.outputs[1].as<int32_t>()[row * k + i] = index;
    }
  }
}

}  // namespace ramjet::kernels::reference
