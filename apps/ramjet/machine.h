// Facts of this machine and this binary, for results and `ramjet doctor`.
#pragma once

#include <string>
#include <string_view>

#include "base/json.h"

namespace ramjet {

/// The value of "key : value" in a file of /proc; empty if there is none.
std::string proc_field(const std::string& path, std::string_view key);

/// {cpu, cores, memory, version, commit}; commit is that of the sources this binary was built from,
/// with "-dirty" if they had changes; empty if they came without their history.
OrderedJson machine_facts();

}  // namespace ramjet
