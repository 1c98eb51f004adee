#include "base/name_filter.h"

#include <regex>

namespace ramjet {

struct NameFilter::Impl {
  std::regex regex;
};

Result<NameFilter> NameFilter::parse(const std::string& pattern, std::string_view flag) {
  NameFilter filter;
  if (pattern.empty()) return filter;
  try {
    filter.impl_ = std::make_shared<const Impl>(Impl{std::regex(pattern)});
  } catch (const std::regex_error&) {
    return invalid_argument("{} '{}' is not a regular expression", flag, pattern);
  }
  return filter;
}

bool NameFilter::matches(std::string_view name) const {
  return impl_ == nullptr || std::regex_search(name.begin(), name.end(), impl_->regex);
}

}  // namespace ramjet
