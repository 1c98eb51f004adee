#include "kernels/cuda/cuda_tactics.h"

namespace ramjet::kernels::cuda {

std::span<const Tactic> general_tactics() { return {}; }

}  // namespace ramjet::kernels::cuda
