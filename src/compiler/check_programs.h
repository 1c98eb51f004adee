// Whether the programs of a loaded engine obey the rules of their ops. An engine is trusted like
// an executable, but a broken or hostile one must be an error and not a crash: with this check,
// engine::verify_manifest() and the runner's own (tactics, layouts), no kernel is called with
// operands that it would overrun.
#pragma once

#include "base/result.h"
#include "engine/manifest.h"

namespace ramjet::compiler {

/// For each launch record: the results' types follow from its operands' by the rules of ir/infer.h;
/// indices into the cache, into rows and into the vocabulary come from the caller of the program,
/// who has checked them, and those of experts from a router. kCorrupt names the program and the
/// step.
Status check_programs(const engine::Manifest& manifest);

}  // namespace ramjet::compiler
