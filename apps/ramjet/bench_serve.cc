#include <CLI/CLI.hpp>
#include <atomic>
#include <cmath>
#include <condition_variable>
#include <cstdio>
#include <mutex>
#include <thread>

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "bench_dataset.h"
#include "bench_report.h"
#include "commands.h"
#include "machine.h"
#include "output.h"
#include "server/http/http_client.h"

namespace ramjet {
namespace {

struct BenchServeOptions {
  std::string base_url = "http://127.0.0.1:8000";
  std::string model;
  std::string endpoint = "/v1/completions";
  std::string api_key;
  DatasetSpec dataset;
  std::string request_rate = "inf";
  int max_concurrency = 0;
  std::string goodput_text;
  Goodput goodput;
  double temperature = -1;
  bool stop_at_eos = false;
  double timeout_s = 600;
  bool json = false;
  std::string output;
};

double now_s() { return SteadyClock::instance().now_s(); }

/// "ttft:500,tpot:50" in ms.
Status parse_goodput(const std::string& text, Goodput& out) {
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find(',', at), text.size());
    const std::string item = text.substr(at, end - at);
    at = end + 1;
    const size_t colon = item.find(':');
    const double limit = colon == std::string::npos ? 0 : std::atof(item.c_str() + colon + 1);
    const std::string name = item.substr(0, colon);
    double* target = name == "ttft"   ? &out.ttft_ms
                     : name == "tpot" ? &out.tpot_ms
                     : name == "e2el" ? &out.e2el_ms
                                      : nullptr;
    if (target == nullptr || limit <= 0) {
      return invalid_argument("--goodput '{}': ttft:MS, tpot:MS or e2el:MS is expected", item);
    }
    *target = limit;
  }
  return ok_status();
}

/// One request in flight: splits the stream into events and notes when tokens came.
class StreamReader {
 public:
  StreamReader(RequestTrace& trace, double base_s) : trace_(trace), base_s_(base_s) {}

  void on_status(int status) { status_ = status; }
  void on_data(std::string_view bytes) {
    buffer_ += bytes;
    if (status_ != 200) return;
    size_t end;
    while ((end = buffer_.find("\n\n")) != std::string::npos) {
      on_event(std::string_view(buffer_).substr(0, end));
      buffer_.erase(0, end + 2);
    }
  }
  /// Empty if all went well.
  std::string finish(const Status& status) {
    if (!status.ok()) return status.error().message;
    if (status_ != 200) return fmt::format("HTTP {}: {}", status_, buffer_.substr(0, 300));
    if (!error_.empty()) return error_;
    if (!done_) return "the stream ended without [DONE]";
    if (trace_.output_tokens == 0) {
      trace_.output_tokens = static_cast<int64_t>(trace_.token_s.size());
    }
    trace_.ok = true;
    return {};
  }

 private:
  void on_event(std::string_view event) {
    constexpr std::string_view kData = "data: ";
    if (!event.starts_with(kData)) return;  // a comment
    event.remove_prefix(kData.size());
    if (event == "[DONE]") {
      done_ = true;
      return;
    }
    const auto json = parse_json(event);
    if (!json.ok() || !json->is_object()) {
      error_ = "an event is not JSON";
      return;
    }
    if (json->contains("error")) error_ = dump_json((*json)["error"]).substr(0, 300);
    const auto choices = json->find("choices");
    if (choices != json->end() && choices->is_array() && !choices->empty() &&
        has_output((*choices)[0])) {
      trace_.token_s.push_back(now_s() - base_s_);
    }
    const auto usage = json->find("usage");
    if (usage != json->end() && usage->is_object()) {
      trace_.input_tokens = usage->value("prompt_tokens", trace_.input_tokens);
      trace_.output_tokens = usage->value("completion_tokens", trace_.output_tokens);
    }
  }
  /// The role alone is no token.
  static bool has_output(const Json& choice) {
    if (choice.contains("text") && choice["text"].is_string()) {
      return !choice["text"].get_ref<const std::string&>().empty();
    }
    const auto delta = choice.find("delta");
    if (delta == choice.end() || !delta->is_object()) return false;
    for (const char* key : {"content", "reasoning", "reasoning_content"}) {
      if (delta->contains(key) && (*delta)[key].is_string() && !(*delta)[key].empty() &&
          !(*delta)[key].get_ref<const std::string&>().empty()) {
        return true;
      }
    }
    return delta->contains("tool_calls") && !(*delta)["tool_calls"].empty();
  }

  RequestTrace& trace_;
  const double base_s_;
  std::string buffer_;
  std::string error_;
  int status_ = 0;
  bool done_ = false;
};

class ServeBench {
 public:
  ServeBench(const BenchServeOptions& options, std::vector<LoadItem> items,
             server::HttpClient& client)
      : options_(options), items_(std::move(items)), client_(client), traces_(items_.size()) {}

  /// Sends one request before the clock starts: is there anything to measure?
  Status probe();
  void run();
  const std::vector<RequestTrace>& traces() const { return traces_; }
  double duration_s() const { return duration_s_; }
  const std::string& first_error() const { return first_error_; }

 private:
  server::ClientRequest request_of(const LoadItem& item) const;
  void launch(size_t index);
  void on_done(const std::string& error);

  const BenchServeOptions& options_;
  const std::vector<LoadItem> items_;
  server::HttpClient& client_;
  std::vector<RequestTrace> traces_;
  double base_s_ = 0;
  double duration_s_ = 0;
  std::mutex mutex_;
  std::condition_variable changed_;
  int running_ = 0;
  size_t done_ = 0;
  std::string first_error_;
};

server::ClientRequest ServeBench::request_of(const LoadItem& item) const {
  OrderedJson body = {
      {"model", options_.model}, {"stream", true}, {"stream_options", {{"include_usage", true}}}};
  const bool chat = options_.endpoint.ends_with("/chat/completions");
  if (chat) {
    body["messages"] = {{{"role", "user"}, {"content", item.text}}};
  } else if (item.ids.empty()) {
    body["prompt"] = item.text;
  } else {
    body["prompt"] = item.ids;
  }
  if (item.output_tokens > 0) body["max_tokens"] = item.output_tokens;
  if (options_.temperature >= 0) body["temperature"] = options_.temperature;
  if (!options_.stop_at_eos) body["ignore_eos"] = true;
  server::ClientRequest request{
      .method = "POST",
      .path = options_.endpoint,
      .headers = {{"Content-Type", "application/json"}},
      .body = body.dump(-1, ' ', false, OrderedJson::error_handler_t::replace),
      .timeout_s = options_.timeout_s};
  if (!options_.api_key.empty()) {
    request.headers.emplace_back("Authorization", "Bearer " + options_.api_key);
  }
  return request;
}

Status ServeBench::probe() {
  LoadItem item = items_.front();
  item.output_tokens = std::min(item.output_tokens, 4);
  auto response = client_.fetch(request_of(item));
  if (!response.ok()) return response.error();
  if (response->status == 200) return ok_status();
  return invalid_argument("the endpoint answers HTTP {}: {}", response->status,
                          response->body.substr(0, 500));
}

void ServeBench::launch(size_t index) {
  RequestTrace& trace = traces_[index];
  trace.input_tokens = static_cast<int64_t>(items_[index].ids.size());
  trace.start_s = now_s() - base_s_;
  auto reader = std::make_shared<StreamReader>(trace, base_s_);  // with the callbacks
  client_.send(
      request_of(items_[index]),
      {.on_status = [reader](int status) { reader->on_status(status); },
       .on_data = [reader](std::string_view bytes) { reader->on_data(bytes); },
       .on_done = [this, reader](const Status& status) { on_done(reader->finish(status)); }});
}

void ServeBench::on_done(const std::string& error) {
  std::lock_guard lock(mutex_);
  --running_;
  ++done_;
  if (!error.empty() && first_error_.empty()) first_error_ = error;
  changed_.notify_all();
}

void ServeBench::run() {
  base_s_ = now_s();
  for (size_t i = 0; i < items_.size(); ++i) {
    const double wait_s = items_[i].arrival_s - (now_s() - base_s_);
    if (wait_s > 0) std::this_thread::sleep_for(std::chrono::duration<double>(wait_s));
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] {
        return options_.max_concurrency <= 0 || running_ < options_.max_concurrency;
      });
      ++running_;
    }
    launch(i);
  }
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return done_ == items_.size(); });
  duration_s_ = now_s() - base_s_;
}

Status find_model(server::HttpClient& client, BenchServeOptions& options) {
  if (!options.model.empty()) return ok_status();
  server::ClientRequest request{.path = "/v1/models"};
  if (!options.api_key.empty()) {
    request.headers.emplace_back("Authorization", "Bearer " + options.api_key);
  }
  ASSIGN_OR_RETURN(const server::ClientResponse response, client.fetch(std::move(request)));
  const auto json = parse_json(response.body);
  if (json.ok() && json->is_object() && json->contains("data") && !(*json)["data"].empty()) {
    options.model = (*json)["data"][0].value("id", "");
  }
  if (options.model.empty()) return invalid_argument("give --model: the endpoint lists none");
  return ok_status();
}

Status bench_serve(BenchServeOptions options) {
  RETURN_IF_ERROR(parse_goodput(options.goodput_text, options.goodput));
  if (options.request_rate != "inf") {
    options.dataset.request_rate = std::atof(options.request_rate.c_str());
    if (!(options.dataset.request_rate > 0)) {
      return invalid_argument("--request-rate must be a positive number or inf, not '{}'",
                              options.request_rate);
    }
  }
  const bool chat = options.endpoint.ends_with("/chat/completions");
  if (chat && !options.dataset.source.starts_with("prompts:")) {
    return invalid_argument("chat takes text: use --dataset prompts:FILE with it");
  }
  ASSIGN_OR_RETURN(auto items, load_dataset(options.dataset));
  ASSIGN_OR_RETURN(auto client, server::HttpClient::create(options.base_url));
  RETURN_IF_ERROR(find_model(*client, options));
  ServeBench bench(options, std::move(items), *client);
  RETURN_IF_ERROR(bench.probe());
  bench.run();
  if (!bench.first_error().empty()) {
    std::fprintf(stderr, "first failure: %s\n", bench.first_error().c_str());
  }
  OrderedJson report = summarize(bench.traces(), bench.duration_s(), options.goodput);
  if (!options.json) print_text(summary_text(report));
  report["model"] = options.model;
  report["endpoint"] = options.endpoint;
  report["dataset"] = options.dataset.source.substr(0, options.dataset.source.find(':'));
  report["request_rate"] = options.request_rate;
  report["max_concurrency"] = options.max_concurrency;
  report["seed"] = options.dataset.seed;
  const OrderedJson machine = machine_facts();
  for (const auto& [key, value] : machine.items()) report[key] = value;
  if (options.json) print_json(report);
  if (!options.output.empty()) {
    RETURN_IF_ERROR(write_file_atomically(options.output, report.dump(2) + "\n"));
  }
  if (report["completed"] == 0) {
    return make_error(ErrorCode::kUnavailable, "no request succeeded");
  }
  return ok_status();
}

void add_dataset_options(CLI::App& command, DatasetSpec& dataset) {
  command
      .add_option("--dataset", dataset.source, "random, trace:FILE (.csv, .jsonl) or prompts:FILE")
      ->capture_default_str();
  command.add_option("--num-prompts", dataset.num_prompts, "requests to send")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  command.add_option("--random-input-len", dataset.input_len, "tokens of a random prompt")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  command.add_option("--random-output-len", dataset.output_len, "tokens to generate")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  command
      .add_option("--random-range-ratio", dataset.range_ratio,
                  "lengths are uniform in [len * (1 - ratio), len]")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 1.0));
  command.add_option("--vocab-size", dataset.vocab, "random ids are below this")
      ->capture_default_str()
      ->check(CLI::Range(2, 1 << 24));
  command.add_option("--max-len", dataset.max_len, "cut a trace's prompt + output to this")
      ->capture_default_str();
  command.add_option("--time-scale", dataset.time_scale, "play a trace so many times as fast")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  command.add_option("--seed", dataset.seed, "of all that is random")->capture_default_str();
}

}  // namespace

void add_bench_serve_command(CLI::App& bench, CommandRunner& runner) {
  CLI::App* command = bench.add_subcommand("serve", "Load an OpenAI endpoint and measure it");
  auto options = std::make_shared<BenchServeOptions>();  // with the parser's callbacks
  command->add_option("--base-url", options->base_url, "http://host:port")->capture_default_str();
  command->add_option("--model", options->model, "name in requests (default: the first listed)");
  command->add_option("--endpoint", options->endpoint, "/v1/completions or /v1/chat/completions")
      ->capture_default_str();
  command->add_option("--api-key", options->api_key, "sent as a bearer token");
  add_dataset_options(*command, options->dataset);
  command
      ->add_option("--request-rate", options->request_rate,
                   "arrivals a second, Poisson; inf: all at once, or as a trace says")
      ->capture_default_str();
  command->add_option("--max-concurrency", options->max_concurrency, "requests in flight (0: any)")
      ->capture_default_str();
  command->add_option("--goodput", options->goodput_text,
                      "limits in ms: ttft:500,tpot:50,e2el:9000");
  command->add_option("--temperature", options->temperature, "default: the endpoint's");
  command->add_flag("--stop-at-eos", options->stop_at_eos, "let the model end before the length");
  command->add_option("--timeout", options->timeout_s, "seconds for a request")
      ->capture_default_str();
  command->add_flag("--json", options->json, "one JSON object on stdout");
  command->add_option("--output", options->output, "also write the JSON to this file");
  command->callback([options, &runner] {
    runner.run = [options] {
      const Status status = bench_serve(*options);
      return status.ok() ? 0 : fail(status.error());
    };
  });
}

}  // namespace ramjet
