// The fast kernels of the CPU and the weight layouts they read. Immutable tables.
#pragma once

#include <span>

#include "kernels/registry.h"

namespace ramjet::kernels::cpu {

std::span<const Tactic> tactics();
std::span<const WeightLayout> layouts();

}  // namespace ramjet::kernels::cpu
