// Encoder: texts' ids in, vectors or class scores out, of an engine built from a BERT, RoBERTa or
// DistilBERT checkpoint.
//
//   auto encoder = Encoder::create(engine);
//   auto vectors = (*encoder)->embed(inputs, {.pooling = Pooling::kMean, .normalize = true});
//
// Inputs are packed without padding; a batch larger than the engine's limits runs in several steps.
// A result does not depend on what else is in the batch beyond rounding. One call at a time.
#pragma once

#include <ramjet/engine.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace ramjet {

struct EncoderInput {
  std::vector<int32_t> ids;          // with the model's special tokens: Engine::encode adds them
  std::vector<int32_t> token_types;  // as many, or empty: all 0
};

/// How a sequence's tokens become one vector. kAuto: what the checkpoint says of itself
/// (sentence-transformers' 1_Pooling), else the mean.
enum class Pooling : uint8_t { kAuto, kMean, kFirst, kLast };

struct EmbedOptions {
  Pooling pooling = Pooling::kAuto;
  bool normalize = false;  // to length 1
};

class Encoder {
 public:
  /// Errors: kUnsupported for an engine of another kind of model.
  static Result<std::unique_ptr<Encoder>> create(std::shared_ptr<const Engine> engine,
                                                 int num_threads = 0);
  ~Encoder();

  /// One vector of width() an input. Errors name the input: empty, longer than max_tokens(), ids or
  /// types that the model has not.
  Result<std::vector<std::vector<float>>> embed(std::span<const EncoderInput> inputs,
                                                const EmbedOptions& options);
  /// The vectors of all tokens, [tokens][width] laid end to end, an input each.
  Result<std::vector<std::vector<float>>> hidden(std::span<const EncoderInput> inputs);
  /// Logits of the classification head: labels() of an input, or of each of its tokens laid end to
  /// end. Errors: kUnsupported without a head.
  Result<std::vector<std::vector<float>>> scores(std::span<const EncoderInput> inputs);

  int width() const;
  int max_tokens() const;  // of one input
  int token_types() const;
  bool has_head() const;
  bool scores_tokens() const;  // the head is of tokens, not of sequences
  const std::vector<std::string>& labels() const;

 private:
  struct Impl;
  explicit Encoder(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace ramjet
