#include <cstdlib>
#include <limits>
#include <string>

#include "base/file.h"
#include "runtime/session/engine_session.h"

namespace ramjet::runtime {
namespace {

/// Virtual files have no size to map; they are read whole.
std::string read_virtual_file(const std::string& path) {
  std::string text;
  FILE* file = std::fopen(path.c_str(), "r");
  if (file == nullptr) return text;
  char buffer[4096];
  for (size_t n; (n = std::fread(buffer, 1, sizeof(buffer), file)) > 0;) text.append(buffer, n);
  std::fclose(file);
  return text;
}

uint64_t number_after(const std::string& text, std::string_view key, uint64_t fallback) {
  const size_t at = text.find(key);
  if (at == std::string::npos) return fallback;
  return std::strtoull(text.c_str() + at + key.size(), nullptr, 10);
}

/// What version 2 control groups leave: the least of limit - current up the hierarchy.
uint64_t control_group_room() {
  constexpr uint64_t kNone = std::numeric_limits<uint64_t>::max();
  const std::string membership = read_virtual_file("/proc/self/cgroup");
  const size_t at = membership.find("0::");
  if (at == std::string::npos) return kNone;
  std::string path = membership.substr(at + 3, membership.find('\n', at) - at - 3);
  uint64_t room = kNone;
  for (;;) {
    const std::string folder = "/sys/fs/cgroup" + path;
    const std::string limit = read_virtual_file(folder + "/memory.max");
    if (!limit.empty() && limit[0] != 'm') {  // "max": no limit
      const uint64_t most = std::strtoull(limit.c_str(), nullptr, 10);
      const uint64_t used =
          std::strtoull(read_virtual_file(folder + "/memory.current").c_str(), nullptr, 10);
      room = std::min(room, most > used ? most - used : 0);
    }
    if (path.size() <= 1) return room;
    path.resize(path.rfind('/'));
  }
}

}  // namespace

uint64_t available_memory_bytes() {
  constexpr uint64_t kFallbackKib = 1 << 20;
  const uint64_t available =
      number_after(read_virtual_file("/proc/meminfo"), "MemAvailable:", kFallbackKib) * 1024;
  return std::min(available, control_group_room());
}

}  // namespace ramjet::runtime
