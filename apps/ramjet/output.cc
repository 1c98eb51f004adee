#include "output.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <cstdio>

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "server/hub/pull.h"

namespace ramjet {

int exit_code(const Error& error) {
  switch (error.code) {
    case ErrorCode::kInvalidArgument:
    case ErrorCode::kNotFound:
    case ErrorCode::kCorrupt:
    case ErrorCode::kUnsupported: return 2;
    default: return 1;
  }
}

int fail(const Error& error) {
  std::fprintf(stderr, "ramjet: %s\n", error.message.c_str());
  return exit_code(error);
}

void print_json(const nlohmann::ordered_json& json) {
  print_text(json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n");
}

void print_text(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

std::function<void(std::string_view, double)> progress_bar() {
  if (::isatty(STDERR_FILENO) == 0) return {};
  return [](std::string_view stage, double share) {
    constexpr int kWidth = 30;
    const int full = static_cast<int>(share * kWidth);
    std::fprintf(stderr, "\r\x1b[K%-16.*s [%.*s%*s] %3.0f%%", static_cast<int>(stage.size()),
                 stage.data(), full, "##############################", kWidth - full, "",
                 share * 100);
    if (share >= 1) std::fputs("\r\x1b[K", stderr);
    std::fflush(stderr);
  };
}

void add_build_options(CLI::App& command, BuildOptions& options) {
  add_offline_option(command);
  command.add_option("--dtype", options.dtype, "activations and weights: auto, bf16, f32")
      ->capture_default_str();
  command
      .add_option("--quantize", options.quantize,
                  "auto (as the checkpoint), none, int8 (weights), fp8 (weights and activations)")
      ->capture_default_str();
  command.add_option("--kv-dtype", options.kv_dtype, "KV cache: auto, bf16, f32, fp8")
      ->capture_default_str();
  command
      .add_option("--target", options.target,
                  "auto (the first GPU, else the CPU), cpu-scalar, cpu-avx2, cpu-avx512, cpu-amx, "
                  "sm_80, sm_89, sm_90a")
      ->capture_default_str();
  command.add_option("--tp", options.tp, "tensor parallel ranks")->capture_default_str();
  command.add_option("--pp", options.pp, "pipeline parallel ranks")->capture_default_str();
  command.add_option("--max-batch-size", options.max_batch_size, "sequences in a step")
      ->capture_default_str();
  command
      .add_option("--max-seq-len", options.max_seq_len,
                  "prompt + output tokens of a request (0: the model's)")
      ->capture_default_str();
  command.add_option("--max-num-tokens", options.max_num_tokens, "tokens in a step")
      ->capture_default_str();
  command.add_option("--max-loras", options.max_loras, "LoRA adapters held at once; 0: none")
      ->capture_default_str();
  command.add_option("--max-lora-rank", options.max_lora_rank, "largest rank of a LoRA adapter")
      ->capture_default_str();
  command.add_flag_callback(
      "--allow-cublaslt",
      [] {
        throw CLI::ValidationError(
            "--allow-cublaslt",
            "not supported: engines run their own kernels alone; what cuBLASLt takes is timed "
            "beside them and shown by ramjet inspect --tactics");
      },
      "let an engine call cuBLASLt where it is faster (not supported yet)");
  command.add_flag_callback(
      "--no-tune", [&options] { options.tune = false; }, "choose kernels by the cost model");
  command.add_flag("--batch-invariant", options.batch_invariant,
                   "the same results alone, batched, chunked and from cached prefixes; slower");
  command
      .add_option_function<std::string>(
          "--dummy-weights",
          [&options](const std::string& value) {
            options.weights = value == "stored" ? BuildOptions::Weights::kDummyStored
                                                : BuildOptions::Weights::kDummySeed;
          },
          "random weights from config.json alone; =stored writes their bytes")
      ->expected(0, 1)
      ->default_str("")
      ->check(CLI::IsMember({"", "stored", "true"}));
  command.add_option("--disable-pass", options.disabled_passes, "switch a compiler pass off");
}

namespace {
bool offline = false;  // the flag of the command that runs
}

void add_offline_option(CLI::App& command) {
  command.add_flag("--offline", offline, "take ORG/NAME from the cache alone");
}

Result<std::string> model_path(const std::string& model) {
  const auto repo = server::parse_repo_id(model);
  if (!repo || path_exists(model)) return model;
  server::PullOptions options;
  options.progress = progress_bar();
  return server::find_or_pull(*repo, options, offline || server::hub_offline());
}

Result<std::shared_ptr<const Engine>> load_model(const std::string& model, BuildOptions options) {
  Result<std::string> found = model_path(model);
  if (!found.ok()) return found.error();
  options.progress = progress_bar();
  Result<std::string> path = resolve_engine(*found, options);
  if (!path.ok()) return path.error();
  return Engine::load(*path);
}

Result<std::vector<int32_t>> parse_ids(std::string_view text) {
  std::vector<int32_t> ids;
  while (!text.empty()) {
    const size_t comma = text.find(',');
    std::string_view item = text.substr(0, comma);
    while (!item.empty() && item.front() == ' ') item.remove_prefix(1);
    int32_t id = 0;
    const auto [end, error] = std::from_chars(item.data(), item.data() + item.size(), id);
    if (error != std::errc() || end != item.data() + item.size()) {
      return Error{ErrorCode::kInvalidArgument,
                   "'" + std::string(item) + "' is not a token id; give ids as 1,2,3"};
    }
    ids.push_back(id);
    text = comma == std::string_view::npos ? "" : text.substr(comma + 1);
  }
  return ids;
}

}  // namespace ramjet
