#include "compiler/tactics/timing_cache.h"

#include <fmt/core.h>

#include <charconv>

#include "base/env.h"
#include "base/file.h"
#include "base/hash.h"

namespace ramjet::compiler {
namespace {

constexpr size_t kMaxCacheBytes = size_t{16} << 20;

/// Whatever does not parse is left out.
std::map<std::string, double> load(const std::string& path) {
  std::map<std::string, double> known;
  const auto text = read_file(path, kMaxCacheBytes);
  if (!text.ok()) return known;
  std::string_view rest = *text;
  while (!rest.empty()) {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(rest.size(), line.size() + 1));
    const size_t space = line.rfind(' ');
    if (space == std::string_view::npos || line.starts_with('#')) continue;
    double us = 0;
    const char* const end = line.data() + line.size();
    const auto [at, error] = std::from_chars(line.data() + space + 1, end, us);
    if (error == std::errc() && at == end && us > 0) known[std::string(line.substr(0, space))] = us;
  }
  return known;
}

}  // namespace

TimingCache::TimingCache(const std::string& machine)
    : machine_(machine),
      path_(machine.empty()
                ? ""
                : fmt::format("{}/timing/{}.txt", cache_directory(), hash128(machine).hex())) {
  if (!path_.empty()) known_ = load(path_);
  loaded_ = known_.size();
}

std::optional<double> TimingCache::find(const std::string& key) const {
  const auto it = known_.find(key);
  if (it == known_.end()) return std::nullopt;
  return it->second;
}

void TimingCache::add(const std::string& key, double us) { known_[key] = us; }

void TimingCache::save() const {
  if (known_.size() == loaded_ || path_.empty()) return;
  std::map<std::string, double> merged = load(path_);  // another build may have added its own
  merged.insert(known_.begin(), known_.end());
  std::string text = "# " + machine_ + "\n";
  for (const auto& [key, us] : merged) text += fmt::format("{} {:.3f}\n", key, us);
  if (!make_directories(cache_directory() + "/timing").ok()) return;
  (void)write_file_atomically(path_, text);
}

}  // namespace ramjet::compiler
