#include "server/trace/tracer.h"

#include <ramjet/version.h>

#include <algorithm>
#include <chrono>
#include <random>

#include "base/json.h"
#include "base/log.h"
#include "server/http/http_client.h"

namespace ramjet::server {
namespace {

constexpr int kServerKind = 2;  // SPAN_KIND_SERVER
constexpr int kFailed = 2;      // STATUS_CODE_ERROR
constexpr double kLastS = 1;    // for the last batch of a server that ends

int64_t unix_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

std::string random_hex(size_t words) {
  thread_local std::mt19937_64 generator{std::random_device{}()};
  std::string out;
  for (size_t i = 0; i < words; ++i) out += fmt::format("{:016x}", generator());
  return out;
}

/// "00-<32 hex>-<16 hex>-<2 hex>" of W3C Trace Context, level 1; anything else begins a trace.
bool read_traceparent(std::string_view text, std::string& trace, std::string& parent) {
  if (text.size() < 55 || text[2] != '-' || text[35] != '-' || text[52] != '-') return false;
  const auto is_id = [](std::string_view id) {
    const bool hex = std::all_of(id.begin(), id.end(), [](char c) {
      return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
    });
    return hex && id.find_first_not_of('0') != std::string_view::npos;
  };
  if (!is_id(text.substr(3, 32)) || !is_id(text.substr(36, 16))) return false;
  trace = text.substr(3, 32);
  parent = text.substr(36, 16);
  return true;
}

OrderedJson attribute(const std::string& key, OrderedJson value) {
  return {{"key", key}, {"value", std::move(value)}};
}

OrderedJson span_json(const Span& span, int64_t end_ns) {
  OrderedJson json;
  std::string trace, parent;
  if (!read_traceparent(span.traceparent, trace, parent)) trace = random_hex(2);
  json["traceId"] = trace;
  json["spanId"] = random_hex(1);
  if (!parent.empty()) json["parentSpanId"] = parent;
  json["name"] = span.name;
  json["kind"] = kServerKind;
  // 64-bit numbers are strings in OTLP's JSON.
  json["startTimeUnixNano"] = std::to_string(end_ns - static_cast<int64_t>(span.seconds * 1e9));
  json["endTimeUnixNano"] = std::to_string(end_ns);
  OrderedJson attributes = OrderedJson::array();
  for (const auto& [key, text] : span.texts) {
    attributes.push_back(attribute(key, {{"stringValue", text}}));
  }
  for (const auto& [key, number] : span.numbers) {
    attributes.push_back(attribute(key, {{"intValue", std::to_string(number)}}));
  }
  json["attributes"] = std::move(attributes);
  if (span.status >= 500) json["status"] = {{"code", kFailed}};
  return json;
}

}  // namespace

Tracer::Tracer(TracerOptions options, std::unique_ptr<HttpClient> client)
    : options_(std::move(options)), client_(std::move(client)) {
  thread_ = std::thread([this] { run(); });
}

Result<std::unique_ptr<Tracer>> Tracer::create(TracerOptions options) {
  ASSIGN_OR_RETURN(const ParsedUrl url, parse_url(options.endpoint));
  std::string base = options.endpoint;
  while (base.ends_with('/')) base.pop_back();
  if (!url.path.ends_with("/v1/traces")) base += "/v1/traces";
  ASSIGN_OR_RETURN(auto client, HttpClient::create(base));
  return std::unique_ptr<Tracer>(new Tracer(std::move(options), std::move(client)));
}

Tracer::~Tracer() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  client_->abort();  // a collector that does not answer is waited for no longer
  thread_.join();
}

void Tracer::record(Span span) {
  bool full = false;
  {
    const std::lock_guard lock(mutex_);
    if (stopping_ || queue_.size() >= options_.max_queue) {
      ++dropped_;
      return;
    }
    queue_.push_back({std::move(span), unix_ns()});
    full = queue_.size() >= options_.max_batch;
  }
  if (full) wake_.notify_one();
}

void Tracer::run() {
  const auto pause = std::chrono::duration<double>(options_.flush_s);
  for (bool last = false; !last;) {
    std::vector<Stamped> batch;
    {
      std::unique_lock lock(mutex_);
      wake_.wait_for(lock, pause,
                     [this] { return stopping_ || queue_.size() >= options_.max_batch; });
      const size_t count = std::min(queue_.size(), options_.max_batch);
      const auto end = queue_.begin() + static_cast<ptrdiff_t>(count);
      batch.assign(std::make_move_iterator(queue_.begin()), std::make_move_iterator(end));
      queue_.erase(queue_.begin(), end);
      last = stopping_;
      if (last) dropped_ += queue_.size();
    }
    if (!batch.empty())
      send(batch, last ? std::min(kLastS, options_.timeout_s) : options_.timeout_s);
  }
}

void Tracer::send(const std::vector<Stamped>& batch, double timeout_s) {
  OrderedJson spans = OrderedJson::array();
  for (const Stamped& each : batch) spans.push_back(span_json(each.span, each.end_ns));
  OrderedJson scope = {{"scope", {{"name", "ramjet"}, {"version", RAMJET_VERSION}}},
                       {"spans", std::move(spans)}};
  OrderedJson resource;
  resource["resource"]["attributes"] =
      OrderedJson::array({attribute("service.name", {{"stringValue", options_.service}})});
  resource["scopeSpans"] = OrderedJson::array({std::move(scope)});
  OrderedJson body;
  body["resourceSpans"] = OrderedJson::array({std::move(resource)});
  const auto answer =
      client_->fetch({.method = "POST",
                      .headers = {{"Content-Type", "application/json"}},
                      .body = body.dump(-1, ' ', false, OrderedJson::error_handler_t::replace),
                      .timeout_s = timeout_s});
  if (answer.ok() && answer->status / 100 == 2) {
    complained_ = false;
    return;
  }
  dropped_ += batch.size();
  if (std::exchange(complained_, true)) return;  // once until it works again
  log_warn("traces: the collector took no spans: {}",
           answer.ok() ? fmt::format("HTTP {}", answer->status) : answer.error().message);
}

}  // namespace ramjet::server
