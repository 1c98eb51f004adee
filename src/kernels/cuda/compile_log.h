// What the assembler says of a module's functions, for budgets in tests. Free functions, no state.
#pragma once

#include <algorithm>
#include <charconv>
#include <string_view>

namespace ramjet::kernels::cuda {

struct CompileLog {
  int registers = 0;    // of a thread; the most of any function; 0: the log tells of none
  int spill_bytes = 0;  // stored by a thread; the most of any function
};

/// The largest of the numbers that stand right before `words` in `log`; 0 if none does.
inline int most_before(std::string_view log, std::string_view words) {
  int most = 0;
  for (size_t at = log.find(words); at != log.npos; at = log.find(words, at + 1)) {
    const size_t before = log.find_last_not_of("0123456789", at == 0 ? 0 : at - 1);
    const size_t start = before == log.npos ? 0 : before + 1;
    int value = 0;
    std::from_chars(log.data() + start, log.data() + at, value);
    most = std::max(most, value);
  }
  return most;
}

inline CompileLog read_compile_log(std::string_view log) {
  return {most_before(log, " registers"), most_before(log, " bytes spill stores")};
}

}  // namespace ramjet::kernels::cuda
