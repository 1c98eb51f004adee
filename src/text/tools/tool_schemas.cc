#include "text/tools/tool_schemas.h"

#include "base/json.h"
#include "text/tools/json_scan.h"

namespace ramjet::text {
namespace {

constexpr int kMaxReferences = 16;

/// Types as bits.
constexpr unsigned kString = 1;
constexpr unsigned kNumber = 2;
constexpr unsigned kBoolean = 4;
constexpr unsigned kObject = 8;
constexpr unsigned kArray = 16;
constexpr unsigned kNull = 32;
constexpr unsigned kAny = 63;

unsigned type_bit(std::string_view name) {
  if (name == "string") return kString;
  if (name == "number" || name == "integer") return kNumber;
  if (name == "boolean") return kBoolean;
  if (name == "object") return kObject;
  if (name == "array") return kArray;
  return name == "null" ? kNull : 0;
}

unsigned type_of(const OrderedJson& value) {
  if (value.is_string()) return kString;
  if (value.is_number()) return kNumber;
  if (value.is_boolean()) return kBoolean;
  if (value.is_object()) return kObject;
  return value.is_array() ? kArray : kNull;
}

/// "#/$defs/Name" within `root`.
const OrderedJson* resolve(const OrderedJson& root, const OrderedJson& schema) {
  const auto& reference = schema["$ref"].get_ref<const std::string&>();
  if (!reference.starts_with("#/")) return nullptr;
  const OrderedJson* at = &root;
  size_t begin = 2;
  while (begin <= reference.size()) {
    const size_t end = std::min(reference.find('/', begin), reference.size());
    const auto found = at->find(reference.substr(begin, end - begin));
    if (!at->is_object() || found == at->end()) return nullptr;
    at = &*found;
    begin = end + 1;
  }
  return at;
}

/// Which types `schema` lets through; 0: it does not say.
unsigned types_of(const OrderedJson& root, const OrderedJson& schema, int references) {
  if (!schema.is_object() || references > kMaxReferences) return 0;
  if (schema.contains("$ref") && schema["$ref"].is_string()) {
    const OrderedJson* target = resolve(root, schema);
    return target == nullptr ? 0 : types_of(root, *target, references + 1);
  }
  unsigned types = schema.contains("nullable") && schema["nullable"] == true ? kNull : 0;
  if (const auto type = schema.find("type"); type != schema.end()) {
    if (type->is_string()) return types | type_bit(type->get_ref<const std::string&>());
    for (const OrderedJson& one : *type) {
      if (one.is_string()) types |= type_bit(one.get_ref<const std::string&>());
    }
    return types;
  }
  if (const auto values = schema.find("enum"); values != schema.end() && values->is_array()) {
    for (const OrderedJson& value : *values) types |= type_of(value);
    return types;
  }
  if (const auto value = schema.find("const"); value != schema.end()) return type_of(*value);
  for (const char* name : {"anyOf", "oneOf", "allOf"}) {
    const auto options = schema.find(name);
    if (options == schema.end() || !options->is_array()) continue;
    for (const OrderedJson& option : *options) types |= types_of(root, option, references + 1);
  }
  return types;
}

std::string_view without_python(std::string_view text) {
  if (text == "True") return "true";
  if (text == "False") return "false";
  return text == "None" ? "null" : text;
}

}  // namespace

ToolSchemas::ToolSchemas() : ToolSchemas(OrderedJson::array()) {}

ToolSchemas::ToolSchemas(const OrderedJson& tools) {
  OrderedJson functions = OrderedJson::object();
  if (tools.is_array()) {
    for (const OrderedJson& tool : tools) {
      if (!tool.is_object()) continue;
      const auto inner = tool.find("function");
      const OrderedJson& function = inner != tool.end() && inner->is_object() ? *inner : tool;
      const auto name = function.find("name");
      if (name == function.end() || !name->is_string()) continue;
      OrderedJson schema = nullptr;
      for (const char* key : {"parameters", "input_schema"}) {
        if (function.contains(key)) schema = function[key];
      }
      functions[name->get<std::string>()] = std::move(schema);
    }
  }
  functions_ = std::make_unique<OrderedJson>(std::move(functions));
}

ToolSchemas::~ToolSchemas() = default;

bool ToolSchemas::empty() const { return functions_->empty(); }

bool ToolSchemas::knows(std::string_view function) const {
  return functions_->contains(std::string(function));
}

const OrderedJson* ToolSchemas::parameters(std::string_view function) const {
  const auto found = functions_->find(std::string(function));
  return found == functions_->end() ? nullptr : &*found;
}

std::string ToolSchemas::value_json(std::string_view function, std::string_view parameter,
                                    std::string_view text) const {
  unsigned types = 0;
  const OrderedJson* schema = parameters(function);
  if (schema != nullptr && schema->is_object() && schema->contains("properties")) {
    const OrderedJson& properties = (*schema)["properties"];
    const auto found =
        properties.is_object() ? properties.find(std::string(parameter)) : properties.end();
    if (found != properties.end()) types = types_of(*schema, *found, 0);
  }
  if (types == 0) types = kAny;
  if (types == kString) return quote(text);
  const std::string_view literal = without_python(trim(text));
  const auto value = parse_ordered_json(literal);
  const bool whole = literal.find('\0') == std::string_view::npos;  // the parser stops there
  if (!value.ok() || !whole) return quote(text);
  // "42" in quotes, for a string or number, is the model's way to say which.
  if (value->is_string())
    return (types & kString) != 0 && types != kAny ? quote(text) : std::string(literal);
  if ((types & type_of(*value)) != 0 || (types & kString) == 0) return std::string(literal);
  return quote(text);
}

}  // namespace ramjet::text
