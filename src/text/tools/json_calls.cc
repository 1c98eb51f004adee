#include "text/tools/block_reader.h"
#include "text/tools/json_scan.h"

namespace ramjet::text {
namespace {

bool is_one_of(std::string_view key, std::initializer_list<std::string_view> names) {
  for (std::string_view name : names) {
    if (key == name) return true;
  }
  return false;
}

/// Arguments as an object: they may be missing, or an object, or a string that spells one.
std::optional<std::string> read_arguments(std::string_view value) {
  if (value.empty() || value == "null") return "{}";
  if (value.front() == '{') return as_json_object(value);
  const auto spelled = unquote(value);
  if (!spelled) return std::nullopt;
  return is_blank(*spelled) ? "{}" : as_json_object(*spelled);
}

bool read_call(std::string_view object, const ToolSchemas* only, ParsedCall& out) {
  std::string_view arguments;
  std::string_view inner;
  bool has_arguments = false;
  for_each_member(object, [&](std::string_view key, std::string_view value) {
    if (is_one_of(key, {"name", "tool_name"})) {
      out.name = unquote(value).value_or("");
    } else if (is_one_of(key, {"id", "call_id", "tool_call_id"})) {
      out.id = unquote(value).value_or("");
    } else if (is_one_of(key, {"arguments", "parameters"})) {
      arguments = value;
      has_arguments = true;
    } else if (key == "function" && value.front() == '{') {
      inner = value;
    } else if (key == "function" && out.name.empty()) {
      out.name = unquote(value).value_or("");
    }
  });
  if (!inner.empty()) return read_call(inner, only, out);
  // A bare object is a call only if it says so in full.
  if (out.name.empty() || (only != nullptr && (!has_arguments || !only->knows(out.name)))) {
    return false;
  }
  auto object_text = read_arguments(arguments);
  if (!object_text) return false;
  out.arguments = std::move(*object_text);
  return true;
}

class BareJsonReader final : public BlockReader {
 public:
  explicit BareJsonReader(const ToolSchemas& tools) : only_(tools.empty() ? nullptr : &tools) {}

  BlockResult read(std::string_view text, bool final) override {
    if (!promising(text)) return BlockResult::malformed(1);
    while (true) {
      const auto state = scanner_.scan(text.substr(begin_));
      const size_t end = begin_ + scanner_.end();
      if (state == JsonScanner::State::kMore) return final ? settle() : BlockResult::more();
      if (done_ < end) {
        const std::string_view value = text.substr(begin_, end - begin_);
        if (state == JsonScanner::State::kBad || !read_json_calls(value, only_, calls_)) {
          return settle(end);
        }
        done_ = end;
      }
      // "; " and "," may stand between calls.
      const size_t next = text.find_first_not_of(" \t\r\n;,", end);
      if (next == std::string_view::npos) {
        return final ? settle() : BlockResult::more();
      }
      if (text[next] != '{') return settle();
      begin_ = next;
      scanner_ = {};
    }
  }

 private:
  /// Could the first key be one of a call's?
  static bool promising(std::string_view text) {
    const size_t quote = text.find_first_not_of("[{ \t\r\n");
    if (quote == std::string_view::npos) return true;
    const std::string_view key = text.substr(quote);
    for (std::string_view name : {"\"name\"", "\"type\"", "\"function\"", "\"parameters\"",
                                  "\"arguments\"", "\"id\"", "\"tool_name\""}) {
      if (may_become(key, name)) return true;
    }
    return false;
  }

  /// What was read so far; if that is nothing, `bad` bytes are text.
  BlockResult settle(size_t bad = 1) {
    if (done_ == 0) return BlockResult::malformed(std::max<size_t>(bad, 1));
    return BlockResult::done(done_, std::move(calls_));
  }

  const ToolSchemas* only_;
  JsonScanner scanner_;
  size_t begin_ = 0;
  size_t done_ = 0;  // bytes that are calls
  std::vector<ParsedCall> calls_;
};

}  // namespace

bool read_json_calls(std::string_view json, const ToolSchemas* only, std::vector<ParsedCall>& out) {
  json = trim(json);
  if (json.empty()) return false;
  std::vector<ParsedCall> calls;
  if (json.front() == '{') {
    const auto object = as_json_object(json);
    if (!object || !read_call(*object, only, calls.emplace_back())) return false;
  } else {
    const auto object = as_json_object("{\"calls\":" + std::string(json) + "}");
    if (json.front() != '[' || !object) return false;
    bool ok = true;
    for_each_member(*object, [&](std::string_view, std::string_view array) {
      for_each_element(array, [&](std::string_view element) {
        ok = ok && element.front() == '{' && read_call(element, only, calls.emplace_back());
      });
    });
    if (!ok || calls.empty()) return false;
  }
  for (ParsedCall& call : calls) out.push_back(std::move(call));
  return true;
}

std::unique_ptr<BlockReader> make_bare_json_reader(const ToolSchemas& tools) {
  return std::make_unique<BareJsonReader>(tools);
}

}  // namespace ramjet::text
