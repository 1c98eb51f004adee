// Post-processors: put the special tokens around an encoded text (tokenizer.json's
// "post_processor"). Only the single-sequence form; pairs are for classifiers.
//
// Immutable; any thread.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <vector>

#include "base/result.h"

namespace ramjet::text {

class PostProcessor {
 public:
  /// May throw nlohmann exceptions on ill-typed JSON; the loader catches.
  static Result<PostProcessor> from_json(const nlohmann::json& json);

  std::vector<int32_t> process(std::vector<int32_t> ids) const;

 private:
  /// One template: ids to place, kSequence where the text goes.
  using Template = std::vector<int32_t>;
  static constexpr int32_t kSequence = -1;
  Status parse(const nlohmann::json& json, int depth);
  static Result<Template> parse_template(const nlohmann::json& json);

  std::vector<Template> templates_;
};

}  // namespace ramjet::text
