// ramjet tokenize: text on stdin to ids, ids to text, and a batch mode for comparisons.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "base/json.h"
#include "commands.h"
#include "output.h"
#include "text/tokenizer/tokenizer.h"

namespace ramjet {
namespace {

struct TokenizeOptions {
  std::string path;
  bool json = false;
  bool decode = false;
  bool no_special = false;
  bool no_parse_special = false;
  bool keep_special = false;
  bool no_limits = false;
  bool batch = false;

  text::EncodeOptions encode() const {
    return {.add_special_tokens = !no_special,
            .parse_special = !no_parse_special,
            .limits = !no_limits};
  }
};

std::string read_stdin() {
  std::string out;
  char block[65536];
  while (const size_t size = std::fread(block, 1, sizeof(block), stdin)) out.append(block, size);
  return out;
}

/// False at the end of the input.
bool read_line(std::string& line) {
  char* text = nullptr;
  size_t capacity = 0;
  const ssize_t size = ::getline(&text, &capacity, stdin);
  const std::unique_ptr<char, decltype(&std::free)> owned(text, &std::free);
  if (size < 0) return false;
  line.assign(text, static_cast<size_t>(size));
  return true;
}

/// Ids in any of "1,2", "1 2", "[1, 2]".
Result<std::vector<int32_t>> read_ids(const std::string& text) {
  std::vector<int32_t> ids;
  const char* at = text.data();
  const char* const end = at + text.size();
  while (at != end) {
    if (std::string_view(" \t\r\n,[]").find(*at) != std::string_view::npos) {
      ++at;
      continue;
    }
    int32_t id = 0;
    const auto [next, error] = std::from_chars(at, end, id);
    if (error != std::errc()) {
      return invalid_argument(
          "'{}' is no token id",
          std::string_view(at, std::min<size_t>(16, static_cast<size_t>(end - at))));
    }
    ids.push_back(id);
    at = next;
  }
  return ids;
}

OrderedJson encoded(const text::Tokenizer& tokenizer, const std::vector<int32_t>& ids) {
  OrderedJson tokens = OrderedJson::array();
  for (const int32_t id : ids) tokens.push_back(std::string(tokenizer.token(id)));
  return {{"ids", ids}, {"tokens", std::move(tokens)}};
}

int tokenize_once(const text::Tokenizer& tokenizer, const TokenizeOptions& options) {
  if (options.decode) {
    Result<std::vector<int32_t>> ids = read_ids(read_stdin());
    if (!ids.ok()) return fail(ids.error());
    const std::string text = tokenizer.decode(*ids, !options.keep_special);
    options.json ? print_json({{"text", text}}) : print_text(text);
    return 0;
  }
  const Result<std::vector<int32_t>> ids = tokenizer.encode(read_stdin(), options.encode());
  if (!ids.ok()) return fail(ids.error());
  if (options.json) {
    print_json(encoded(tokenizer, *ids));
    return 0;
  }
  std::string line;
  for (const int32_t id : *ids) line += (line.empty() ? "" : " ") + std::to_string(id);
  print_text(line + "\n");
  return 0;
}

/// {ids, text} of a JSON string, {ids, type_ids, text} of a list of two.
Result<Json> encode_line(const text::Tokenizer& tokenizer, const TokenizeOptions& options,
                         const Json& input) {
  if (input.is_string()) {
    ASSIGN_OR_RETURN(const std::vector<int32_t> ids,
                     tokenizer.encode(input.get_ref<const std::string&>(), options.encode()));
    return Json{{"ids", ids}, {"text", tokenizer.decode(ids, !options.keep_special)}};
  }
  if (!input.is_array() || input.size() != 2 || !input[0].is_string() || !input[1].is_string()) {
    return invalid_argument("each line must be one JSON string, or a list of two");
  }
  ASSIGN_OR_RETURN(const text::EncodedPair pair,
                   tokenizer.encode_pair(input[0].get_ref<const std::string&>(),
                                         input[1].get_ref<const std::string&>(), options.encode()));
  return Json{{"ids", pair.ids},
              {"type_ids", pair.type_ids},
              {"text", tokenizer.decode(pair.ids, !options.keep_special)}};
}

/// A JSON string a line in (or a pair of them); its ids and their decoded text out.
int tokenize_batch(const text::Tokenizer& tokenizer, const TokenizeOptions& options) {
  std::string line;
  while (read_line(line)) {
    const Result<Json> input = parse_json(line, 2);
    if (!input.ok()) return fail(input.error());
    Result<Json> output = encode_line(tokenizer, options, *input);
    // A text that cannot be encoded is an answer, too: the comparisons go on.
    print_json(output.ok() ? *output : Json{{"error", output.error().message}});
  }
  return 0;
}

int run_tokenize(const TokenizeOptions& options) {
  const Result<std::string> path = model_path(options.path);
  if (!path.ok()) return fail(path.error());
  const Result<std::unique_ptr<text::Tokenizer>> tokenizer = text::Tokenizer::load(*path);
  if (!tokenizer.ok()) return fail(tokenizer.error());
  return options.batch ? tokenize_batch(**tokenizer, options) : tokenize_once(**tokenizer, options);
}

}  // namespace

void add_tokenize_command(CLI::App& app, CommandRunner& runner) {
  auto options = std::make_shared<TokenizeOptions>();
  CLI::App* command = app.add_subcommand("tokenize", "Text on stdin to token ids, or back");
  command
      ->add_option("PATH", options->path,
                   "folder, .json, .model, GGUF, tiktoken ranks or vocab.txt")
      ->required();
  command->add_flag("--json", options->json, "one JSON object: {ids, tokens} or {text}");
  command->add_flag("--decode", options->decode, "token ids on stdin to text");
  command->add_flag("--no-special", options->no_special, "add no BOS or other special token");
  command->add_flag("--no-parse-special", options->no_parse_special,
                    "special tokens spelled in the text stay text");
  command->add_flag("--keep-special", options->keep_special, "show special tokens in decoded text");
  command->add_flag("--no-limits", options->no_limits,
                    "no truncation or padding, whatever the tokenizer.json says");
  command->add_flag("--batch", options->batch,
                    "a JSON string (or a pair) a line in, {ids, text} a line out");
  command->callback(
      [options, &runner] { runner.run = [options] { return run_tokenize(*options); }; });
}

}  // namespace ramjet
