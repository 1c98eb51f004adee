#include "kernels/cuda/cuda_tactics.h"

namespace ramjet::kernels::cuda {

std::span<const Tactic> attention_tactics() { return {}; }

}  // namespace ramjet::kernels::cuda
