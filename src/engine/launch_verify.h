// Verifies the launches of a record. Inside of verify_manifest; not for other folders.
#pragma once

#include "engine/manifest.h"

namespace ramjet::engine {

/// Every index and range of a record's launches; kCorrupt names what is off. Machine code itself is
/// trusted, as an executable is (docs/formats/engine.md).
Status verify_launches(const LaunchRecord& record, const Program& program,
                       const Manifest& manifest);

}  // namespace ramjet::engine
