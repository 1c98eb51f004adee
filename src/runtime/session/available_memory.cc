#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <string>
#include <string_view>

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

/// One version of control groups: where it is mounted, how it marks the process's membership, and
/// what it calls the limit, the use, and the file cache that the kernel gives back under pressure.
struct GroupFiles {
  const char* mount;
  const char* membership;
  const char* limit;
  const char* current;
  const char* reclaimable;
};
constexpr GroupFiles kVersion2 = {"/sys/fs/cgroup", "0::", "/memory.max", "/memory.current",
                                  "inactive_file "};
constexpr GroupFiles kVersion1 = {"/sys/fs/cgroup/memory", ":memory:", "/memory.limit_in_bytes",
                                  "/memory.usage_in_bytes", "total_inactive_file "};

/// The least of limit - use up the hierarchy; no limit at all is the largest number.
uint64_t control_group_room(const GroupFiles& files) {
  uint64_t room = std::numeric_limits<uint64_t>::max();
  const std::string membership = "\n" + read_virtual_file("/proc/self/cgroup");
  const size_t at = membership.find(files.membership);
  if (at == std::string::npos) return room;
  const size_t begin = at + std::string_view(files.membership).size();
  std::string path = membership.substr(begin, membership.find('\n', begin) - begin);
  for (;;) {
    const std::string folder = files.mount + (path == "/" ? "" : path);
    const std::string limit = read_virtual_file(folder + files.limit);
    if (!limit.empty() && limit[0] != 'm') {  // "max": no limit
      const uint64_t most = std::strtoull(limit.c_str(), nullptr, 10);
      uint64_t used = std::strtoull(read_virtual_file(folder + files.current).c_str(), nullptr, 10);
      used -= std::min(
          used, number_after(read_virtual_file(folder + "/memory.stat"), files.reclaimable, 0));
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
  return std::min({available, control_group_room(kVersion2), control_group_room(kVersion1)});
}

}  // namespace ramjet::runtime
