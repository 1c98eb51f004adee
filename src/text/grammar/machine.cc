#include "text/grammar/machine.h"

#include <algorithm>
#include <unordered_set>

namespace ramjet::text {
namespace {

constexpr size_t kMaxThreads = 4000;
constexpr int kMaxEnter = 2000;

size_t mix(size_t h, size_t v) {
  h = (h ^ v) * 0x9e3779b97f4a7c15ULL;
  return h ^ h >> 29;
}

bool same_list(const KeyList* a, const KeyList* b) {
  while (a != b) {
    if (a == nullptr || b == nullptr || a->key != b->key) return false;
    a = a->before.get(), b = b->before.get();
  }
  return true;
}

}  // namespace

FramePtr make_frame(Frame f) {
  size_t h = static_cast<size_t>(f.kind);
  h = mix(h, f.parent ? f.parent->hash : 7);
  h = mix(h, static_cast<size_t>(f.node));
  h = mix(h, reinterpret_cast<size_t>(f.object) ^ reinterpret_cast<size_t>(f.array));
  h = mix(h, static_cast<size_t>(f.count) * 31 + f.next_named);
  for (const uint64_t bits : f.seen) h = mix(h, bits);
  for (const int32_t c : f.counts) h = mix(h, static_cast<size_t>(c));
  h = mix(h, f.some_done);
  if (f.others) h = mix(h, std::hash<std::string>()(f.others->key));
  f.hash = h;
  return std::make_shared<const Frame>(std::move(f));
}

bool Frame::equals(const Frame& o) const {
  const Frame* a = this;
  const Frame* b = &o;
  while (a != b) {
    if (a->hash != b->hash || a->kind != b->kind || a->node != b->node || a->object != b->object ||
        a->array != b->array || a->count != b->count || a->next_named != b->next_named ||
        a->seen != b->seen || a->some_done != b->some_done || a->counts != b->counts ||
        a->item_start != b->item_start || !same_list(a->others.get(), b->others.get())) {
      return false;
    }
    a = a->parent.get(), b = b->parent.get();
    if ((a == nullptr) != (b == nullptr)) return false;
  }
  return true;
}

bool Thread::operator==(const Thread& o) const {
  if (kind != o.kind || space != o.space || a != o.a || b != o.b || !(chars == o.chars) ||
      dfa != o.dfa || text != o.text) {
    return false;
  }
  if ((frame == nullptr) != (o.frame == nullptr)) return false;
  if ((capture == nullptr) != (o.capture == nullptr)) return false;
  if (capture && capture != o.capture && *capture != *o.capture) return false;
  return frame == nullptr || frame->equals(*o.frame);
}

size_t Thread::hash() const {
  size_t h = mix(static_cast<size_t>(kind) * 2 + (space ? 1 : 0), static_cast<size_t>(a));
  h = mix(h, static_cast<size_t>(b));
  h = mix(h, static_cast<size_t>(chars.mode) << 40 | chars.left | size_t{chars.value} << 8);
  h = mix(h, reinterpret_cast<size_t>(dfa));
  if (!text.empty()) h = mix(h, std::hash<std::string>()(text));
  if (frame) h = mix(h, frame->hash);
  return h;
}

MachineState Machine::start(int32_t entry) {
  out_.clear();
  entered_.clear();
  depth_ = 0;
  enter(entry, nullptr);
  return std::move(out_);
}

MachineState Machine::step(const MachineState& state, uint8_t byte) {
  out_.clear();
  entered_.clear();
  depth_ = 0;
  normal_.pool().charge(static_cast<int64_t>(state.size()));
  for (const Thread& thread : state) {
    if (!thread.capture) {
      dispatch(thread, byte);
      continue;
    }
    Thread longer = thread;
    longer.capture = std::make_shared<const std::string>(*thread.capture + static_cast<char>(byte));
    dispatch(std::move(longer), byte);
  }
  if (out_.size() > 16) {
    const auto hash = [](const Thread* t) { return t->hash(); };
    const auto equal = [](const Thread* x, const Thread* y) { return *x == *y; };
    std::unordered_set<const Thread*, decltype(hash), decltype(equal)> seen(out_.size(), hash,
                                                                            equal);
    MachineState unique;
    for (const Thread& t : out_) {
      if (seen.insert(&t).second) unique.push_back(t);
    }
    return unique;
  }
  return std::move(out_);
}

void Machine::put(Thread thread) {
  if (out_.size() <= 16 && std::find(out_.begin(), out_.end(), thread) != out_.end()) return;
  if (out_.size() > kMaxThreads) refuse_limit("following this text takes more than 4000 threads");
  out_.push_back(std::move(thread));
}

bool Machine::accepting(const MachineState& state) {
  for (const Thread& thread : state) {
    if (thread.kind == Thread::Kind::kDone) return true;
    if (thread.kind != Thread::Kind::kNumber || !number_complete(thread)) continue;
    out_.clear();
    entered_.clear();
    finish_value(thread, 0);
    const bool done = std::any_of(out_.begin(), out_.end(),
                                  [](const Thread& t) { return t.kind == Thread::Kind::kDone; });
    if (done) return true;
  }
  return false;
}

/// All places that `node` leads to without a byte.
void Machine::enter(int32_t node, FramePtr frame) {
  if (canonical_ && net_.dead(node)) return;
  const NetNode& n = net_[node];
  if (n.kind == NetNode::Kind::kSplit || n.kind == NetNode::Kind::kCall) {
    for (const auto& [at, with] : entered_) {
      if (at != node || (with == nullptr) != (frame == nullptr)) continue;
      if (with == frame || with->equals(*frame)) return;
    }
    entered_.emplace_back(node, frame);
  }
  if (++depth_ > kMaxEnter) refuse_limit("its rules are nested too deeply");
  switch (n.kind) {
    case NetNode::Kind::kReturn:
      if (frame == nullptr) {
        put(Thread{});
      } else {
        enter(frame->node, frame->parent);
      }
      break;
    case NetNode::Kind::kByte: {
      Thread t;
      t.kind = Thread::Kind::kByte;
      t.a = node;
      t.frame = std::move(frame);
      put(std::move(t));
      break;
    }
    case NetNode::Kind::kSplit:
      for (const int32_t target : n.targets) enter(target, frame);
      break;
    case NetNode::Kind::kCall:
    case NetNode::Kind::kJson: {
      if (n.next != kReturnNode) {
        Frame f;
        f.node = n.next;
        f.parent = std::move(frame);
        frame = make_frame(std::move(f));
      }
      if (n.kind == NetNode::Kind::kCall) {
        enter(n.entry, std::move(frame));
        break;
      }
      Thread t;
      t.kind = Thread::Kind::kValue;
      t.a = n.value;
      t.frame = std::move(frame);
      put(std::move(t));
      break;
    }
    case NetNode::Kind::kText: {
      Thread t;
      t.kind = Thread::Kind::kText;
      t.a = node;
      t.frame = frame;
      if (n.language->live(0)) put(std::move(t));
      if (n.language->accepts(0)) enter(n.next, std::move(frame));
      break;
    }
  }
  --depth_;
}

void Machine::text(Thread thread, uint8_t byte) {
  const NetNode& node = net_[thread.a];
  const Dfa& dfa = *node.language;
  const CharReader::Read read = thread.chars.utf8(byte);
  if (!read.ok) return;
  if (read.count == 0) {
    const auto [low, high] = thread.chars.possible();
    if (dfa.live_within(thread.b, low, high)) put(std::move(thread));
    return;
  }
  thread.b = dfa.step(thread.b, read.points[0]);
  if (!dfa.live(thread.b)) return;
  const bool done = dfa.accepts(thread.b);
  FramePtr frame = thread.frame;
  put(std::move(thread));
  if (done) enter(node.next, std::move(frame));
}

void Machine::dispatch(Thread thread, uint8_t byte) {
  using Kind = Thread::Kind;
  const bool blank = byte == ' ' || byte == '\t' || byte == '\n' || byte == '\r';
  switch (thread.kind) {
    case Kind::kDone:
      if (thread.space && blank) put(std::move(thread));
      return;
    case Kind::kByte: {
      const NetNode& node = net_[thread.a];
      if (byte >= node.low && byte <= node.high) enter(node.next, std::move(thread.frame));
      return;
    }
    case Kind::kText: return text(std::move(thread), byte);
    case Kind::kLiteral: return literal(std::move(thread), byte);
    case Kind::kNumber: return number(std::move(thread), byte);
    case Kind::kString: return string(std::move(thread), byte);
    case Kind::kKey: return key(std::move(thread), byte);
    case Kind::kNamedKey: return named_key(std::move(thread), byte);
    case Kind::kOtherKey: return other_key(std::move(thread), byte);
    default: break;
  }
  // Between tokens: white space.
  if (blank && !canonical_) return put(std::move(thread));
  if (byte == ' ' && thread.space) {
    thread.space = false;
    return put(std::move(thread));
  }
  switch (thread.kind) {
    case Kind::kValue: return value(thread, byte);
    case Kind::kFirstKey:
    case Kind::kNextKey:
    case Kind::kAfterMember: return between_members(thread, byte);
    case Kind::kColon:
      if (byte != ':') return;
      thread.kind = Kind::kValue;
      thread.space = true;
      return put(std::move(thread));
    case Kind::kFirstItem:
    case Kind::kAfterItem: return between_items(thread, byte);
    default: return;
  }
}

}  // namespace ramjet::text
