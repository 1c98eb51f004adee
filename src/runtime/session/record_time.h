// The time that one launch record took, summed over the steps that were profiled.
#pragma once

#include <cstdint>

namespace ramjet::runtime {

struct RecordTime {
  double us = 0;
  int64_t calls = 0;
};

}  // namespace ramjet::runtime
