// The one registry of Ramjet's environment variables (12 at most). Nothing else calls getenv for
// a RAMJET_* name; the values in force are printed at start.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace ramjet {

struct EnvVariable {
  const char* name;
  const char* meaning;
};

/// Every variable Ramjet reads.
const std::vector<EnvVariable>& env_registry();
/// Value of a registered variable; CHECKs that it is registered.
std::optional<std::string> env(const char* name);
/// Value of a variable that others define (HF_*, XDG_*, HOME); none if it is empty.
std::optional<std::string> outside_env(const char* name);
/// $XDG_CACHE_HOME/ramjet, else ~/.cache/ramjet, or RAMJET_CACHE.
std::string cache_directory();

}  // namespace ramjet
