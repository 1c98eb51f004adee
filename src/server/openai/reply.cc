#include "server/openai/reply.h"

#include <ctime>
#include <utility>
#include <vector>

namespace ramjet::server {
namespace {

constexpr size_t kMaxIdBytes = 128;

class Reply final : public GenerationListener {
 public:
  Reply(AppState& state, RequestContext context, size_t choices, ReplyForm form)
      : state_(state),
        context_(std::move(context)),
        id_(std::move(form.id)),
        format_(std::move(form.format)),
        choices_(choices) {
    ++state_.active;
  }
  ~Reply() override { --state_.active; }

  void begin_stream() {
    streaming_ = true;
    context_.exchange->begin_stream(
        {.content_type = "text/event-stream; charset=utf-8",
         .headers = {{"Cache-Control", "no-cache"}, {"X-Accel-Buffering", "no"}}});
  }

  HttpResponse refusal(const ApiError& error) { return format_->error_reply(error); }
  void on_prompt_logprobs(int prompt, std::vector<PositionLogprobs> logprobs) override {
    format_->on_prompt_logprobs(prompt, std::move(logprobs));
  }
  void on_delta(Delta delta, const Usage& usage) override;
  void on_end(const std::optional<Error>& error, bool cancelled, const Usage& usage) override;

 private:
  void keep(Delta delta);

  AppState& state_;
  const RequestContext context_;
  const std::string id_;
  const std::unique_ptr<WireFormat> format_;
  std::vector<Delta> choices_;  // what is gathered when not streaming
  std::string finish_;
  bool streaming_ = false;
};

void Reply::keep(Delta delta) {
  Delta& choice = choices_[static_cast<size_t>(delta.choice)];
  choice.choice = delta.choice;
  choice.first = true;
  choice.text += delta.text;
  choice.reasoning += delta.reasoning;
  text::append_calls(choice.calls, std::move(delta.calls));
  choice.ids.insert(choice.ids.end(), delta.ids.begin(), delta.ids.end());
  choice.logprobs.insert(choice.logprobs.end(), std::make_move_iterator(delta.logprobs.begin()),
                         std::make_move_iterator(delta.logprobs.end()));
  choice.finish = std::move(delta.finish);
  choice.stop_reason = std::move(delta.stop_reason);
}

void Reply::on_delta(Delta delta, const Usage& usage) {
  if (!delta.finish.empty()) finish_ = delta.finish;
  if (!streaming_) return keep(std::move(delta));
  std::string events;
  format_->write_delta(delta, usage, events);
  // A client that is gone has cancelled the generation already.
  if (!events.empty()) (void)context_.exchange->send(events);
}

void Reply::on_end(const std::optional<Error>& error, bool cancelled, const Usage& usage) {
  int status = 200;
  if (context_.ticket != nullptr) context_.ticket->leave();
  if (error) {
    const ApiError api_error = from_error(*error, context_.request_id);
    status = cancelled ? 499 : api_error.status;
    finish_ = cancelled ? "abort" : "error";
    if (streaming_) {
      std::string events;
      format_->write_error(api_error, events);
      (void)context_.exchange->send(events);
    } else {
      context_.exchange->respond(format_->error_reply(api_error));
    }
  } else if (streaming_) {
    std::string events;
    format_->write_end(usage, events);
    (void)context_.exchange->send(events);
  } else {
    context_.exchange->respond(format_->whole_reply(std::move(choices_), usage));
  }
  context_.exchange->end();
  log_request(state_, context_, status, {.id = id_, .usage = &usage, .finish = finish_});
}

/// Tokens that a request is about to cost, for turns.
uint64_t cost_of(const GenerationSpec& spec) {
  constexpr int kUsualOutput = 256;
  const int wanted = spec.request.sampling.stop.max_tokens;
  const auto output = static_cast<uint64_t>(wanted < 0 ? kUsualOutput : wanted);
  uint64_t cost = 0;
  for (const auto& ids : spec.prompts) {
    cost += ids.size() + output * static_cast<uint64_t>(spec.request.n);
  }
  return cost;
}

}  // namespace

void start_generation(AppState& state, RequestContext context, GenerationSpec spec,
                      ReplyForm form) {
  const size_t choices = spec.prompts.size() * static_cast<size_t>(spec.request.n);
  const bool stream = form.stream;
  spec.request.label = form.id;
  spec.start_s = context.start_s;
  if (context.ticket != nullptr) spec.request.turn = context.ticket->take_turn(cost_of(spec));
  const std::shared_ptr<Exchange> exchange = context.exchange;  // with the reply
  auto generation = std::make_shared<Generation>(std::move(spec), state.services());
  auto reply = std::make_shared<Reply>(state, context, choices, std::move(form));
  if (Status submitted = generation->submit(); !submitted.ok()) {
    return server::reply(state, context,
                         reply->refusal(from_error(submitted.error(), context.request_id)));
  }
  if (stream) reply->begin_stream();
  exchange->on_gone([weak = std::weak_ptr<Generation>(generation)] {
    if (auto alive = weak.lock()) alive->cancel();
  });
  generation->listen(std::move(reply));
}

std::string answer_id(std::string_view prefix, const RequestContext& context,
                      const GenerationRequest& request) {
  const std::string& chosen = request.request_id;
  return std::string(prefix) +
         (chosen.empty() ? context.request_id : chosen.substr(0, kMaxIdBytes));
}

AnswerHead answer_head(const ModelHost& host, std::string id, const std::string& model) {
  return {.id = std::move(id),
          .model = model.empty() ? host.name() : model,
          .fingerprint = host.fingerprint(),
          .created = std::time(nullptr)};
}

bool refuse_generation(AppState& state, const RequestContext& context) {
  if (state.host->encoder() != nullptr) {
    reply_error(state, context,
                error_of_status(501,
                                "this model is an encoder and generates nothing: use "
                                "/v1/embeddings, /score, /rerank or /classify"));
    return true;
  }
  if (!state.draining) return false;
  reply_error(state, context,
              error_of_status(503, "the server is shutting down and takes no new requests"));
  return true;
}

}  // namespace ramjet::server
