// `ramjet run` and `ramjet logits`: one prompt through an engine.
#include <ramjet/executor.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cmath>

#include "base/json.h"
#include "commands.h"
#include "output.h"
#include "text/chat/chat_format.h"
#include "text/stream/detokenizer.h"
#include "text/tokenizer/tokenizer.h"

namespace ramjet {
namespace {

struct RunArguments {
  std::string model, prompt, prompt_ids, lora;
  bool chat = false, json = false, ignore_eos = false;
  int max_tokens = 128;
  int64_t seed = -1;
  float temperature = 0, top_p = 1;
  double timeout_s = 3600;
  int top = 5;
  uint64_t kv_bytes = 0;
  BuildOptions options;
};

Result<std::unique_ptr<text::Tokenizer>> engine_tokenizer(const Engine& engine) {
  const std::string_view bytes = engine.asset("tokenizer");
  if (bytes.empty()) {
    return unsupported("{}: the engine has no tokenizer; give --prompt-ids", engine.path());
  }
  return text::Tokenizer::from_serialized(bytes);
}

Result<std::string> chat_prompt(const Engine& engine, const text::Tokenizer& tokenizer,
                                const std::string& user) {
  const std::string_view source = engine.asset("chat_template");
  if (source.empty()) return unsupported("{}: the model has no chat template", engine.path());
  ASSIGN_OR_RETURN(auto chat, text::ChatTemplate::compile(std::string(source)));
  const OrderedJson messages = {{{"role", "user"}, {"content", user}}};
  text::ChatInputs inputs;
  inputs.messages = &messages;
  if (engine.model().bos_id >= 0) inputs.bos_token = tokenizer.token(engine.model().bos_id);
  if (!engine.model().eos_ids.empty()) {
    inputs.eos_token = tokenizer.token(engine.model().eos_ids.front());
  }
  return text::render_chat(chat, inputs);
}

Result<std::vector<int32_t>> prompt_ids(const RunArguments& arguments, const Engine& engine,
                                        const text::Tokenizer* tokenizer) {
  if (!arguments.prompt_ids.empty()) return parse_ids(arguments.prompt_ids);
  if (arguments.prompt.empty()) return invalid_argument("give --prompt or --prompt-ids");
  if (!arguments.chat) return tokenizer->encode(arguments.prompt);
  ASSIGN_OR_RETURN(std::string text, chat_prompt(engine, *tokenizer, arguments.prompt));
  return tokenizer->encode(text, {.add_special_tokens = false});
}

std::string_view finish_name(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop: return "stop";
    case FinishReason::kLength: return "length";
    case FinishReason::kCancelled: return "cancelled";
    case FinishReason::kError: return "error";
    case FinishReason::kNone: break;
  }
  return "none";
}

/// The adapter's name for requests, once it is loaded; empty: none is wanted.
Result<std::string> load_lora(const RunArguments& arguments, Executor& executor) {
  if (arguments.lora.empty()) return std::string();
  RETURN_IF_ERROR(executor.load_adapter("lora", arguments.lora));
  return std::string("lora");
}

BuildOptions build_options(const RunArguments& arguments) {
  BuildOptions options = arguments.options;
  if (!arguments.lora.empty() && options.max_loras == 0) options.max_loras = 1;
  return options;
}

Result<int> run_prompt(const RunArguments& arguments) {
  ASSIGN_OR_RETURN(auto engine, load_model(arguments.model, build_options(arguments)));
  std::unique_ptr<text::Tokenizer> tokenizer;
  if (arguments.prompt_ids.empty() || !engine->asset("tokenizer").empty()) {
    ASSIGN_OR_RETURN(tokenizer, engine_tokenizer(*engine));
  }
  Request request;
  ASSIGN_OR_RETURN(request.prompt_ids, prompt_ids(arguments, *engine, tokenizer.get()));
  const size_t prompt_tokens = request.prompt_ids.size();
  request.sampling.temperature = arguments.temperature;
  request.sampling.top_p = arguments.top_p;
  if (arguments.seed >= 0) request.sampling.seed = static_cast<uint64_t>(arguments.seed);
  request.sampling.stop.max_tokens = arguments.max_tokens;
  request.sampling.stop.ignore_eos = arguments.ignore_eos;
  ExecutorConfig config;
  config.kv_bytes = arguments.kv_bytes;
  ASSIGN_OR_RETURN(auto executor, Executor::create(engine, config));
  ASSIGN_OR_RETURN(request.adapter, load_lora(arguments, *executor));
  const auto start = std::chrono::steady_clock::now();
  ASSIGN_OR_RETURN(auto outputs, executor->generate(std::move(request), arguments.timeout_s));
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  const RequestOutput& output = outputs.front();
  if (output.error) return *output.error;
  const std::string text = tokenizer ? tokenizer->decode(output.ids) : "";
  if (!arguments.json) {
    print_text(text + "\n");
    return 0;
  }
  print_json({{"token_ids", output.ids},
              {"text", text},
              {"finish_reason", finish_name(output.finish)},
              {"usage",
               {{"prompt_tokens", prompt_tokens},
                {"completion_tokens", output.ids.size()},
                {"total_tokens", prompt_tokens + output.ids.size()}}},
              {"device", executor->stats().device},
              {"seconds", seconds.count()}});
  return 0;
}

double logsumexp(std::span<const float> logits) {
  const double top = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (float logit : logits) sum += std::exp(logit - top);
  return top + std::log(sum);
}

OrderedJson position_json(int position, int32_t id, std::span<const float> logits, int top) {
  std::vector<int32_t> order(logits.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int32_t>(i);
  const size_t k = std::min(static_cast<size_t>(std::max(top, 0)), order.size());
  std::partial_sort(order.begin(), order.begin() + static_cast<ptrdiff_t>(k), order.end(),
                    [&](int32_t a, int32_t b) {
                      const float x = logits[static_cast<size_t>(a)];
                      const float y = logits[static_cast<size_t>(b)];
                      return x != y ? x > y : a < b;
                    });
  OrderedJson best = OrderedJson::array();
  for (size_t i = 0; i < k; ++i) best.push_back({order[i], logits[static_cast<size_t>(order[i])]});
  return {{"pos", position}, {"id", id}, {"logsumexp", logsumexp(logits)}, {"top", best}};
}

Result<int> print_logits(const RunArguments& arguments) {
  ASSIGN_OR_RETURN(auto engine, load_model(arguments.model, build_options(arguments)));
  std::unique_ptr<text::Tokenizer> tokenizer;
  if (arguments.prompt_ids.empty()) {
    ASSIGN_OR_RETURN(tokenizer, engine_tokenizer(*engine));
  }
  LogitsRequest request;
  ASSIGN_OR_RETURN(request.ids, prompt_ids(arguments, *engine, tokenizer.get()));
  ExecutorConfig config;
  config.kv_bytes = arguments.kv_bytes;
  ASSIGN_OR_RETURN(auto executor, Executor::create(engine, config));
  ASSIGN_OR_RETURN(request.adapter, load_lora(arguments, *executor));
  OrderedJson positions = OrderedJson::array();
  RETURN_IF_ERROR(executor->logits(request, [&](int position, std::span<const float> logits) {
    const int32_t id = request.ids[static_cast<size_t>(position)];
    positions.push_back(position_json(position, id, logits, arguments.top));
  }));
  print_json({{"positions", positions}, {"device", executor->stats().device}});
  return 0;
}

int finish(Result<int> result) { return result.ok() ? *result : fail(result.error()); }

void add_prompt_options(CLI::App& command, RunArguments& arguments) {
  command.add_option("MODEL", arguments.model, "Hugging Face folder, GGUF or engine")->required();
  command.add_option("--prompt", arguments.prompt, "text of the prompt");
  command.add_option("--prompt-ids", arguments.prompt_ids, "the prompt as ids: 1,2,3");
  command.add_option("--lora", arguments.lora, "a LoRA adapter's folder, as PEFT saves it");
  command.add_flag("--json", arguments.json, "one JSON object on stdout");
  command.add_option("--kv-memory", arguments.kv_bytes, "cap of the KV cache in bytes (512M, 4G)")
      ->transform(CLI::AsSizeValue(false));
  add_build_options(command, arguments.options);
}

}  // namespace

void add_run_command(CLI::App& app, CommandRunner& runner) {
  CLI::App* command = app.add_subcommand("run", "generate from one prompt");
  auto arguments = std::make_shared<RunArguments>();  // shared with the callback below
  add_prompt_options(*command, *arguments);
  command->add_flag("--chat", arguments->chat, "the prompt is a user message");
  command->add_option("--max-tokens", arguments->max_tokens, "most tokens to generate")
      ->capture_default_str();
  command->add_option("--temperature", arguments->temperature, "0 is greedy")
      ->capture_default_str();
  command->add_option("--top-p", arguments->top_p, "nucleus mass")->capture_default_str();
  command->add_option("--seed", arguments->seed, "of the sampler");
  command->add_flag("--ignore-eos", arguments->ignore_eos, "do not stop at the model's end token");
  command->add_option("--timeout", arguments->timeout_s, "seconds")->capture_default_str();
  command->callback([&runner, arguments] {
    runner.run = [arguments] { return finish(run_prompt(*arguments)); };
  });
}

void add_logits_command(CLI::App& app, CommandRunner& runner) {
  CLI::App* command = app.add_subcommand("logits", "the forward pass alone: logits as JSON");
  auto arguments = std::make_shared<RunArguments>();  // shared with the callback below
  add_prompt_options(*command, *arguments);
  command->add_option("--top", arguments->top, "best tokens a position")->capture_default_str();
  command->callback([&runner, arguments] {
    runner.run = [arguments] { return finish(print_logits(*arguments)); };
  });
}

}  // namespace ramjet
