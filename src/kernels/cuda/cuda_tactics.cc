#include "kernels/cuda/cuda_tactics.h"

#include <array>

namespace ramjet::kernels::cuda {

std::span<const std::span<const Tactic>> tactic_tables() {
  static const std::array<std::span<const Tactic>, 6> tables = {gemm_tactics(), attention_tactics(),
                                                                row_tactics(),  sampling_tactics(),
                                                                moe_tactics(),  general_tactics()};
  return tables;
}

}  // namespace ramjet::kernels::cuda
