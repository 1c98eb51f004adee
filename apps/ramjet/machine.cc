#include "machine.h"

#include <ramjet/version.h>
#include <unistd.h>

#include <fstream>

#include "ramjet_commit.h"

namespace ramjet {

std::string proc_field(const std::string& path, std::string_view key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    const size_t colon = line.find(':');
    if (colon == std::string::npos || !line.starts_with(key)) continue;
    const std::string_view rest(line.data() + key.size(), colon - key.size());
    if (rest.find_first_not_of(" \t") != std::string_view::npos) continue;
    const size_t start = line.find_first_not_of(" \t", colon + 1);
    return start == std::string::npos ? "" : line.substr(start);
  }
  return "";
}

OrderedJson machine_facts() {
  return {{"cpu", proc_field("/proc/cpuinfo", "model name")},
          {"cores", ::sysconf(_SC_NPROCESSORS_ONLN)},
          {"memory", proc_field("/proc/meminfo", "MemTotal")},
          {"version", RAMJET_VERSION},
          {"commit", RAMJET_COMMIT}};
}

}  // namespace ramjet
