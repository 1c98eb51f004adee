// A fault on purpose, so that what follows a real one can be tested.
#pragma once

#include "base/result.h"

namespace ramjet::device::cuda {

/// Queues a kernel that writes to an address nobody owns, on a stream of its own, and returns. The
/// error shows up in whatever the process asks of the current device next, and stays.
Status plant_illegal_address();

}  // namespace ramjet::device::cuda
