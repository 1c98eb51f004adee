#include "text/tools/block_reader.h"
#include "text/tools/json_scan.h"

namespace ramjet::text {
namespace {

constexpr std::string_view kQuote = "<|\"|>";
constexpr int kMaxDepth = 64;

/// Gemma 4's notation of values, to JSON: {key:<|"|>text<|"|>,list:[1,true]}
class GemmaValue {
 public:
  explicit GemmaValue(std::string_view text) : text_(text) {}

  /// The object that the text consists of; false if it is none.
  bool object(std::string& out) {
    return value(out, 0) && is_blank(text_.substr(at_)) && as_json_object(out).has_value();
  }

 private:
  void skip_space() { at_ = std::min(text_.find_first_not_of(" \t\r\n", at_), text_.size()); }
  bool at(std::string_view marker) const { return text_.substr(at_).starts_with(marker); }
  bool take(std::string_view marker) {
    skip_space();
    if (!at(marker)) return false;
    at_ += marker.size();
    return true;
  }

  bool value(std::string& out, int depth) {
    if (depth > kMaxDepth) return false;
    if (take(kQuote)) return string(out);
    if (at("{")) return members(out, depth);
    if (at("[")) return elements(out, depth);
    return bare(out);
  }

  bool string(std::string& out) {
    const size_t end = text_.find(kQuote, at_);
    if (end == std::string_view::npos) return false;
    out += quote(text_.substr(at_, end - at_));
    at_ = end + kQuote.size();
    return true;
  }

  /// A number, true, false, null; what is none of them is text without its quotes.
  bool bare(std::string& out) {
    const size_t end = std::min(text_.find_first_of(",}]", at_), text_.size());
    const std::string_view word = trim(text_.substr(at_, end - at_));
    if (word.empty()) return false;
    const bool literal = as_json_object("{\"a\":" + std::string(word) + "}").has_value();
    out += literal ? std::string(word) : quote(word);
    at_ = end;
    return true;
  }

  bool members(std::string& out, int depth) {
    take("{");
    out += '{';
    for (bool first = true; !take("}"); first = false) {
      if (!first && !take(",")) return false;
      if (!first) out += ", ";
      if (take(kQuote)) {
        if (!string(out)) return false;
      } else {
        const size_t colon = text_.find(':', at_);
        if (colon == std::string_view::npos) return false;
        out += quote(trim(text_.substr(at_, colon - at_)));
        at_ = colon;
      }
      if (!take(":")) return false;
      out += ": ";
      if (!value(out, depth + 1)) return false;
    }
    out += '}';
    return true;
  }

  bool elements(std::string& out, int depth) {
    take("[");
    out += '[';
    for (bool first = true; !take("]"); first = false) {
      if (!first && !take(",")) return false;
      if (!first) out += ", ";
      if (!value(out, depth + 1)) return false;
    }
    out += ']';
    return true;
  }

  std::string_view text_;
  size_t at_ = 0;
};

class GemmaReader final : public BlockReader {
 public:
  explicit GemmaReader(const CallBlock& block) : block_(block), searched_(block.open.size()) {}

  BlockResult read(std::string_view text, bool final) override {
    const size_t close = text.find(block_.close, searched_);
    if (close == std::string_view::npos) {
      const size_t last = text.size() - std::min(text.size(), block_.close.size());
      searched_ = std::max(searched_, last);
      return final ? BlockResult::malformed(block_.open.size()) : BlockResult::more();
    }
    constexpr std::string_view kCall = "call:";
    std::string_view body = trim(text.substr(block_.open.size(), close - block_.open.size()));
    const size_t brace = body.find('{');
    ParsedCall call;
    if (!body.starts_with(kCall) || brace == std::string_view::npos ||
        !GemmaValue(body.substr(brace)).object(call.arguments)) {
      return BlockResult::malformed(close + block_.close.size());
    }
    call.name = trim(body.substr(kCall.size(), brace - kCall.size()));
    if (call.name.empty()) return BlockResult::malformed(close + block_.close.size());
    return BlockResult::done(close + block_.close.size(), {std::move(call)});
  }

 private:
  const CallBlock& block_;
  size_t searched_;
};

}  // namespace

std::unique_ptr<BlockReader> make_gemma_reader(const CallBlock& block) {
  return std::make_unique<GemmaReader>(block);
}

}  // namespace ramjet::text
