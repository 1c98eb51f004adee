#include "text/tokenizer/model_tables.h"

#include <cstring>

#include "text/tokenizer/utf8.h"

namespace ramjet::text {

void put_number(std::string& out, uint32_t value) {
  char bytes[4];
  std::memcpy(bytes, &value, 4);
  out.append(bytes, 4);
}

Result<std::string_view> TableReader::take(size_t size) {
  if (size > bytes_.size()) {
    return corrupt("tokenizer tables: {} bytes wanted, {} are left; rebuild the engine", size,
                   bytes_.size());
  }
  const std::string_view out = bytes_.substr(0, size);
  bytes_.remove_prefix(size);
  return out;
}

Result<uint32_t> TableReader::number() {
  ASSIGN_OR_RETURN(const std::string_view bytes, take(4));
  uint32_t out;
  std::memcpy(&out, bytes.data(), 4);
  return out;
}

Result<Vocabulary> TableReader::vocabulary() {
  ASSIGN_OR_RETURN(const uint32_t count, number());
  if (count > left() / 8) return corrupt("tokenizer tables: {} tokens do not fit", count);
  Vocabulary vocabulary(count);
  for (uint32_t i = 0; i < count; ++i) {
    ASSIGN_OR_RETURN(const uint32_t id, number());
    ASSIGN_OR_RETURN(const uint32_t size, number());
    ASSIGN_OR_RETURN(const std::string_view token, take(size));
    if (!is_valid_utf8(token)) return corrupt("tokenizer tables: token {} is not UTF-8", id);
    RETURN_IF_ERROR(vocabulary.add(token, id));
  }
  return vocabulary;
}

bool put_vocabulary(std::string& out, const Vocabulary& vocabulary) {
  uint32_t count = 0;
  for (int32_t id = 0; id < vocabulary.end_id(); ++id) count += vocabulary.contains(id);
  if (count != vocabulary.size()) return false;
  put_number(out, count);
  for (int32_t id = 0; id < vocabulary.end_id(); ++id) {
    if (!vocabulary.contains(id)) continue;
    const std::string_view token = vocabulary.token(id);
    put_number(out, static_cast<uint32_t>(id));
    put_number(out, static_cast<uint32_t>(token.size()));
    out += token;
  }
  return true;
}

}  // namespace ramjet::text
