// SchemaDocument: a JSON Schema as a graph of its subschemas: identifiers, anchors, references.
//
// Made once, then grows only by subschemas that a pointer names outside of known keywords. Not
// thread-safe. Owns the JSON. No reference leaves the document: what is not in it is refused.
#pragma once

#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "text/grammar/expr.h"

namespace ramjet::text {

/// RFC 3986 section 5: `reference` against `base`; without normalising letters.
std::string resolve_uri(std::string_view base, std::string_view reference);

class SchemaDocument {
 public:
  using Json = nlohmann::ordered_json;
  /// Throws Refusal: kInvalidArgument for what is no schema.
  explicit SchemaDocument(std::unique_ptr<Json> root);
  ~SchemaDocument();

  struct Node {
    const Json* json = nullptr;
    int32_t resource = 0;
  };
  struct Resource {
    std::string uri;
    int32_t root = 0;
    std::map<std::string, int32_t> anchors;          // of both kinds
    std::map<std::string, int32_t> dynamic_anchors;  // by name
  };

  const Node& node(int32_t schema) const { return nodes_[static_cast<size_t>(schema)]; }
  const Json& json(int32_t schema) const { return *node(schema).json; }
  const Resource& resource(int32_t id) const { return resources_[static_cast<size_t>(id)]; }
  /// The schema at a place that was walked.
  int32_t schema_at(const Json& place);
  /// The target of a $ref or $dynamicRef found in `schema`. Throws for one that is not here.
  struct Target {
    int32_t schema = 0;
    std::string dynamic_name;  // not empty: the anchor it was found by is dynamic
  };
  Target resolve(int32_t schema, const std::string& reference, const char* keyword);
  bool uses_dynamic_refs() const { return dynamic_refs_; }

 private:
  int32_t walk(const Json& place, int32_t resource, int depth);
  void walk_children(const Json& place, int32_t resource, int depth);
  int32_t identify(const Json& place, int32_t resource, int32_t schema);
  int32_t follow_pointer(int32_t root, std::string_view pointer, const std::string& reference);

  std::unique_ptr<Json> root_;
  std::vector<Node> nodes_;
  std::vector<Resource> resources_;
  std::unordered_map<const Json*, int32_t> by_place_;
  std::unordered_map<std::string, int32_t> by_uri_;
  bool dynamic_refs_ = false;
};

}  // namespace ramjet::text
