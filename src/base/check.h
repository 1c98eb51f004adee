// CHECK and DCHECK: a programmer's error ends the process with file, line and the condition.
// Never for bad input, files, memory or peers: those are Results.
#pragma once

#include <string_view>

namespace ramjet::detail {
[[noreturn]] void check_failed(const char* file, int line, const char* condition,
                               std::string_view message);
}

#define CHECK(condition, ...)                                        \
  do {                                                               \
    if (!(condition)) [[unlikely]]                                   \
      ::ramjet::detail::check_failed(__FILE__, __LINE__, #condition, \
                                     std::string_view{__VA_ARGS__}); \
  } while (false)

#ifdef NDEBUG
#define DCHECK(condition, ...) \
  do {                         \
  } while (false && (condition))
#else
#define DCHECK(condition, ...) CHECK(condition __VA_OPT__(, ) __VA_ARGS__)
#endif
