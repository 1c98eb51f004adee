#include "text/tokenizer/decoder.h"

#include <algorithm>

#include "base/json.h"
#include "text/tokenizer/byte_level.h"
#include "text/tokenizer/pattern.h"
#include "text/tokenizer/utf8.h"

namespace ramjet::text {
namespace {

using Tokens = std::vector<std::string>;

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  size_t at = from.empty() ? std::string::npos : text.find(from);
  if (at == std::string::npos) return;
  std::string out;
  size_t done = 0;
  for (; at != std::string::npos; at = text.find(from, done)) {
    out.append(text, done, at - done);
    out += to;
    done = at + from.size();
  }
  out.append(text, done);
  text = std::move(out);
}

/// The library's tidying of English punctuation.
void clean_up(std::string& text) {
  static constexpr std::pair<std::string_view, std::string_view> kRules[] = {
      {" .", "."},   {" ?", "?"},     {" !", "!"},    {" ,", ","},
      {" ' ", "'"},  {" n't", "n't"}, {" 'm", "'m"},  {" do not", " don't"},
      {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
  for (const auto& [from, to] : kRules) replace_all(text, from, to);
}

class SequenceDecoder : public Decoder {
 public:
  explicit SequenceDecoder(std::vector<std::unique_ptr<Decoder>> parts)
      : parts_(std::move(parts)) {}
  void decode(Tokens& tokens) const override {
    for (const auto& part : parts_) part->decode(tokens);
  }
  void describe(DecoderTraits& traits) const override {
    for (const auto& part : parts_) part->describe(traits);
  }

 private:
  std::vector<std::unique_ptr<Decoder>> parts_;
};

class ByteLevelDecoder : public Decoder {
 public:
  void decode(Tokens& tokens) const override {
    std::string bytes;
    for (const std::string& token : tokens) bytes += from_byte_level(token);
    if (!is_valid_utf8(bytes)) bytes = repair_utf8(bytes);
    tokens.assign(1, std::move(bytes));
  }
  void describe(DecoderTraits& traits) const override { traits.byte_level = true; }
};

class ByteFallbackDecoder : public Decoder {
 public:
  void decode(Tokens& tokens) const override {
    Tokens out;
    std::string run;
    const auto flush = [&] {
      if (run.empty()) return;
      if (is_valid_utf8(run)) {
        out.push_back(run);
      } else {
        out.insert(out.end(), run.size(), std::string(kReplacementCharacter));
      }
      run.clear();
    };
    for (std::string& token : tokens) {
      if (const int byte = fallback_byte(token); byte >= 0) {
        run.push_back(static_cast<char>(byte));
        continue;
      }
      flush();
      out.push_back(std::move(token));
    }
    flush();
    tokens = std::move(out);
  }
  void describe(DecoderTraits& traits) const override { traits.byte_fallback = true; }
};

class FuseDecoder : public Decoder {
 public:
  void decode(Tokens& tokens) const override {
    std::string all;
    for (const std::string& token : tokens) all += token;
    tokens.assign(1, std::move(all));
  }
};

class ReplaceDecoder : public Decoder {
 public:
  ReplaceDecoder(Pattern pattern, std::string from, std::string content)
      : pattern_(std::move(pattern)), from_(std::move(from)), content_(std::move(content)) {}
  void decode(Tokens& tokens) const override {
    for (std::string& token : tokens) {
      // A regex beyond its limits leaves the token as it is: decoding cannot fail.
      if (Result<std::string> out = pattern_.replace(token, content_); out.ok()) token = *out;
    }
  }
  void describe(DecoderTraits& traits) const override {
    if (content_ == " ") traits.metaspace = from_;
  }

 private:
  Pattern pattern_;
  std::string from_;  // the literal pattern, "" for a regex
  std::string content_;
};

class StripDecoder : public Decoder {
 public:
  StripDecoder(std::string content, size_t start, size_t stop)
      : content_(std::move(content)), start_(start), stop_(stop) {}
  void decode(Tokens& tokens) const override {
    for (std::string& token : tokens) {
      std::string_view rest = token;
      for (size_t i = 0; i < start_ && rest.starts_with(content_); ++i) {
        rest.remove_prefix(content_.size());
      }
      for (size_t i = 0; i < stop_ && rest.ends_with(content_); ++i) {
        rest.remove_suffix(content_.size());
      }
      token = std::string(rest);
    }
  }
  void describe(DecoderTraits& traits) const override {
    traits.strip_start = std::max(traits.strip_start, std::min<size_t>(start_, 16));
  }

 private:
  std::string content_;
  size_t start_;
  size_t stop_;
};

class MetaspaceDecoder : public Decoder {
 public:
  MetaspaceDecoder(std::string replacement, bool strip_first)
      : replacement_(std::move(replacement)), strip_first_(strip_first) {}
  void decode(Tokens& tokens) const override {
    for (size_t i = 0; i < tokens.size(); ++i) {
      replace_all(tokens[i], replacement_, i == 0 && strip_first_ ? "" : " ");
    }
  }
  void describe(DecoderTraits& traits) const override { traits.metaspace = replacement_; }

 private:
  std::string replacement_;
  bool strip_first_;
};

class BpeDecoder : public Decoder {
 public:
  explicit BpeDecoder(std::string suffix) : suffix_(std::move(suffix)) {}
  void decode(Tokens& tokens) const override {
    for (size_t i = 0; i < tokens.size(); ++i) {
      replace_all(tokens[i], suffix_, i + 1 == tokens.size() ? "" : " ");
    }
  }
  void describe(DecoderTraits& traits) const override { traits.metaspace = suffix_; }

 private:
  std::string suffix_;
};

class WordPieceDecoder : public Decoder {
 public:
  WordPieceDecoder(std::string prefix, bool cleanup)
      : prefix_(std::move(prefix)), cleanup_(cleanup) {}
  void decode(Tokens& tokens) const override {
    for (size_t i = 0; i < tokens.size(); ++i) {
      if (i > 0 && tokens[i].starts_with(prefix_)) {
        tokens[i].erase(0, prefix_.size());
      } else if (i > 0) {
        tokens[i].insert(0, " ");
      }
      if (cleanup_) clean_up(tokens[i]);
    }
  }

 private:
  std::string prefix_;
  bool cleanup_;
};

class CtcDecoder : public Decoder {
 public:
  CtcDecoder(std::string pad, std::string delimiter, bool cleanup)
      : pad_(std::move(pad)), delimiter_(std::move(delimiter)), cleanup_(cleanup) {}
  void decode(Tokens& tokens) const override {
    tokens.erase(std::unique(tokens.begin(), tokens.end()), tokens.end());
    for (std::string& token : tokens) {
      replace_all(token, pad_, "");
      if (!cleanup_) continue;
      clean_up(token);
      replace_all(token, delimiter_, " ");
    }
    std::erase_if(tokens, [](const std::string& token) { return token.empty(); });
  }

 private:
  std::string pad_;
  std::string delimiter_;
  bool cleanup_;
};

using Out = Result<std::unique_ptr<Decoder>>;

Out parse_metaspace(const Json& json) {
  bool strip_first = json.value("add_prefix_space", true);
  if (json.contains("prepend_scheme")) {
    strip_first = json.at("prepend_scheme").get<std::string>() != "never";
  }
  return std::unique_ptr<Decoder>(
      std::make_unique<MetaspaceDecoder>(json.value("replacement", std::string("▁")), strip_first));
}

Out parse_replace(const Json& json) {
  const Json& pattern_json = json.at("pattern");
  ASSIGN_OR_RETURN(Pattern pattern, Pattern::from_json(pattern_json));
  return std::unique_ptr<Decoder>(std::make_unique<ReplaceDecoder>(
      std::move(pattern), pattern_json.value("String", std::string()),
      json.at("content").get<std::string>()));
}

Out parse(const Json& json, int depth) {
  if (depth > 16) return invalid_argument("decoders nest deeper than 16 levels");
  const auto type = json.at("type").get<std::string>();
  if (type == "Sequence") {
    std::vector<std::unique_ptr<Decoder>> parts;
    for (const Json& part : json.at("decoders")) {
      ASSIGN_OR_RETURN(auto parsed, parse(part, depth + 1));
      parts.push_back(std::move(parsed));
    }
    return std::unique_ptr<Decoder>(std::make_unique<SequenceDecoder>(std::move(parts)));
  }
  if (type == "ByteLevel") return std::unique_ptr<Decoder>(std::make_unique<ByteLevelDecoder>());
  if (type == "ByteFallback") {
    return std::unique_ptr<Decoder>(std::make_unique<ByteFallbackDecoder>());
  }
  if (type == "Fuse") return std::unique_ptr<Decoder>(std::make_unique<FuseDecoder>());
  if (type == "Replace") return parse_replace(json);
  if (type == "Metaspace") return parse_metaspace(json);
  if (type == "Strip") {
    const auto content = json.at("content").get<std::string>();
    if (content.empty()) return invalid_argument("Strip decoder with empty content");
    return std::unique_ptr<Decoder>(std::make_unique<StripDecoder>(
        content, json.at("start").get<size_t>(), json.at("stop").get<size_t>()));
  }
  if (type == "BPEDecoder") {
    return std::unique_ptr<Decoder>(
        std::make_unique<BpeDecoder>(json.value("suffix", std::string("</w>"))));
  }
  if (type == "WordPiece") {
    return std::unique_ptr<Decoder>(std::make_unique<WordPieceDecoder>(
        json.value("prefix", std::string("##")), json.value("cleanup", true)));
  }
  if (type == "CTC") {
    return std::unique_ptr<Decoder>(std::make_unique<CtcDecoder>(
        json.value("pad_token", std::string("<pad>")),
        json.value("word_delimiter_token", std::string("|")), json.value("cleanup", true)));
  }
  return unsupported("decoder '{}' is not one that `tokenizers` 0.23 has: see docs/tokenizers.md",
                     type.substr(0, 40));
}

}  // namespace

int fallback_byte(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return -1;
  int value = 0;
  for (const char c : token.substr(3, 2)) {
    const int lower = c | 32;
    if (c >= '0' && c <= '9') {
      value = value * 16 + (c - '0');
    } else if (lower >= 'a' && lower <= 'f') {
      value = value * 16 + (lower - 'a' + 10);
    } else {
      return -1;
    }
  }
  return value;
}

Result<std::unique_ptr<Decoder>> Decoder::from_json(const Json& json) {
  if (json.is_null()) return std::unique_ptr<Decoder>();
  return parse(json, 0);
}

}  // namespace ramjet::text
