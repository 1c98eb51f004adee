// Which instruction sets this machine and its kernel let us use. Computed once; thread-safe.
#pragma once

#include "kernels/registry.h"

namespace ramjet::kernels::cpu {

/// The best set. kAmx means that the tile registers may be used: the first call asks Linux for
/// them, for this process and the threads it starts from then on.
Isa machine_isa();

}  // namespace ramjet::kernels::cpu
