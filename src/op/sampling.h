// The words that a sampling step passes between host and device. Plain data.
//
// sample(logits f32[R,V], params i32[N,kSampleWords], edits i32[E,3], masks i32[M,words],
//        counts i32[slots,words], chosen i32[slots]) -> (results i32[N,kSampleResultWords],
//        tops i32[N,2*kMaxTopLogprobs])
// chooses one token for each row of params. counts and chosen are state: they are read first and
// updated by the rows that name a slot of them; no two rows of a step may name the same one. The
// order of operations and the random numbers are those of runtime/sampling/sampler.h.
//
// resolve_tokens(ids i32[T], chosen i32[slots]) -> i32[T] puts chosen[-1 - id] in place of an id
// below zero: the token that an earlier step chose and the host has not seen yet. The result may
// lie over ids.
#pragma once

#include <cstdint>

namespace ramjet {

/// Words of a row of params. Floats as their bits.
enum class SampleWord : uint8_t {
  kLogitsRow,    // which row of logits
  kSlot,         // of `chosen`; -1: the choice is not kept
  kTemperature,  // f32; 0: the most likely token
  kTopK,         // 0 and below: off
  kTopP,         // f32; 1: off
  kMinP,         // f32
  kSeedLow,
  kSeedHigh,
  kIndex,       // of the sequence within its request
  kPosition,    // output tokens before this one
  kRepetition,  // f32
  kPresence,    // f32
  kFrequency,   // f32
  kCounts,      // row of counts; -1: no penalties
  kEditsBegin,  // range of edits
  kEditsEnd,
  kMask,      // row of masks; -1: every token is allowed
  kLogprobs,  // -1: none; k <= kMaxTopLogprobs: the chosen token's and the top k
};
inline constexpr int kSampleWords = 18;

/// An edit: token id, then f32 bits of what is added to its logit (minus infinity excludes it),
/// then the token that `chosen` must hold for this row's slot, or -1. Additions of a row name
/// distinct tokens; exclusions come on top.
inline constexpr int kEditWords = 3;

/// Words of a row of results.
enum class SampleResult : uint8_t {
  kId,       // -1 with a flag
  kLogprob,  // f32
  kRank,     // 1 is the most likely
  kFlags,
};
inline constexpr int kSampleResultWords = 4;
inline constexpr int32_t kSampleNotFinite = 1;  // a NaN or plus infinity among the logits
inline constexpr int32_t kSampleNoneLeft = 2;   // every token is excluded

/// A row of tops: ids, -1 where there are fewer, then as many log-probabilities.
inline constexpr int kMaxTopLogprobs = 20;

/// Token i: bit i % 32 of word i / 32 of its mask.
inline constexpr int64_t mask_words(int64_t vocab) { return (vocab + 31) / 32; }
/// Two tokens a word, the even one in the low half: how often it was put out, up to kMostCounted,
/// and kInPrompt.
inline constexpr int64_t count_words(int64_t vocab) { return (vocab + 1) / 2; }
inline constexpr uint32_t kInPrompt = 0x8000;
inline constexpr uint32_t kMostCounted = 0x7fff;

}  // namespace ramjet
