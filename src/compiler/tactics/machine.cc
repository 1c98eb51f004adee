#include "compiler/tactics/machine.h"

#include <fstream>

#include "base/thread_pool.h"

namespace ramjet::compiler {

const std::string& machine_name() {
  static const std::string name = [] {
    std::string model = "unknown processor";
    std::ifstream file("/proc/cpuinfo");
    for (std::string line; std::getline(file, line);) {
      if (!line.starts_with("model name")) continue;
      if (const size_t colon = line.find(": "); colon != std::string::npos) {
        model = line.substr(colon + 2);
      }
      break;
    }
    return model + " x" + std::to_string(allowed_cpus());
  }();
  return name;
}

}  // namespace ramjet::compiler
