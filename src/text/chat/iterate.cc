// Iteration and length.
#include <algorithm>

#include "text/chat/loop.h"
#include "text/chat/ops.h"
#include "text/chat/unicode.h"

namespace ramjet::text::chat {
namespace {

class SeqIterator final : public Iterator {
 public:
  SeqIterator(Runtime& rt, const Value* items, size_t size)
      : rt_(rt), at_(items), end_(items + size) {}
  bool next(Value* out) override {
    if (at_ == end_) return false;
    rt_.charge();
    *out = *at_++;
    return true;
  }

 private:
  Runtime& rt_;
  const Value* at_;
  const Value* end_;
};

class CharIterator final : public Iterator {
 public:
  CharIterator(Runtime& rt, std::string_view text) : rt_(rt), text_(text) {}
  bool next(Value* out) override {
    if (at_ >= text_.size()) return false;
    rt_.charge();
    const size_t begin = at_;
    next_char(text_, at_);
    *out = Value::of_text(text_.substr(begin, at_ - begin));
    return true;
  }

 private:
  Runtime& rt_;
  std::string_view text_;
  size_t at_ = 0;
};

/// Ranges and dict views, forwards and backwards.
class IndexedIterator final : public Iterator {
 public:
  IndexedIterator(Runtime& rt, const Value& source, int64_t size, bool is_reversed)
      : rt_(rt), source_(source), size_(size), is_reversed_(is_reversed) {}
  bool next(Value* out) override {
    if (at_ >= size_) return false;
    rt_.charge();
    const int64_t i = is_reversed_ ? size_ - 1 - at_ : at_;
    ++at_;
    *out = item(i);
    return true;
  }

 private:
  Value item(int64_t i) const {
    switch (source_.kind) {
      case Kind::kRange: return rt_.integer(source_.range->at(i));
      case Kind::kDict: return source_.dict->keys[i];
      case Kind::kDictView: return dict_view_item(rt_, source_, static_cast<uint32_t>(i));
      default: return source_.seq->items[i];
    }
  }
  Runtime& rt_;
  Value source_;
  int64_t at_ = 0;
  int64_t size_;
  bool is_reversed_;
};

}  // namespace

std::optional<int64_t> try_length(Runtime& rt, const Value& v) {
  switch (v.kind) {
    case Kind::kString: rt.charge_bytes(v.size); return static_cast<int64_t>(count_chars(v.text()));
    case Kind::kList:
    case Kind::kTuple: return v.seq->size;
    case Kind::kDict:
    case Kind::kDictView: return v.dict->size;
    case Kind::kRange: return v.range->size;
    case Kind::kUndefined: return 0;
    case Kind::kLoop: return loop_length(rt, *v.loop);
    default: return std::nullopt;
  }
}

int64_t length(Runtime& rt, const Value& v) {
  if (const auto n = try_length(rt, v)) return *n;
  fail("object of type '{}' has no len()", type_name(v));
}

bool is_iterable(const Value& v) {
  switch (v.kind) {
    case Kind::kString:
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kDict:
    case Kind::kDictView:
    case Kind::kRange:
    case Kind::kIterator:
    case Kind::kLoop:
    case Kind::kUndefined: return true;
    default: return false;
  }
}

Iterator* iterate_items(Runtime& rt, const Value* items, size_t size) {
  return new (rt.allocate(sizeof(SeqIterator))) SeqIterator(rt, items, size);
}

Iterator* iterate(Runtime& rt, const Value& v) {
  switch (v.kind) {
    case Kind::kUndefined: return iterate_items(rt, nullptr, 0);
    case Kind::kList:
    case Kind::kTuple: return iterate_items(rt, v.seq->items, v.seq->size);
    case Kind::kDict: return iterate_items(rt, v.dict->keys, v.dict->size);
    case Kind::kString: return new (rt.allocate(sizeof(CharIterator))) CharIterator(rt, v.text());
    case Kind::kRange:
    case Kind::kDictView:
      return new (rt.allocate(sizeof(IndexedIterator)))
          IndexedIterator(rt, v, length(rt, v), false);
    case Kind::kIterator: return v.iterator;
    case Kind::kLoop: return iterate_loop(rt, v);
    default: fail("'{}' object is not iterable", type_name(v));
  }
}

Iterator* reverse_iterate(Runtime& rt, const Value& v) {
  switch (v.kind) {
    case Kind::kUndefined: return iterate_items(rt, nullptr, 0);
    case Kind::kString: {
      const Seq* chars = collect(rt, v);
      auto* items = rt.allocate_values(chars->size);
      std::reverse_copy(chars->begin(), chars->end(), items);
      return iterate_items(rt, items, chars->size);
    }
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kRange:
    case Kind::kDict:
    case Kind::kDictView:
      return new (rt.allocate(sizeof(IndexedIterator))) IndexedIterator(rt, v, length(rt, v), true);
    default: return nullptr;
  }
}

const Seq* collect(Runtime& rt, const Value& v) {
  if (v.is_sequence()) return v.seq;
  if (v.is(Kind::kDict)) return rt.make<Seq>(v.dict->keys, v.dict->size, v.dict->depth);
  ListBuilder out(rt);
  Iterator* it = iterate(rt, v);
  for (Value item; it->next(&item);) out.add(item);
  return out.list().seq;
}

}  // namespace ramjet::text::chat
