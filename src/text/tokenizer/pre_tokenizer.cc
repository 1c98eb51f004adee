#include "text/tokenizer/pre_tokenizer.h"

#include <algorithm>
#include <optional>

#include "base/json.h"
#include "text/tokenizer/byte_level.h"
#include "text/tokenizer/pattern.h"
#include "text/tokenizer/unicode.h"
#include "text/tokenizer/utf8.h"

namespace ramjet::text {
namespace {

using Word = Words::Word;

constexpr size_t kMaxTextBytes = size_t{1} << 30;

enum class Behavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };

/// Turns matches and gaps into words, `offset` bytes into the text.
void keep(std::span<const Match> matches, Behavior behavior, uint32_t offset,
          std::vector<Word>& out) {
  const size_t start = out.size();
  const auto push = [&](const Match& m) { out.push_back({offset + m.begin, offset + m.end}); };
  bool previous = false;
  switch (behavior) {
    case Behavior::kRemoved:
      for (const Match& m : matches) {
        if (!m.is_match) push(m);
      }
      break;
    case Behavior::kIsolated:
      for (const Match& m : matches) push(m);
      break;
    case Behavior::kContiguous:
    case Behavior::kMergedWithPrevious:
      for (const Match& m : matches) {
        const bool joins =
            behavior == Behavior::kContiguous ? m.is_match == previous : m.is_match && !previous;
        if (joins && out.size() > start) {
          out.back().end = offset + m.end;
        } else {
          push(m);
        }
        previous = m.is_match;
      }
      break;
    case Behavior::kMergedWithNext:
      for (size_t i = matches.size(); i-- > 0;) {
        if (matches[i].is_match && !previous && out.size() > start) {
          out.back().begin = offset + matches[i].begin;
        } else {
          push(matches[i]);
        }
        previous = matches[i].is_match;
      }
      std::reverse(out.begin() + static_cast<ptrdiff_t>(start), out.end());
      break;
  }
  out.erase(std::remove_if(out.begin() + static_cast<ptrdiff_t>(start), out.end(),
                           [](const Word& w) { return w.begin == w.end; }),
            out.end());
}

/// Each character for which `predicate` holds is a match of its own.
template <class Predicate>
void find_characters(std::string_view text, Predicate predicate, std::vector<Match>& out) {
  uint32_t gap = 0;
  for (size_t pos = 0; pos < text.size();) {
    const auto at = static_cast<uint32_t>(pos);
    if (!predicate(next_code_point(text, pos))) continue;
    if (gap < at) out.push_back({gap, at, false});
    gap = static_cast<uint32_t>(pos);
    out.push_back({at, gap, true});
  }
  if (gap < text.size()) out.push_back({gap, static_cast<uint32_t>(text.size()), false});
}

template <class Predicate>
void cut_at_characters(Words& words, Behavior behavior, Predicate predicate) {
  std::vector<Word> out;
  std::vector<Match> matches;
  for (const Word& w : words.words) {
    matches.clear();
    find_characters(words.view(w), predicate, matches);
    keep(matches, behavior, w.begin, out);
  }
  words.words = std::move(out);
}

class SequencePre : public PreTokenizer {
 public:
  explicit SequencePre(std::vector<std::unique_ptr<PreTokenizer>> parts)
      : parts_(std::move(parts)) {}
  Status apply(Words& words) const override {
    for (const auto& part : parts_) {
      RETURN_IF_ERROR(part->apply(words));
      // Parts may respell; word offsets are 32 bits wide.
      if (words.text.size() > kMaxTextBytes) {
        return make_error(ErrorCode::kResourceExhausted,
                          "pre-tokenized text of {} bytes, the limit is {}", words.text.size(),
                          kMaxTextBytes);
      }
    }
    return ok_status();
  }

 private:
  std::vector<std::unique_ptr<PreTokenizer>> parts_;
};

class Split : public PreTokenizer {
 public:
  Split(Pattern pattern, Behavior behavior, bool invert)
      : pattern_(std::move(pattern)), behavior_(behavior), invert_(invert) {}
  Status apply(Words& words) const override {
    std::vector<Word> out;
    std::vector<Match> matches;
    for (const Word& w : words.words) {
      matches.clear();
      RETURN_IF_ERROR(pattern_.find(words.view(w), matches));
      if (invert_) {
        for (Match& m : matches) m.is_match = !m.is_match;
      }
      keep(matches, behavior_, w.begin, out);
    }
    words.words = std::move(out);
    return ok_status();
  }

 private:
  Pattern pattern_;
  Behavior behavior_;
  bool invert_;
};

/// Rewrites words one after another into a new text, keeping track of the input's origin.
class Rewriter {
 public:
  explicit Rewriter(Words& words) : words_(words) { text_.reserve(words.text.size() * 5 / 4); }

  /// Appends `rewrite(part)` of a word as one new word; `fresh` bytes in front were put there.
  template <class Rewrite>
  void add(const Word& source, std::string_view part, size_t fresh, Rewrite rewrite) {
    const auto begin = static_cast<uint32_t>(text_.size());
    const bool first = source.begin < words_.origin_bytes;
    const size_t head =
        first ? std::min(part.size(), fresh + words_.origin_bytes - source.begin) : 0;
    rewrite(text_, part.substr(0, head));
    if (first) origin_ = text_.size();
    rewrite(text_, part.substr(head));
    out_.push_back({begin, static_cast<uint32_t>(text_.size())});
  }
  void finish() {
    words_.text = std::move(text_);
    words_.words = std::move(out_);
    words_.origin_bytes = origin_;
  }

 private:
  Words& words_;
  std::string text_;
  std::vector<Word> out_;
  size_t origin_ = 0;
};

class ByteLevelPre : public PreTokenizer {
 public:
  ByteLevelPre(bool add_prefix_space, std::optional<Pattern> pattern)
      : add_prefix_space_(add_prefix_space), pattern_(std::move(pattern)) {}

  Status apply(Words& words) const override {
    Rewriter rewriter(words);
    std::vector<Match> matches;
    std::string prefixed;
    for (const Word& w : words.words) {
      std::string_view text = words.view(w);
      const bool prepend = add_prefix_space_ && text[0] != ' ';
      if (prepend) text = prefixed = " " + std::string(text);
      matches.clear();
      if (pattern_) {
        RETURN_IF_ERROR(pattern_->find(text, matches));
      } else {
        matches.push_back({0, static_cast<uint32_t>(text.size()), true});
      }
      for (const Match& m : matches) {
        if (m.begin == m.end) continue;
        // Later matches lie behind the origin: their begin in the old text tells.
        const Word source{w.begin + (m.begin > 0 ? m.begin - prepend : 0), w.end};
        rewriter.add(source, text.substr(m.begin, m.end - m.begin), m.begin == 0 && prepend,
                     append_byte_level);
      }
    }
    rewriter.finish();
    return ok_status();
  }

 private:
  bool add_prefix_space_;
  std::optional<Pattern> pattern_;
};

class MetaspacePre : public PreTokenizer {
 public:
  enum class Scheme { kAlways, kFirst, kNever };
  MetaspacePre(std::string replacement, Scheme scheme, bool split)
      : replacement_(std::move(replacement)), scheme_(scheme), split_(split) {}

  Status apply(Words& words) const override {
    Rewriter rewriter(words);
    std::string prefixed;
    for (const Word& w : words.words) {
      std::string_view text = words.view(w);
      const bool wanted =
          scheme_ == Scheme::kAlways || (scheme_ == Scheme::kFirst && w.begin < words.origin_bytes);
      const bool prepend = wanted && text[0] != ' ' && !text.starts_with(replacement_);
      if (prepend) text = prefixed = replacement_ + std::string(text);
      rewriter.add(w, text, prepend ? replacement_.size() : 0,
                   [this](std::string& out, std::string_view part) { respell(out, part); });
    }
    rewriter.finish();
    if (split_) {
      size_t pos = 0;
      const uint32_t delimiter = next_code_point(replacement_, pos);
      cut_at_characters(words, Behavior::kMergedWithNext,
                        [&](uint32_t c) { return c == delimiter; });
    }
    return ok_status();
  }

 private:
  void respell(std::string& out, std::string_view text) const {
    for (const char c : text) {
      if (c == ' ') {
        out += replacement_;
      } else {
        out.push_back(c);
      }
    }
  }

  std::string replacement_;
  Scheme scheme_;
  bool split_;
};

template <class Predicate>
class CharacterSplit : public PreTokenizer {
 public:
  CharacterSplit(Behavior behavior, Predicate predicate)
      : behavior_(behavior), predicate_(predicate) {}
  Status apply(Words& words) const override {
    cut_at_characters(words, behavior_, predicate_);
    return ok_status();
  }

 private:
  Behavior behavior_;
  Predicate predicate_;
};

template <class Predicate>
std::unique_ptr<PreTokenizer> character_split(Behavior behavior, Predicate predicate) {
  return std::make_unique<CharacterSplit<Predicate>>(behavior, predicate);
}

bool is_punctuation(uint32_t c) { return (char_flags(c) & kCharPunctuation) != 0; }
bool is_numeric(uint32_t c) { return (char_flags(c) & kCharNumeric) != 0; }

/// \w+|[^\w\s]+ : runs of word characters and runs of what is neither word nor space.
class WhitespacePre : public PreTokenizer {
 public:
  Status apply(Words& words) const override {
    std::vector<Word> out;
    for (const Word& w : words.words) {
      int run = 0;  // 0 space, 1 word, 2 other
      for (size_t pos = w.begin; pos < w.end;) {
        const auto at = static_cast<uint32_t>(pos);
        const uint16_t flags = char_flags(next_code_point(words.text, pos));
        const int kind = flags & kCharWord ? 1 : flags & kCharSpace ? 0 : 2;
        if (kind != 0 && kind == run) {
          out.back().end = static_cast<uint32_t>(pos);
        } else if (kind != 0) {
          out.push_back({at, static_cast<uint32_t>(pos)});
        }
        run = kind;
      }
    }
    words.words = std::move(out);
    return ok_status();
  }
};

/// Cuts where the script changes. What has no script joins either side, but at the start of a word
/// it vanishes, as in the library.
class UnicodeScriptsPre : public PreTokenizer {
 public:
  Status apply(Words& words) const override {
    std::vector<Word> out;
    for (const Word& w : words.words) {
      int previous = -1;
      for (size_t pos = w.begin; pos < w.end;) {
        const auto at = static_cast<uint32_t>(pos);
        const int script = script_class(next_code_point(words.text, pos));
        if (script >= 0 && script != previous) {
          out.push_back({at, static_cast<uint32_t>(pos)});
        } else if (previous >= 0) {
          out.back().end = static_cast<uint32_t>(pos);
        }
        if (script >= 0) previous = script;
      }
    }
    words.words = std::move(out);
    return ok_status();
  }
};

class FixedLengthPre : public PreTokenizer {
 public:
  explicit FixedLengthPre(size_t length) : length_(length) {}
  Status apply(Words& words) const override {
    std::vector<Word> out;
    for (const Word& w : words.words) {
      size_t characters = 0;
      for (size_t pos = w.begin; pos < w.end; ++characters) {
        const auto at = static_cast<uint32_t>(pos);
        next_code_point(words.text, pos);
        if (characters % length_ == 0) out.push_back({at, at});
        out.back().end = static_cast<uint32_t>(pos);
      }
    }
    words.words = std::move(out);
    return ok_status();
  }

 private:
  size_t length_;
};

class BertPre : public PreTokenizer {
 public:
  Status apply(Words& words) const override {
    cut_at_characters(words, Behavior::kRemoved, is_space);
    cut_at_characters(words, Behavior::kIsolated, is_punctuation);
    return ok_status();
  }
};

Result<Behavior> parse_behavior(const std::string& name) {
  if (name == "Removed") return Behavior::kRemoved;
  if (name == "Isolated") return Behavior::kIsolated;
  if (name == "MergedWithPrevious") return Behavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return Behavior::kMergedWithNext;
  if (name == "Contiguous") return Behavior::kContiguous;
  return invalid_argument("split behavior '{}' is unknown", name.substr(0, 40));
}

using Out = Result<std::unique_ptr<PreTokenizer>>;

Out parse_metaspace(const Json& json) {
  using Scheme = MetaspacePre::Scheme;
  auto replacement = json.value("replacement", std::string("▁"));
  if (replacement.empty() ||
      replacement.size() != static_cast<size_t>(utf8_length(replacement[0]))) {
    return invalid_argument("Metaspace replacement '{}' is not one character", replacement);
  }
  Scheme scheme = json.value("add_prefix_space", true) ? Scheme::kAlways : Scheme::kNever;
  if (json.contains("prepend_scheme")) {
    const auto name = json.at("prepend_scheme").get<std::string>();
    if (name != "always" && name != "first" && name != "never") {
      return invalid_argument("Metaspace prepend_scheme '{}' is unknown", name.substr(0, 40));
    }
    scheme = name == "always" ? Scheme::kAlways : name == "first" ? Scheme::kFirst : Scheme::kNever;
  }
  return Result<std::unique_ptr<PreTokenizer>>(
      std::make_unique<MetaspacePre>(std::move(replacement), scheme, json.value("split", true)));
}

Out parse_byte_level(const Json& json) {
  std::optional<Pattern> pattern;
  if (json.value("use_regex", true)) {
    ASSIGN_OR_RETURN(pattern, Pattern::regex(kGpt2Pattern));
  }
  return std::unique_ptr<PreTokenizer>(
      std::make_unique<ByteLevelPre>(json.value("add_prefix_space", true), std::move(pattern)));
}

Out parse_split(const Json& json) {
  ASSIGN_OR_RETURN(Pattern pattern, Pattern::from_json(json.at("pattern")));
  ASSIGN_OR_RETURN(const Behavior behavior, parse_behavior(json.at("behavior").get<std::string>()));
  return std::unique_ptr<PreTokenizer>(
      std::make_unique<Split>(std::move(pattern), behavior, json.value("invert", false)));
}

Out parse_delimiter(const Json& json) {
  const auto delimiter = json.at("delimiter").get<std::string>();
  if (delimiter.empty()) return invalid_argument("CharDelimiterSplit has an empty delimiter");
  size_t pos = 0;
  const uint32_t wanted = next_code_point(delimiter, pos);
  return character_split(Behavior::kRemoved, [wanted](uint32_t c) { return c == wanted; });
}

Out parse(const Json& json, int depth) {
  if (depth > 16) return invalid_argument("pre-tokenizers nest deeper than 16 levels");
  const auto type = json.at("type").get<std::string>();
  if (type == "Sequence") {
    std::vector<std::unique_ptr<PreTokenizer>> parts;
    for (const Json& part : json.at("pretokenizers")) {
      ASSIGN_OR_RETURN(auto parsed, parse(part, depth + 1));
      parts.push_back(std::move(parsed));
    }
    return std::unique_ptr<PreTokenizer>(std::make_unique<SequencePre>(std::move(parts)));
  }
  if (type == "ByteLevel") return parse_byte_level(json);
  if (type == "Split") return parse_split(json);
  if (type == "Metaspace") return parse_metaspace(json);
  if (type == "CharDelimiterSplit") return parse_delimiter(json);
  if (type == "Digits") {
    return character_split(
        json.value("individual_digits", false) ? Behavior::kIsolated : Behavior::kContiguous,
        is_numeric);
  }
  if (type == "Punctuation") {
    ASSIGN_OR_RETURN(const Behavior behavior,
                     parse_behavior(json.value("behavior", std::string("Isolated"))));
    return character_split(behavior, is_punctuation);
  }
  if (type == "Whitespace") {
    return std::unique_ptr<PreTokenizer>(std::make_unique<WhitespacePre>());
  }
  if (type == "UnicodeScripts") {
    return std::unique_ptr<PreTokenizer>(std::make_unique<UnicodeScriptsPre>());
  }
  if (type == "FixedLength") {
    const auto length = json.value("length", int64_t{5});
    if (length < 1) return invalid_argument("FixedLength: length {} must be 1 or more", length);
    return std::unique_ptr<PreTokenizer>(
        std::make_unique<FixedLengthPre>(static_cast<size_t>(length)));
  }
  if (type == "WhitespaceSplit") return character_split(Behavior::kRemoved, is_space);
  if (type == "BertPreTokenizer") {
    return std::unique_ptr<PreTokenizer>(std::make_unique<BertPre>());
  }
  return unsupported(
      "pre-tokenizer '{}' is not one that `tokenizers` 0.23 has: see docs/tokenizers.md",
      type.substr(0, 40));
}

}  // namespace

Result<std::unique_ptr<PreTokenizer>> PreTokenizer::from_json(const Json& json) {
  if (json.is_null()) return std::unique_ptr<PreTokenizer>();
  return parse(json, 0);
}

}  // namespace ramjet::text
