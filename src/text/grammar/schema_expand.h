// SchemaExpander: the keywords of one JSON Schema document as expressions.
//
// What a schema refers to stays a reference (ExprKind::kSchema) until body() is asked for it, so
// recursion is no problem. Not thread-safe. Throws Refusal.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "text/grammar/expr.h"
#include "text/grammar/schema_document.h"

namespace ramjet::text {

class SchemaExpander {
 public:
  using Json = SchemaDocument::Json;
  /// Borrows the pool. `number`: what its expressions name this document by.
  SchemaExpander(std::unique_ptr<Json> root, ExprPool& pool, int32_t number);
  ~SchemaExpander();

  ExprId root();
  /// What the expression of kind kSchema stands for.
  ExprId body(int32_t schema, int32_t scope);
  /// Exactly this value.
  static ExprId constant(ExprPool& pool, const Json& value);

 private:
  /// A way for a value to be valid, and what of it is evaluated then.
  struct Case {
    ExprId when = kTrueExpr;
    bool all = false;             // every key, every item
    std::vector<int32_t> keys;    // text sets
    int64_t items = 0;            // so many from the front
    std::vector<ExprId> matched;  // and the items that satisfy one of these
    bool operator==(const Case&) const = default;
  };
  using Cases = std::vector<Case>;
  struct Place {
    int32_t schema, scope;
    const Json& json;
    bool objects = true;  // for cases: of keys, else of items
  };

  int32_t enter(int32_t schema, int32_t scope);
  ExprId reference(int32_t schema, int32_t scope);
  ExprId sub(const Place& p, const Json& child);
  std::pair<int32_t, int32_t> target(const Place& p, const char* keyword);
  ExprId expand(const Place& p);

  void check_dialect(const Json& json) const;
  void add_any_type(const Json& json, std::vector<ExprId>& out);
  void add_numbers(const Json& json, std::vector<ExprId>& out);
  void add_strings(const Json& json, std::vector<ExprId>& out);
  void add_arrays(const Place& p, std::vector<ExprId>& out);
  void add_objects(const Place& p, std::vector<ExprId>& out);
  void add_dependencies(const Place& p, std::vector<ExprId>& out);
  void add_logic(const Place& p, std::vector<ExprId>& out);
  void add_unevaluated(const Place& p, std::vector<ExprId>& out);
  int32_t pattern_set(const std::string& pattern, const char* keyword);
  /// The keys that neither `properties` nor `patternProperties` speak of.
  int32_t additional_set(const Json& json);

  Cases cases(int32_t schema, int32_t scope, bool objects, int depth);
  Case own_case(const Place& p);
  void combine_logic(const Place& p, Cases& out, int depth);
  Cases branch(const Place& p, const Json& child, int depth);

  ExprPool& pool_;
  int32_t number_;
  std::unique_ptr<SchemaDocument> document_;
  bool old_dialect_ = false;
  using Scope = std::vector<std::pair<std::string, int32_t>>;
  std::vector<Scope> scopes_;
  std::map<Scope, int32_t> scope_ids_;
  std::map<std::pair<int32_t, int32_t>, ExprId> bodies_;
};

}  // namespace ramjet::text
