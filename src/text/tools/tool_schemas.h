// ToolSchemas: the functions that a request offers, and the types of their parameters.
//
// Immutable, thread-safe. Copies nothing out: it owns the tools' JSON.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "base/result.h"

namespace ramjet::text {

class ToolSchemas {
 public:
  /// `tools`: an array of {"type":"function","function":{name,parameters}}, or of the inner
  /// objects. What has no name is passed over.
  explicit ToolSchemas(const nlohmann::ordered_json& tools);
  ToolSchemas();
  ~ToolSchemas();

  bool empty() const;
  bool knows(std::string_view function) const;

  /// The JSON of a parameter that a model wrote as bare text, by the parameter's type: a number or
  /// object where the schema wants one and the text spells one, else a string. Without a schema,
  /// what the text spells as JSON. Python's True, False and None count where they fit.
  std::string value_json(std::string_view function, std::string_view parameter,
                         std::string_view text) const;

 private:
  const nlohmann::ordered_json* parameters(std::string_view function) const;

  std::unique_ptr<const nlohmann::ordered_json> functions_;  // name to parameters
};

}  // namespace ramjet::text
