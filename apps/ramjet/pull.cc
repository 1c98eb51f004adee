// `ramjet pull`: a model from a Hugging Face-compatible hub into the hub's cache.
#include "server/hub/pull.h"

#include <CLI/CLI.hpp>

#include "base/json.h"
#include "commands.h"
#include "output.h"

namespace ramjet {
namespace {

struct PullArguments {
  std::string repo;
  bool offline = false, json = false;
  server::PullOptions options;
};

Result<int> run_pull(PullArguments& arguments) {
  const auto repo = server::parse_repo_id(arguments.repo);
  if (!repo) {
    return Error{ErrorCode::kInvalidArgument,
                 "'" + arguments.repo + "' is not of the form ORG/NAME"};
  }
  arguments.options.progress = progress_bar();
  server::PullReport report;
  if (arguments.offline || server::hub_offline()) {
    auto cached = server::cached_snapshot(*repo, arguments.options.revision);
    if (!cached.ok()) return cached.error();
    report.path = *cached;
  } else {
    auto pulled = server::pull(*repo, arguments.options);
    if (!pulled.ok()) return pulled.error();
    report = *pulled;
  }
  if (!arguments.json) {
    print_text(report.path + "\n");
  } else {
    print_json({{"path", report.path},
                {"commit", report.commit},
                {"files", report.files},
                {"bytes", report.bytes}});
  }
  return 0;
}

}  // namespace

void add_pull_command(CLI::App& app, CommandRunner& runner) {
  CLI::App* command = app.add_subcommand("pull", "download a model into the Hugging Face cache");
  auto arguments = std::make_shared<PullArguments>();  // shared with the callback below
  command->add_option("MODEL", arguments->repo, "ORG/NAME on HF_ENDPOINT")->required();
  command->add_option("--revision", arguments->options.revision, "branch, tag or commit")
      ->capture_default_str();
  command->add_option("--include", arguments->options.include,
                      "only files that fit a pattern, e.g. '*Q4_K_M.gguf'; may be given several "
                      "times (default: what a model needs)");
  command->add_option("--connections", arguments->options.connections, "at once, for large files")
      ->capture_default_str()
      ->check(CLI::Range(1, 64));
  command->add_option("--range-size", arguments->options.range_bytes, "bytes of one request")
      ->transform(CLI::AsSizeValue(false))
      ->check(CLI::Range(uint64_t{1} << 16, uint64_t{1} << 32));
  command->add_flag("--offline", arguments->offline, "only say where it is in the cache");
  command->add_flag("--json", arguments->json, "one JSON object on stdout");
  command->callback([&runner, arguments] {
    runner.run = [arguments] {
      Result<int> result = run_pull(*arguments);
      return result.ok() ? *result : fail(result.error());
    };
  });
}

}  // namespace ramjet
