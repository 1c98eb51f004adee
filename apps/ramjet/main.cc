#include <ramjet/version.h>

#include <CLI/CLI.hpp>

#include "base/env.h"
#include "base/log.h"
#include "commands.h"
#include "output.h"

namespace ramjet {
namespace {

void apply_log_level() {
  const std::string level = env("RAMJET_LOG").value_or("info");
  if (level == "debug") set_log_level(LogLevel::kDebug);
  if (level == "warn") set_log_level(LogLevel::kWarn);
  if (level == "error") set_log_level(LogLevel::kError);
  if (level == "off") set_log_level(LogLevel::kOff);
}

std::string environment_help() {
  std::string text = "Environment:\n";
  for (const EnvVariable& variable : env_registry()) {
    text += std::string("  ") + variable.name +
            std::string(26 - std::string(variable.name).size(), ' ') + variable.meaning + "\n";
  }
  return text;
}

int run_command(int argc, char** argv) {
  CLI::App app("Ramjet: an LLM checkpoint goes in, an engine comes out, one binary serves it.",
               "ramjet");
  app.set_version_flag("--version", std::string("ramjet ") + RAMJET_VERSION);
  app.require_subcommand(1);
  app.footer(environment_help());
  CommandRunner runner;
  add_serve_command(app, runner);
  add_executor_command(app, runner);
  add_run_command(app, runner);
  add_build_command(app, runner);
  add_pull_command(app, runner);
  add_inspect_command(app, runner);
  add_logits_command(app, runner);
  add_eval_command(app, runner);
  add_encoder_commands(app, runner);
  add_tokenize_command(app, runner);
  add_template_command(app, runner);
  add_parse_command(app, runner);
  add_grammar_command(app, runner);
  add_bench_command(app, runner);
  add_doctor_command(app, runner);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  }
  return runner.run ? runner.run() : 2;
}

}  // namespace
}  // namespace ramjet

int main(int argc, char** argv) {
  ramjet::apply_log_level();
  try {
    return ramjet::run_command(argc, argv);
  } catch (const std::exception& e) {
    return ramjet::fail({ramjet::ErrorCode::kInternal, e.what()});
  }
}
