// conv: x[N, C, H, W] and w[O, C / groups, KH, KW], a thread an element of the result; a 1-d
// convolution has height 1. Plain loops: for the small convolutions in front of encoders.
//   X_T W_T BIAS_T OUT_T, HAS_BIAS, GROUPS, CHANNELS, OUT_CHANNELS, KERNEL_H KERNEL_W,
//   STRIDE_* PADDING_* DILATION_* (H, W); the including source defines index_t, batch_extent,
//   height_extent, width_extent, out_height_extent, out_width_extent
#pragma once

#include "general.cuh"

inline constexpr int kThreads = 256;
inline constexpr int kGroupChannels = CHANNELS / GROUPS;

struct Plane {
  int height, width;
  int top, left;  // of the window; may be negative
};

__device__ __forceinline__ float window_sum(const X_T* x, const W_T* w, const Plane& plane) {
  float sum = 0;
  for (int c = 0; c < kGroupChannels; ++c) {
    for (int ky = 0; ky < KERNEL_H; ++ky) {
      const int row = plane.top + ky * DILATION_H;
      if (row < 0 || row >= plane.height) continue;
      for (int kx = 0; kx < KERNEL_W; ++kx) {
        const int column = plane.left + kx * DILATION_W;
        if (column < 0 || column >= plane.width) continue;
        const index_t at = (index_t(c) * plane.height + row) * plane.width + column;
        sum += to_float(x[at]) * to_float(w[(c * KERNEL_H + ky) * KERNEL_W + kx]);
      }
    }
  }
  return sum;
}

extern "C" __global__ void __launch_bounds__(kThreads)
    conv_any(const X_T* x, const W_T* w, const BIAS_T* bias, OUT_T* out, const int* symbols) {
  allow_next_kernel();
  await_last_kernel();
  const index_t out_height = out_height_extent(symbols), out_width = out_width_extent(symbols);
  Plane plane = {int(height_extent(symbols)), int(width_extent(symbols)), 0, 0};
  const index_t count = batch_extent(symbols) * OUT_CHANNELS * out_height * out_width;
  for (index_t at = index_t(blockIdx.x) * kThreads + threadIdx.x; at < count;
       at += index_t(gridDim.x) * kThreads) {
    const int column = int(at % out_width), row = int(at / out_width % out_height);
    const index_t image = at / out_width / out_height;
    const int channel = int(image % OUT_CHANNELS);
    plane.top = row * STRIDE_H - PADDING_H;
    plane.left = column * STRIDE_W - PADDING_W;
    const int group = channel / (OUT_CHANNELS / GROUPS);
    const index_t first = image / OUT_CHANNELS * CHANNELS + group * kGroupChannels;
    float sum = window_sum(x + first * plane.height * plane.width,
                           w + index_t(channel) * kGroupChannels * KERNEL_H * KERNEL_W, plane);
    if (HAS_BIAS) sum += to_float(bias[channel]);
    narrow(sum, out[at]);
  }
}
