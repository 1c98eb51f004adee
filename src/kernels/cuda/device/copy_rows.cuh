// embedding and gather_rows: rows of a table chosen by index. A thread moves VEC elements, so one
// row is spread over as many blocks as it fills.
//   X_T OUT_T, WIDTH, VEC, SCALE, TABLE_ROWS, ROW_FACTOR, ROW_OFFSET
#pragma once

#include "rows.cuh"

extern "C" __global__ void __launch_bounds__(256)
    copy_rows(const X_T* table, const int* indices, OUT_T* out, const int* symbol) {
  allow_next_kernel();
  constexpr int kChunks = WIDTH / VEC;
  const int64_t at = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  const int64_t row = at / kChunks;
  const int chunk = static_cast<int>(at % kChunks);
  if (row >= extent_of<ROW_FACTOR, ROW_OFFSET>(symbol)) return await_last_kernel();
  await_last_kernel();
  const int64_t from = indices[row];
  const Pack<X_T, VEC> pack = load_pack<X_T, VEC>(table + from * WIDTH + chunk * VEC);
#ifdef SCALE
  float values[VEC];
  widen(pack, values);
#pragma unroll
  for (int j = 0; j < VEC; ++j) values[j] *= SCALE;
  store_pack<VEC>(out + row * WIDTH + chunk * VEC, values);
#else
  *reinterpret_cast<Pack<X_T, VEC>*>(out + row * WIDTH + chunk * VEC) = pack;
#endif
}
