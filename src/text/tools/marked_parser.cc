#include <algorithm>

#include "text/tools/call_grammar.h"
#include "text/tools/json_scan.h"
#include "text/tools/marker_scan.h"

namespace ramjet::text {
namespace {

/// Formats whose reasoning and calls lie between markers in plain text.
class MarkedParser final : public OutputParser {
 public:
  explicit MarkedParser(std::shared_ptr<const ParserSetup> setup)
      : setup_(std::move(setup)), format_(setup_->format), out_(*setup_) {
    collect_markers();
    if (opens_reasoning(*setup_)) begin_reasoning();
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
    out_.finish();
    return out_.take();
  }

  bool is_reasoning() const override { return state_ == State::kReasoning; }

 private:
  enum class State { kContent, kReasoning, kBlock };
  enum class Meaning { kBlock, kBracket, kNothing, kReasoningEnd, kLeaveReasoning };

  void collect_markers();
  bool step(bool final);
  bool step_start(bool final, bool& waits);
  bool step_content(bool final);
  bool step_reasoning(bool final);
  bool step_block(bool final);
  void begin_reasoning();
  void begin_block(std::unique_ptr<BlockReader> reader);
  void show(std::string_view text);
  void drop(size_t bytes) { buffer_.erase(0, bytes); }
  void add(std::vector<std::string>& markers, std::vector<Meaning>& meanings,
           const std::string& marker, Meaning meaning);

  const std::shared_ptr<const ParserSetup> setup_;  // with the sequences of one request
  const OutputFormat& format_;
  MessageWriter out_;
  std::vector<std::string> content_markers_;  // the first are the blocks' openings
  std::vector<Meaning> content_meanings_;
  std::vector<std::string> reasoning_markers_;
  std::vector<Meaning> reasoning_meanings_;

  State state_ = State::kContent;
  std::string buffer_;
  std::unique_ptr<BlockReader> reader_;
  bool at_start_ = true;             // of the message, or behind a block: reasoning may begin
  bool at_reasoning_start_ = false;  // the model may repeat what the prompt has opened
};

void MarkedParser::add(std::vector<std::string>& markers, std::vector<Meaning>& meanings,
                       const std::string& marker, Meaning meaning) {
  if (marker.empty() || std::find(markers.begin(), markers.end(), marker) != markers.end()) return;
  markers.push_back(marker);
  meanings.push_back(meaning);
}

void MarkedParser::collect_markers() {
  const auto in_content = [&](const std::string& marker, Meaning meaning) {
    add(content_markers_, content_meanings_, marker, meaning);
  };
  const auto in_reasoning = [&](const std::string& marker, Meaning meaning) {
    add(reasoning_markers_, reasoning_meanings_, marker, meaning);
  };
  in_reasoning(format_.reasoning_close, Meaning::kReasoningEnd);
  if (setup_->wants_calls()) {
    for (const CallBlock& block : format_.blocks) {
      in_content(block.open, Meaning::kBlock);
      if (format_.calls_end_reasoning) in_reasoning(block.open, Meaning::kLeaveReasoning);
    }
    for (const std::string& bracket : format_.brackets) {
      in_content(bracket, Meaning::kBracket);
      if (format_.calls_end_reasoning) in_reasoning(bracket, Meaning::kLeaveReasoning);
    }
  }
  for (const std::string& marker : setup_->hidden) {
    in_content(marker, Meaning::kNothing);
    in_reasoning(marker, Meaning::kNothing);
  }
}

void MarkedParser::begin_reasoning() {
  state_ = State::kReasoning;
  at_reasoning_start_ = true;
}

void MarkedParser::begin_block(std::unique_ptr<BlockReader> reader) {
  state_ = State::kBlock;
  reader_ = std::move(reader);
}

bool MarkedParser::step(bool final) {
  switch (state_) {
    case State::kReasoning: return step_reasoning(final);
    case State::kBlock: return step_block(final);
    case State::kContent: break;
  }
  if (at_start_) {
    bool waits = false;
    if (step_start(final, waits)) return true;
    if (waits) return false;
  }
  return step_content(final);
}

/// Does the message begin with reasoning or bare JSON? True if it went into another state.
bool MarkedParser::step_start(bool final, bool& waits) {
  const size_t at = std::min(buffer_.find_first_not_of(" \t\r\n"), buffer_.size());
  const std::string_view rest = std::string_view(buffer_).substr(at);
  if (rest.empty()) {
    waits = !final;
    return false;
  }
  const std::string& open = format_.reasoning_open;
  if (!open.empty() && rest.starts_with(open)) {
    drop(at + open.size());
    begin_reasoning();
    return true;
  }
  const bool json = rest.front() == '{' || rest.front() == '[';
  if (setup_->wants_calls() && format_.takes_bare_json && json && !out_.has_content()) {
    drop(at);
    begin_block(make_bare_json_reader(*setup_->tools));
    return true;
  }
  waits = !final && !open.empty() && open.starts_with(rest);
  if (!waits) at_start_ = false;
  return false;
}

bool MarkedParser::step_content(bool final) {
  const MarkerHit hit = find_marker(buffer_, content_markers_, final);
  if (hit.at > 0) {
    out_.content(std::string_view(buffer_).substr(0, hit.at));
    drop(hit.at);
  }
  if (hit.marker < 0) return false;
  const auto index = static_cast<size_t>(hit.marker);
  const Meaning meaning = content_meanings_[index];
  if (meaning != Meaning::kBlock) {
    drop(content_markers_[index].size());
    if (meaning == Meaning::kBracket) out_.end_block();
    return true;
  }
  begin_block(make_block_reader(format_.blocks[index], *setup_->tools));
  return true;
}

bool MarkedParser::step_reasoning(bool final) {
  if (at_reasoning_start_) {
    const size_t at = std::min(buffer_.find_first_not_of(" \t\r\n"), buffer_.size());
    const std::string_view rest = std::string_view(buffer_).substr(at);
    if (!final && format_.reasoning_open.starts_with(rest)) return false;
    if (rest.starts_with(format_.reasoning_open)) drop(at + format_.reasoning_open.size());
    at_reasoning_start_ = false;
  }
  const MarkerHit hit = find_marker(buffer_, reasoning_markers_, final);
  if (hit.at > 0) {
    out_.reasoning(std::string_view(buffer_).substr(0, hit.at));
    drop(hit.at);
  }
  if (hit.marker < 0) return false;
  const auto index = static_cast<size_t>(hit.marker);
  const Meaning meaning = reasoning_meanings_[index];
  if (meaning != Meaning::kLeaveReasoning) drop(reasoning_markers_[index].size());
  if (meaning != Meaning::kNothing) {
    out_.end_reasoning();
    state_ = State::kContent;
    at_start_ = false;
  }
  return true;
}

/// Writes what was to be a block, without the markers that clients never see.
void MarkedParser::show(std::string_view text) {
  while (!text.empty()) {
    const MarkerHit hit = find_marker(text, setup_->hidden, true);
    out_.content(text.substr(0, hit.at));
    text.remove_prefix(hit.at);
    if (hit.marker >= 0) text.remove_prefix(setup_->hidden[static_cast<size_t>(hit.marker)].size());
  }
}

bool MarkedParser::step_block(bool final) {
  BlockResult result = reader_->read(buffer_, final);
  if (result.kind == BlockResult::Kind::kMore) return false;
  const size_t length = std::min(std::max<size_t>(result.length, 1), buffer_.size());
  state_ = State::kContent;
  reader_.reset();
  if (result.kind == BlockResult::Kind::kCalls) {
    for (ParsedCall& call : result.calls) out_.call(std::move(call));
    out_.end_block();
    at_start_ = true;
  } else {
    show(std::string_view(buffer_).substr(0, length));
    at_start_ = false;
  }
  drop(length);
  return true;
}

}  // namespace

std::unique_ptr<OutputParser> make_marked_parser(std::shared_ptr<const ParserSetup> setup) {
  return std::make_unique<MarkedParser>(std::move(setup));
}

}  // namespace ramjet::text
