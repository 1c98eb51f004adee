#include <algorithm>

#include "text/tools/block_reader.h"
#include "text/tools/json_scan.h"

namespace ramjet::text {
namespace {

constexpr size_t kMaxName = 512;

/// A call that is put together value by value.
class CallBuilder {
 public:
  explicit CallBuilder(const ToolSchemas& tools) : tools_(tools) {}

  void begin(std::string_view name) {
    name_ = trim(name);
    members_.clear();
  }
  /// A key that comes again replaces its value.
  void add(std::string_view key, std::string_view value) {
    std::string json = tools_.value_json(name_, key, value);
    for (auto& [known, old] : members_) {
      if (known == key) return void(old = std::move(json));
    }
    members_.emplace_back(key, std::move(json));
  }
  ParsedCall take() {
    std::string arguments = "{";
    for (const auto& [key, json] : members_) {
      arguments += (arguments.size() > 1 ? ", " : "") + quote(key) + ": " + json;
    }
    return {{}, std::move(name_), arguments + "}"};
  }

 private:
  const ToolSchemas& tools_;
  std::string name_;
  std::vector<std::pair<std::string, std::string>> members_;
};

/// Walks through a text by its markers; remembers how far it looked.
class Walker {
 public:
  explicit Walker(size_t at) : at_(at), searched_(at) {}

  void skip_space(std::string_view text) {
    at_ = std::min(text.find_first_not_of(" \t\r\n", at_), text.size());
    searched_ = std::max(searched_, at_);
  }
  std::string_view rest(std::string_view text) const { return text.substr(at_); }
  bool take(std::string_view text, std::string_view marker) {
    if (!rest(text).starts_with(marker)) return false;
    jump(at_ + marker.size());
    return true;
  }
  /// Position of the next `marker`; npos if it is not there yet.
  size_t find(std::string_view text, std::string_view marker) {
    const size_t from = searched_ > at_ + marker.size() ? searched_ - marker.size() : at_;
    const size_t found = text.find(marker, from);
    if (found == std::string_view::npos) searched_ = text.size();
    return found;
  }
  void jump(size_t at) { at_ = searched_ = at; }
  size_t at() const { return at_; }

 private:
  size_t at_;
  size_t searched_;  // no marker that was asked for begins before it, but for its last bytes
};

/// The words of the two dialects.
struct ParameterWords {
  std::string_view call_open;
  std::string_view call_close;
  std::string_view value_open;
  std::string_view value_close;
};

constexpr ParameterWords kFunctionWords{"<function=", "</function>", "<parameter=", "</parameter>"};
constexpr ParameterWords kInvokeWords{"<invoke name=", "</invoke>",
                                      "<parameter name=", "</parameter>"};

std::string_view unquoted(std::string_view name) {
  name = trim(name);
  if (name.size() >= 2 && name.front() == '"' && name.back() == '"') {
    return name.substr(1, name.size() - 2);
  }
  return name;
}

/// <tool_call> <function=name> <parameter=key> value </parameter> </function> </tool_call>, the
/// outer markers maybe missing.
class ParameterReader final : public BlockReader {
 public:
  ParameterReader(const CallBlock& block, const ToolSchemas& tools)
      : block_(block),
        words_(block.open.find("invoke") != std::string::npos ||
                       block.open.find("minimax") != std::string::npos
                   ? kInvokeWords
                   : kFunctionWords),
        walker_(block.close.empty() ? 0 : block.open.size()),
        builder_(tools) {}

  BlockResult read(std::string_view text, bool final) override {
    while (true) {
      const Step step = in_call_ ? parameter(text, final) : call(text, final);
      if (step == Step::kGoOn) continue;
      if (step == Step::kMore && !final) return BlockResult::more();
      if (!calls_.empty()) {
        return BlockResult::done(step == Step::kEnd ? walker_.at() : done_, std::move(calls_));
      }
      return BlockResult::malformed(block_.open.size());
    }
  }

 private:
  enum class Step { kGoOn, kMore, kBad, kEnd };

  /// Between calls.
  Step call(std::string_view text, bool final) {
    walker_.skip_space(text);
    const std::string_view rest = walker_.rest(text);
    if (!block_.close.empty() && rest.starts_with(block_.close)) {
      walker_.take(text, block_.close);
      return Step::kEnd;
    }
    if (!rest.starts_with(words_.call_open)) {
      const bool may_close = !block_.close.empty() && block_.close.starts_with(rest);
      const bool may_open = words_.call_open.starts_with(rest);
      return !final && (may_close || may_open) ? Step::kMore : Step::kBad;
    }
    const size_t end = walker_.find(text, ">");
    if (end == std::string_view::npos) {
      return rest.size() > kMaxName + words_.call_open.size() ? Step::kBad : Step::kMore;
    }
    const size_t name = walker_.at() + words_.call_open.size();
    if (end - name > kMaxName || end == name) return Step::kBad;
    builder_.begin(unquoted(text.substr(name, end - name)));
    walker_.jump(end + 1);
    in_call_ = true;
    return Step::kGoOn;
  }

  /// Within a call.
  Step parameter(std::string_view text, bool final) {
    walker_.skip_space(text);
    const std::string_view rest = walker_.rest(text);
    if (rest.starts_with(words_.call_close)) {
      walker_.take(text, words_.call_close);
      calls_.push_back(builder_.take());
      done_ = walker_.at();
      in_call_ = false;
      return block_.close.empty() ? Step::kEnd : Step::kGoOn;
    }
    if (!rest.starts_with(words_.value_open)) {
      const bool may = words_.call_close.starts_with(rest) || words_.value_open.starts_with(rest);
      return may && !final ? Step::kMore : Step::kBad;
    }
    const size_t close = walker_.find(text, words_.value_close);
    if (close == std::string_view::npos) return Step::kMore;
    add_value(
        rest.substr(words_.value_open.size(), close - walker_.at() - words_.value_open.size()));
    walker_.jump(close + words_.value_close.size());
    return Step::kGoOn;
  }

  /// `body`: "key>\nvalue\n". A value whose end was forgotten lasts to the next parameter.
  void add_value(std::string_view body) {
    while (true) {
      const std::string next = "\n" + std::string(words_.value_open);
      const size_t missing = body.find(next);
      std::string_view one = body.substr(0, missing);
      const size_t key_end = std::min(one.find('>'), one.size());
      const std::string_view key = unquoted(one.substr(0, key_end));
      one.remove_prefix(std::min(key_end + 1, one.size()));
      if (one.starts_with('\n')) one.remove_prefix(1);
      if (one.ends_with('\n')) one.remove_suffix(1);
      builder_.add(key, one);
      if (missing == std::string_view::npos) return;
      body.remove_prefix(missing + next.size());
    }
  }

  const CallBlock& block_;
  const ParameterWords& words_;
  Walker walker_;
  CallBuilder builder_;
  bool in_call_ = false;
  size_t done_ = 0;
  std::vector<ParsedCall> calls_;
};

/// <tool_call>name <arg_key>k</arg_key> <arg_value>v</arg_value> ... </tool_call>
class KeyValueReader final : public BlockReader {
 public:
  KeyValueReader(const CallBlock& block, const ToolSchemas& tools)
      : block_(block), walker_(block.open.size()), builder_(tools) {}

  BlockResult read(std::string_view text, bool final) override {
    if (!has_name_) {
      const size_t end = text.find('<', walker_.at());
      const std::string_view name =
          text.substr(walker_.at(), std::min(end, text.size()) - walker_.at());
      if (name.size() > kMaxName || trim(name).find_first_of("{\n ") != std::string_view::npos) {
        return malformed();
      }
      if (end == std::string_view::npos) return final ? malformed() : BlockResult::more();
      if (is_blank(name)) return malformed();
      builder_.begin(name);
      walker_.jump(end);
      has_name_ = true;
    }
    while (true) {
      walker_.skip_space(text);
      const std::string_view rest = walker_.rest(text);
      if (walker_.take(text, block_.close)) {
        return BlockResult::done(walker_.at(), {builder_.take()});
      }
      constexpr std::string_view kKey = "<arg_key>";
      if (!rest.starts_with(kKey)) {
        const bool may = block_.close.starts_with(rest) || kKey.starts_with(rest);
        return may && !final ? BlockResult::more() : malformed();
      }
      // Both ends of a pair must be there.
      const size_t end = walker_.find(text, kValueClose);
      if (end == std::string_view::npos) return final ? malformed() : BlockResult::more();
      if (!add_pair(rest.substr(kKey.size(), end - walker_.at() - kKey.size()))) {
        return malformed();
      }
      walker_.jump(end + kValueClose.size());
    }
  }

 private:
  static constexpr std::string_view kValueClose = "</arg_value>";

  BlockResult malformed() const { return BlockResult::malformed(block_.open.size()); }

  /// `pair`: "key</arg_key> <arg_value>value"
  bool add_pair(std::string_view pair) {
    constexpr std::string_view kKeyClose = "</arg_key>";
    constexpr std::string_view kValue = "<arg_value>";
    const size_t close = pair.find(kKeyClose);
    if (close == std::string_view::npos) return false;
    const std::string_view key = trim(pair.substr(0, close));
    std::string_view value = pair.substr(close + kKeyClose.size());
    value.remove_prefix(std::min(value.find_first_not_of(" \t\r\n"), value.size()));
    if (!value.starts_with(kValue)) return false;
    builder_.add(key, value.substr(kValue.size()));
    return true;
  }

  const CallBlock& block_;
  Walker walker_;
  CallBuilder builder_;
  bool has_name_ = false;
};

}  // namespace

std::unique_ptr<BlockReader> make_parameter_reader(const CallBlock& block,
                                                   const ToolSchemas& tools) {
  return std::make_unique<ParameterReader>(block, tools);
}

std::unique_ptr<BlockReader> make_key_value_reader(const CallBlock& block,
                                                   const ToolSchemas& tools) {
  return std::make_unique<KeyValueReader>(block, tools);
}

}  // namespace ramjet::text
