#include "text/tokenizer/tokenizer.h"

#include <algorithm>

#include "text/tokenizer/byte_level.h"
#include "text/tokenizer/tokenizer_impl.h"
#include "text/tokenizer/utf8.h"

namespace ramjet::text {
namespace {
constexpr size_t kMaxTextBytes = size_t{128} << 20;      // of a text to encode
constexpr size_t kMaxNormalizedBytes = size_t{1} << 30;  // of what its normalizers made of it
}  // namespace

Tokenizer::Tokenizer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::~Tokenizer() = default;

Status Tokenizer::encode_text(std::string_view text, bool parse_special,
                              std::vector<int32_t>& ids) const {
  if (text.size() > kMaxTextBytes) {
    return make_error(ErrorCode::kResourceExhausted, "text of {} bytes, the limit is {}",
                      text.size(), kMaxTextBytes);
  }
  std::string repaired;
  if (!is_valid_utf8(text)) text = repaired = repair_utf8(text);
  ids.reserve(text.size() / 4 + 8);
  std::vector<AddedTokens::Piece> pieces;
  if (impl_->added.has(false)) {
    impl_->added.split(text, false, parse_special, pieces);
  } else {
    pieces.push_back({0, text.size(), -1});
  }
  for (const AddedTokens::Piece& piece : pieces) {
    if (piece.id >= 0) {
      ids.push_back(piece.id);
    } else if (piece.begin < piece.end) {
      RETURN_IF_ERROR(impl_->encode_piece(text.substr(piece.begin, piece.end - piece.begin),
                                          piece.begin == 0, parse_special, ids));
    }
  }
  return ok_status();
}

Result<std::vector<int32_t>> Tokenizer::encode(std::string_view text, EncodeOptions options) const {
  std::vector<Segment> texts(1);
  RETURN_IF_ERROR(encode_text(text, options.parse_special, texts[0].ids));
  const PostProcessor& post = impl_->post_processor;
  if (!options.limits) return post.process(std::move(texts[0].ids), options.add_special_tokens);
  RETURN_IF_ERROR(
      impl_->limits.truncate(texts, options.add_special_tokens ? post.added(false) : 0));
  ASSIGN_OR_RETURN(Segment out, post.process(std::move(texts), options.add_special_tokens));
  impl_->limits.pad(out);
  return std::move(out.ids);
}

Result<EncodedPair> Tokenizer::encode_pair(std::string_view first, std::string_view second,
                                           EncodeOptions options) const {
  std::vector<Segment> texts(2);
  RETURN_IF_ERROR(encode_text(first, options.parse_special, texts[0].ids));
  RETURN_IF_ERROR(encode_text(second, options.parse_special, texts[1].ids));
  const PostProcessor& post = impl_->post_processor;
  if (options.limits) {
    RETURN_IF_ERROR(
        impl_->limits.truncate(texts, options.add_special_tokens ? post.added(true) : 0));
  }
  ASSIGN_OR_RETURN(Segment out, post.process(std::move(texts), options.add_special_tokens));
  if (options.limits) impl_->limits.pad(out);
  return EncodedPair{std::move(out.ids), std::move(out.type_ids)};
}

Status Tokenizer::Impl::encode_piece(std::string_view text, bool first, bool parse_special,
                                     std::vector<int32_t>& out) const {
  NormalizedText piece{std::string(text), first ? static_cast<size_t>(utf8_length(text[0])) : 0};
  if (normalizer != nullptr) RETURN_IF_ERROR(normalizer->normalize(piece));
  if (!added.has(true)) return encode_words(std::move(piece), out);
  std::vector<AddedTokens::Piece> parts;
  added.split(piece.text, true, parse_special, parts);
  for (const AddedTokens::Piece& part : parts) {
    if (part.id >= 0) {
      out.push_back(part.id);
    } else {
      const size_t origin = piece.origin_bytes > part.begin ? piece.origin_bytes - part.begin : 0;
      RETURN_IF_ERROR(
          encode_words({piece.text.substr(part.begin, part.end - part.begin), origin}, out));
    }
  }
  return ok_status();
}

Status Tokenizer::Impl::encode_words(NormalizedText piece, std::vector<int32_t>& out) const {
  if (piece.text.empty()) return ok_status();
  if (piece.text.size() > kMaxNormalizedBytes) {
    return make_error(ErrorCode::kResourceExhausted, "normalized text of {} bytes, the limit is {}",
                      piece.text.size(), kMaxNormalizedBytes);
  }
  Words words;
  words.text = std::move(piece.text);
  words.origin_bytes = piece.origin_bytes;
  words.words.push_back({0, static_cast<uint32_t>(words.text.size())});
  if (pre_tokenizer != nullptr) RETURN_IF_ERROR(pre_tokenizer->apply(words));
  for (const Words::Word& word : words.words) {
    if (!model->encode(words.view(word), out)) {
      return invalid_argument(
          "the text has an unknown character in '{}', and the vocabulary lacks the unk token",
          words.view(word).substr(0, 40));
    }
  }
  return ok_status();
}

bool Tokenizer::Impl::is_visible(int32_t id, bool skip_special) const {
  const AddedToken* token = added.find(id);
  if (token == nullptr && !model->vocabulary().contains(id)) return false;
  if (!skip_special) return true;
  return !added.is_special(token != nullptr ? token->content : model->vocabulary().token(id));
}

bool Tokenizer::Impl::is_fallback_byte(int32_t id) const {
  if (!traits.byte_fallback) return false;
  const AddedToken* token = added.find(id);
  return fallback_byte(token != nullptr ? token->content : model->vocabulary().token(id)) >= 0;
}

std::string Tokenizer::decode(std::span<const int32_t> ids, bool skip_special) const {
  std::vector<std::string> tokens;
  tokens.reserve(ids.size());
  for (const int32_t id : ids) {
    if (!impl_->is_visible(id, skip_special)) continue;
    const AddedToken* added = impl_->added.find(id);
    tokens.emplace_back(added != nullptr ? impl_->added.decoder_spelling(id, *added)
                                         : impl_->model->vocabulary().token(id));
  }
  std::string out;
  if (impl_->decoder != nullptr) {
    impl_->decoder->decode(tokens);
    if (tokens.size() == 1) return std::move(tokens[0]);
    for (const std::string& token : tokens) out += token;
    return out;
  }
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (i > 0) out += ' ';
    out += tokens[i];
  }
  return out;
}

std::string_view Tokenizer::token(int32_t id) const {
  if (const AddedToken* token = impl_->added.find(id)) return token->content;
  return impl_->model->vocabulary().token(id);
}

std::string Tokenizer::token_bytes(int32_t id) const {
  const std::string_view spelling = token(id);
  if (impl_->added.find(id) != nullptr) return std::string(spelling);
  const DecoderTraits& traits = impl_->traits;
  if (traits.byte_level) return from_byte_level(spelling);
  if (traits.byte_fallback) {
    if (const int byte = fallback_byte(spelling); byte >= 0) {
      return std::string(1, static_cast<char>(byte));
    }
  }
  if (traits.metaspace.empty()) return std::string(spelling);
  std::string out;
  for (size_t pos = 0; pos < spelling.size();) {
    if (spelling.substr(pos).starts_with(traits.metaspace)) {
      out += ' ';
      pos += traits.metaspace.size();
    } else {
      out += spelling[pos++];
    }
  }
  return out;
}

std::optional<int32_t> Tokenizer::token_id(std::string_view token) const {
  if (const auto id = impl_->added.id_of(token)) return id;
  return impl_->model->vocabulary().find(token);
}

int32_t Tokenizer::vocab_size() const { return impl_->vocab_size; }

bool Tokenizer::is_special(int32_t id) const {
  return std::binary_search(impl_->special_ids.begin(), impl_->special_ids.end(), id);
}

std::span<const int32_t> Tokenizer::special_ids() const { return impl_->special_ids; }

std::string_view Tokenizer::serialized() const { return impl_->serialized; }

}  // namespace ramjet::text
