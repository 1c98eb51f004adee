#include "text/grammar/schema_expand.h"

#include <algorithm>
#include <array>

#include "base/json.h"
#include "text/grammar/formats.h"
#include "text/grammar/regex.h"
#include "text/grammar/schema_fields.h"

namespace ramjet::text {

[[noreturn]] void bad_schema(const char* keyword, std::string_view wants) {
  throw Refusal{invalid_argument("'{}' must be {}", keyword, wants), keyword};
}

const OrderedJson* find_field(const OrderedJson& json, const char* keyword) {
  const auto at = json.find(keyword);
  return at == json.end() ? nullptr : &*at;
}

const OrderedJson* find_list(const OrderedJson& json, const char* keyword) {
  const OrderedJson* at = find_field(json, keyword);
  if (at != nullptr && !at->is_array()) bad_schema(keyword, "an array");
  return at;
}

const OrderedJson* find_map(const OrderedJson& json, const char* keyword) {
  const OrderedJson* at = find_field(json, keyword);
  if (at != nullptr && !at->is_object()) bad_schema(keyword, "an object");
  return at;
}

std::optional<int64_t> find_count(const OrderedJson& json, const char* keyword) {
  const OrderedJson* at = find_field(json, keyword);
  if (at == nullptr) return std::nullopt;
  const double value = at->is_number() ? at->get<double>() : -1;
  if (value < 0 || value != static_cast<double>(static_cast<int64_t>(std::min(value, 1e15)))) {
    if (value > 1e15) return int64_t{1} << 50;
    bad_schema(keyword, "a non-negative integer");
  }
  return static_cast<int64_t>(value);
}

SchemaExpander::SchemaExpander(std::unique_ptr<Json> root, ExprPool& pool, int32_t number)
    : pool_(pool), number_(number), document_(std::make_unique<SchemaDocument>(std::move(root))) {
  scopes_.emplace_back();
  scope_ids_.emplace(Scope{}, 0);
  if (document_->json(0).is_object()) check_dialect(document_->json(0));
}
SchemaExpander::~SchemaExpander() = default;

void SchemaExpander::check_dialect(const Json& json) const {
  const Json* dialect = find_field(json, "$schema");
  if (dialect == nullptr) return;
  if (!dialect->is_string()) bad_schema("$schema", "a string");
  std::string name = dialect->get<std::string>();
  if (name.ends_with('#')) name.pop_back();
  constexpr std::array<const char*, 4> kKnown{"https://json-schema.org/draft/2020-12/schema",
                                              "https://json-schema.org/draft/2019-09/schema",
                                              "http://json-schema.org/draft-07/schema",
                                              "http://json-schema.org/draft-06/schema"};
  if (std::find(kKnown.begin(), kKnown.end(), name) == kKnown.end()) {
    refuse("$schema", "is " + name +
                          "; 2020-12 and, where they agree with it, 2019-09, draft 7 and "
                          "draft 6 are known");
  }
}

ExprId SchemaExpander::root() { return reference(0, enter(0, 0)); }

/// The dynamic scope inside a schema: outer anchors win.
int32_t SchemaExpander::enter(int32_t schema, int32_t scope) {
  if (!document_->uses_dynamic_refs()) return 0;
  Scope next = scopes_[static_cast<size_t>(scope)];
  const auto& resource = document_->resource(document_->node(schema).resource);
  for (const auto& [name, to] : resource.dynamic_anchors) {
    const bool known = std::any_of(next.begin(), next.end(),
                                   [&name](const auto& entry) { return entry.first == name; });
    if (!known) next.emplace_back(name, to);
  }
  std::sort(next.begin(), next.end());
  const auto [at, fresh] = scope_ids_.emplace(next, static_cast<int32_t>(scopes_.size()));
  if (fresh) scopes_.push_back(next);
  return at->second;
}

ExprId SchemaExpander::reference(int32_t schema, int32_t scope) {
  const Json& json = document_->json(schema);
  if (json.is_boolean()) return json.get<bool>() ? kTrueExpr : kFalseExpr;
  return pool_.add({ExprKind::kSchema, schema, scope, number_, 0, {}});
}

ExprId SchemaExpander::sub(const Place& p, const Json& child) {
  const int32_t schema = document_->schema_at(child);
  return reference(schema, enter(schema, p.scope));
}

std::pair<int32_t, int32_t> SchemaExpander::target(const Place& p, const char* keyword) {
  const Json& value = p.json[keyword];
  if (!value.is_string()) bad_schema(keyword, "a string");
  auto [to, name] = document_->resolve(p.schema, value.get<std::string>(), keyword);
  if (std::string_view(keyword) == "$dynamicRef" && !name.empty()) {
    for (const auto& [anchor, outer] : scopes_[static_cast<size_t>(p.scope)]) {
      if (anchor == name) to = outer;
    }
  }
  return {to, enter(to, p.scope)};
}

ExprId SchemaExpander::body(int32_t schema, int32_t scope) {
  const auto found = bodies_.find({schema, scope});
  if (found != bodies_.end()) return found->second;
  const Json& json = document_->json(schema);
  const ExprId expr = json.is_boolean() ? (json.get<bool>() ? kTrueExpr : kFalseExpr)
                                        : expand({schema, scope, json});
  bodies_.emplace(std::pair(schema, scope), expr);
  return expr;
}

ExprId SchemaExpander::expand(const Place& p) {
  pool_.charge(16);
  check_dialect(p.json);
  std::vector<ExprId> out;
  if (p.json.contains("$recursiveRef"))
    refuse("$recursiveRef", "is not enforced; use '$dynamicRef'");
  for (const char* keyword : {"$ref", "$dynamicRef"}) {
    if (!p.json.contains(keyword)) continue;
    const auto [schema, scope] = target(p, keyword);
    out.push_back(reference(schema, scope));
  }
  add_any_type(p.json, out);
  add_numbers(p.json, out);
  add_strings(p.json, out);
  add_arrays(p, out);
  add_objects(p, out);
  add_dependencies(p, out);
  add_logic(p, out);
  add_unevaluated(p, out);
  return pool_.all(std::move(out));
}

void SchemaExpander::add_logic(const Place& p, std::vector<ExprId>& out) {
  const auto branches = [&](const char* keyword) {
    std::vector<ExprId> kids;
    const Json* list = find_list(p.json, keyword);
    if (list != nullptr && list->empty()) bad_schema(keyword, "a non-empty array");
    for (size_t i = 0; list != nullptr && i < list->size(); ++i) kids.push_back(sub(p, (*list)[i]));
    return kids;
  };
  const std::vector<ExprId> every = branches("allOf");
  out.insert(out.end(), every.begin(), every.end());
  if (p.json.contains("anyOf")) out.push_back(pool_.any(branches("anyOf")));
  if (p.json.contains("oneOf")) {
    std::vector<ExprId> kids = branches("oneOf");
    out.push_back(kids.size() == 1 ? kids[0]
                                   : pool_.add({ExprKind::kOneOf, 0, 0, 0, 0, std::move(kids)}));
  }
  if (const Json* inner = find_field(p.json, "not")) out.push_back(pool_.negate(sub(p, *inner)));
  const Json* condition = find_field(p.json, "if");
  if (condition == nullptr) return;
  const ExprId test = sub(p, *condition);
  const Json* then = find_field(p.json, "then");
  const Json* otherwise = find_field(p.json, "else");
  if (then != nullptr) out.push_back(pool_.any({pool_.negate(test), sub(p, *then)}));
  if (otherwise != nullptr) out.push_back(pool_.any({test, sub(p, *otherwise)}));
}

void SchemaExpander::add_dependencies(const Place& p, std::vector<ExprId>& out) {
  const auto when = [this, &out](const std::string& key, ExprId then) {
    const int32_t set = pool_.key_set(to_code_points(key));
    out.push_back(pool_.any({pool_.negate(pool_.has_key(set)), then}));
  };
  const auto required = [this](const Json& names, const char* keyword) {
    std::vector<ExprId> keys;
    if (!names.is_array()) bad_schema(keyword, "an object of arrays of strings");
    for (const Json& name : names) {
      if (!name.is_string()) bad_schema(keyword, "an object of arrays of strings");
      keys.push_back(pool_.has_key(pool_.key_set(to_code_points(name.get<std::string>()))));
    }
    return pool_.all(std::move(keys));
  };
  if (const Json* map = find_map(p.json, "dependentRequired")) {
    for (const auto& [key, names] : map->items()) when(key, required(names, "dependentRequired"));
  }
  if (const Json* map = find_map(p.json, "dependentSchemas")) {
    for (const auto& [key, schema] : map->items()) when(key, sub(p, schema));
  }
  if (const Json* map = find_map(p.json, "dependencies")) {
    for (const auto& [key, value] : map->items()) {
      when(key, value.is_array() ? required(value, "dependencies") : sub(p, value));
    }
  }
}

}  // namespace ramjet::text
