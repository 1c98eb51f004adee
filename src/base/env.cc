#include "base/env.h"

#include <cstdlib>
#include <string_view>

#include "base/check.h"

namespace ramjet {

const std::vector<EnvVariable>& env_registry() {
  static const std::vector<EnvVariable> registry = {
      {"RAMJET_CACHE", "folder for engines and downloads (default: $XDG_CACHE_HOME/ramjet)"},
      {"RAMJET_LOG", "debug, info, warn, error or off (default: info)"},
      {"RAMJET_THREADS", "CPU worker threads (default: the cores this process may use)"},
      {"RAMJET_ISA", "caps the CPU path: scalar, avx2, avx512 or amx (default: the best)"},
      {"RAMJET_PLANT",
       "for tests: fault_at_step:N, hang_at_step:N or exit_at_step:N of an executor"},
      {"RAMJET_DEVICE", "cpu: no GPU is used, and automatic engines are built for the CPU"},
  };
  return registry;
}

std::optional<std::string> env(const char* name) {
  bool registered = false;
  for (const EnvVariable& variable : env_registry()) {
    registered = registered || std::string_view(variable.name) == name;
  }
  CHECK(registered, name);
  return outside_env(name);
}

std::optional<std::string> outside_env(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr || *value == '\0') return std::nullopt;
  return std::string(value);
}

std::string cache_directory() {
  if (auto path = env("RAMJET_CACHE")) return *path;
  if (const auto xdg = outside_env("XDG_CACHE_HOME")) return *xdg + "/ramjet";
  return outside_env("HOME").value_or("/tmp") + "/.cache/ramjet";
}

}  // namespace ramjet
