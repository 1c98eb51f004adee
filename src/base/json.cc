#include "base/json.h"

#include <algorithm>
#include <unordered_map>
#include <utility>
#include <vector>

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

constexpr size_t kMaxOrderedValues = 4'000'000;  // each takes many times its text in memory

/// Builds an ordered document, which clients send, in linear time: the library's own parser looks
/// for every key among those before it, so that an object of many keys would take minutes.
class OrderedBuilder final : public nlohmann::json_sax<OrderedJson> {
 public:
  explicit OrderedBuilder(OrderedJson& root) : root_(root) {}

  bool null() override { return add(nullptr); }
  bool boolean(bool value) override { return add(value); }
  bool number_integer(number_integer_t value) override { return add(value); }
  bool number_unsigned(number_unsigned_t value) override { return add(value); }
  bool number_float(number_float_t value, const string_t&) override { return add(value); }
  bool string(string_t& value) override { return add(std::move(value)); }
  bool binary(binary_t&) override { return false; }  // not in text
  bool start_object(std::size_t) override { return open(OrderedJson::object()); }
  bool start_array(std::size_t) override { return open(OrderedJson::array()); }
  bool key(string_t& value) override {
    key_ = std::move(value);
    return true;
  }
  bool end_object() override {
    merge_repeated(open_.back()->get_ref<Object&>());
    open_.pop_back();
    return true;
  }
  bool end_array() override {
    open_.pop_back();
    return true;
  }
  bool parse_error(std::size_t, const std::string&,
                   const nlohmann::detail::exception& error) override {
    error_ = error.what();
    return false;
  }

  const std::string& error() const { return error_; }

 private:
  using Object = OrderedJson::object_t;
  using Members = Object::Container;  // the vector below, which searches nothing
  static constexpr size_t kFew = 8;   // no table is worth its cost

  /// Pointers to open containers stay valid: a container grows only while no child is open.
  OrderedJson* append(OrderedJson value) {
    if (open_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    OrderedJson& parent = *open_.back();
    if (parent.is_array()) {
      parent.push_back(std::move(value));
      return &parent.back();
    }
    Members& members = parent.get_ref<Object&>();
    members.emplace_back(std::move(key_), std::move(value));
    return &members.back().second;
  }
  bool count() {
    if (++values_ <= kMaxOrderedValues) return true;
    error_ = fmt::format("more than {} values", kMaxOrderedValues);
    return false;
  }
  bool add(OrderedJson value) { return append(std::move(value)) != nullptr && count(); }
  bool open(OrderedJson container) {
    open_.push_back(append(std::move(container)));
    return count();
  }

  static bool repeats(const Members& members) {
    for (size_t i = 1; i < members.size(); ++i) {
      for (size_t j = 0; j < i; ++j) {
        if (members[i].first == members[j].first) return true;
      }
    }
    return false;
  }

  /// Of equal keys the last value counts, in the place of the first, as in Python.
  static void merge_repeated(Object& object) {
    Members& members = object;
    if (members.size() <= kFew && !repeats(members)) return;
    std::unordered_map<std::string_view, size_t> first;
    first.reserve(members.size());
    std::vector<std::pair<size_t, size_t>> repeated;  // (of the first, of a later one)
    for (size_t i = 0; i < members.size(); ++i) {
      const auto [it, fresh] = first.emplace(members[i].first, i);
      if (!fresh) repeated.emplace_back(it->second, i);
    }
    if (repeated.empty()) return;
    for (const auto& [to, from] : repeated) members[to].second = std::move(members[from].second);
    Members kept;
    size_t next = 0;
    for (size_t i = 0; i < members.size(); ++i) {
      if (next < repeated.size() && repeated[next].second == i) {
        ++next;
      } else {
        kept.emplace_back(members[i].first, std::move(members[i].second));
      }
    }
    members.swap(kept);
  }

  OrderedJson& root_;
  std::vector<OrderedJson*> open_;
  size_t values_ = 0;
  std::string key_;
  std::string error_;
};

/// "[json.exception.parse_error.101] parse error at line 1, column 2: ..." without its mark.
Error parse_failure(std::string_view what) {
  if (size_t p = what.find("] "); p != std::string_view::npos) what.remove_prefix(p + 2);
  return invalid_argument("invalid JSON: {}", what.substr(0, 200));
}

Status check_depth(std::string_view text, int max_depth) {
  if (max_nesting(text) <= max_depth) return ok_status();
  return invalid_argument("JSON is nested deeper than {} levels", max_depth);
}

}  // namespace

Result<Json> parse_json(std::string_view text, int max_depth) {
  RETURN_IF_ERROR(check_depth(text, max_depth));
  try {
    return Json::parse(text.begin(), text.end());
  } catch (const std::exception& e) {
    return parse_failure(e.what());
  }
}

Result<OrderedJson> parse_ordered_json(std::string_view text, int max_depth) {
  RETURN_IF_ERROR(check_depth(text, max_depth));
  OrderedJson root;
  OrderedBuilder builder(root);
  try {
    if (!OrderedJson::sax_parse(text.begin(), text.end(), &builder)) {
      return parse_failure(builder.error());
    }
  } catch (const std::exception& e) {
    return parse_failure(e.what());
  }
  return root;
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
