// Suggestions for a name that is not there. Stateless.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace ramjet::checkpoint {

/// Up to `count` of `names` with the least edit distance to `name`, best first; none further away
/// than a third of its length.
std::vector<std::string_view> near_names(std::string_view name,
                                         const std::vector<std::string_view>& names,
                                         size_t count = 3);

/// "; near names: 'a', 'b'", or "" without any.
std::string near_names_text(std::string_view name, const std::vector<std::string_view>& names);

}  // namespace ramjet::checkpoint
