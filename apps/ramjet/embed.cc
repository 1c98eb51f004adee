// `ramjet embed` and `ramjet classify`: texts through an encoder.
#include <ramjet/encoder.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <map>

#include "base/json.h"
#include "commands.h"
#include "output.h"

namespace ramjet {
namespace {

struct EncoderArguments {
  std::string model, pooling = "auto";
  std::vector<std::string> texts, ids;
  bool normalize = false, json = false;
  BuildOptions options;
};

/// Of --text, encoded with the model's special tokens, then of --ids, as they are.
Result<std::vector<EncoderInput>> read_inputs(const EncoderArguments& arguments,
                                              const Engine& engine) {
  std::vector<EncoderInput> inputs;
  for (const std::string& text : arguments.texts) {
    ASSIGN_OR_RETURN(std::vector<int32_t> ids, engine.encode(text));
    inputs.push_back({std::move(ids), {}});
  }
  for (const std::string& list : arguments.ids) {
    ASSIGN_OR_RETURN(std::vector<int32_t> ids, parse_ids(list));
    inputs.push_back({std::move(ids), {}});
  }
  if (inputs.empty()) return invalid_argument("nothing to read: give --text or --ids");
  return inputs;
}

OrderedJson usage(const std::vector<EncoderInput>& inputs) {
  size_t tokens = 0;
  for (const EncoderInput& input : inputs) tokens += input.ids.size();
  return {{"prompt_tokens", tokens}, {"total_tokens", tokens}};
}

Result<int> embed(const EncoderArguments& arguments) {
  static const std::map<std::string, Pooling> kPoolings = {{"auto", Pooling::kAuto},
                                                           {"mean", Pooling::kMean},
                                                           {"cls", Pooling::kFirst},
                                                           {"last", Pooling::kLast}};
  const auto pooling = kPoolings.find(arguments.pooling);
  if (pooling == kPoolings.end()) {
    return invalid_argument("--pooling {}: known are auto, mean, cls and last", arguments.pooling);
  }
  ASSIGN_OR_RETURN(auto engine, load_model(arguments.model, arguments.options));
  ASSIGN_OR_RETURN(auto encoder, Encoder::create(engine));
  ASSIGN_OR_RETURN(const auto inputs, read_inputs(arguments, *engine));
  ASSIGN_OR_RETURN(const auto vectors,
                   encoder->embed(inputs, {pooling->second, arguments.normalize}));
  if (arguments.json) {
    print_json({{"embeddings", vectors},
                {"width", encoder->width()},
                {"usage", usage(inputs)},
                {"device", engine->target()}});
    return 0;
  }
  for (const std::vector<float>& vector : vectors) {
    std::string line;
    for (const float x : vector) line += fmt::format("{}{}", line.empty() ? "" : " ", x);
    print_text(line + "\n");
  }
  return 0;
}

/// The probabilities of labels by their logits.
std::vector<double> softmax(std::span<const float> logits) {
  const float top = *std::max_element(logits.begin(), logits.end());
  std::vector<double> out;
  double sum = 0;
  for (const float logit : logits) sum += out.emplace_back(std::exp(double{logit} - double{top}));
  for (double& x : out) x /= sum;
  return out;
}

OrderedJson scored(const std::vector<std::string>& labels, std::span<const float> logits) {
  const std::vector<double> shares = softmax(logits);
  const auto best = std::max_element(shares.begin(), shares.end()) - shares.begin();
  OrderedJson scores = OrderedJson::object();
  for (size_t i = 0; i < labels.size(); ++i) scores[labels[i]] = shares[i];
  return {{"label", labels[static_cast<size_t>(best)]},
          {"score", shares[static_cast<size_t>(best)]},
          {"logits", std::vector<float>(logits.begin(), logits.end())},
          {"scores", std::move(scores)}};
}

Result<int> classify(const EncoderArguments& arguments) {
  ASSIGN_OR_RETURN(auto engine, load_model(arguments.model, arguments.options));
  ASSIGN_OR_RETURN(auto encoder, Encoder::create(engine));
  ASSIGN_OR_RETURN(const auto inputs, read_inputs(arguments, *engine));
  ASSIGN_OR_RETURN(const auto scores, encoder->scores(inputs));
  const std::vector<std::string>& labels = encoder->labels();
  OrderedJson results = OrderedJson::array();
  for (const std::vector<float>& of_input : scores) {
    OrderedJson rows = OrderedJson::array();
    for (size_t at = 0; at < of_input.size(); at += labels.size()) {
      rows.push_back(scored(labels, std::span(of_input).subspan(at, labels.size())));
    }
    results.push_back(encoder->scores_tokens() ? rows : rows[0]);
  }
  if (arguments.json) {
    print_json({{"results", results}, {"usage", usage(inputs)}, {"device", engine->target()}});
    return 0;
  }
  for (const OrderedJson& result : results) {
    if (result.is_array()) {
      for (const OrderedJson& token : result) print_text(token["label"].get<std::string>() + " ");
      print_text("\n");
      continue;
    }
    print_text(fmt::format("{} {:.4f}\n", result["label"].get<std::string>(),
                           result["score"].get<double>()));
  }
  return 0;
}

struct EncoderCommand {
  const char* name;
  const char* what;
  Result<int> (*run)(const EncoderArguments&);
};

CLI::App* add_command(CLI::App& app, CommandRunner& runner, const EncoderCommand& made,
                      const std::shared_ptr<EncoderArguments>& arguments) {
  CLI::App* command = app.add_subcommand(made.name, made.what);
  command->add_option("MODEL", arguments->model, "Hugging Face folder or engine of an encoder")
      ->required();
  command->add_option("--text", arguments->texts, "a text; may be repeated");
  command->add_option("--ids", arguments->ids, "token ids \"101,7592,102\"; may be repeated");
  command->add_flag("--json", arguments->json, "one JSON object on stdout");
  add_build_options(*command, arguments->options);
  command->callback([&runner, arguments, run = made.run] {
    runner.run = [arguments, run] {
      Result<int> result = run(*arguments);
      return result.ok() ? *result : fail(result.error());
    };
  });
  return command;
}

}  // namespace

void add_encoder_commands(CLI::App& app, CommandRunner& runner) {
  auto arguments = std::make_shared<EncoderArguments>();  // shared with the commands' callbacks
  CLI::App* command =
      add_command(app, runner, {"embed", "a vector of each text", embed}, arguments);
  command->add_option("--pooling", arguments->pooling, "auto, mean, cls or last");
  command->add_flag("--normalize", arguments->normalize, "vectors of length 1");
  add_command(app, runner, {"classify", "classes of each text, by the model's own head", classify},
              std::make_shared<EncoderArguments>());
}

}  // namespace ramjet
