#include "base/thread_pool.h"
#include "kernels/reference/reference.h"

namespace ramjet::kernels::reference {
namespace {

int64_t at_or(const std::vector<int64_t>& values, size_t i, int64_t fallback) {
  return i < values.size() ? values[i] : fallback;
}

/// Both kinds as two-dimensional: a 1-d convolution has height 1.
struct Geometry {
  int64_t channels, height, width;
  int64_t out_channels, out_height, out_width;
  int64_t kernel_height, kernel_width;
  int64_t stride[2], padding[2], dilation[2];
};

Geometry geometry(const ConvDesc& desc, const KernelCall& call) {
  const Shape& x = call.inputs[0].shape;
  const Shape& w = call.inputs[1].shape;
  const Shape& out = call.outputs[0].shape;
  const bool flat = x.rank() == 3;
  Geometry g{.channels = x[1],
             .height = flat ? 1 : x[2],
             .width = x.back(),
             .out_channels = out[1],
             .out_height = flat ? 1 : out[2],
             .out_width = out.back(),
             .kernel_height = flat ? 1 : w[2],
             .kernel_width = w.back()};
  for (size_t i = 0; i < 2; ++i) {
    const bool real = !flat || i == 1;
    const size_t axis = flat ? 0 : i;
    g.stride[i] = real ? at_or(desc.stride, axis, 1) : 1;
    g.padding[i] = real ? at_or(desc.padding, axis, 0) : 0;
    g.dilation[i] = real ? at_or(desc.dilation, axis, 1) : 1;
  }
  return g;
}

double conv_at(const KernelCall& call, const Geometry& g, int64_t groups, const int64_t at[4]) {
  const auto [n, o, oy, ox] = std::array{at[0], at[1], at[2], at[3]};
  const int64_t in_group = g.channels / groups;
  const int64_t first = o / (g.out_channels / groups) * in_group;
  double sum = 0;
  for (int64_t c = 0; c < in_group; ++c) {
    for (int64_t ky = 0; ky < g.kernel_height; ++ky) {
      for (int64_t kx = 0; kx < g.kernel_width; ++kx) {
        const int64_t y = oy * g.stride[0] - g.padding[0] + ky * g.dilation[0];
        const int64_t x = ox * g.stride[1] - g.padding[1] + kx * g.dilation[1];
        if (y < 0 || y >= g.height || x < 0 || x >= g.width) continue;
        const int64_t xi = ((n * g.channels + first + c) * g.height + y) * g.width + x;
        const int64_t wi = ((o * in_group + c) * g.kernel_height + ky) * g.kernel_width + kx;
        sum += double{load(call.inputs[0], xi)} * double{load(call.inputs[1], wi)};
      }
    }
  }
  if (call.inputs.size() > 2) sum += double{load(call.inputs[2], o)};
  return sum;
}

}  // namespace

void conv(const KernelCall& call) {
  const auto& desc = std::get<ConvDesc>(*call.attrs);
  const Geometry g = geometry(desc, call);
  const int64_t planes = call.outputs[0].shape[0] * g.out_channels;
  call.pool->parallel_for(planes, 1, [&](int64_t plane, int64_t, int) {
    for (int64_t y = 0; y < g.out_height; ++y) {
      for (int64_t x = 0; x < g.out_width; ++x) {
        const int64_t at[4] = {plane / g.out_channels, plane % g.out_channels, y, x};
        store(call.outputs[0], (plane * g.out_height + y) * g.out_width + x,
              static_cast<float>(conv_at(call, g, desc.groups, at)));
      }
    }
  });
}

}  // namespace ramjet::kernels::reference
