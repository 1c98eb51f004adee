#include <optional>

#include "text/tools/block_reader.h"
#include "text/tools/json_scan.h"

namespace ramjet::text {
namespace {

constexpr size_t kMaxHeader = 512;

size_t skip_space(std::string_view text, size_t at) {
  return std::min(text.find_first_not_of(" \t\r\n", at), text.size());
}

/// JSON behind an opening marker: calls with their names inside.
class JsonBlockReader final : public BlockReader {
 public:
  explicit JsonBlockReader(const CallBlock& block) : block_(block) {
    begin_ = block.open.size() - (block.open.ends_with('[') ? 1 : 0);
  }

  BlockResult read(std::string_view text, bool final) override {
    while (true) {
      if (!started_) {
        begin_ = skip_space(text, begin_);
        if (begin_ == text.size()) return unsettled(final);
        if (text[begin_] != '{' && text[begin_] != '[') return settle(block_.open.size());
        started_ = true;
      }
      const auto state = scanner_.scan(text.substr(begin_));
      if (state == JsonScanner::State::kMore) return unsettled(final);
      const size_t end = begin_ + scanner_.end();
      if (done_ < end) {
        const std::string_view value = text.substr(begin_, end - begin_);
        if (state == JsonScanner::State::kBad || !read_json_calls(value, nullptr, calls_)) {
          return settle(end);
        }
        done_ = end;
      }
      if (block_.close.empty()) return settle(0);
      // A brace too many is a common slip.
      const size_t next = std::min(text.find_first_not_of(" \t\r\n}", end), text.size());
      const std::string_view rest = text.substr(next);
      if (rest.starts_with(block_.close)) {
        return BlockResult::done(next + block_.close.size(), std::move(calls_));
      }
      if (!final && block_.close.starts_with(rest)) return BlockResult::more();
      if (!rest.starts_with('{')) return settle(0);
      begin_ = next;
      started_ = false;
      scanner_ = {};
    }
  }

 private:
  BlockResult unsettled(bool final) {
    return final ? settle(block_.open.size()) : BlockResult::more();
  }
  /// The calls so far; if there are none, `bad` bytes are text.
  BlockResult settle(size_t bad) {
    if (done_ == 0) return BlockResult::malformed(bad);
    return BlockResult::done(done_, std::move(calls_));
  }

  const CallBlock& block_;
  JsonScanner scanner_;
  bool started_ = false;
  size_t begin_ = 0;
  size_t done_ = 0;
  std::vector<ParsedCall> calls_;
};

/// What stands between an opening marker and the JSON of the arguments.
struct Header {
  enum class Kind { kMore, kBad, kOk };
  Kind kind = Kind::kMore;
  ParsedCall call;
  size_t json_at = 0;
};

Header bad_header() { return {Header::Kind::kBad, {}, 0}; }
/// No separator yet; one that began behind the limit would be refused.
Header more_header(std::string_view rest, size_t separator_size) {
  return rest.size() >= kMaxHeader + separator_size ? bad_header() : Header{};
}

Header named(std::string_view name, std::string_view id, size_t json_at) {
  Header header{Header::Kind::kOk, {}, json_at};
  header.call.name = trim(name);
  header.call.id = trim(id);
  if (header.call.name.empty() || name.size() > kMaxHeader) header.kind = Header::Kind::kBad;
  return header;
}

/// "functions.name:0" → name
std::string_view kimi_name(std::string_view id) {
  id = trim(id);
  if (id.starts_with("functions.")) id.remove_prefix(10);
  return id.substr(0, id.rfind(':'));
}

Header kimi_header(std::string_view text, size_t at) {
  constexpr std::string_view kSeparator = "<|tool_call_argument_begin|>";
  const size_t separator = text.find(kSeparator, at);
  if (separator == std::string_view::npos) return more_header(text.substr(at), kSeparator.size());
  const std::string_view id = text.substr(at, separator - at);
  if (id.size() > kMaxHeader) return bad_header();
  return named(kimi_name(id), id, separator + kSeparator.size());
}

/// "name<sep>{" (V3.1) or "function<sep>name\n```json\n{" (V3, R1)
Header deepseek_header(std::string_view text, size_t at) {
  constexpr std::string_view kSeparator = "<｜tool▁sep｜>";
  const size_t separator = text.find(kSeparator, at);
  if (separator == std::string_view::npos) return more_header(text.substr(at), kSeparator.size());
  if (separator - at > kMaxHeader) return bad_header();
  const size_t begin = skip_space(text, separator + kSeparator.size());
  const size_t brace = text.find('{', begin);
  if (brace == std::string_view::npos) return more_header(text.substr(begin), 1);
  const std::string_view between = text.substr(begin, brace - begin);
  if (between.size() > kMaxHeader) return bad_header();
  if (between.empty()) return named(text.substr(at, separator - at), {}, brace);
  return named(between.substr(0, between.find_first_of("\n`")), {}, brace);
}

/// "<function=name>{"
Header function_header(std::string_view text, size_t at) {
  const size_t separator = text.find('>', at);
  if (separator == std::string_view::npos) return more_header(text.substr(at), 1);
  return named(text.substr(at, separator - at), {}, separator + 1);
}

/// "name{", "name[ARGS]{", "name[CALL_ID]id[ARGS]{"
Header mistral_header(std::string_view text, size_t at) {
  const size_t brace = text.find('{', at);
  const std::string_view between = text.substr(at, std::min(brace, text.size()) - at);
  if (between.size() > kMaxHeader ||
      trim(between).find_first_of(" \t\n") != std::string_view::npos) {
    return bad_header();
  }
  if (brace == std::string_view::npos) return {};
  constexpr std::string_view kId = "[CALL_ID]";
  std::string_view id;
  if (const size_t mark = between.find(kId); mark != std::string_view::npos) {
    id = between.substr(mark + kId.size());
    id = id.substr(0, id.find('['));
  }
  return named(between.substr(0, between.find('[')), id, brace);
}

/// A name, then the JSON of its arguments.
class NamedBlockReader final : public BlockReader {
 public:
  explicit NamedBlockReader(const CallBlock& block) : block_(block) {}

  BlockResult read(std::string_view text, bool final) override {
    if (header_.kind != Header::Kind::kOk) {
      header_ = read_header(text);
      if (header_.kind == Header::Kind::kMore && !final) return BlockResult::more();
      if (header_.kind != Header::Kind::kOk) return malformed();
    }
    const size_t begin = skip_space(text, header_.json_at);
    if (begin == text.size()) return final ? malformed() : BlockResult::more();
    if (text[begin] != '{') return malformed();
    const auto state = scanner_.scan(text.substr(begin));
    if (state == JsonScanner::State::kMore) return final ? malformed() : BlockResult::more();
    const size_t end = begin + scanner_.end();
    if (state == JsonScanner::State::kBad) return BlockResult::malformed(end);
    auto arguments = as_json_object(text.substr(begin, end - begin));
    if (!arguments) return BlockResult::malformed(end);
    size_t length = end;
    if (!read_close(text, final, length)) return BlockResult::more();
    header_.call.arguments = std::move(*arguments);
    return BlockResult::done(length, {std::move(header_.call)});
  }

 private:
  BlockResult malformed() const { return BlockResult::malformed(block_.open.size()); }

  Header read_header(std::string_view text) const {
    const size_t at = block_.open.size();
    switch (block_.syntax) {
      case CallSyntax::kKimi: return kimi_header(text, at);
      case CallSyntax::kDeepSeek: return deepseek_header(text, at);
      case CallSyntax::kMistral: return mistral_header(text, at);
      default: return function_header(text, at);
    }
  }

  /// Moves `length` behind the closing marker if it is there; false while it may yet come.
  bool read_close(std::string_view text, bool final, size_t& length) const {
    if (block_.close.empty()) return true;
    size_t at = skip_space(text, length);
    constexpr std::string_view kFence = "```";
    std::string_view rest = text.substr(at);
    if (!final && kFence.starts_with(rest)) return false;
    if (rest.starts_with(kFence)) at = skip_space(text, at + kFence.size());
    rest = text.substr(at);
    if (rest.starts_with(block_.close)) {
      length = at + block_.close.size();
      return true;
    }
    return final || !block_.close.starts_with(rest);
  }

  const CallBlock& block_;
  Header header_;
  JsonScanner scanner_;
};

/// JSON calls behind a marker whose own syntax is another: Mistral's array, and what models of the
/// other formats write at times.
class ChoosingReader final : public BlockReader {
 public:
  ChoosingReader(const CallBlock& block, std::unique_ptr<BlockReader> own)
      : block_(block), reader_(std::move(own)) {}

  BlockResult read(std::string_view text, bool final) override {
    if (!chosen_) {
      const size_t at = skip_space(text, block_.open.size());
      if (at == text.size()) {
        return final ? BlockResult::malformed(block_.open.size()) : BlockResult::more();
      }
      chosen_ = true;
      if (text[at] == '[' || text[at] == '{') reader_ = std::make_unique<JsonBlockReader>(block_);
    }
    return reader_->read(text, final);
  }

 private:
  const CallBlock& block_;
  std::unique_ptr<BlockReader> reader_;
  bool chosen_ = false;
};

/// Python's `name.call(key="text", other=1)` as JSON members; none if it is anything else.
std::optional<ParsedCall> read_builtin_call(std::string_view text) {
  constexpr std::string_view kCall = ".call(";
  const size_t mark = text.find(kCall);
  text = trim(text);
  if (mark == std::string_view::npos || !text.ends_with(')')) return std::nullopt;
  ParsedCall call{{}, std::string(trim(text.substr(0, text.find(kCall)))), {}};
  std::string_view rest = text.substr(text.find(kCall) + kCall.size());
  rest.remove_suffix(1);
  std::string members;
  while (!is_blank(rest)) {
    const size_t equals = rest.find('=');
    if (equals == std::string_view::npos) return std::nullopt;
    const std::string_view key = trim(rest.substr(0, equals));
    rest = trim(rest.substr(equals + 1));
    size_t end = 0;
    if (rest.starts_with('"')) {
      for (end = 1; end < rest.size() && rest[end] != '"'; ++end) end += rest[end] == '\\' ? 1 : 0;
      ++end;
    } else {
      end = rest.find(',');
    }
    end = std::min(end, rest.size());
    members +=
        (members.empty() ? "" : ", ") + quote(key) + ": " + std::string(trim(rest.substr(0, end)));
    rest = trim(rest.substr(end));
    if (rest.starts_with(',')) rest.remove_prefix(1);
  }
  const auto arguments = as_json_object("{" + members + "}");
  if (call.name.empty() || !arguments) return std::nullopt;
  call.arguments = *arguments;
  return call;
}

/// <|python_tag|>: JSON calls, or a call of a built-in function up to the end.
class PythonTagReader final : public BlockReader {
 public:
  PythonTagReader(const CallBlock& block, const ToolSchemas& tools)
      : block_(block), json_(make_bare_json_reader(tools)) {}

  BlockResult read(std::string_view text, bool final) override {
    const size_t at = skip_space(text, block_.open.size());
    if (at == text.size()) {
      return final ? BlockResult::malformed(block_.open.size()) : BlockResult::more();
    }
    if (text[at] == '{' || text[at] == '[') {
      BlockResult result = json_->read(text.substr(at), final);
      if (result.kind != BlockResult::Kind::kMore) result.length += at;
      return result;
    }
    if (!final) return BlockResult::more();
    auto call = read_builtin_call(text.substr(at));
    if (!call) return BlockResult::malformed(block_.open.size());
    return BlockResult::done(text.size(), {std::move(*call)});
  }

 private:
  const CallBlock& block_;
  std::unique_ptr<BlockReader> json_;
};

}  // namespace

std::unique_ptr<BlockReader> make_block_reader(const CallBlock& block, const ToolSchemas& tools) {
  std::unique_ptr<BlockReader> own;
  switch (block.syntax) {
    case CallSyntax::kJson: return std::make_unique<JsonBlockReader>(block);
    case CallSyntax::kBareJson: return std::make_unique<PythonTagReader>(block, tools);
    case CallSyntax::kKimi:
    case CallSyntax::kDeepSeek:
    case CallSyntax::kNamed: return std::make_unique<NamedBlockReader>(block);
    case CallSyntax::kGemma: return make_gemma_reader(block);
    case CallSyntax::kMistral: own = std::make_unique<NamedBlockReader>(block); break;
    case CallSyntax::kParameter: own = make_parameter_reader(block, tools); break;
    case CallSyntax::kKeyValue: own = make_key_value_reader(block, tools); break;
  }
  if (block.syntax == CallSyntax::kParameter && block.close.empty()) return own;
  return std::make_unique<ChoosingReader>(block, std::move(own));
}

}  // namespace ramjet::text
