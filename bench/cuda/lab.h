// What the labs share: an error ends the program, with its message.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <utility>

#include "base/env.h"
#include "base/result.h"

namespace ramjet::lab {

/// LAB_UNTIMED=1: checks alone, as under a sanitizer.
inline bool timed() { return !outside_env("LAB_UNTIMED").has_value(); }

inline void check(const Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s\n", status.error().message.c_str());
  std::exit(1);
}
template <class T>
T take(Result<T> result) {
  if (!result.ok()) check(result.error());
  return std::move(result).value();
}

}  // namespace ramjet::lab
