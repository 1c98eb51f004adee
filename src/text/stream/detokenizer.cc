#include "text/stream/detokenizer.h"

#include <algorithm>

#include "text/tokenizer/tokenizer_impl.h"
#include "text/tokenizer/utf8.h"

namespace ramjet::text {
namespace {

constexpr size_t kMaxSeedIds = 64;
constexpr size_t kMaxWindowIds = 64;
constexpr size_t kTailIds = 8;  // more than an incomplete character can have

size_t without_replacement_tail(std::string_view text, bool all) {
  do {
    if (!text.ends_with(kReplacementCharacter)) break;
    text.remove_suffix(kReplacementCharacter.size());
  } while (all);
  return text.size();
}

}  // namespace

IncrementalDetokenizer::IncrementalDetokenizer(const Tokenizer& tokenizer, bool skip_special,
                                               std::span<const int32_t> prompt_tail)
    : tokenizer_(tokenizer),
      skip_special_(skip_special),
      context_ids_(std::max<size_t>(1, tokenizer.impl().traits.strip_start)) {
  for (const int32_t id : prompt_tail) {
    if (tokenizer_.impl().is_visible(id, skip_special_)) window_.push_back(id);
  }
  keep_last(std::max(kMaxSeedIds, context_ids_));
  emitted_ = without_replacement_tail(decode_window(), true);
}

std::string IncrementalDetokenizer::decode_window() const {
  return tokenizer_.decode(window_, skip_special_);
}

void IncrementalDetokenizer::keep_last(size_t count) {
  if (window_.size() > count)
    window_.erase(window_.begin(), window_.end() - static_cast<ptrdiff_t>(count));
}

std::string IncrementalDetokenizer::take(const std::string& text, size_t end) {
  // A seed's text may have changed under us (its last byte run went bad): stay on a boundary.
  while (emitted_ < text.size() && (text[emitted_] & 0xc0) == 0x80) ++emitted_;
  if (end <= emitted_) return {};
  std::string out = text.substr(emitted_, end - emitted_);
  emitted_ = end;
  return out;
}

std::string IncrementalDetokenizer::push(int32_t id) {
  if (!tokenizer_.impl().is_visible(id, skip_special_)) return {};
  window_.push_back(id);
  if (tokenizer_.impl().is_fallback_byte(id)) return {};
  const std::string text = decode_window();
  const size_t stable = without_replacement_tail(text, false);
  std::string out = take(text, stable);
  if (stable == text.size()) {
    keep_last(context_ids_);
    emitted_ = decode_window().size();
  } else if (window_.size() > std::max(kMaxWindowIds, 2 * context_ids_)) {
    // A long run of bytes that are no characters: only its last few ids can still matter.
    keep_last(std::max(kTailIds, context_ids_));
    emitted_ = without_replacement_tail(decode_window(), false);
  }
  return out;
}

std::string IncrementalDetokenizer::flush() {
  const std::string text = decode_window();
  return take(text, text.size());
}

}  // namespace ramjet::text
