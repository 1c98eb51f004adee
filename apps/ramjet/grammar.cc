// ramjet grammar check: which texts a JSON Schema, regex or EBNF grammar accepts.
#include <CLI/CLI.hpp>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "commands.h"
#include "output.h"
#include "text/grammar/grammar.h"

namespace ramjet {
namespace {

struct Options {
  std::string schema;
  std::string regex;
  std::string ebnf;
  std::string instances;
  bool has_regex = false;
  bool canonical = false;
  bool json = false;
};

Result<std::string> read_text(const std::string& path) {
  ASSIGN_OR_RETURN(const MappedFile file, MappedFile::open(path));
  return std::string(file.text());
}

Result<std::string> make_spec(const Options& options) {
  if (options.has_regex) return text::spec::regex(options.regex);
  if (!options.ebnf.empty()) {
    ASSIGN_OR_RETURN(const std::string grammar, read_text(options.ebnf));
    return text::spec::ebnf(grammar);
  }
  ASSIGN_OR_RETURN(const std::string schema, read_text(options.schema));
  // Parsed by itself first, so that it is one schema and nothing else.
  if (const auto json = parse_ordered_json(schema); !json.ok()) return json.error();
  return text::spec::json_schema(schema);
}

/// Each line's bytes, without its newline.
std::vector<std::string> lines_of(std::string_view text) {
  std::vector<std::string> lines;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    lines.emplace_back(text.substr(0, end));
    text = end == text.npos ? std::string_view() : text.substr(end + 1);
  }
  return lines;
}

int report(const Options& options, const OrderedJson& answer, const std::string& message) {
  if (options.json) {
    print_json(answer);
  } else {
    std::string out = "status: " + answer["status"].get<std::string>() + "\n";
    for (const auto& accepted : answer["accepted"]) out += accepted.get<bool>() ? "yes\n" : "no\n";
    print_text(out);
  }
  if (!message.empty()) fail(invalid_argument("{}", message));
  const std::string status = answer["status"].get<std::string>();
  return status == "invalid" ? 2 : 0;
}

int run(const Options& options) {
  const auto instances = read_text(options.instances);
  if (!instances.ok()) return fail(instances.error());
  const SteadyClock& clock = SteadyClock::instance();
  const double begin_s = clock.now_s();
  const auto spec = make_spec(options);
  text::GrammarProblem problem;
  auto grammar =
      spec.ok() ? text::compile_grammar(*spec, &problem) : Result<text::GrammarPtr>(spec.error());
  OrderedJson answer = {{"status", "ok"}, {"keyword", nullptr}, {"accepted", OrderedJson::array()}};
  if (!grammar.ok()) {
    const bool bad = grammar.error().code == ErrorCode::kInvalidArgument ||
                     grammar.error().code == ErrorCode::kNotFound ||
                     grammar.error().code == ErrorCode::kCorrupt;
    answer["status"] = bad ? "invalid" : "unsupported";
    if (!problem.keyword.empty()) answer["keyword"] = problem.keyword;
    answer["compile_ms"] = (clock.now_s() - begin_s) * 1e3;
    return report(options, answer, grammar.error().message);
  }
  answer["compile_ms"] = (clock.now_s() - begin_s) * 1e3;
  for (const std::string& line : lines_of(*instances)) {
    const auto accepted =
        options.canonical ? (*grammar)->generates(line) : (*grammar)->accepts(line);
    if (!accepted.ok()) return fail(accepted.error());
    answer["accepted"].push_back(*accepted);
  }
  return report(options, answer, "");
}

}  // namespace

void add_grammar_command(CLI::App& app, CommandRunner& runner) {
  CLI::App* grammar = app.add_subcommand("grammar", "Constraints on what a model writes");
  grammar->require_subcommand(1);
  CLI::App* check = grammar->add_subcommand(
      "check", "Does a JSON Schema, regex or EBNF grammar accept each line of a file?");
  auto options = std::make_shared<Options>();  // owned by the callback
  CLI::Option_group* kind = check->add_option_group("kind");
  kind->add_option("--schema", options->schema, "file with a JSON Schema");
  CLI::Option* regex = kind->add_option("--regex", options->regex, "a whole line must match");
  kind->add_option("--ebnf", options->ebnf, "file with a GBNF-like grammar");
  kind->require_option(1);
  check->add_option("--instances", options->instances, "file with a text a line")->required();
  check->add_flag("--generated", options->canonical,
                  "what a model would be led to write, not all that is valid");
  check->add_flag("--json", options->json,
                  "one JSON object: {status, keyword, accepted, "
                  "compile_ms}");
  check->callback([options, regex, &runner] {
    options->has_regex = regex->count() > 0;
    runner.run = [options] { return run(*options); };
  });
}

}  // namespace ramjet
