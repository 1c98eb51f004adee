// What the output must be: response_format, structured_outputs, and the names that came before.
#include "base/json.h"
#include "server/openai/fields.h"
#include "server/openai/request.h"
#include "text/grammar/grammar.h"

namespace ramjet::server {
namespace {

constexpr size_t kMaxChoices = 10'000;

class ConstraintReader {
 public:
  ConstraintReader(Fields& fields, GenerationRequest& out) : fields_(fields), out_(out) {}

  void set(const std::string& field, std::string grammar) {
    if (!out_.grammar.empty()) {
      return fields_.fail(field, "'" + field + "' and '" + out_.grammar_field +
                                     "' exclude each other; send one constraint");
    }
    out_.grammar = std::move(grammar);
    out_.grammar_field = field;
  }
  void schema(const std::string& field, const OrderedJson& schema) {
    if (schema.is_string()) {  // as vLLM's clients send it
      const auto parsed = parse_ordered_json(schema.get_ref<const std::string&>());
      if (!parsed.ok()) return fields_.fail(field, "'" + field + "' is no JSON schema");
      return set(field, text::spec::json_schema(schema.get_ref<const std::string&>()));
    }
    if (!schema.is_object() && !schema.is_boolean()) {
      return fields_.fail(field, "'" + field + "' must be a JSON schema: an object");
    }
    set(field, text::spec::json_schema(dump(schema)));
  }
  void regex(const std::string& field, const OrderedJson& value) {
    if (!value.is_string()) return fields_.fail(field, "'" + field + "' must be a string");
    set(field, text::spec::regex(value.get_ref<const std::string&>()));
  }
  void grammar(const std::string& field, const OrderedJson& value) {
    if (!value.is_string()) return fields_.fail(field, "'" + field + "' must be a string");
    set(field, text::spec::ebnf(value.get_ref<const std::string&>()));
  }
  void choice(const std::string& field, const OrderedJson& value) {
    bool ok = value.is_array() && !value.empty() && value.size() <= kMaxChoices;
    std::vector<std::string> choices;
    for (size_t i = 0; ok && i < value.size(); ++i) {
      ok = value[i].is_string();
      if (ok) choices.push_back(value[i].get<std::string>());
    }
    if (!ok) {
      return fields_.fail(field, "'" + field + "' must be an array of 1 to 10000 strings");
    }
    set(field, text::spec::choice(choices));
  }

 private:
  static std::string dump(const OrderedJson& json) {
    return json.dump(-1, ' ', false, OrderedJson::error_handler_t::replace);
  }
  Fields& fields_;
  GenerationRequest& out_;
};

void parse_response_format(Fields& fields, ConstraintReader& reader) {
  const OrderedJson* format = fields.find_object("response_format");
  if (format == nullptr) return;
  std::string type;
  Fields inner(*format, "response_format.");
  inner.read("type", type);
  const OrderedJson* schema = inner.find_object("json_schema");
  if (auto error = inner.take_error()) return fields.fail(std::move(*error));
  if (type == "text") return;
  if (type == "json_object") return reader.set("response_format", text::spec::json_object());
  if (type == "json_schema") {
    // Strict or not, a schema that is given is kept.
    const auto at = schema == nullptr ? format->end() : schema->find("schema");
    if (schema == nullptr || at == schema->end()) {
      return fields.fail("response_format",
                         "'response_format.json_schema' must be an object with a 'schema'");
    }
    return reader.schema("response_format", *at);
  }
  if (type == "structural_tag") {
    return fields.fail(not_supported(
        "response_format", "'response_format' of type 'structural_tag' is not supported"));
  }
  fields.fail("response_format",
              "'response_format.type' must be 'text', 'json_object' or 'json_schema'");
}

void parse_structured_outputs(Fields& fields, ConstraintReader& reader) {
  const OrderedJson* object = fields.find_object("structured_outputs");
  if (object == nullptr) return;
  Fields inner(*object, "structured_outputs.");
  const std::string prefix = "structured_outputs.";
  if (const auto* v = inner.find("json")) reader.schema(prefix + "json", *v);
  if (const auto* v = inner.find("regex")) reader.regex(prefix + "regex", *v);
  if (const auto* v = inner.find("choice")) reader.choice(prefix + "choice", *v);
  if (const auto* v = inner.find("grammar")) reader.grammar(prefix + "grammar", *v);
  bool any = false;
  inner.read("json_object", any);
  if (any) reader.set(prefix + "json_object", text::spec::json_object());
  if (inner.has("structural_tag")) {
    fields.fail(not_supported("structured_outputs",
                              "'structured_outputs.structural_tag' is not supported"));
  }
  if (auto error = inner.take_error()) fields.fail(std::move(*error));
}

}  // namespace

void parse_constraint(Fields& fields, GenerationRequest& out) {
  ConstraintReader reader(fields, out);
  parse_response_format(fields, reader);
  parse_structured_outputs(fields, reader);
  if (const auto* v = fields.find("guided_json")) reader.schema("guided_json", *v);
  if (const auto* v = fields.find("guided_regex")) reader.regex("guided_regex", *v);
  if (const auto* v = fields.find("guided_choice")) reader.choice("guided_choice", *v);
  if (const auto* v = fields.find("guided_grammar")) reader.grammar("guided_grammar", *v);
  if (fields.has("structural_tag")) {
    fields.fail(not_supported("structural_tag", "'structural_tag' is not supported"));
  }
  bool beam_search = false;
  fields.read("use_beam_search", beam_search);
  if (beam_search) {
    fields.fail(not_supported("use_beam_search", "'use_beam_search' is not supported"));
  }
}

}  // namespace ramjet::server
