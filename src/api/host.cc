#include <ramjet/engine.h>

#include "kernels/registry.h"

namespace ramjet {

std::string host_target() { return kernels::Target::host().name(); }

}  // namespace ramjet
