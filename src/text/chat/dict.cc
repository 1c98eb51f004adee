// Dicts and hashing.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/hash.h"
#include "text/chat/ops.h"

namespace ramjet::text::chat {
namespace {

constexpr uint32_t kEmpty = UINT32_MAX;
constexpr uint32_t kSmall = 8;  // dicts up to this size are searched in a row

uint64_t mix(uint64_t h) {
  h ^= h >> 33;
  h *= 0xFF51AFD7ED558CCDull;
  h ^= h >> 33;
  return h;
}

uint64_t hash_int(Int i) { return mix(static_cast<uint64_t>(i) ^ static_cast<uint64_t>(i >> 64)); }

bool same_text(const Value& v, std::string_view text) {
  return v.is_string() && v.size == text.size() &&
         std::memcmp(v.chars, text.data(), text.size()) == 0;
}

}  // namespace

bool is_hashable(const Value& v) {
  switch (v.kind) {
    case Kind::kList:
    case Kind::kDict:
    case Kind::kDictView: return false;
    case Kind::kTuple: return std::all_of(v.seq->begin(), v.seq->end(), is_hashable);
    default: return true;
  }
}

uint64_t hash_value(Runtime& rt, const Value& v) {
  switch (v.kind) {
    case Kind::kString: rt.charge_bytes(v.size); return hash64(v.text());
    case Kind::kBool:
    case Kind::kInt:
    case Kind::kBigInt: return hash_int(integral(v));
    case Kind::kFloat:
      // Equal numbers hash alike, whatever their type.
      if (std::abs(v.real) < 1e38 && v.real == std::trunc(v.real)) {
        return hash_int(static_cast<Int>(v.real));
      }
      uint64_t bits;
      std::memcpy(&bits, &v.real, sizeof bits);
      return mix(bits);
    case Kind::kTuple: {
      uint64_t h = 0x345678;
      for (const Value& item : *v.seq) {
        rt.charge();
        h = mix(h * 31 + hash_value(rt, item));
      }
      return h;
    }
    case Kind::kNone:
    case Kind::kUndefined: return static_cast<uint64_t>(v.kind);
    case Kind::kList:
    case Kind::kDict:
    case Kind::kDictView: fail("unhashable type: '{}'", type_name(v));
    default: return mix(reinterpret_cast<uintptr_t>(v.address));
  }
}

const Value* dict_find(const Dict& dict, std::string_view key) {
  if (dict.slots == nullptr) {
    for (uint32_t i = 0; i < dict.size; ++i) {
      if (same_text(dict.keys[i], key)) return &dict.values[i];
    }
    return nullptr;
  }
  for (auto at = static_cast<uint32_t>(hash64(key));; ++at) {
    const uint32_t i = dict.slots[at & dict.slot_mask];
    if (i == kEmpty) return nullptr;
    if (same_text(dict.keys[i], key)) return &dict.values[i];
  }
}

const Value* dict_find(Runtime& rt, const Dict& dict, const Value& key) {
  if (key.is_string()) return dict_find(dict, key.text());
  const uint64_t hash = hash_value(rt, key);
  if (dict.slots == nullptr) {
    for (uint32_t i = 0; i < dict.size; ++i) {
      if (equals(rt, dict.keys[i], key)) return &dict.values[i];
    }
    return nullptr;
  }
  for (auto at = static_cast<uint32_t>(hash);; ++at) {
    const uint32_t i = dict.slots[at & dict.slot_mask];
    if (i == kEmpty) return nullptr;
    if (equals(rt, dict.keys[i], key)) return &dict.values[i];
  }
}

Value dict_view_item(Runtime& rt, const Value& view, uint32_t i) {
  const Dict& dict = *view.dict;
  if (view.flags == Value::kViewKeys) return dict.keys[i];
  if (view.flags == Value::kViewValues) return dict.values[i];
  return rt.tuple2(dict.keys[i], dict.values[i]);
}

uint32_t* DictBuilder::slot_of(const Value& key, uint64_t hash) const {
  for (auto at = static_cast<uint32_t>(hash);; ++at) {
    rt_.charge();
    uint32_t* slot = &slots_[at & slot_mask_];
    if (*slot == kEmpty) return slot;
    if (hashes_[*slot] == hash && equals(rt_, keys_[*slot], key)) return slot;
  }
}

void DictBuilder::grow() {
  const uint32_t capacity = capacity_ == 0 ? kSmall : capacity_ * 2;
  Value* keys = rt_.allocate_values(capacity);
  Value* values = rt_.allocate_values(capacity);
  auto* hashes = static_cast<uint64_t*>(rt_.allocate(capacity * sizeof(uint64_t)));
  std::copy(keys_, keys_ + size_, keys);
  std::copy(values_, values_ + size_, values);
  std::copy(hashes_, hashes_ + size_, hashes);
  slot_mask_ = capacity * 2 - 1;
  slots_ = static_cast<uint32_t*>(rt_.allocate((slot_mask_ + 1) * sizeof(uint32_t)));
  std::fill(slots_, slots_ + slot_mask_ + 1, kEmpty);
  for (uint32_t i = 0; i < size_; ++i) {
    auto at = static_cast<uint32_t>(hashes[i]);
    while (slots_[at & slot_mask_] != kEmpty) ++at;
    slots_[at & slot_mask_] = i;
  }
  keys_ = keys;
  values_ = values;
  hashes_ = hashes;
  capacity_ = capacity;
}

bool DictBuilder::add(const Value& key, const Value& value) {
  const uint64_t hash = hash_value(rt_, key);
  if (size_ == capacity_) grow();
  uint32_t* slot = slot_of(key, hash);
  if (*slot != kEmpty) {
    values_[*slot] = value;
    return false;
  }
  *slot = size_;
  keys_[size_] = key;
  values_[size_] = value;
  hashes_[size_++] = hash;
  return true;
}

void DictBuilder::set(const Value& key, const Value& value) { add(key, value); }

const Value* DictBuilder::find(const Value& key) const {
  if (size_ == 0) return nullptr;
  const uint32_t* slot = slot_of(key, hash_value(rt_, key));
  return *slot == kEmpty ? nullptr : &values_[*slot];
}

Value DictBuilder::dict() {
  uint32_t depth = 0;
  for (uint32_t i = 0; i < size_; ++i) {
    depth = std::max({depth, value_depth(keys_[i]), value_depth(values_[i])});
  }
  // The same check of depth as for lists.
  if (depth >= Runtime::kMaxValueDepth) rt_.sequence(Kind::kTuple, values_, size_);
  auto* dict = rt_.make<Dict>();
  dict->keys = keys_;
  dict->values = values_;
  dict->size = size_;
  dict->depth = depth + 1;
  if (size_ > kSmall) {
    dict->slots = slots_;
    dict->slot_mask = slot_mask_;
  }
  return Value::of_object(Kind::kDict, dict);
}

}  // namespace ramjet::text::chat
