#include "text/tokenizer/added_tokens.h"

#include <algorithm>

#include "base/json.h"
#include "text/tokenizer/unicode.h"
#include "text/tokenizer/utf8.h"

namespace ramjet::text {
namespace {

constexpr size_t kMaxTokenBytes = 4096;  // bounds the trie walk at each byte of a text
constexpr size_t kMaxTokens = size_t{1} << 20;

bool is_word(uint32_t c) { return (char_flags(c) & kCharWord) != 0; }

bool ends_with_word(std::string_view text) {
  if (text.empty()) return false;
  size_t pos = previous_character(text, text.size());
  return is_word(next_code_point(text, pos));
}

bool starts_with_word(std::string_view text) {
  size_t pos = 0;
  return !text.empty() && is_word(next_code_point(text, pos));
}

/// Where the whitespace at the end of text[0, end) begins.
size_t spaces_before(std::string_view text, size_t end) {
  while (end > 0) {
    const size_t last = previous_character(text, end);
    size_t pos = last;
    if (!is_space(next_code_point(text, pos))) break;
    end = last;
  }
  return end;
}

size_t spaces_behind(std::string_view text, size_t begin) {
  while (begin < text.size()) {
    size_t pos = begin;
    if (!is_space(next_code_point(text, pos))) break;
    begin = pos;
  }
  return begin;
}

AddedToken parse_token(const Json& json) {
  AddedToken token;
  token.content = json.at("content").get<std::string>();
  token.single_word = json.value("single_word", false);
  token.lstrip = json.value("lstrip", false);
  token.rstrip = json.value("rstrip", false);
  token.special = json.value("special", false);
  token.normalized = json.value("normalized", !token.special);
  return token;
}

}  // namespace

void AddedTokens::Matcher::add(std::string_view pattern, int32_t id) {
  if (pattern.empty()) return;
  first_[static_cast<unsigned char>(pattern[0])] = true;
  int32_t at = 0;
  for (const char c : pattern) {
    const auto byte = static_cast<unsigned char>(c);
    auto& next = nodes_[static_cast<size_t>(at)].next;
    const auto it = std::lower_bound(next.begin(), next.end(), std::pair{byte, int32_t{-1}});
    if (it != next.end() && it->first == byte) {
      at = it->second;
    } else {
      at = static_cast<int32_t>(nodes_.size());
      next.insert(it, {byte, at});
      nodes_.emplace_back();
    }
  }
  Node& node = nodes_[static_cast<size_t>(at)];
  if (node.id < 0) node.id = id;  // of equal patterns the first wins
}

AddedTokens::Piece AddedTokens::Matcher::find(std::string_view text, size_t from) const {
  for (size_t start = from; start < text.size(); ++start) {
    if (!first_[static_cast<unsigned char>(text[start])]) continue;
    Piece best{start, start, -1};
    int32_t at = 0;
    for (size_t i = start; i < text.size(); ++i) {
      const auto byte = static_cast<unsigned char>(text[i]);
      const auto& next = nodes_[static_cast<size_t>(at)].next;
      const auto it = std::lower_bound(next.begin(), next.end(), std::pair{byte, int32_t{-1}});
      if (it == next.end() || it->first != byte) break;
      at = it->second;
      if (nodes_[static_cast<size_t>(at)].id >= 0) {
        best = {start, i + 1, nodes_[static_cast<size_t>(at)].id};
      }
    }
    if (best.id >= 0) return best;
  }
  return {text.size(), text.size(), -1};
}

void AddedTokens::add(const AddedToken& token, const Vocabulary& model) {
  int32_t id;
  const auto model_size = static_cast<int32_t>(model.size());
  if (const auto known = id_of(token.content)) {
    id = *known;
  } else if (const auto in_model = model.find(token.content)) {
    id = *in_model;
  } else {
    // Behind the model's vocabulary and behind every token added so far.
    id = std::max(model_size, highest_ + 1);
  }
  highest_ = std::max(highest_, id);
  ids_[token.content] = id;
  by_id_[id] = token;
}

Result<AddedTokens> AddedTokens::from_json(const Json& json, const Vocabulary& model,
                                           const Normalizer* normalizer) {
  AddedTokens out;
  if (json.is_null()) return out;
  if (!json.is_array()) return invalid_argument("'added_tokens' is not a list");
  if (json.size() > kMaxTokens) {
    return invalid_argument("{} added tokens, the limit is {}", json.size(), kMaxTokens);
  }
  std::vector<std::string> classic;
  for (const Json& item : json) {
    const AddedToken token = parse_token(item);
    if (token.content.size() > kMaxTokenBytes) {
      return invalid_argument("added token of {} bytes, the limit is {}", token.content.size(),
                              kMaxTokenBytes);
    }
    if (token.content.empty()) continue;
    if (token.special && out.specials_.emplace(token.content, true).second) {
      out.order_.push_back(token.content);
    }
  }
  for (const Json& item : json) {
    const AddedToken token = parse_token(item);
    if (token.content.empty()) continue;
    if (const auto id = out.id_of(token.content); id && out.by_id_.at(*id) == token) continue;
    out.add(token, model);
    if (!out.is_special(token.content)) classic.push_back(token.content);
  }
  out.order_.insert(out.order_.end(), classic.begin(), classic.end());
  for (const std::string& content : out.order_) {
    const int32_t id = out.ids_.at(content);
    if (!out.by_id_.at(id).normalized) {
      out.raw_.add(content, id);
      continue;
    }
    NormalizedText pattern{content};
    if (normalizer != nullptr) RETURN_IF_ERROR(normalizer->normalize(pattern));
    out.normalized_.add(pattern.text, id);
    if (pattern.text != content) out.normal_forms_[id] = pattern.text;
  }
  return out;
}

void AddedTokens::split(std::string_view text, bool normalized, bool parse_special,
                        std::vector<Piece>& out) const {
  size_t covered = 0;
  const Matcher& search = matcher(normalized);
  Piece match{0, 0, -1};
  for (size_t from = 0; from < text.size() && !search.empty(); from = match.end) {
    match = search.find(text, from);
    if (match.id < 0) break;
    const AddedToken& token = by_id_.at(match.id);
    if (token.special && !parse_special) continue;
    size_t begin = match.begin;
    size_t end = match.end;
    if (token.single_word &&
        (ends_with_word(text.substr(0, begin)) || starts_with_word(text.substr(end)))) {
      continue;
    }
    if (token.lstrip) begin = std::max(spaces_before(text, begin), covered);
    if (token.rstrip) end = spaces_behind(text, end);
    if (covered < begin) out.push_back({covered, begin, -1});
    // What an earlier token's rstrip took whole is gone.
    if (begin < end) out.push_back({begin, end, match.id});
    covered = end;
  }
  if (covered != text.size()) out.push_back({covered, text.size(), -1});
}

const AddedToken* AddedTokens::find(int32_t id) const {
  const auto it = by_id_.find(id);
  return it == by_id_.end() ? nullptr : &it->second;
}

std::string_view AddedTokens::decoder_spelling(int32_t id, const AddedToken& token) const {
  const auto it = normal_forms_.find(id);
  return it == normal_forms_.end() ? std::string_view(token.content) : it->second;
}

std::optional<int32_t> AddedTokens::id_of(std::string_view content) const {
  const auto it = ids_.find(std::string(content));
  return it == ids_.end() ? std::nullopt : std::optional<int32_t>(it->second);
}

bool AddedTokens::is_special(std::string_view content) const {
  return specials_.contains(std::string(content));
}

}  // namespace ramjet::text
