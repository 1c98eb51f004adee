// ExecutorHost: the executor's side of the socket to the server that supervises it.
//
// One thread runs serve(): it reads messages and gives signs of life. Outputs are gathered by the
// callbacks and sent, with the statistics, once a group (flush()): one write a step. Sending blocks
// while the server does not read, which holds up publishing, not stepping. When the server is gone
// serve() returns and nothing is sent any more. Borrows the backend; the host must outlive it.
#pragma once

#include <ramjet/executor.h>

#include <atomic>
#include <cstdint>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "server/backend.h"
#include "server/supervise/wire.h"

namespace ramjet::server {

class ExecutorHost {
 public:
  struct Start {
    uint32_t incarnation = 0;  // how many processes were before this one
    ExecutorConfig config;     // with hooks that lead here
  };

  /// Takes over `fd`, a connected stream socket. A sign of life comes every `heartbeat_s`.
  explicit ExecutorHost(int fd, double heartbeat_s = 1);
  ~ExecutorHost();
  ExecutorHost(const ExecutorHost&) = delete;
  ExecutorHost& operator=(const ExecutorHost&) = delete;

  /// Waits for the server's first message. kUnavailable if the server is gone.
  Result<Start> wait_for_start();
  /// Says why there will be no executor.
  void fail(const Error& error);
  /// Says ready and serves until the server is gone or close() is called.
  void serve(Backend& backend);
  /// Sends what callbacks have gathered. Any thread, but not from within the backend's locks.
  void flush();
  /// Ends serve().
  void close();

 private:
  Status read_some();
  Status handle(const Frame& frame, Backend& backend);
  Status submit(const Frame& frame, Backend& backend);
  void gather(uint64_t tag, RequestOutput&& output);
  void send(std::string_view bytes);
  ExecutorHooks hooks();

  const int fd_;
  const double heartbeat_s_;
  FrameBuffer input_;
  std::atomic<Backend*> backend_{nullptr};
  std::atomic<bool> closed_{false};

  std::mutex send_mutex_;  // of the socket's outgoing side and the next two
  std::string message_, sending_;
  std::mutex output_mutex_;  // of the next two; taken after send_mutex_
  std::string outputs_;      // frames, the last one open at:
  size_t open_frame_ = std::string::npos;

  std::unordered_map<uint64_t, uint64_t> ids_;  // by tag; of the thread in serve() ...
  std::mutex ended_mutex_;
  std::vector<uint64_t> ended_;  // ... and tags to take out of it
};

}  // namespace ramjet::server
