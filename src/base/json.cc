#include "base/json.h"

#include "base/file.h"

namespace ramjet {
namespace {

/// Depth of nesting outside strings; cheap, and never recursive.
int max_nesting(std::string_view text) {
  int depth = 0;
  int deepest = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      deepest = std::max(deepest, ++depth);
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return deepest;
}

template <class J>
Result<J> parse(std::string_view text, int max_depth) {
  if (max_nesting(text) > max_depth) {
    return invalid_argument("JSON is nested deeper than {} levels", max_depth);
  }
  try {
    return J::parse(text.begin(), text.end());
  } catch (const std::exception& e) {
    std::string_view what = e.what();
    // "[json.exception.parse_error.101] parse error at line 1, column 2: ..."
    if (size_t p = what.find("] "); p != std::string_view::npos) what.remove_prefix(p + 2);
    return invalid_argument("invalid JSON: {}", what.substr(0, 200));
  }
}

}  // namespace

Result<Json> parse_json(std::string_view text, int max_depth) {
  return parse<Json>(text, max_depth);
}
Result<OrderedJson> parse_ordered_json(std::string_view text, int max_depth) {
  return parse<OrderedJson>(text, max_depth);
}

Result<Json> read_json_file(const std::string& path) {
  ASSIGN_OR_RETURN(MappedFile file, MappedFile::open(path));
  Result<Json> json = parse_json(file.text());
  if (!json.ok()) return json.error().with_context(path);
  return json;
}

std::string dump_json(const Json& json, int indent) {
  return json.dump(indent, ' ', false, Json::error_handler_t::replace);
}

}  // namespace ramjet
