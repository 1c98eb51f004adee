#include <algorithm>

#include "text/tools/json_scan.h"
#include "text/tools/marker_scan.h"

namespace ramjet::text {
namespace {

constexpr size_t kMaxHeader = 512;

/// The messages of OpenAI's harmony format, each with a header that names channel and recipient:
/// <|start|>assistant<|channel|>commentary to=functions.f <|constrain|>json<|message|>{}<|call|>
class HarmonyParser final : public OutputParser {
 public:
  explicit HarmonyParser(std::shared_ptr<const ParserSetup> setup)
      : setup_(std::move(setup)), out_(*setup_) {
    // What the prompt has begun is read as if the model had written it.
    const std::string& prompt = setup_->prompt_tail;
    const size_t start = prompt.rfind(kStart);
    if (start == std::string::npos) return;
    buffer_ = prompt.substr(start);
    while (step(false)) {
    }
    out_ = MessageWriter(*setup_);
  }

  MessageDelta push(std::string_view piece) override {
    buffer_ += piece;
    while (step(false)) {
    }
    return out_.take();
  }

  MessageDelta finish() override {
    while (step(true)) {
    }
    if (state_ == State::kBody) end_body();
    out_.finish();
    return out_.take();
  }

  bool is_reasoning() const override {
    return state_ == State::kBody && target_ == Target::kReasoning;
  }

 private:
  enum class State { kHeader, kBody };
  enum class Target { kContent, kReasoning, kCall, kNobody };
  static constexpr std::string_view kStart = "<|start|>";
  static constexpr std::string_view kMessage = "<|message|>";
  static constexpr std::string_view kChannel = "<|channel|>";

  bool step(bool final) { return state_ == State::kHeader ? step_header(final) : step_body(final); }
  bool step_header(bool final);
  bool step_body(bool final);
  void drop_first_marker();
  void begin_body(std::string_view header);
  void write(std::string_view text);
  void end_body();
  static bool begins_header(std::string_view text);

  const std::shared_ptr<const ParserSetup> setup_;  // with the sequences of one request
  MessageWriter out_;
  const std::vector<std::string> ends_{"<|end|>",
                                       "<|call|>",
                                       "<|return|>",
                                       std::string(kStart),
                                       std::string(kChannel),
                                       std::string(kMessage),
                                       "<|constrain|>"};
  State state_ = State::kHeader;
  Target target_ = Target::kContent;
  std::string buffer_;
  std::string name_;  // of the function that is called
  std::string body_;  // of a call
};

/// Could `text` be, or become, a header? Everything else is content without one.
bool HarmonyParser::begins_header(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of(" \n"), text.size()));
  for (std::string_view word : {kStart, kChannel, kMessage, std::string_view("<|constrain|>"),
                                std::string_view("<|end|>"), std::string_view("to=")}) {
    if (may_become(text, word)) return true;
  }
  return false;
}

void HarmonyParser::drop_first_marker() {
  const size_t at = std::min(buffer_.find_first_not_of(" \n"), buffer_.size());
  for (const std::string& marker : ends_) {
    if (buffer_.compare(at, marker.size(), marker) == 0) {
      buffer_.erase(0, at + marker.size());
      return;
    }
  }
}

bool HarmonyParser::step_header(bool final) {
  if (buffer_.empty()) return false;
  if (!begins_header(buffer_)) {
    begin_body({});
    return true;
  }
  const size_t at = buffer_.find(kMessage);
  const bool too_long =
      at == std::string::npos ? buffer_.size() >= kMaxHeader + kMessage.size() : at > kMaxHeader;
  if (too_long) {
    drop_first_marker();
    begin_body({});
    return true;
  }
  if (at == std::string::npos) {
    // A header that was cut off tells nothing; words without any marker are the model's.
    if (!final || buffer_.find("<|") != std::string::npos || is_blank(buffer_)) return false;
    begin_body({});
    return true;
  }
  const std::string header = buffer_.substr(0, at);
  buffer_.erase(0, at + kMessage.size());
  begin_body(header);
  return true;
}

void HarmonyParser::begin_body(std::string_view header) {
  state_ = State::kBody;
  target_ = Target::kContent;
  name_.clear();
  body_.clear();
  if (const size_t role = header.rfind(kStart); role != std::string_view::npos) {
    header.remove_prefix(role + kStart.size());
    if (!header.starts_with("assistant")) target_ = Target::kNobody;
  }
  const size_t channel = header.find(kChannel);
  if (channel != std::string_view::npos && target_ == Target::kContent &&
      trim(header.substr(channel + kChannel.size())).starts_with("analysis")) {
    target_ = Target::kReasoning;
  }
  const size_t to = header.find("to=");
  if (to == std::string_view::npos || target_ == Target::kNobody) return;
  std::string_view name = header.substr(to + 3);
  name = name.substr(0, name.find_first_of(" <\n"));
  const bool is_function = name.starts_with("functions.");
  if (is_function) name.remove_prefix(10);
  const bool known = setup_->wants_calls() && (is_function || setup_->tools->knows(name));
  if (!known || name.empty()) return;
  target_ = Target::kCall;
  name_ = name;
}

void HarmonyParser::write(std::string_view text) {
  switch (target_) {
    case Target::kContent: out_.content(text); return;
    case Target::kReasoning: out_.reasoning(text); return;
    case Target::kCall: body_ += text; return;
    case Target::kNobody: return;
  }
}

void HarmonyParser::end_body() {
  state_ = State::kHeader;
  if (target_ == Target::kReasoning) out_.end_reasoning();
  if (target_ == Target::kContent && out_.has_content()) {
    out_.content("\n\n");  // between this and the next, if one comes
    out_.end_block();
  }
  if (target_ == Target::kCall) {
    auto arguments = is_blank(body_) ? std::optional<std::string>("{}") : as_json_object(body_);
    if (arguments) {
      out_.call({{}, name_, std::move(*arguments)});
      out_.end_block();
    } else {
      out_.content(body_);
    }
  }
  target_ = Target::kContent;
}

bool HarmonyParser::step_body(bool final) {
  const MarkerHit hit = find_marker(buffer_, ends_, final);
  write(std::string_view(buffer_).substr(0, hit.at));
  buffer_.erase(0, hit.at);
  if (hit.marker < 0) return false;
  const std::string& marker = ends_[static_cast<size_t>(hit.marker)];
  if (marker == kMessage || marker == "<|constrain|>") {
    buffer_.erase(0, marker.size());  // has no meaning here
    return true;
  }
  end_body();
  if (marker != kStart && marker != kChannel) buffer_.erase(0, marker.size());
  return true;
}

}  // namespace

std::unique_ptr<OutputParser> make_harmony_parser(std::shared_ptr<const ParserSetup> setup) {
  return std::make_unique<HarmonyParser>(std::move(setup));
}

}  // namespace ramjet::text
