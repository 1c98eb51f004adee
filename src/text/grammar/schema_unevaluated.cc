// unevaluatedProperties and unevaluatedItems: which keys and items the other keywords evaluate.
//
// A schema is split into the ways in which a value can be valid; each evaluates a known set. More
// evaluated is less that is constrained, so of `anyOf` every set of branches may be taken for the
// ones that hold: a value that satisfies more is found by a larger set.
#include <algorithm>

#include "base/json.h"
#include "text/grammar/schema_expand.h"
#include "text/grammar/schema_fields.h"

namespace ramjet::text {
namespace {

constexpr int kMaxDepth = 64;
constexpr size_t kMaxCases = 512;
constexpr size_t kMaxBranches = 9;  // of an anyOf, as sets of them are tried

}  // namespace

SchemaExpander::Case SchemaExpander::own_case(const Place& p) {
  Case own;
  if (p.objects) {
    if (const Json* map = find_map(p.json, "properties")) {
      for (const auto& [key, schema] : map->items()) {
        own.keys.push_back(pool_.key_set(to_code_points(key)));
      }
    }
    if (const Json* map = find_map(p.json, "patternProperties")) {
      for (const auto& [pattern, schema] : map->items()) {
        own.keys.push_back(pattern_set(pattern, "patternProperties"));
      }
    }
    own.all = p.json.contains("additionalProperties");
    return own;
  }
  if (const Json* prefix = find_list(p.json, "prefixItems")) {
    own.items = static_cast<int64_t>(prefix->size());
  }
  own.all = p.json.contains("items");
  if (const Json* contains = find_field(p.json, "contains")) {
    own.matched.push_back(sub(p, *contains));
  }
  return own;
}

SchemaExpander::Cases SchemaExpander::branch(const Place& p, const Json& child, int depth) {
  const int32_t schema = document_->schema_at(child);
  return cases(schema, enter(schema, p.scope), p.objects, depth + 1);
}

namespace {

template <class Cases>
void limit(const Cases& cases) {
  if (cases.size() > kMaxCases) {
    refuse("unevaluated*", "stands beside more than 512 ways of being valid");
  }
}

}  // namespace

/// The ways of `schema`, each of which implies that the value satisfies it.
SchemaExpander::Cases SchemaExpander::cases(int32_t schema, int32_t scope, bool objects,
                                            int depth) {
  pool_.charge(16);
  if (depth > kMaxDepth) refuse("$ref", "refers to itself without an end");
  const Json& json = document_->json(schema);
  if (json.is_boolean()) return {Case{json.get<bool>() ? kTrueExpr : kFalseExpr, false, {}, 0, {}}};
  const Place p{schema, scope, json, objects};
  Case own = own_case(p);
  own.when = reference(schema, scope);
  own.all |= json.contains(objects ? "unevaluatedProperties" : "unevaluatedItems");
  Cases out{std::move(own)};
  if (!out[0].all) combine_logic(p, out, depth);
  return out;
}

void SchemaExpander::combine_logic(const Place& p, Cases& out, int depth) {
  const auto join = [this](const Case& a, const Case& b) {
    Case c = a;
    c.when = pool_.all({a.when, b.when});
    c.all |= b.all;
    c.keys.insert(c.keys.end(), b.keys.begin(), b.keys.end());
    c.items = std::max(a.items, b.items);
    c.matched.insert(c.matched.end(), b.matched.begin(), b.matched.end());
    return c;
  };
  const auto cross = [&join](const Cases& a, const Cases& b) {
    Cases product;
    for (const Case& x : a) {
      for (const Case& y : b) {
        Case c = join(x, y);
        if (c.when == kFalseExpr) continue;
        if (std::find(product.begin(), product.end(), c) == product.end()) product.push_back(c);
      }
      limit(product);
    }
    return product;
  };
  const auto append = [](Cases& to, const Cases& from) {
    to.insert(to.end(), from.begin(), from.end());
    limit(to);
  };
  for (const char* keyword : {"$ref", "$dynamicRef"}) {
    if (!p.json.contains(keyword)) continue;
    const auto [schema, scope] = target(p, keyword);
    out = cross(out, cases(schema, scope, p.objects, depth + 1));
  }
  if (const Json* list = find_list(p.json, "allOf")) {
    for (const Json& child : *list) out = cross(out, branch(p, child, depth));
  }
  if (const Json* list = find_list(p.json, "anyOf")) {
    if (list->size() > kMaxBranches)
      refuse("unevaluated*", "stands beside an anyOf of more than 9");
    Cases sets{Case{}};
    for (const Json& child : *list) {
      Cases more = cross(sets, branch(p, child, depth));
      append(sets, more);
    }
    sets.erase(sets.begin());  // none of them
    out = cross(out, sets);
  }
  if (const Json* list = find_list(p.json, "oneOf")) {
    Cases ways;
    for (const Json& child : *list) append(ways, branch(p, child, depth));
    out = cross(out, ways);
  }
  if (const Json* condition = find_field(p.json, "if")) {
    Cases yes = branch(p, *condition, depth);
    if (const Json* then = find_field(p.json, "then")) yes = cross(yes, branch(p, *then, depth));
    Cases no{Case{}};
    if (const Json* other = find_field(p.json, "else")) no = branch(p, *other, depth);
    Case not_so;
    not_so.when = pool_.negate(sub(p, *condition));
    append(yes, cross({not_so}, no));
    out = cross(out, yes);
  }
  const Json* map = find_map(p.json, "dependentSchemas");
  if (map != nullptr) {
    for (const auto& [key, child] : map->items()) {
      const ExprId has = pool_.has_key(pool_.key_set(to_code_points(key)));
      Case absent, present;
      absent.when = pool_.negate(has), present.when = has;
      Cases ways = cross({present}, branch(p, child, depth));
      append(ways, {absent});
      out = cross(out, ways);
    }
  }
}

void SchemaExpander::add_unevaluated(const Place& p, std::vector<ExprId>& out) {
  for (const bool objects : {true, false}) {
    const Json* schema = find_field(p.json, objects ? "unevaluatedProperties" : "unevaluatedItems");
    if (schema == nullptr) continue;
    const ExprId value = sub(p, *schema);
    if (value == kTrueExpr) continue;
    const Place place{p.schema, p.scope, p.json, objects};
    Cases ways{own_case(place)};
    if (!ways[0].all) combine_logic(place, ways, 0);
    std::vector<ExprId> any;
    for (const Case& way : ways) {
      ExprId rest = kTrueExpr;
      if (!way.all && objects) {
        Dfa known = Dfa::all(false);
        for (const int32_t set : way.keys) {
          known = must(Dfa::either(known, *pool_.language(set)), "unevaluatedProperties");
        }
        rest = pool_.keys(pool_.text_set(std::make_shared<const Dfa>(known.complement())), value);
      } else if (!way.all) {
        std::vector<ExprId> ok = way.matched;
        ok.push_back(value);
        const ExprId item = pool_.any(std::move(ok));
        if (item != kTrueExpr) {
          rest = pool_.add({ExprKind::kItemsFrom, 0, 0, way.items, 0, {item}});
        }
      }
      any.push_back(pool_.all({way.when, rest}));
    }
    out.push_back(pool_.any(std::move(any)));
    if (objects && value != kFalseExpr) {
      const int32_t every = pool_.text_set(std::make_shared<const Dfa>(Dfa::all()), "all");
      out.push_back(pool_.add({ExprKind::kOpen, every, 0, 0, 0, {}}));
    }
  }
}

}  // namespace ramjet::text
