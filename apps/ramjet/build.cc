#include <CLI/CLI.hpp>

#include "base/json.h"
#include "commands.h"
#include "output.h"

namespace ramjet {
namespace {

struct BuildArguments {
  std::string model;
  std::string output;
  bool json = false;
  BuildOptions options;
};

OrderedJson report_json(const BuildReport& report) {
  OrderedJson passes = OrderedJson::array();
  for (const PassTime& pass : report.passes)
    passes.push_back({{"name", pass.name}, {"ms", pass.ms}});
  OrderedJson json = {{"path", report.path},     {"bytes", report.bytes},
                      {"target", report.target}, {"seconds", report.seconds},
                      {"passes", passes},        {"tuned", report.tuned}};
  for (const InvariantCost& cost : report.invariant_costs) {
    json["batch_invariant"].push_back(
        {{"tokens", cost.tokens}, {"us", cost.us}, {"free_us", cost.free_us}});
  }
  return json;
}

/// "batch-invariant: the kernels of a step of 1 token take 4.1 % longer (4.35 ms), of 64 .."
std::string cost_text(const BuildReport& report) {
  std::string text;
  for (const InvariantCost& cost : report.invariant_costs) {
    text += fmt::format(
        "{} {} token{} {:.1f} % ({:.3f} ms)",
        text.empty() ? "batch-invariant: more time in kernels than without, at" : ",", cost.tokens,
        cost.tokens == 1 ? "" : "s", (cost.us / cost.free_us - 1) * 100, cost.us * 1e-3);
  }
  return text.empty() ? "" : text + (report.tuned ? "\n" : " by the cost model\n");
}

int build(BuildArguments& arguments) {
  arguments.options.progress = progress_bar();
  const Result<std::string> model = model_path(arguments.model);
  if (!model.ok()) return fail(model.error());
  Result<BuildReport> report = build_engine(*model, arguments.output, arguments.options);
  if (!report.ok()) return fail(report.error());
  if (arguments.json) {
    print_json(report_json(*report));
    return 0;
  }
  print_text(fmt::format("{}: {:.1f} MB for {}, {} in {:.2f} s\n", report->path,
                         static_cast<double>(report->bytes) * 1e-6, report->target,
                         report->tuned ? "tuned" : "not tuned", report->seconds) +
             cost_text(*report));
  return 0;
}

}  // namespace

void add_build_command(CLI::App& app, CommandRunner& runner) {
  CLI::App* command = app.add_subcommand("build", "compile a checkpoint into an engine file");
  auto arguments = std::make_shared<BuildArguments>();  // shared with the callback below
  command->add_option("MODEL", arguments->model, "Hugging Face folder, GGUF or ORG/NAME")
      ->required();
  command->add_option("-o,--output", arguments->output, "the engine file to write")->required();
  command->add_flag("--json", arguments->json, "report as one JSON object");
  add_build_options(*command, arguments->options);
  command->callback(
      [&runner, arguments] { runner.run = [arguments] { return build(*arguments); }; });
}

}  // namespace ramjet
