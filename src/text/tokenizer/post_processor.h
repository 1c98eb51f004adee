// Post-processors: put the special tokens around one encoded text, or around two for models that
// judge pairs (tokenizer.json's "post_processor").
//
// Immutable; any thread.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <vector>

#include "base/result.h"

namespace ramjet::text {

/// Ids, and for each the number of the text that it belongs to, as BERT wants to know.
struct Segment {
  std::vector<int32_t> ids;
  std::vector<int32_t> type_ids;
};

class PostProcessor {
 public:
  /// May throw nlohmann exceptions on ill-typed JSON; the loader catches.
  static Result<PostProcessor> from_json(const nlohmann::json& json);

  /// One text, without type ids. Errors: kUnsupported as for the other.
  Result<std::vector<int32_t>> process(std::vector<int32_t> ids, bool add_special) const;
  /// One text or two. Without `add_special` templates still order and number the texts. Errors:
  /// kUnsupported where a template meets what an earlier step cut into more than two parts.
  Result<Segment> process(std::vector<Segment> texts, bool add_special) const;
  /// How many ids it adds.
  size_t added(bool pair) const;

 private:
  static constexpr int kSpecial = -1;
  /// A piece of a template: text 0 or 1, or special ids.
  struct Piece {
    int text = kSpecial;
    std::vector<int32_t> ids;
    int32_t type_id = 0;
  };
  using Template = std::vector<Piece>;
  enum class Kind { kTemplate, kBert, kRoberta };
  struct Step {
    Kind kind = Kind::kTemplate;
    Template single;  // of kTemplate
    Template pair;
    int32_t begin = 0;  // of the others: [CLS] and [SEP]
    int32_t end = 0;
  };
  Status parse(const nlohmann::json& json, int depth);
  static Result<Template> parse_template(const nlohmann::json& json, const char* key);
  static Status apply_template(const Step& step, bool add_special, std::vector<Segment>& texts);
  static void apply_bert(const Step& step, bool add_special, std::vector<Segment>& texts);

  std::vector<Step> steps_;
};

}  // namespace ramjet::text
