#include "text/grammar/schema_document.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "base/json.h"

namespace ramjet::text {
namespace {

constexpr int kMaxDepth = 120;
constexpr size_t kMaxNodes = 50'000;

struct Uri {
  std::string_view scheme, authority, path, query, fragment;
  bool has_authority = false, has_query = false, has_fragment = false;
};

Uri split(std::string_view text) {
  Uri uri;
  if (const size_t at = text.find('#'); at != text.npos) {
    uri.fragment = text.substr(at + 1), uri.has_fragment = true;
    text = text.substr(0, at);
  }
  if (const size_t at = text.find('?'); at != text.npos) {
    uri.query = text.substr(at + 1), uri.has_query = true;
    text = text.substr(0, at);
  }
  if (const size_t at = text.find(':'); at != text.npos && at > 0 && text.find('/') >= at) {
    uri.scheme = text.substr(0, at);
    text = text.substr(at + 1);
  }
  if (text.starts_with("//")) {
    const size_t at = text.find('/', 2);
    uri.authority = text.substr(2, at == text.npos ? at : at - 2), uri.has_authority = true;
    text = at == text.npos ? std::string_view() : text.substr(at);
  }
  uri.path = text;
  return uri;
}

std::string without_dots(std::string_view path) {
  std::string out;
  while (!path.empty()) {
    if (path.starts_with("../")) {
      path.remove_prefix(3);
    } else if (path.starts_with("./") || path.starts_with("/./")) {
      path.remove_prefix(2);
    } else if (path == "/.") {
      path = "/";
    } else if (path.starts_with("/../") || path == "/..") {
      path = path.size() > 3 ? path.substr(3) : std::string_view("/");
      out.erase(out.rfind('/') == std::string::npos ? 0 : out.rfind('/'));
    } else if (path == "." || path == "..") {
      path = {};
    } else {
      const size_t end = path.find('/', 1);
      out += path.substr(0, end);
      path = end == path.npos ? std::string_view() : path.substr(end);
    }
  }
  return out;
}

std::string unescape_percent(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    unsigned byte = 0;
    if (text[i] == '%' && i + 2 < text.size() &&
        std::from_chars(&text[i + 1], &text[i + 1] + 2, byte, 16).ptr == &text[i + 1] + 2) {
      out.push_back(static_cast<char>(byte));
      i += 2;
    } else {
      out.push_back(text[i]);
    }
  }
  return out;
}

std::string unescape_pointer(std::string_view token) {
  std::string out;
  for (size_t i = 0; i < token.size(); ++i) {
    const bool tilde = token[i] == '~' && i + 1 < token.size();
    if (tilde && token[i + 1] == '0') {
      out.push_back('~'), ++i;
    } else if (tilde && token[i + 1] == '1') {
      out.push_back('/'), ++i;
    } else {
      out.push_back(token[i]);
    }
  }
  return out;
}

constexpr std::array<const char*, 12> kOneSchema{"not",
                                                 "if",
                                                 "then",
                                                 "else",
                                                 "items",
                                                 "contains",
                                                 "propertyNames",
                                                 "additionalProperties",
                                                 "unevaluatedItems",
                                                 "unevaluatedProperties",
                                                 "contentSchema",
                                                 "additionalItems"};
constexpr std::array<const char*, 5> kListOfSchemas{"allOf", "anyOf", "oneOf", "prefixItems",
                                                    "items"};
constexpr std::array<const char*, 6> kMapOfSchemas{
    "$defs", "definitions", "properties", "patternProperties", "dependentSchemas", "dependencies"};

}  // namespace

std::string resolve_uri(std::string_view base, std::string_view reference) {
  const Uri b = split(base);
  const Uri r = split(reference);
  Uri t = r;
  std::string path(r.path);
  if (!r.scheme.empty()) {
    path = without_dots(r.path);
  } else {
    t.scheme = b.scheme;
    if (r.has_authority) {
      path = without_dots(r.path);
    } else {
      t.authority = b.authority, t.has_authority = b.has_authority;
      if (r.path.empty()) {
        path = b.path;
        if (!r.has_query) t.query = b.query, t.has_query = b.has_query;
      } else if (r.path.starts_with('/')) {
        path = without_dots(r.path);
      } else {
        const size_t slash = b.path.rfind('/');
        std::string merged(b.path.substr(0, slash == b.path.npos ? 0 : slash + 1));
        if (b.has_authority && b.path.empty()) merged = "/";
        path = without_dots(merged + std::string(r.path));
      }
    }
  }
  std::string out;
  if (!t.scheme.empty()) out += std::string(t.scheme) + ":";
  if (t.has_authority) out += "//" + std::string(t.authority);
  out += path;
  if (t.has_query) out += "?" + std::string(t.query);
  if (t.has_fragment) out += "#" + std::string(t.fragment);
  return out;
}

SchemaDocument::SchemaDocument(std::unique_ptr<Json> root) : root_(std::move(root)) {
  resources_.push_back({"", 0, {}, {}});
  by_uri_.emplace("", 0);
  walk(*root_, 0, 0);
}
SchemaDocument::~SchemaDocument() = default;

/// A schema with an $id begins a resource; anchors are noted in theirs.
int32_t SchemaDocument::identify(const Json& place, int32_t resource, int32_t schema) {
  const auto text = [&place](const char* name) -> const std::string* {
    const auto at = place.find(name);
    if (at == place.end()) return nullptr;
    if (!at->is_string()) {
      throw Refusal{invalid_argument("'{}' must be a string", name), name};
    }
    return &at->get_ref<const std::string&>();
  };
  if (const std::string* id = text("$id"); id != nullptr && id->find('#') == 0) {
    throw Refusal{invalid_argument("'$id' must not be a fragment"), "$id"};
  } else if (id != nullptr) {
    std::string uri = resolve_uri(resources_[static_cast<size_t>(resource)].uri, *id);
    if (uri.ends_with('#')) uri.pop_back();
    if (schema != 0) {
      resources_.push_back({uri, schema, {}, {}});
      resource = static_cast<int32_t>(resources_.size()) - 1;
    }
    resources_[static_cast<size_t>(resource)].uri = uri;
    by_uri_.emplace(uri, resource);
  }
  Resource& r = resources_[static_cast<size_t>(resource)];
  if (const std::string* anchor = text("$anchor")) r.anchors.emplace(*anchor, schema);
  if (const std::string* anchor = text("$dynamicAnchor")) {
    r.anchors.emplace(*anchor, schema);
    r.dynamic_anchors.emplace(*anchor, schema);
  }
  dynamic_refs_ |= place.contains("$dynamicRef");
  return resource;
}

int32_t SchemaDocument::walk(const Json& place, int32_t resource, int depth) {
  if (depth > kMaxDepth || nodes_.size() > kMaxNodes) refuse_limit("the schema is too large");
  if (!place.is_object() && !place.is_boolean()) {
    throw Refusal{
        invalid_argument("a schema must be an object or a boolean, not {}", place.type_name()),
        "schema"};
  }
  const auto [at, fresh] = by_place_.emplace(&place, static_cast<int32_t>(nodes_.size()));
  if (!fresh) return at->second;
  const int32_t schema = at->second;
  nodes_.push_back({&place, resource});
  if (!place.is_object()) return schema;
  resource = identify(place, resource, schema);
  nodes_[static_cast<size_t>(schema)].resource = resource;
  walk_children(place, resource, depth + 1);
  return schema;
}

void SchemaDocument::walk_children(const Json& place, int32_t resource, int depth) {
  for (const char* name : kOneSchema) {
    const auto at = place.find(name);
    if (at != place.end() && (at->is_object() || at->is_boolean())) walk(*at, resource, depth);
  }
  for (const char* name : kListOfSchemas) {
    const auto at = place.find(name);
    if (at == place.end() || !at->is_array()) continue;
    for (const Json& item : *at) walk(item, resource, depth);
  }
  for (const char* name : kMapOfSchemas) {
    const auto at = place.find(name);
    if (at == place.end() || !at->is_object()) continue;
    for (const auto& [key, value] : at->items()) {
      if (std::string_view(name) == "dependencies" && value.is_array()) continue;
      walk(value, resource, depth);
    }
  }
}

int32_t SchemaDocument::schema_at(const Json& place) {
  const auto found = by_place_.find(&place);
  if (found == by_place_.end()) {
    throw Refusal{
        invalid_argument("a schema must be an object or a boolean, not {}", place.type_name()),
        "schema"};
  }
  return found->second;
}

int32_t SchemaDocument::follow_pointer(int32_t root, std::string_view pointer,
                                       const std::string& reference) {
  const Json* at = nodes_[static_cast<size_t>(root)].json;
  int32_t resource = nodes_[static_cast<size_t>(root)].resource;
  while (!pointer.empty()) {
    pointer.remove_prefix(1);
    const size_t end = pointer.find('/');
    const std::string token = unescape_pointer(pointer.substr(0, end));
    pointer = end == pointer.npos ? std::string_view() : pointer.substr(end);
    const Json* next = nullptr;
    if (at->is_object()) {
      const auto found = at->find(token);
      if (found != at->end()) next = &*found;
    } else if (at->is_array()) {
      size_t index = at->size();
      const auto [stop, error] = std::from_chars(token.data(), token.data() + token.size(), index);
      const bool number = error == std::errc() && stop == token.data() + token.size();
      if (number && index < at->size()) next = &(*at)[index];
    }
    if (next == nullptr) {
      throw Refusal{invalid_argument("'$ref': {} does not exist in the schema", reference), "$ref"};
    }
    at = next;
    if (const auto known = by_place_.find(at); known != by_place_.end()) {
      resource = nodes_[static_cast<size_t>(known->second)].resource;
    }
  }
  return walk(*at, resource, 0);
}

SchemaDocument::Target SchemaDocument::resolve(int32_t schema, const std::string& reference,
                                               const char* keyword) {
  const Resource& here = resource(node(schema).resource);
  const std::string full = resolve_uri(here.uri, reference);
  const size_t hash = full.find('#');
  const std::string uri = full.substr(0, hash);
  const std::string fragment =
      hash == std::string::npos ? std::string() : unescape_percent(full.substr(hash + 1));
  const auto found = by_uri_.find(uri);
  if (found == by_uri_.end()) {
    refuse(keyword, "names " + reference +
                        ", which is not part of the schema; nothing is fetched: "
                        "put it into '$defs'");
  }
  const Resource& r = resource(found->second);
  if (fragment.empty()) return {r.root, {}};
  if (fragment[0] == '/') return {follow_pointer(r.root, fragment, reference), {}};
  const auto anchor = r.anchors.find(fragment);
  if (anchor == r.anchors.end()) {
    throw Refusal{
        invalid_argument("'{}': {} names an anchor that does not exist", keyword, reference),
        keyword};
  }
  return {anchor->second, r.dynamic_anchors.contains(fragment) ? fragment : std::string()};
}

}  // namespace ramjet::text
