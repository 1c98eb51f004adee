// `ramjet executor`: the process that `ramjet serve` runs an engine in. Nobody calls it by hand: it
// talks over a socket that its parent made, and ends with it.
#include <ramjet/executor.h>
#include <stdlib.h>
#include <unistd.h>

#include <CLI/CLI.hpp>

#include "base/env.h"
#include "base/log.h"
#include "commands.h"
#include "output.h"
#include "server/supervise/child_process.h"
#include "server/supervise/executor_host.h"

namespace ramjet {
namespace {

constexpr int kLost = 3;

/// What is planted once is not planted again in the process that follows.
void weed(uint32_t incarnation) {
  const auto planted = env("RAMJET_PLANT");
  if (incarnation > 0 && planted && !planted->ends_with(":always")) ::unsetenv("RAMJET_PLANT");
}

Result<std::unique_ptr<server::Backend>> make_backend(const std::string& path,
                                                      const ExecutorConfig& config) {
  ASSIGN_OR_RETURN(auto engine, Engine::load(path));
  ASSIGN_OR_RETURN(auto executor, Executor::create(std::move(engine), config));
  return server::make_executor_backend(std::move(executor));
}

/// Never returns: a device that hangs or failed could keep destructors from ending.
[[noreturn]] void run_executor(int fd, const std::string& path) {
  server::follow_parent();
  server::ExecutorHost host(fd);
  const auto start = host.wait_for_start();
  if (!start.ok()) ::_exit(kLost);
  weed(start->incarnation);
  auto backend = make_backend(path, start->config);
  if (!backend.ok()) {
    host.fail(backend.error());
    ::_exit(exit_code(backend.error()));
  }
  host.serve(**backend);
  ::_exit((*backend)->health().ok() ? 0 : kLost);
}

}  // namespace

void add_executor_command(CLI::App& app, CommandRunner& runner) {
  CLI::App* command = app.add_subcommand("executor", "The process of an executor, for serve");
  command->group("");  // not shown
  auto fd = std::make_shared<int>(server::kExecutorFd);
  auto path = std::make_shared<std::string>();
  command->add_option("--fd", *fd, "socket to the server")->required();
  command->add_option("engine", *path, "engine file")->required();
  command->callback(
      [fd, path, &runner] { runner.run = [fd, path]() -> int { run_executor(*fd, *path); }; });
}

}  // namespace ramjet
