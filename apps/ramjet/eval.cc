// `ramjet eval perplexity`: negative log-likelihood of a text under a model.
#include <ramjet/executor.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>

#include "base/file.h"
#include "base/json.h"
#include "commands.h"
#include "output.h"
#include "text/tokenizer/tokenizer.h"

namespace ramjet {
namespace {

struct PerplexityArguments {
  std::string model, file;
  int context = 0;
  int stride = 0;
  int64_t max_tokens = 0;
  bool json = false;
  uint64_t kv_bytes = 0;
  BuildOptions options;
};

double negative_log_likelihood(std::span<const float> logits, int32_t id) {
  const double top = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (float logit : logits) sum += std::exp(logit - top);
  return top + std::log(sum) - static_cast<double>(logits[static_cast<size_t>(id)]);
}

/// Windows of `context` tokens, `stride` apart; each token is scored once, with the longest
/// context its window gives (as transformers' perplexity guide does).
Result<int> perplexity(PerplexityArguments& arguments) {
  ASSIGN_OR_RETURN(auto engine, load_model(arguments.model, arguments.options));
  ASSIGN_OR_RETURN(auto tokenizer, text::Tokenizer::from_serialized(engine->asset("tokenizer")));
  ASSIGN_OR_RETURN(std::string text, read_file(arguments.file));
  ASSIGN_OR_RETURN(std::vector<int32_t> ids, tokenizer->encode(text));
  if (arguments.max_tokens > 0 && static_cast<int64_t>(ids.size()) > arguments.max_tokens) {
    ids.resize(static_cast<size_t>(arguments.max_tokens));
  }
  const int context =
      arguments.context > 0 ? arguments.context : std::min(engine->model().max_seq_len - 1, 2048);
  const int stride = arguments.stride > 0 ? arguments.stride : context;
  if (context < 2 || stride > context || ids.size() < 2) {
    return invalid_argument(
        "context {} must be at least 2, stride {} at most the context, and the "
        "file at least 2 tokens (it has {})",
        context, stride, ids.size());
  }
  ExecutorConfig config;
  config.kv_bytes = arguments.kv_bytes;
  config.prefix_caching = false;
  ASSIGN_OR_RETURN(auto executor, Executor::create(engine, config));
  double nll = 0;
  int64_t scored = 0;
  size_t done = 1;  // tokens before this index are scored (the first never is)
  for (size_t start = 0; done < ids.size(); start += static_cast<size_t>(stride)) {
    const size_t end = std::min(start + static_cast<size_t>(context), ids.size());
    LogitsRequest window;
    window.ids.assign(ids.begin() + static_cast<ptrdiff_t>(start),
                      ids.begin() + static_cast<ptrdiff_t>(end));
    window.first_position = static_cast<int>(std::max(done, start + 1) - 1 - start);
    RETURN_IF_ERROR(executor->logits(window, [&](int position, std::span<const float> logits) {
      const size_t next = start + static_cast<size_t>(position) + 1;
      if (next >= end) return;
      nll += negative_log_likelihood(logits, ids[next]);
      ++scored;
    }));
    done = std::max(done, end);
  }
  const double mean = nll / static_cast<double>(scored);
  if (arguments.json) {
    OrderedJson json = {{"nll", mean}, {"tokens", scored}, {"perplexity", std::exp(mean)}};
    if (arguments.max_tokens == 0) {
      json["bits_per_byte"] = nll / std::log(2.0) / static_cast<double>(text.size());
    }
    json["device"] = executor->stats().device;
    print_json(json);
  } else {
    print_text(
        fmt::format("{} tokens: nll {:.6f}, perplexity {:.4f}\n", scored, mean, std::exp(mean)));
  }
  return 0;
}

}  // namespace

void add_eval_command(CLI::App& app, CommandRunner& runner) {
  CLI::App* eval = app.add_subcommand("eval", "quality of a model");
  eval->require_subcommand(1);
  CLI::App* command = eval->add_subcommand("perplexity", "of a text file");
  auto arguments = std::make_shared<PerplexityArguments>();  // shared with the callback below
  command->add_option("MODEL", arguments->model, "Hugging Face folder, GGUF or engine")->required();
  command->add_option("--file", arguments->file, "UTF-8 text")->required();
  command->add_option("--context", arguments->context, "tokens of a window");
  command->add_option("--stride", arguments->stride, "tokens between windows (default: context)");
  command->add_option("--max-tokens", arguments->max_tokens, "use only the first N tokens");
  command->add_flag("--json", arguments->json, "one JSON object on stdout");
  command->add_option("--kv-memory", arguments->kv_bytes, "cap of the KV cache in bytes")
      ->transform(CLI::AsSizeValue(false));
  add_build_options(*command, arguments->options);
  command->callback([&runner, arguments] {
    runner.run = [arguments] {
      Result<int> result = perplexity(*arguments);
      return result.ok() ? *result : fail(result.error());
    };
  });
}

}  // namespace ramjet
