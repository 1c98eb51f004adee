#include <ramjet/executor.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <yaml-cpp/yaml.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <cstdio>
#include <thread>

#include "base/clock.h"
#include "base/env.h"
#include "base/file.h"
#include "base/log.h"
#include "commands.h"
#include "kernels/registry.h"
#include "output.h"
#include "server/server.h"
#include "server/sleepable_backend.h"
#include "server/supervise/supervisor.h"

namespace ramjet {
namespace {

constexpr int kDefaultPort = 8000;

enum class ExecutorPlace { kAuto, kProcess, kHere };

struct ServeOptions {
  std::string model;
  std::string config;
  std::vector<std::string> names;
  BuildOptions build;
  ExecutorConfig executor;
  ExecutorPlace place = ExecutorPlace::kAuto;
  int max_restarts = 5;
  server::ServerOptions server;
  double drain_s = 30;
  double max_body_mb = 32;
};

/// Takes options from a YAML mapping whose keys are the flags without dashes in front; what the
/// command line says wins.
Status apply_config(CLI::App& command, const std::string& path) {
  try {
    const YAML::Node file = YAML::LoadFile(path);
    if (!file.IsMap()) return invalid_argument("{}: a mapping of options is expected", path);
    for (const auto& entry : file) {
      std::string key = entry.first.as<std::string>();
      std::replace(key.begin(), key.end(), '_', '-');
      CLI::Option* option = command.get_option_no_throw(key == "model" ? key : "--" + key);
      if (option == nullptr || key == "config" || key == "help") {
        return invalid_argument("{}: '{}' is not an option of `ramjet serve`", path, key);
      }
      if (option->count() > 0) continue;
      if (entry.second.IsSequence()) {
        for (const auto& item : entry.second) option->add_result(item.as<std::string>());
      } else {
        option->add_result(entry.second.as<std::string>());
      }
      option->run_callback();
    }
  } catch (const std::exception& e) {
    return invalid_argument("{}: {}", path, e.what());
  }
  return ok_status();
}

/// A served ORG/NAME keeps that name; a path is nobody's business, so its last part serves.
std::vector<std::string> served_names(const ServeOptions& options, const ModelInfo& info) {
  if (!options.names.empty()) return options.names;
  if (!path_exists(options.model)) return {options.model, info.name};
  return {info.name};
}

std::atomic<int> signals{0};
int signal_pipe[2] = {-1, -1};

/// The first asks for a drain; a second one does not wait.
void on_signal(int number) {
  if (signals.fetch_add(1) > 0) ::_exit(128 + number);
  const char byte = 0;
  [[maybe_unused]] const ssize_t written = ::write(signal_pipe[1], &byte, 1);
}

Status catch_signals() {
  if (::pipe(signal_pipe) != 0) return internal_error("no pipe for signals");
  struct sigaction action {};
  action.sa_handler = on_signal;
  ::sigaction(SIGTERM, &action, nullptr);
  ::sigaction(SIGINT, &action, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  return ok_status();
}

void wait_for_signal() {
  char byte;
  while (::read(signal_pipe[0], &byte, 1) < 0) {
  }
}

void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

/// Tells a file from one that took its place.
std::string file_stamp(const std::string& path) {
  struct stat info;
  if (::stat(path.c_str(), &info) != 0) return "none";
  return fmt::format("{}.{}.{}.{}.{}", info.st_dev, info.st_ino, info.st_size, info.st_mtim.tv_sec,
                     info.st_mtim.tv_nsec);
}

/// An executor in a process of its own, which is replaced when it is lost.
Result<std::unique_ptr<server::Backend>> supervised(const ServeOptions& options,
                                                    const std::string& engine_path) {
  server::SupervisorOptions how;
  how.executor = options.executor;
  how.max_restarts = options.max_restarts;
  // The text side of the engine is here already: a process must not come with another model.
  how.launch = [engine_path, stamp = file_stamp(engine_path)](
                   uint32_t) -> Result<std::unique_ptr<server::ExecutorProcess>> {
    if (file_stamp(engine_path) != stamp) {
      return make_error(ErrorCode::kUnavailable,
                        "the engine file is gone or another one since it was loaded");
    }
    return server::spawn_self(
        {"executor", "--fd", std::to_string(server::kExecutorFd), engine_path});
  };
  ASSIGN_OR_RETURN(auto supervisor, server::Supervisor::start(std::move(how)));
  return std::unique_ptr<server::Backend>(std::move(supervisor));
}

/// For a GPU a process of its own is the default: only a new one gets over a kernel's fault.
Result<bool> wants_process(const ServeOptions& options, const Engine& engine) {
  if (options.place != ExecutorPlace::kAuto) return options.place == ExecutorPlace::kProcess;
  ASSIGN_OR_RETURN(const kernels::Target target, kernels::Target::parse(engine.target()));
  return target.is_gpu();
}

/// `facts` are filled for an encoder.
Result<std::unique_ptr<server::Backend>> make_backend(const ServeOptions& options,
                                                      const std::shared_ptr<const Engine>& engine,
                                                      std::optional<server::EncoderFacts>& facts) {
  if (!engine->asset("encoder").empty()) {
    ASSIGN_OR_RETURN(auto encoder, server::make_encoder_backend(engine, options.executor));
    facts = std::move(encoder.facts);
    return std::move(encoder.backend);
  }
  ASSIGN_OR_RETURN(const bool process, wants_process(options, *engine));
  if (process) return supervised(options, engine->path());
  ASSIGN_OR_RETURN(auto executor, Executor::create(engine, options.executor));
  return server::make_executor_backend(std::move(executor));
}

/// The backend after a sleep: of the same file, mapped anew.
server::SleepableBackend::Make remake(const ServeOptions& options, const std::string& path) {
  return [options, path, stamp = file_stamp(path)]() -> Result<std::unique_ptr<server::Backend>> {
    if (file_stamp(path) != stamp) {
      return make_error(ErrorCode::kUnavailable,
                        "the engine file is gone or another one since it was loaded");
    }
    ASSIGN_OR_RETURN(const auto engine, Engine::load(path));
    std::optional<server::EncoderFacts> facts;
    return make_backend(options, engine, facts);
  };
}

Result<std::unique_ptr<server::ModelHost>> load_host(const ServeOptions& options) {
  ASSIGN_OR_RETURN(const auto engine, load_model(options.model, options.build));
  ASSIGN_OR_RETURN(server::ModelHost::Parts parts, server::ModelHost::parts_of(*engine));
  parts.names = served_names(options, engine->model());
  ASSIGN_OR_RETURN(auto backend, make_backend(options, engine, parts.encoder));
  auto sleepable = std::make_unique<server::SleepableBackend>(std::move(backend),
                                                              remake(options, engine->path()));
  return server::ModelHost::create(std::move(parts), std::move(sleepable));
}

/// The variables that OpenTelemetry names; the flag wins.
void read_otel(ServeOptions& options) {
  for (const char* name : {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"}) {
    if (!options.server.otlp_endpoint.empty()) break;
    options.server.otlp_endpoint = outside_env(name).value_or("");
  }
  if (const auto name = outside_env("OTEL_SERVICE_NAME")) options.server.otlp_service = *name;
}

Status serve(ServeOptions options) {
  raise_descriptor_limit();
  const server::HttpServer::Options& http = options.server.http;
  options.server.http.limits.max_body_bytes = static_cast<size_t>(options.max_body_mb * 1048576);
  if (http.certificate.empty() != http.key.empty()) {
    return invalid_argument("--ssl-certfile and --ssl-keyfile go together");
  }
  read_otel(options);
  // Beside another process on the port, this one must take no connection before it can serve it.
  std::unique_ptr<server::Server> server;
  if (!http.reuse_port) {
    ASSIGN_OR_RETURN(server, server::Server::listen(options.server));
  }
  ASSIGN_OR_RETURN(auto host, load_host(options));
  if (http.reuse_port) {
    ASSIGN_OR_RETURN(server, server::Server::listen(options.server));
  }
  const std::string name = host->name();
  const std::string device = host->backend().stats().device;
  // Only now: until here a signal may end the process at once.
  RETURN_IF_ERROR(catch_signals());
  server->serve(std::move(host));
  log_info("serving {} on {}", name, device);
  print_text(fmt::format("ready {}://{}:{}\n", http.certificate.empty() ? "http" : "https",
                         http.host, server->port()));
  wait_for_signal();
  log_info("draining for up to {} s; a second signal ends at once", options.drain_s);
  const double end_s = SteadyClock::instance().now_s() + options.drain_s;
  if (http.reuse_port) server->hand_over(options.drain_s);
  server->drain(std::max(0.0, end_s - SteadyClock::instance().now_s()));
  return ok_status();
}

/// Who may come, how, and who is told.
void add_access_options(CLI::App& command, server::ServerOptions& server) {
  command.add_option("--ssl-certfile", server.http.certificate,
                     "PEM file with the certificate and its chain: TLS");
  command.add_option("--ssl-keyfile", server.http.key, "PEM file with its key");
  command.add_flag("--reuse-port", server.http.reuse_port,
                   "listen beside another process on the port, and leave it without a gap");
  command
      .add_option("--key-concurrency", server.key_limits.concurrency,
                  "requests of an API key at once; above: 429 (0: any number)")
      ->capture_default_str()
      ->check(CLI::Range(0, 1 << 20));
  command
      .add_option("--key-rate", server.key_limits.requests_per_minute,
                  "requests of an API key a minute; above: 429 (0: any number)")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 1e9));
  command.add_flag("--admin-routes", server.admin_routes,
                   "/sleep, /wake_up, /reset_prefix_cache, /server_info");
  command.add_option("--otlp-endpoint", server.otlp_endpoint,
                     "URL of an OpenTelemetry collector that takes traces by HTTP");
}

void add_server_options(CLI::App& command, ServeOptions& options) {
  server::HttpServer::Options& http = options.server.http;
  server::HttpLimits& limits = http.limits;
  command.add_option("--host", http.host, "address to listen on")->capture_default_str();
  command.add_option("--port", http.port, "port to listen on; 0 picks one")
      ->capture_default_str()
      ->check(CLI::Range(0, 65535));
  command.add_option("--api-key", options.server.api_keys,
                     "a key that clients must send; may be given several times");
  command.add_option("--served-model-name", options.names,
                     "name in requests and answers; may be given several times");
  command.add_option("--http-threads", http.threads, "threads for network input and output")
      ->capture_default_str()
      ->check(CLI::Range(1, 64));
  command
      .add_option("--text-threads", options.server.workers,
                  "threads for tokenizing, and as many for detokenizing")
      ->capture_default_str()
      ->check(CLI::Range(1, 64));
  command.add_option("--max-connections", limits.max_connections, "above: 503")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 20));
  command.add_option("--max-body-mb", options.max_body_mb, "largest request; above: 413")
      ->capture_default_str()
      ->check(CLI::Range(0.001, 4096.0));
  command
      .add_option("--drain-timeout", options.drain_s,
                  "seconds given to running requests at the end")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
  command.add_flag_callback(
      "--no-request-log", [&options] { options.server.log_requests = false; },
      "write no line a request");
}

/// An option that takes one of a few names. (CLI11's own way shows the enum's bytes in --help.)
template <class E>
void add_choice(CLI::App& command, const std::string& name, E& value,
                const std::map<std::string, E>& choices, const std::string& help) {
  std::vector<std::string> names;
  for (const auto& [choice, meaning] : choices) names.push_back(choice);
  command
      .add_option_function<std::string>(
          name, [&value, choices](const std::string& text) { value = choices.at(text); }, help)
      ->check(CLI::IsMember(names));
}

void add_executor_options(CLI::App& command, ExecutorConfig& config) {
  command
      .add_option("--kv-memory", config.kv_bytes,
                  "hard cap of the KV cache, e.g. 4GiB (default: --kv-fraction)")
      ->transform(CLI::AsSizeValue(false));
  command
      .add_option("--kv-fraction", config.kv_fraction,
                  "of the memory free after loading (default: 0.5, on a GPU 0.9)")
      ->check(CLI::Range(0.01, 0.95));
  command.add_option("--max-queue", config.max_queue, "waiting requests; above: 429")
      ->capture_default_str()
      ->check(CLI::Range(0, 1 << 20));
  command.add_option("--threads", config.num_threads, "CPU workers (0: all cores)")
      ->capture_default_str();
  add_choice(command, "--capacity-policy", config.capacity,
             {{"max_utilization", CapacityPolicy::kMaxUtilization},
              {"overcommit", CapacityPolicy::kOvercommit},
              {"guaranteed_no_evict", CapacityPolicy::kGuaranteedNoEvict}},
             "what admits a request: room by forecast, free blocks now, or all it may ever want");
  command.add_flag_callback(
      "--no-prefix-caching", [&config] { config.prefix_caching = false; },
      "compute every prompt from its start");
}

void add_supervision_options(CLI::App& command, ServeOptions& options) {
  add_choice(command, "--executor", options.place,
             {{"auto", ExecutorPlace::kAuto},
              {"process", ExecutorPlace::kProcess},
              {"inproc", ExecutorPlace::kHere}},
             "process: it runs apart and is replaced when it is lost; inproc: it runs here; auto: "
             "process on a GPU");
  command
      .add_option("--max-restarts", options.max_restarts,
                  "of a lost executor process within 5 minutes; then /health fails for good")
      ->capture_default_str()
      ->check(CLI::Range(0, 1000));
  command
      .add_option("--step-deadline", options.executor.step_deadline_s,
                  "seconds a step may take; above: /health fails, a process is replaced")
      ->capture_default_str()
      ->check(CLI::Range(0.1, 86400.0));
}

}  // namespace

void add_serve_command(CLI::App& app, CommandRunner& runner) {
  CLI::App* command = app.add_subcommand("serve", "Serve a model over HTTP, as OpenAI does");
  auto options = std::make_shared<ServeOptions>();  // with the parser's callbacks
  options->server.http.port = kDefaultPort;
  command->add_option("model", options->model, "folder, .engine, or ORG/NAME in the cache");
  command->add_option("--config", options->config, "YAML file: the flags below as `name: value`");
  add_server_options(*command, *options);
  add_access_options(*command, options->server);
  add_executor_options(*command, options->executor);
  add_supervision_options(*command, *options);
  add_build_options(*command, options->build);
  command->callback([command, options, &runner] {
    runner.run = [command, options] {
      if (!options->config.empty()) {
        if (Status status = apply_config(*command, options->config); !status.ok()) {
          return fail(status.error());
        }
      }
      if (options->model.empty()) return fail(invalid_argument("serve: MODEL is required"));
      const Status status = serve(*options);
      return status.ok() ? 0 : fail(status.error());
    };
  });
}

}  // namespace ramjet
