#include "text/tools/json_scan.h"

#include "base/json.h"

namespace ramjet::text {
namespace {

constexpr std::string_view kSpace = " \t\n\r";

bool may_stand_in_json(char c) {
  const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  const bool digit = c >= '0' && c <= '9';
  return letter || digit || std::string_view(" \t\n\r:,+-._").find(c) != std::string_view::npos;
}

size_t skip_space(std::string_view text, size_t at) {
  const size_t next = text.find_first_not_of(kSpace, at);
  return next == std::string_view::npos ? text.size() : next;
}

/// End of the valid JSON value that begins at `at`.
size_t value_end(std::string_view text, size_t at) {
  if (at >= text.size()) return text.size();
  if (text[at] == '{' || text[at] == '[') {
    JsonScanner scanner;
    scanner.scan(text.substr(at));
    return at + scanner.end();
  }
  if (text[at] != '"') {
    const size_t end = text.find_first_of(",]} \t\n\r", at);
    return end == std::string_view::npos ? text.size() : end;
  }
  for (size_t i = at + 1; i < text.size(); ++i) {
    if (text[i] == '\\') {
      ++i;
    } else if (text[i] == '"') {
      return i + 1;
    }
  }
  return text.size();
}

std::string with_escaped_controls(std::string_view text) {
  std::string out;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string && c == '\\' && i + 1 < text.size()) {
      out += c;
      out += text[++i];
    } else if (in_string && static_cast<unsigned char>(c) < 0x20) {
      out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
    } else {
      if (c == '"') in_string = !in_string;
      out += c;
    }
  }
  return out;
}

bool is_object(std::string_view text) {
  if (text.find('\0') != std::string_view::npos) return false;  // the parser would stop there
  const auto json = parse_json(text);
  return json.ok() && json->is_object();
}

}  // namespace

bool JsonScanner::step(char c) {
  if (in_string_) {
    if (escaped_) {
      escaped_ = false;
    } else if (c == '\\') {
      escaped_ = true;
    } else if (c == '"') {
      in_string_ = false;
    }
    return true;
  }
  switch (c) {
    case '{': open_ += '}'; return true;
    case '[': open_ += ']'; return true;
    case '"': in_string_ = true; return !open_.empty();
    case '}':
    case ']':
      if (open_.empty() || open_.back() != c) return false;
      open_.pop_back();
      return true;
    default: return !open_.empty() && may_stand_in_json(c);
  }
}

JsonScanner::State JsonScanner::scan(std::string_view text) {
  while (state_ == State::kMore && position_ < text.size()) {
    if (!step(text[position_])) {
      state_ = State::kBad;
      break;
    }
    ++position_;
    if (open_.empty()) state_ = State::kDone;
  }
  return state_;
}

std::string_view trim(std::string_view text) {
  const size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
}

bool is_blank(std::string_view text) {
  return text.find_first_not_of(kSpace) == std::string_view::npos;
}

std::optional<std::string> as_json_object(std::string_view text) {
  text = trim(text);
  if (is_object(text)) return std::string(text);
  std::string escaped = with_escaped_controls(text);
  if (is_object(escaped)) return escaped;
  return std::nullopt;
}

void for_each_member(std::string_view object,
                     const std::function<void(std::string_view, std::string_view)>& visit) {
  size_t at = skip_space(object, object.find('{') + 1);
  while (at < object.size() && object[at] == '"') {
    const size_t key_end = value_end(object, at);
    const auto key = unquote(object.substr(at, key_end - at));
    const size_t value = skip_space(object, skip_space(object, key_end) + 1);
    const size_t end = value_end(object, value);
    if (value >= object.size()) return;
    if (key) visit(*key, object.substr(value, end - value));
    at = skip_space(object, end);
    if (at >= object.size() || object[at] != ',') return;
    at = skip_space(object, at + 1);
  }
}

void for_each_element(std::string_view array, const std::function<void(std::string_view)>& visit) {
  size_t at = skip_space(array, array.find('[') + 1);
  while (at < array.size() && array[at] != ']') {
    const size_t end = value_end(array, at);
    if (end == at) return;
    visit(array.substr(at, end - at));
    at = skip_space(array, end);
    if (at >= array.size() || array[at] != ',') return;
    at = skip_space(array, at + 1);
  }
}

std::optional<std::string> unquote(std::string_view literal) {
  const auto json = parse_json(literal);
  if (!json.ok() || !json->is_string()) return std::nullopt;
  return json->get<std::string>();
}

std::string quote(std::string_view text) { return dump_json(Json(text)); }

}  // namespace ramjet::text
