// ramjet template: renders a chat template with a context.
#include <CLI/CLI.hpp>
#include <memory>

#include "base/file.h"
#include "base/json.h"
#include "commands.h"
#include "output.h"
#include "text/chat/chat_template.h"

namespace ramjet {
namespace {

struct Options {
  std::string template_path;
  std::string context_path;
  std::string now;
};

Result<OrderedJson> read_context(const std::string& path) {
  ASSIGN_OR_RETURN(const MappedFile file, MappedFile::open(path));
  auto json = parse_ordered_json(file.text());
  if (!json.ok()) return json.error().with_context(path);
  return json;
}

/// 2 for a file or time that cannot be read, 1 where the template raises or is no template.
int run(const Options& options) {
  text::RenderOptions render_options;
  if (!options.now.empty()) {
    const auto now = text::TemplateTime::from_iso(options.now);
    if (!now.ok()) return fail(now.error().with_context("--now"));
    render_options.now = *now;
  }
  const auto file = MappedFile::open(options.template_path);
  if (!file.ok()) return fail(file.error());
  const auto context = read_context(options.context_path);
  if (!context.ok()) return fail(context.error());
  const auto compiled = text::ChatTemplate::compile(std::string(file->text()));
  if (!compiled.ok()) {
    fail(compiled.error().with_context(options.template_path));
    return 1;
  }
  const auto rendered = compiled->render(*context, render_options);
  if (!rendered.ok()) {
    fail(rendered.error());
    return 1;
  }
  print_text(*rendered);
  return 0;
}

}  // namespace

void add_template_command(CLI::App& app, CommandRunner& runner) {
  CLI::App* command = app.add_subcommand("template", "Render a chat template with a JSON context");
  auto options = std::make_shared<Options>();  // owned by the callback
  command->add_option("TEMPLATE", options->template_path, "the .jinja file")->required();
  command->add_option("--context", options->context_path, "JSON object with the variables")
      ->required();
  command->add_option("--now", options->now,
                      "what strftime_now shows, as 2024-07-26T12:34:56 (default: the clock)");
  command->callback([options, &runner] { runner.run = [options] { return run(*options); }; });
}

}  // namespace ramjet
