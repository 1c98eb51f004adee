// What commands share: exit codes, the one JSON object on stdout, a progress bar on stderr.
#pragma once

#include <ramjet/engine.h>
#include <ramjet/result.h>

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace CLI {
class App;
}

namespace ramjet {

/// 2 for what the user can mend (input, file, option), 1 otherwise.
int exit_code(const Error& error);
/// Prints "ramjet: MESSAGE" to stderr and returns exit_code(error).
int fail(const Error& error);
/// One JSON object and a newline on stdout.
void print_json(const nlohmann::ordered_json& json);
/// Text on stdout, as it is.
void print_text(std::string_view text);
/// A bar on stderr where that is a terminal, a line a stage otherwise.
std::function<void(std::string_view, double)> progress_bar();

/// The options that choose how a model becomes an engine, shared by build, run, serve and bench.
void add_build_options(CLI::App& command, BuildOptions& options);
/// MODEL to a path: what exists is itself; ORG/NAME is its snapshot in the Hugging Face cache,
/// pulled if it is not there and neither --offline nor HF_HUB_OFFLINE forbids it.
Result<std::string> model_path(const std::string& model);
/// The flag --offline, for model_path().
void add_offline_option(CLI::App& command);
/// MODEL to a loaded engine, building it into the cache if need be.
Result<std::shared_ptr<const Engine>> load_model(const std::string& model, BuildOptions options);
/// "1,2,3" to ids.
Result<std::vector<int32_t>> parse_ids(std::string_view text);

}  // namespace ramjet
