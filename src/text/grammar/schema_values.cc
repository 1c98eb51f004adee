// The keywords that speak of values of one type.
#include <algorithm>

#include "base/json.h"
#include "text/grammar/formats.h"
#include "text/grammar/regex.h"
#include "text/grammar/schema_expand.h"
#include "text/grammar/schema_fields.h"

namespace ramjet::text {
namespace {

Decimal decimal(const OrderedJson& number, const char* keyword) {
  if (!number.is_number()) bad_schema(keyword, "a number");
  const auto value = Decimal::parse(number.dump());
  if (!value) bad_schema(keyword, "a number with an exponent below 1000000");
  return *value;
}

NumberSet exactly(const Decimal& value) {
  NumberRange range;
  range.low = range.high = NumberBound{value, false};
  return {{range}};
}

NumberSet integers() {
  NumberRange range;
  range.multiple_of = {*Decimal::parse("1")};
  return {{range}};
}

std::shared_ptr<const Dfa> shared(Dfa dfa) { return std::make_shared<const Dfa>(std::move(dfa)); }

constexpr uint32_t kScalars = type_bit(JsonType::kNull) | type_bit(JsonType::kTrue) |
                              type_bit(JsonType::kFalse) | type_bit(JsonType::kNumber) |
                              type_bit(JsonType::kString);

/// One of these values.
ExprId one_of_values(ExprPool& pool, const OrderedJson& values) {
  uint32_t bits = 0;
  std::vector<std::u32string> texts;
  NumberSet numbers;
  std::vector<ExprId> containers;
  for (const OrderedJson& value : values) {
    if (value.is_null()) {
      bits |= type_bit(JsonType::kNull);
    } else if (value.is_boolean()) {
      bits |= type_bit(value.get<bool>() ? JsonType::kTrue : JsonType::kFalse);
    } else if (value.is_string()) {
      bits |= type_bit(JsonType::kString);
      texts.push_back(to_code_points(value.get_ref<const std::string&>()));
    } else if (value.is_number()) {
      bits |= type_bit(JsonType::kNumber);
      numbers = NumberSet::either(numbers, exactly(decimal(value, "enum")));
    } else {
      containers.push_back(SchemaExpander::constant(pool, value));
    }
  }
  std::vector<ExprId> scalar{pool.types(bits)};
  if (!texts.empty()) {
    scalar.push_back(pool.text(pool.text_set(shared(must(compile_choice(texts), "enum")))));
  }
  if (!numbers.ranges.empty()) scalar.push_back(pool.number(std::move(numbers)));
  if ((bits & kScalars) != 0) containers.push_back(pool.all(std::move(scalar)));
  return pool.any(std::move(containers));
}

}  // namespace

ExprId SchemaExpander::constant(ExprPool& pool, const Json& value) {
  if (!value.is_structured()) return one_of_values(pool, Json::array({value}));
  const auto size = static_cast<int64_t>(value.size());
  std::vector<ExprId> out;
  if (value.is_array()) {
    out = {pool.types(type_bit(JsonType::kArray)), pool.items(size, size)};
    for (size_t i = 0; i < value.size(); ++i) {
      const ExprId item = constant(pool, value[i]);
      out.push_back(pool.add({ExprKind::kItemAt, 0, 0, static_cast<int64_t>(i), 0, {item}}));
    }
    return pool.all(std::move(out));
  }
  out = {pool.types(type_bit(JsonType::kObject)), pool.members(size, size)};
  for (const auto& [key, member] : value.items()) {
    const int32_t set = pool.key_set(to_code_points(key));
    out.push_back(pool.has_key(set));
    out.push_back(pool.keys(set, constant(pool, member)));
  }
  return pool.all(std::move(out));
}

void SchemaExpander::add_any_type(const Json& json, std::vector<ExprId>& out) {
  if (const Json* type = find_field(json, "type")) {
    uint32_t bits = 0;
    bool integer = false;
    const Json list = type->is_array() ? *type : Json::array({*type});
    for (const Json& item : list) {
      const std::string name = item.is_string() ? item.get<std::string>() : "";
      const uint32_t boolean = type_bit(JsonType::kTrue) | type_bit(JsonType::kFalse);
      const uint32_t bit = name == "null"      ? type_bit(JsonType::kNull)
                           : name == "boolean" ? boolean
                           : name == "number"  ? type_bit(JsonType::kNumber)
                           : name == "string"  ? type_bit(JsonType::kString)
                           : name == "array"   ? type_bit(JsonType::kArray)
                           : name == "object"  ? type_bit(JsonType::kObject)
                                               : 0;
      integer |= name == "integer";
      if (bit == 0 && name != "integer") bad_schema("type", "the name of a type, or several");
      bits |= bit;
    }
    integer = integer && (bits & type_bit(JsonType::kNumber)) == 0;
    out.push_back(pool_.types(bits | (integer ? type_bit(JsonType::kNumber) : 0)));
    if (integer) out.push_back(pool_.number(integers()));
  }
  if (const Json* value = find_field(json, "const")) out.push_back(constant(pool_, *value));
  if (const Json* values = find_list(json, "enum")) out.push_back(one_of_values(pool_, *values));
}

void SchemaExpander::add_numbers(const Json& json, std::vector<ExprId>& out) {
  const auto bound = [&](const char* keyword, bool low, bool open) {
    const Json* value = find_field(json, keyword);
    if (value == nullptr) return;
    NumberRange range;
    (low ? range.low : range.high) = NumberBound{decimal(*value, keyword), open};
    out.push_back(pool_.number({{range}}));
  };
  bound("minimum", true, false);
  bound("exclusiveMinimum", true, true);
  bound("maximum", false, false);
  bound("exclusiveMaximum", false, true);
  const Json* unit = find_field(json, "multipleOf");
  if (unit == nullptr) return;
  NumberRange range;
  range.multiple_of = {decimal(*unit, "multipleOf")};
  const Decimal& m = range.multiple_of[0];
  if (m.is_zero() || m.negative) bad_schema("multipleOf", "a number above 0");
  if (m.digits.size() > 18) refuse("multipleOf", "has more than 18 digits");
  out.push_back(pool_.number({{range}}));
}

int32_t SchemaExpander::pattern_set(const std::string& pattern, const char* keyword) {
  return pool_.text_set(shared(must(compile_regex(pattern, RegexMatch::kPart), keyword)),
                        "pattern:" + pattern);
}

void SchemaExpander::add_strings(const Json& json, std::vector<ExprId>& out) {
  const auto min = find_count(json, "minLength");
  const auto max = find_count(json, "maxLength");
  if (min || max) {
    const char* keyword = max ? "maxLength" : "minLength";
    Dfa lengths = must(Dfa::lengths(min.value_or(0), max.value_or(-1)), keyword);
    out.push_back(pool_.text(pool_.text_set(shared(std::move(lengths)))));
  }
  if (const Json* pattern = find_field(json, "pattern")) {
    if (!pattern->is_string()) bad_schema("pattern", "a string");
    out.push_back(pool_.text(pattern_set(pattern->get<std::string>(), "pattern")));
  }
  if (const Json* format = find_field(json, "format")) {
    if (!format->is_string()) bad_schema("format", "a string");
    const auto name = format->get<std::string>();
    auto language = must(format_language(name), "format");
    if (language != nullptr) {
      out.push_back(pool_.text(pool_.text_set(std::move(language), "format:" + name)));
    }
  }
}

void SchemaExpander::add_arrays(const Place& p, std::vector<ExprId>& out) {
  int64_t first = 0;
  const Json* items = find_field(p.json, "items");
  const bool tuple = items != nullptr && items->is_array();  // of older drafts
  if (tuple && !p.json.contains("$schema") && !document_->json(0).contains("$schema")) {
    bad_schema("items", "a schema; 'prefixItems' takes several");
  }
  const Json* prefix = tuple ? items : find_list(p.json, "prefixItems");
  for (size_t i = 0; prefix != nullptr && i < prefix->size(); ++i, ++first) {
    const ExprId item = sub(p, (*prefix)[i]);
    if (item != kTrueExpr) out.push_back(pool_.add({ExprKind::kItemAt, 0, 0, first, 0, {item}}));
  }
  const Json* rest = tuple ? find_field(p.json, "additionalItems") : items;
  if (rest != nullptr) {
    const ExprId item = sub(p, *rest);
    if (item != kTrueExpr) out.push_back(pool_.add({ExprKind::kItemsFrom, 0, 0, first, 0, {item}}));
  }
  if (const Json* contains = find_field(p.json, "contains")) {
    const int64_t min = find_count(p.json, "minContains").value_or(1);
    const int64_t max = find_count(p.json, "maxContains").value_or(kNoLimit);
    out.push_back(pool_.add({ExprKind::kContains, 0, 0, min, max, {sub(p, *contains)}}));
  }
  out.push_back(pool_.items(find_count(p.json, "minItems").value_or(0),
                            find_count(p.json, "maxItems").value_or(kNoLimit)));
  if (const Json* unique = find_field(p.json, "uniqueItems")) {
    if (!unique->is_boolean()) bad_schema("uniqueItems", "true or false");
    if (unique->get<bool>()) out.push_back(pool_.add({ExprKind::kUnique, 0, 0, 0, 0, {}}));
  }
}

int32_t SchemaExpander::additional_set(const Json& json) {
  std::vector<std::u32string> names;
  if (const Json* map = find_map(json, "properties")) {
    for (const auto& [key, schema] : map->items()) names.push_back(to_code_points(key));
  }
  Dfa known = must(compile_choice(names), "properties");
  if (const Json* map = find_map(json, "patternProperties")) {
    for (const auto& [pattern, schema] : map->items()) {
      const auto other = pool_.language(pattern_set(pattern, "patternProperties"));
      known = must(Dfa::either(known, *other), "patternProperties");
    }
  }
  return pool_.text_set(shared(known.complement()));
}

void SchemaExpander::add_objects(const Place& p, std::vector<ExprId>& out) {
  if (const Json* map = find_map(p.json, "properties")) {
    for (const auto& [key, schema] : map->items()) {
      const int32_t set = pool_.key_set(to_code_points(key));
      const ExprId value = sub(p, schema);
      // A member that anything may be is still one to offer to a model.
      out.push_back(pool_.add({ExprKind::kKeys, set, 0, 0, 0, {value}}));
    }
  }
  const auto open = [this, &out](int32_t set) {
    out.push_back(pool_.add({ExprKind::kOpen, set, 0, 0, 0, {}}));
  };
  if (const Json* map = find_map(p.json, "patternProperties")) {
    for (const auto& [pattern, schema] : map->items()) {
      const int32_t set = pattern_set(pattern, "patternProperties");
      out.push_back(pool_.keys(set, sub(p, schema)));
      open(set);
    }
  }
  if (const Json* schema = find_field(p.json, "additionalProperties")) {
    const ExprId value = sub(p, *schema);
    const int32_t set = additional_set(p.json);
    out.push_back(pool_.keys(set, value));
    if (value != kFalseExpr) open(set);
  }
  if (const Json* schema = find_field(p.json, "propertyNames")) {
    const ExprId names = sub(p, *schema);
    if (names != kTrueExpr) out.push_back(pool_.add({ExprKind::kNames, 0, 0, 0, 0, {names}}));
  }
  if (const Json* names = find_list(p.json, "required")) {
    for (const Json& name : *names) {
      if (!name.is_string()) bad_schema("required", "an array of strings");
      out.push_back(pool_.has_key(pool_.key_set(to_code_points(name.get<std::string>()))));
    }
  }
  out.push_back(pool_.members(find_count(p.json, "minProperties").value_or(0),
                              find_count(p.json, "maxProperties").value_or(kNoLimit)));
}

}  // namespace ramjet::text
