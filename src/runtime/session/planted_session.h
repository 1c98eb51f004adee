// A session with something bad planted in it, for tests of what follows: RAMJET_PLANT.
//
// One thread at a time, as every Session. Owns the session inside.
#pragma once

#include <functional>
#include <memory>
#include <string_view>

#include "runtime/session/session.h"

namespace ramjet::runtime {

struct Plant {
  enum class Kind : uint8_t { kFault, kHang, kExit } kind = Kind::kFault;
  int64_t step = 0;  // counted from 1

  /// "fault_at_step:N" (the device is lost), "hang_at_step:N" (the step never ends) or
  /// "exit_at_step:N" (so does the process). Behind it may stand ":always", for who replaces the
  /// process: the next ones get the plant too.
  static Result<Plant> parse(std::string_view text);
};

/// `break_device` queues a real fault on the session's device; empty: one is made up.
std::unique_ptr<Session> plant(std::unique_ptr<Session> session, Plant what,
                               std::function<Status()> break_device);

}  // namespace ramjet::runtime
