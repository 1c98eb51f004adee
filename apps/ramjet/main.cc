#include <ramjet/version.h>

#include <CLI/CLI.hpp>
#include <filesystem>

#include "base/env.h"
#include "base/file.h"
#include "base/log.h"
#include "commands.h"
#include "migrate.h"
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

/// An engine's folder, as others keep it, is the engine in it; the folder of one to be built is
/// made.
Status settle_paths(std::vector<std::string>& arguments) {
  for (size_t i = 1; i < arguments.size(); ++i) {
    const std::string inside = arguments[i] + "/rank0.engine";
    if (arguments[i - 1] == "-o") {
      const auto folder = std::filesystem::path(arguments[i]).parent_path();
      RETURN_IF_ERROR(make_directories(folder.string()));
    } else if (is_directory(arguments[i]) && path_exists(inside)) {
      arguments[i] = inside;
    }
  }
  return ok_status();
}

/// The arguments in Ramjet's own words, whatever the program is called by.
Result<std::vector<std::string>> own_arguments(const CLI::App& app, int argc, char** argv) {
  std::vector<std::string> arguments(argv + std::min(argc, 1), argv + argc);
  const std::string_view migrant = migrant_program(argc > 0 ? argv[0] : "");
  const bool serves = !arguments.empty() && arguments.front() == "serve";
  if (migrant.empty() && !serves) return arguments;
  const auto own = [serve = app.get_subcommand("serve")](std::string_view flag) {
    return serve->get_option_no_throw(std::string(flag)) != nullptr;
  };
  Result<Translation> translation = migrant.empty()
                                        ? translate_serve(std::span(arguments).subspan(1), own)
                                        : translate_migrant(migrant, arguments, own);
  if (!translation.ok()) return translation.error();
  for (const std::string& note : translation->notes) log_warn("{}", note);
  if (migrant.empty()) return std::move(translation->arguments);
  RETURN_IF_ERROR(settle_paths(translation->arguments));
  std::string line = "ramjet";
  for (const std::string& argument : translation->arguments) line += " " + argument;
  log_info("{} is: {}", migrant, line);
  return std::move(translation->arguments);
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
  Result<std::vector<std::string>> arguments = own_arguments(app, argc, argv);
  if (!arguments.ok()) return fail(arguments.error());
  std::reverse(arguments->begin(), arguments->end());  // as the parser takes them
  try {
    app.parse(std::move(*arguments));
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
