#include "text/tokenizer/vocabulary.h"

#include <bit>

#include "base/hash.h"

namespace ramjet::text {
namespace {
constexpr size_t kMaxPoolBytes = size_t{1} << 30;
}

Vocabulary::Vocabulary(size_t expected)
    : slots_(std::bit_ceil(std::max<size_t>(16, expected * 2))) {}

size_t Vocabulary::locate(std::string_view token, uint64_t hash) const {
  const size_t mask = slots_.size() - 1;
  size_t at = hash & mask;
  while (slots_[at].id >= 0) {
    if (slots_[at].hash == static_cast<uint32_t>(hash >> 32) && view(slots_[at]) == token) break;
    at = (at + 1) & mask;
  }
  return at;
}

void Vocabulary::grow() {
  std::vector<Slot> old(slots_.size() * 2);
  old.swap(slots_);
  for (const Slot& s : old) {
    if (s.id >= 0) slots_[locate(view(s), hash64(view(s)))] = s;
  }
}

Status Vocabulary::add(std::string_view token, int64_t id) {
  if (id < 0 || id >= kMaxId) {
    return invalid_argument("token id {} is out of range: ids must lie in [0, {})", id, kMaxId);
  }
  if (pool_.size() + token.size() > kMaxPoolBytes) {
    return invalid_argument("the vocabulary's strings exceed {} bytes", kMaxPoolBytes);
  }
  if ((count_ + 1) * 2 > slots_.size()) grow();
  const uint64_t hash = hash64(token);
  Slot& slot = slots_[locate(token, hash)];
  if (slot.id < 0) {
    slot.offset = static_cast<uint32_t>(pool_.size());
    slot.length = static_cast<uint32_t>(token.size());
    slot.hash = static_cast<uint32_t>(hash >> 32);
    pool_ += token;
    ++count_;
  }
  slot.id = static_cast<int32_t>(id);
  if (static_cast<size_t>(id) >= tokens_.size()) tokens_.resize(static_cast<size_t>(id) + 1);
  tokens_[static_cast<size_t>(id)] = {slot.offset + 1, slot.length};
  return ok_status();
}

std::optional<int32_t> Vocabulary::find(std::string_view token) const {
  const int32_t id = slots_[locate(token, hash64(token))].id;
  return id < 0 ? std::nullopt : std::optional<int32_t>(id);
}

bool Vocabulary::contains(int32_t id) const {
  return id >= 0 && id < end_id() && tokens_[static_cast<size_t>(id)].first > 0;
}

std::string_view Vocabulary::token(int32_t id) const {
  if (!contains(id)) return {};
  const auto [offset, length] = tokens_[static_cast<size_t>(id)];
  return std::string_view(pool_).substr(offset - 1, length);
}

}  // namespace ramjet::text
