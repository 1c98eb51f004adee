// The process that a supervised executor runs in, as its supervisor sees it: a connected socket and
// a way to end it. Not thread-safe.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"

namespace ramjet::server {

class ExecutorProcess {
 public:
  virtual ~ExecutorProcess() = default;  // ends it at once
  /// The supervisor's end of the socket; owned here, closed by end().
  virtual int fd() const = 0;
  /// Closes the socket, gives the process `grace_s` to end by itself, then kills it and waits until
  /// it is gone, so that its memory is free. How it ended, e.g. "killed by signal 9". Once.
  virtual std::string end(double grace_s) = 0;
};

/// Starts the process number `incarnation`, counted from 0. Called from one thread alone, which
/// lives as long as the processes (they ask to be killed when it ends).
using ExecutorLauncher =
    std::function<Result<std::unique_ptr<ExecutorProcess>>(uint32_t incarnation)>;

/// The file descriptor of the socket in a process started by spawn_self().
inline constexpr int kExecutorFd = 3;

/// Runs this very program with `arguments`, its socket as kExecutorFd, and no other file but
/// stderr.
Result<std::unique_ptr<ExecutorProcess>> spawn_self(const std::vector<std::string>& arguments);

/// For the process started by spawn_self(): is killed when its parent dies, and leaves the
/// terminal's signals and SIGTERM to the parent.
void follow_parent();

}  // namespace ramjet::server
