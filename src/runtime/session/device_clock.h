// DeviceClock: how long the device was at work, by a pair of events around each step.
//
// Gaps inside a step's graph count as work, those between steps do not. One thread at a time.
#pragma once

#include <array>
#include <cstddef>

#include "base/result.h"
#include "device/cuda/handles.h"

namespace ramjet::runtime {

class DeviceClock {
 public:
  static Result<DeviceClock> create() {
    DeviceClock clock;
    for (Pair& pair : clock.pairs_) {
      ASSIGN_OR_RETURN(pair.begin, device::cuda::Event::create(true));
      ASSIGN_OR_RETURN(pair.end, device::cuda::Event::create(true));
    }
    return clock;
  }

  Status begin(const device::cuda::Stream& stream) {
    Pair& pair = pairs_[turn_ % pairs_.size()];
    if (pair.open) {  // of several steps ago: it has happened, or waiting for it is right
      RETURN_IF_ERROR(pair.end.synchronize());
      ASSIGN_OR_RETURN(const float ms, pair.end.elapsed_ms_since(pair.begin));
      busy_s_ += static_cast<double>(ms) * 1e-3;
      pair.open = false;
    }
    return pair.begin.record(stream);
  }
  Status end(const device::cuda::Stream& stream) {
    Pair& pair = pairs_[turn_++ % pairs_.size()];
    pair.open = true;
    return pair.end.record(stream);
  }
  /// Without the last few steps.
  double busy_s() const { return busy_s_; }

 private:
  struct Pair {
    device::cuda::Event begin, end;
    bool open = false;
  };
  std::array<Pair, 4> pairs_;
  size_t turn_ = 0;
  double busy_s_ = 0;
};

}  // namespace ramjet::runtime
