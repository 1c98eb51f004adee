// The fast kernels of the CPU and the weight layouts they read. Immutable tables.
#pragma once

#include <span>

#include "kernels/cpu/layouts.h"
#include "kernels/registry.h"

namespace ramjet::kernels::cpu {

std::span<const Tactic> tactics();

}  // namespace ramjet::kernels::cpu
