// Limits: tokenizer.json's "truncation" and "padding", which `tokenizers` applies and
// `transformers` overrules: they are what somebody once trained with. So encode() applies them on
// request alone.
//
// Immutable after from_json(); any thread.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <vector>

#include "base/result.h"
#include "text/tokenizer/post_processor.h"

namespace ramjet::text {

class Limits {
 public:
  /// The whole tokenizer.json. May throw nlohmann exceptions; the loader catches.
  static Result<Limits> from_json(const nlohmann::json& json);

  /// Cuts one text or two so that with `added` more ids they fit. Errors: kInvalidArgument where
  /// the strategy may cut only a text that is too short or absent.
  Status truncate(std::vector<Segment>& texts, size_t added) const;
  void pad(Segment& segment) const;

 private:
  enum class Strategy { kLongestFirst, kOnlyFirst, kOnlySecond };
  struct Truncation {
    size_t max_length;
    Strategy strategy;
    bool left;
  };
  struct Padding {
    size_t length;  // 0: as long as the text
    size_t multiple;
    int32_t id;
    int32_t type_id;
    bool left;
  };
  void cut(std::vector<int32_t>& ids, size_t length) const;

  std::optional<Truncation> truncation_;
  std::optional<Padding> padding_;
};

}  // namespace ramjet::text
