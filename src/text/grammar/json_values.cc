// Literals, numbers and strings; where a value begins and ends.
#include <algorithm>

#include "base/json.h"
#include "text/grammar/json_text.h"
#include "text/grammar/machine.h"
#include "text/grammar/schema_expand.h"

namespace ramjet::text {
namespace {

constexpr size_t kMaxNumber = 4096;  // characters
constexpr std::string_view kLiterals[] = {"null", "true", "false"};
constexpr JsonType kLiteralTypes[] = {JsonType::kNull, JsonType::kTrue, JsonType::kFalse};

// Phases of a number that needs no memory, and which of them it may end in.
enum Phase : int32_t { kText, kSign, kZero, kInteger, kPoint, kFraction, kE, kESign, kExponent };

bool is_digit(uint8_t c) { return c >= '0' && c <= '9'; }

ExprId constant_of(ExprPool& pool, std::string_view all, size_t from, size_t drop) {
  const auto json = parse_ordered_json(all.substr(from, all.size() - drop - from));
  return json.ok() ? SchemaExpander::constant(pool, *json) : kFalseExpr;
}

}  // namespace

const NumberGuide& Machine::guide(ExprId e) {
  auto& slot = guides_[e];
  if (slot == nullptr) slot = std::make_unique<NumberGuide>(*normal_.numbers(e));
  return *slot;
}

void Machine::value(const Thread& thread, uint8_t byte) {
  const ExprId e = thread.a;
  Thread t;
  t.frame = thread.frame;
  t.capture = thread.capture;
  t.a = e;
  if (byte == '"') {
    t.kind = Thread::Kind::kString;
    t.dfa = normal_.strings(e).get();  // kept by the normalizer
    if (!t.dfa->empty()) put(std::move(t));
  } else if (byte == '{') {
    for (const ObjectPlan& plan : normal_.objects(e)) begin_object(thread, plan);
  } else if (byte == '[') {
    for (const ArrayPlan& plan : normal_.arrays(e)) begin_array(thread, plan);
  } else if (byte == '-' || is_digit(byte)) {
    t.kind = Thread::Kind::kNumber;
    if (canonical_) {
      const NumberGuide& g = guide(e);
      if (g.any_number() || g.any_integer())
        t.b = byte == '-' ? kSign : byte == '0' ? kZero : kInteger;
      t.text = t.b == kText ? std::string(1, static_cast<char>(byte)) : std::string();
      if (t.b == kText && !g.viable(t.text)) return;
    } else {
      if (normal_.numbers(e)->ranges.empty()) return;
      t.text = std::string(1, static_cast<char>(byte));
    }
    put(std::move(t));
  } else {
    for (int i = 0; i < 3; ++i) {
      if (byte != static_cast<uint8_t>(kLiterals[i][0])) continue;
      if ((normal_.literals(e) & type_bit(kLiteralTypes[i])) == 0) continue;
      t.kind = Thread::Kind::kLiteral;
      t.a = i, t.b = 1;
      put(std::move(t));
    }
  }
}

void Machine::literal(Thread thread, uint8_t byte) {
  const std::string_view word = kLiterals[thread.a];
  if (byte != static_cast<uint8_t>(word[static_cast<size_t>(thread.b)])) return;
  if (++thread.b < std::ssize(word)) return put(std::move(thread));
  finish_value(thread, 0);
}

bool Machine::number_complete(const Thread& thread) {
  if (thread.b != kText) {
    return thread.b == kZero || thread.b == kInteger || thread.b == kFraction ||
           thread.b == kExponent;
  }
  if (canonical_) return guide(thread.a).member(thread.text);
  const auto value = Decimal::parse(thread.text);
  return value && normal_.numbers(thread.a)->contains(*value);
}

void Machine::free_number(Thread thread, uint8_t byte) {
  const bool real = guide(thread.a).any_number();
  int32_t next = -1;
  switch (thread.b) {
    case kSign: next = byte == '0' ? kZero : is_digit(byte) ? kInteger : -1; break;
    case kInteger:
    case kZero:
      if (is_digit(byte) && thread.b == kInteger) next = kInteger;
      if (byte == '.' && real) next = kPoint;
      if ((byte == 'e' || byte == 'E') && real) next = kE;
      break;
    case kPoint: next = is_digit(byte) ? kFraction : -1; break;
    case kFraction: next = is_digit(byte) ? kFraction : byte == 'e' || byte == 'E' ? kE : -1; break;
    case kE: next = byte == '+' || byte == '-' ? kESign : is_digit(byte) ? kExponent : -1; break;
    default: next = is_digit(byte) ? kExponent : -1;
  }
  if (next < 0) return;
  thread.b = next;
  put(std::move(thread));
}

void Machine::number(Thread thread, uint8_t byte) {
  const bool part =
      is_digit(byte) || byte == '.' || byte == 'e' || byte == 'E' || byte == '+' || byte == '-';
  if (part) {
    if (thread.b != kText) return free_number(std::move(thread), byte);
    if (thread.text.size() >= kMaxNumber) return;
    thread.text.push_back(static_cast<char>(byte));
    if (canonical_) {
      const std::string& s = thread.text;
      const size_t digits = s[0] == '-' ? 1 : 0;
      const bool zeros = s.size() > digits + 1 && s[digits] == '0' && is_digit(s[digits + 1]);
      const bool points = std::count(s.begin(), s.end(), '.') > (s[digits] == '.' ? 0 : 1);
      const bool plain = is_digit(byte) || byte == '.';
      if (!plain || zeros || points || !guide(thread.a).viable(s)) return;
    }
    return put(std::move(thread));
  }
  if (!number_complete(thread)) return;
  // The byte belongs to what follows the number.
  MachineState before = std::move(out_);
  out_.clear();
  auto entered = std::move(entered_);
  entered_.clear();
  finish_value(thread, 1);
  MachineState after = std::move(out_);
  out_ = std::move(before);
  entered_ = std::move(entered);
  for (Thread& t : after) dispatch(std::move(t), byte);
}

void Machine::string(Thread thread, uint8_t byte) {
  const Dfa& dfa = *thread.dfa;
  const CharReader::Read read = thread.chars.json(byte, !canonical_);
  if (!read.ok) return;
  for (int i = 0; i < read.count; ++i) {
    thread.b = dfa.step(thread.b, read.points[i]);
    if (!dfa.live(thread.b)) return;
  }
  if (read.end) {
    if (dfa.accepts(thread.b)) finish_value(thread, 0);
    return;
  }
  if (canonical_ && thread.chars.mode != CharReader::Mode::kPlain &&
      !live_characters(dfa, thread.b, thread.chars.possible())) {
    return;
  }
  put(std::move(thread));
}

/// The thread's value has ended: what it stands in goes on. `drop`: bytes at the capture's end that
/// are not of the value.
void Machine::finish_value(const Thread& thread, size_t drop) {
  Thread t;
  if (thread.frame == nullptr) {
    t.space = !canonical_;
    return put(std::move(t));
  }
  const Frame& frame = *thread.frame;
  if (frame.kind == Frame::Kind::kReturn) return enter(frame.node, frame.parent);
  t.capture = thread.capture;
  t.frame = thread.frame;
  if (frame.kind == Frame::Kind::kObject) {
    t.kind = Thread::Kind::kAfterMember;
    return put(std::move(t));
  }
  t.kind = Thread::Kind::kAfterItem;
  if (frame.array->shape.unique) {
    const std::string_view all = *thread.capture;
    std::string item =
        canonical_json(all.substr(frame.item_start, all.size() - drop - frame.item_start));
    if (item.empty()) return;
    for (const KeyList* k = frame.others.get(); k != nullptr; k = k->before.get()) {
      if (k->key == item) return;
    }
    Frame next = frame;
    const ExprId value = canonical_ ? constant_of(normal_.pool(), all, frame.item_start, drop) : 0;
    next.others = std::make_shared<const KeyList>(KeyList{std::move(item), value, frame.others});
    t.frame = make_frame(std::move(next));
  }
  put(std::move(t));
}

}  // namespace ramjet::text
