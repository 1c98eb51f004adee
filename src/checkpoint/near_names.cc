#include "checkpoint/near_names.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <utility>

namespace ramjet::checkpoint {
namespace {

constexpr size_t kMaxLength = 200;  // of names that are compared

/// Levenshtein distance in one row of memory.
size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i + 1);
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = std::exchange(row[j + 1], std::min({row[j] + 1, row[j + 1] + 1, replaced}));
    }
  }
  return row.back();
}

}  // namespace

std::vector<std::string_view> near_names(std::string_view name,
                                         const std::vector<std::string_view>& names, size_t count) {
  if (name.size() > kMaxLength) return {};
  const size_t limit = std::max<size_t>(name.size() / 3, 2);
  std::vector<std::pair<size_t, std::string_view>> found;
  for (std::string_view candidate : names) {
    if (candidate.size() > name.size() + limit || name.size() > candidate.size() + limit) continue;
    const size_t distance = edit_distance(name, candidate);
    if (distance <= limit) found.emplace_back(distance, candidate);
  }
  count = std::min(count, found.size());
  const auto end = found.begin() + static_cast<std::ptrdiff_t>(count);
  std::partial_sort(found.begin(), end, found.end());
  std::vector<std::string_view> best;
  for (auto it = found.begin(); it != end; ++it) best.push_back(it->second);
  return best;
}

std::string near_names_text(std::string_view name, const std::vector<std::string_view>& names) {
  const auto near = near_names(name, names);
  if (near.empty()) return "";
  return fmt::format("; near names: '{}'", fmt::join(near, "', '"));
}

}  // namespace ramjet::checkpoint
