// What machine this is, for the provenance of an engine and the key of timings.
#pragma once

#include <string>

namespace ramjet::compiler {

/// The processor's name and how many CPUs this process may use: "Intel(R) Xeon(R) ... x2".
const std::string& machine_name();

}  // namespace ramjet::compiler
