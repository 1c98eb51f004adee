// What the server asks of an encoder: texts as ids in, a row of numbers for each out.
//
// Plain data; values.
#pragma once

#include <ramjet/encoder.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace ramjet::server {

enum class EncodeKind : uint8_t {
  kEmbed,   // the pooled vector, as the model's checkpoint says, not normalized
  kScores,  // the logits of its classification head
};
using EncodeRows = std::vector<std::vector<float>>;

struct EncodeJob {
  EncodeKind kind = EncodeKind::kEmbed;
  std::vector<EncoderInput> inputs;  // not empty; each within EncoderFacts::max_tokens
  /// Called once, with a row an input or why there are none; not from within encode(). It must
  /// neither block nor throw.
  std::function<void(Result<EncodeRows>)> done;
};

/// What an encoder is, for who prepares its inputs and reads its rows.
struct EncoderFacts {
  int width = 0;
  int max_tokens = 0;  // of one input
  int token_types = 1;
  bool has_head = false;
  bool scores_tokens = false;  // the head is of tokens, not of texts
  std::vector<std::string> labels;
};

}  // namespace ramjet::server
