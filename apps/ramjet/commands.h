// The commands of the ramjet program: each file adds one to the CLI11 app.
#pragma once

#include <functional>

namespace CLI {
class App;
}

namespace ramjet {

/// The chosen command's action, run after parsing; its value is the exit code.
struct CommandRunner {
  std::function<int()> run;
};

void add_bench_serve_command(CLI::App& bench, CommandRunner& runner);
void add_bench_command(CLI::App& app, CommandRunner& runner);  // its subcommands but serve
void add_build_command(CLI::App& app, CommandRunner& runner);
void add_doctor_command(CLI::App& app, CommandRunner& runner);
void add_executor_command(CLI::App& app, CommandRunner& runner);  // hidden: serve starts it
void add_encoder_commands(CLI::App& app, CommandRunner& runner);  // embed, classify
void add_eval_command(CLI::App& app, CommandRunner& runner);
void add_grammar_command(CLI::App& app, CommandRunner& runner);
void add_inspect_command(CLI::App& app, CommandRunner& runner);
void add_logits_command(CLI::App& app, CommandRunner& runner);
void add_parse_command(CLI::App& app, CommandRunner& runner);
void add_pull_command(CLI::App& app, CommandRunner& runner);
void add_run_command(CLI::App& app, CommandRunner& runner);
void add_serve_command(CLI::App& app, CommandRunner& runner);
void add_template_command(CLI::App& app, CommandRunner& runner);
void add_tokenize_command(CLI::App& app, CommandRunner& runner);

}  // namespace ramjet
