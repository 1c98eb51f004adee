#include <algorithm>

#include "text/tools/json_scan.h"
#include "text/tools/output_parser.h"

namespace ramjet::text {
namespace {

/// All of the text is one call's arguments.
class ArgumentsParser final : public OutputParser {
 public:
  explicit ArgumentsParser(std::shared_ptr<const ParserSetup> setup) : setup_(std::move(setup)) {}

  MessageDelta push(std::string_view piece) override {
    MessageDelta delta;
    if (piece.empty()) return delta;
    CallDelta& call = delta.calls.emplace_back();
    call.first = !started_;
    if (!started_) call.name = setup_->function;
    call.arguments = piece;
    started_ = true;
    return delta;
  }
  MessageDelta finish() override { return {}; }
  bool is_reasoning() const override { return false; }

 private:
  const std::shared_ptr<const ParserSetup> setup_;  // with the sequences of one request
  bool started_ = false;
};

/// The text is [{"name": "f", "parameters": {...}}, ...]; arguments are told as they come.
class CallListParser final : public OutputParser {
 public:
  explicit CallListParser(std::shared_ptr<const ParserSetup> setup) : setup_(std::move(setup)) {}

  MessageDelta push(std::string_view piece) override {
    buffer_ += piece;
    MessageDelta delta;
    while (in_arguments_ ? step_arguments(delta) : step_head(delta)) {
    }
    return delta;
  }
  MessageDelta finish() override { return {}; }
  bool is_reasoning() const override { return false; }

 private:
  /// Looks for `"name": "f", "parameters": {`.
  bool step_head(MessageDelta& delta) {
    constexpr std::string_view kName = "\"name\"";
    constexpr std::string_view kParameters = "\"parameters\"";
    const size_t name_at = buffer_.find(kName);
    if (name_at == std::string::npos) return false;
    const size_t quote = buffer_.find('"', name_at + kName.size());
    if (quote == std::string::npos) return false;
    size_t end = quote + 1;
    while (end < buffer_.size() && buffer_[end] != '"') end += buffer_[end] == '\\' ? 2 : 1;
    if (end >= buffer_.size()) return false;
    const size_t parameters = buffer_.find(kParameters, end + 1);
    if (parameters == std::string::npos) return false;
    const size_t brace = buffer_.find('{', parameters + kParameters.size());
    if (brace == std::string::npos) return false;
    CallDelta& call = delta.calls.emplace_back();
    call.index = count_++;
    call.first = true;
    call.name = unquote(std::string_view(buffer_).substr(quote, end + 1 - quote)).value_or("");
    buffer_.erase(0, brace);
    scanner_ = {};
    told_ = 0;
    in_arguments_ = true;
    return true;
  }

  bool step_arguments(MessageDelta& delta) {
    const auto state = scanner_.scan(buffer_);
    const size_t end = state == JsonScanner::State::kMore ? buffer_.size() : scanner_.end();
    if (end > told_) {
      if (delta.calls.empty()) delta.calls.emplace_back().index = count_ - 1;
      delta.calls.back().arguments += buffer_.substr(told_, end - told_);
      told_ = end;
    }
    if (state == JsonScanner::State::kMore) return false;
    buffer_.erase(0, std::max<size_t>(end, 1));
    in_arguments_ = false;
    return true;
  }

  const std::shared_ptr<const ParserSetup> setup_;  // with the sequences of one request
  std::string buffer_;
  JsonScanner scanner_;
  size_t told_ = 0;  // bytes of the arguments that are out
  bool in_arguments_ = false;
  int count_ = 0;
};

}  // namespace

std::unique_ptr<OutputParser> make_call_list_parser(std::shared_ptr<const ParserSetup> setup) {
  return std::make_unique<CallListParser>(std::move(setup));
}

std::unique_ptr<OutputParser> make_arguments_parser(std::shared_ptr<const ParserSetup> setup) {
  return std::make_unique<ArgumentsParser>(std::move(setup));
}

}  // namespace ramjet::text
