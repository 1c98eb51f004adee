#include "server/supervise/child_process.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <optional>
#include <thread>
#include <utility>

#include "base/clock.h"
#include "base/log.h"

namespace ramjet::server {
namespace {

constexpr double kKillLimitS = 30;  // a process that hangs in a driver may not go at all

std::string describe(int status) {
  if (WIFEXITED(status)) return fmt::format("exit code {}", WEXITSTATUS(status));
  if (WIFSIGNALED(status)) return fmt::format("killed by signal {}", WTERMSIG(status));
  return "it ended";
}

class ChildProcess final : public ExecutorProcess {
 public:
  ChildProcess(pid_t pid, int fd) : pid_(pid), fd_(fd) {}
  ~ChildProcess() override {
    if (pid_ > 0) end(0);
  }
  int fd() const override { return fd_; }
  std::string end(double grace_s) override;

 private:
  /// How it ended, if it did within `limit_s`.
  std::optional<std::string> wait(double limit_s) const;

  pid_t pid_;
  int fd_;
};

std::optional<std::string> ChildProcess::wait(double limit_s) const {
  const double end_s = SteadyClock::instance().now_s() + limit_s;
  while (true) {
    int status = 0;
    const pid_t ended = ::waitpid(pid_, &status, WNOHANG);
    if (ended == pid_) return describe(status);
    if (ended < 0 && errno != EINTR) return "gone";  // reaped elsewhere
    if (SteadyClock::instance().now_s() >= end_s) return std::nullopt;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
}

std::string ChildProcess::end(double grace_s) {
  ::close(fd_);
  std::optional<std::string> how = wait(grace_s);
  if (!how) {
    ::kill(pid_, SIGKILL);
    how = wait(kKillLimitS);
    if (how) how = "it had to be killed";
  }
  if (!how) log_error("process {} cannot be killed; its memory may stay taken", pid_);
  pid_ = -1;
  return how.value_or("it cannot be killed");
}

/// What the child has open: nothing on stdin and stdout, our stderr, the socket.
void set_files(posix_spawn_file_actions_t& actions, int socket) {
  ::posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
  ::posix_spawn_file_actions_adddup2(&actions, socket, kExecutorFd);
  ::posix_spawn_file_actions_addclosefrom_np(&actions, kExecutorFd + 1);
}

}  // namespace

Result<std::unique_ptr<ExecutorProcess>> spawn_self(const std::vector<std::string>& arguments) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    return make_error(ErrorCode::kResourceExhausted, "no socket for the executor: {}",
                      std::strerror(errno));
  }
  std::vector<char*> argv;
  std::string name = "ramjet";
  argv.push_back(name.data());
  std::vector<std::string> copies = arguments;
  for (std::string& copy : copies) argv.push_back(copy.data());
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  set_files(actions, ends[1]);
  pid_t pid = 0;
  // The file that runs, even if another lies in its place by now.
  const int error = ::posix_spawn(&pid, "/proc/self/exe", &actions, nullptr, argv.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  ::close(ends[1]);
  if (error != 0) {
    ::close(ends[0]);
    return make_error(ErrorCode::kResourceExhausted, "the executor's process cannot start: {}",
                      std::strerror(error));
  }
  return std::unique_ptr<ExecutorProcess>(std::make_unique<ChildProcess>(pid, ends[0]));
}

void follow_parent() {
  // If it is dead already, the socket tells.
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ::signal(SIGINT, SIG_IGN);
  ::signal(SIGTERM, SIG_IGN);
  ::signal(SIGHUP, SIG_IGN);
  ::signal(SIGPIPE, SIG_IGN);
}

}  // namespace ramjet::server
