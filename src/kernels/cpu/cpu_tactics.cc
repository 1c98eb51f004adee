#include "kernels/cpu/cpu_tactics.h"

namespace ramjet::kernels::cpu {

std::span<const Tactic> tactics() { return {}; }
std::span<const WeightLayout> layouts() { return {}; }

}  // namespace ramjet::kernels::cpu
