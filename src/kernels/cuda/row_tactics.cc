#include "kernels/cuda/cuda_tactics.h"

namespace ramjet::kernels::cuda {

std::span<const Tactic> row_tactics() { return {}; }

}  // namespace ramjet::kernels::cuda
