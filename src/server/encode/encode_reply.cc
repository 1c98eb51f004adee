#include "server/encode/encode_reply.h"

#include <algorithm>
#include <cmath>
#include <ctime>
#include <utility>

#include "server/openai/fields.h"
#include "server/openai/reply.h"
#include "server/openai/wire_format.h"

namespace ramjet::server {
namespace {

/// One request from start_encoding() to its answer.
class EncodeReply {
 public:
  EncodeReply(AppState& state, RequestContext context, EncodeWork work)
      : state_(state), context_(std::move(context)), work_(std::move(work)) {
    ++state_.active;
    for (const EncoderInput& input : work_.job.inputs) {
      usage_.prompt_tokens += static_cast<int>(input.ids.size());
    }
  }
  ~EncodeReply() { --state_.active; }
  EncodeReply(const EncodeReply&) = delete;
  EncodeReply& operator=(const EncodeReply&) = delete;

  EncodeJob take_job() { return std::move(work_.job); }
  AppState& state() { return state_; }
  void refuse(const Error& error) {
    reply_error(state_, context_, from_error(error, context_.request_id));
  }
  void finish(Result<EncodeRows> rows) {
    const bool gone = context_.exchange->gone();
    const bool ok = rows.ok() && !gone;
    if (context_.ticket != nullptr) context_.ticket->leave();
    state_.metrics.count_end(ok ? EndReason::kStop : gone ? EndReason::kAbort : EndReason::kError);
    state_.metrics.e2e_s.observe(steady_s() - context_.start_s);
    state_.metrics.prompt_tokens.observe(usage_.prompt_tokens);
    int status = gone ? 499 : 200;
    if (rows.ok()) {
      context_.exchange->respond({.body = body(std::move(*rows))});
    } else {
      const ApiError error = from_error(rows.error(), context_.request_id);
      if (!gone) status = error.status;
      context_.exchange->respond(error_response(error));
    }
    log_request(state_, context_, status,
                {.id = work_.id,
                 .usage = &usage_,
                 .finish = ok     ? "stop"
                           : gone ? "abort"
                                  : "error"});
  }

 private:
  std::string body(EncodeRows rows) const {
    std::string out = R"({"id":)";
    append_json_string(work_.id, out);
    out += fmt::format(R"(,"object":"list","created":{},"model":)", std::time(nullptr));
    append_json_string(work_.model, out);
    work_.write(std::move(rows), out);
    return out + fmt::format(R"(,"usage":{{"prompt_tokens":{0},"total_tokens":{0},)"
                             R"("completion_tokens":0,"prompt_tokens_details":null}}}})",
                             usage_.prompt_tokens);
  }

  AppState& state_;
  const RequestContext context_;
  EncodeWork work_;
  Usage usage_;
};

std::optional<ApiError> fit(const ModelHost& host, const EncodeCommon& common,
                            std::string_view name, EncoderInput& input) {
  const auto limit = static_cast<size_t>(host.encoder()->max_tokens);
  const auto keep = static_cast<size_t>(common.truncate);
  if (keep > 0 && input.ids.size() > keep) {
    size_t tail = 0;  // special tokens at the end stay
    while (tail + 1 < keep && host.tokenizer().is_special(input.ids[input.ids.size() - 1 - tail])) {
      ++tail;
    }
    const auto cut = [&](std::vector<int32_t>& ids) {
      const auto begin = ids.begin() + static_cast<ptrdiff_t>(keep - tail);
      ids.erase(begin, ids.end() - static_cast<ptrdiff_t>(tail));
    };
    cut(input.ids);
    if (!input.token_types.empty()) cut(input.token_types);
  }
  if (input.ids.empty()) {
    return bad_request(std::string(name), fmt::format("'{}' holds an input without tokens", name));
  }
  if (input.ids.size() <= limit) return std::nullopt;
  return bad_request(std::string(name),
                     fmt::format("this model's maximum context length is {} tokens, but an input "
                                 "has {}; shorten it, or send 'truncate_prompt_tokens': -1",
                                 limit, input.ids.size()),
                     "context_length_exceeded");
}

}  // namespace

void parse_encode_common(Fields& fields, const ModelHost& host, EncodeCommon& out) {
  fields.read("model", out.model);
  fields.read("request_id", out.request_id);
  fields.read("add_special_tokens", out.add_special_tokens);
  if (!fields.has("truncate_prompt_tokens")) return;
  const int limit = host.encoder()->max_tokens;
  fields.read("truncate_prompt_tokens", out.truncate, {-1, static_cast<double>(limit)});
  if (out.truncate == 0) {
    fields.fail("truncate_prompt_tokens",
                "'truncate_prompt_tokens' must be at least 1, or -1 for what the model takes");
  }
  if (out.truncate < 0) out.truncate = limit;
}

std::optional<ApiError> make_input(const ModelHost& host, const EncodeCommon& common,
                                   std::string_view name, const Prompt& prompt, EncoderInput& out) {
  out.ids = prompt.ids;
  if (prompt.text) {
    auto ids =
        host.tokenizer().encode(*prompt.text, {.add_special_tokens = common.add_special_tokens});
    if (!ids.ok()) return bad_request(std::string(name), ids.error().message);
    out.ids = std::move(*ids);
  }
  return fit(host, common, name, out);
}

std::optional<ApiError> make_pair_input(const ModelHost& host, const EncodeCommon& common,
                                        std::string_view first, std::string_view second,
                                        EncoderInput& out) {
  auto pair = host.tokenizer().encode_pair(first, second,
                                           {.add_special_tokens = common.add_special_tokens});
  if (!pair.ok()) return bad_request({}, pair.error().message);
  out.ids = std::move(pair->ids);
  if (host.encoder()->token_types > 1) out.token_types = std::move(pair->type_ids);
  return fit(host, common, "text_2", out);
}

std::string encode_id(std::string_view prefix, const RequestContext& context,
                      const EncodeCommon& common) {
  GenerationRequest named;
  named.request_id = common.request_id;
  return answer_id(prefix, context, named);
}

void start_encoding(AppState& state, RequestContext context, EncodeWork work) {
  const std::shared_ptr<Exchange> exchange = context.exchange;  // with the reply
  // Shared by the queue's callback and what hears of a client that goes away.
  auto pending = std::make_shared<EncodeReply>(state, std::move(context), std::move(work));
  EncodeJob job = pending->take_job();
  job.done = [pending](Result<EncodeRows> rows) {
    pending->state().light.post(
        [pending, rows = std::move(rows)]() mutable { pending->finish(std::move(rows)); });
  };
  const Result<uint64_t> id = state.host->backend().encode(std::move(job));
  if (!id.ok()) return pending->refuse(id.error());
  exchange->on_gone([weak = std::weak_ptr<EncodeReply>(pending), id = *id] {
    if (auto alive = weak.lock()) alive->state().host->backend().cancel(id);
  });
}

bool begin_encoding(AppState& state, const RequestContext& context, OrderedJson& body) {
  std::optional<ApiError> error;
  if (state.host->encoder() == nullptr) {
    error = error_of_status(501,
                            "this model generates text; it gives neither vectors nor scores: serve "
                            "an encoder for that");
  } else if (state.draining) {
    error = error_of_status(503, "the server is shutting down and takes no new requests");
  } else {
    error = parse_body(context.request().body, body);
  }
  if (error) reply_error(state, context, *error);
  return !error;
}

void normalize(std::vector<float>& vector) {
  double squares = 0;
  for (const float x : vector) squares += double{x} * double{x};
  if (squares == 0) return;
  const double scale = 1 / std::sqrt(squares);
  for (float& x : vector) x = static_cast<float>(double{x} * scale);
}

}  // namespace ramjet::server
