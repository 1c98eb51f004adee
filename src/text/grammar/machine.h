// Machine: follows texts of a grammar byte by byte. A state is a set of threads, each with a
// persistent stack of frames, so that alternatives share what they have in common.
//
// Two readings of JSON values: the whole language (members in any order, white space, escapes,
// any form of a number), and the one that models write: members in the schema's order, at most one
// space after ',' and ':', plain decimals; there a thread lives only if it can still end.
// Not thread-safe: normal forms are computed on demand. Throws Refusal. Borrows net and normalizer.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "text/grammar/net.h"
#include "text/grammar/normal.h"

namespace ramjet::text {

/// Reads the characters of a JSON string or of plain UTF-8.
struct CharReader {
  enum class Mode : uint8_t { kPlain, kUtf8, kEscape, kHex, kHigh, kHighEscape, kHighHex };
  Mode mode = Mode::kPlain;
  uint8_t left = 0;    // bytes or hex digits to come
  uint32_t value = 0;  // of what came
  uint32_t high = 0;   // a surrogate before

  struct Read {
    bool ok = true;
    bool end = false;  // the closing quote
    int count = 0;
    uint32_t points[2] = {0, 0};
  };
  /// `lone`: escapes may spell surrogates, as JSON texts that others wrote do.
  Read json(uint8_t byte, bool lone);
  Read utf8(uint8_t byte);
  /// What the unfinished character can still be.
  CodePointRange possible() const;
  bool operator==(const CharReader&) const = default;

 private:
  void put(Read& read, uint32_t point, bool lone);
  Read continue_utf8(uint8_t byte);
};

struct KeyList {
  std::string key;
  int32_t value = 0;                      // of an item, the expression of just that value
  std::shared_ptr<const KeyList> before;  // shared by the threads that came this way
};

struct Frame;
using FramePtr = std::shared_ptr<const Frame>;  // shared by the threads above it

struct Frame {
  enum class Kind : uint8_t { kReturn, kObject, kArray };
  Kind kind = Kind::kReturn;
  FramePtr parent;
  int32_t node = 0;  // of a return; of an array, 1 if the capture began with it
  const ObjectPlan* object = nullptr;
  const ArrayPlan* array = nullptr;
  int64_t count = 0;                      // members, items; no higher than matters
  size_t next_named = 0;                  // of an object that a model writes
  std::vector<uint64_t> seen;             // named members
  uint32_t some_done = 0;                 // bits of shape.some
  std::vector<int32_t> counts;            // of each rule of shape.contains
  std::shared_ptr<const KeyList> others;  // keys of other members, or items of a set
  size_t item_start = 0;                  // in the capture, of an array with unique items
  size_t hash = 0;

  bool equals(const Frame& other) const;
};

struct Thread {
  enum class Kind : uint8_t {
    kDone,
    kByte,
    kText,
    kValue,
    kLiteral,
    kNumber,
    kString,
    kKey,
    kNamedKey,
    kOtherKey,
    kColon,
    kFirstKey,
    kNextKey,
    kAfterMember,
    kFirstItem,
    kAfterItem
  };
  Kind kind = Kind::kDone;
  bool space = false;  // one may come
  int32_t a = 0;       // node, expression, literal, named member
  int32_t b = 0;       // state, position, phase of a number
  CharReader chars;
  const Dfa* dfa = nullptr;
  std::string text;  // of a key or number
  FramePtr frame;
  std::shared_ptr<const std::string> capture;  // since the outermost array of unique items began

  bool operator==(const Thread& other) const;
  size_t hash() const;
};

using MachineState = std::vector<Thread>;

class Machine {
 public:
  Machine(const Net& net, Normalizer& normal, bool canonical)
      : net_(net), normal_(normal), canonical_(canonical) {}

  MachineState start(int32_t entry);
  /// Empty when no text goes on like this.
  MachineState step(const MachineState& state, uint8_t byte);
  bool accepting(const MachineState& state);

 private:
  void dispatch(Thread thread, uint8_t byte);
  void enter(int32_t node, FramePtr frame);
  void put(Thread thread);
  void text(Thread thread, uint8_t byte);
  void value(const Thread& thread, uint8_t byte);
  void literal(Thread thread, uint8_t byte);
  void number(Thread thread, uint8_t byte);
  void free_number(Thread thread, uint8_t byte);
  void string(Thread thread, uint8_t byte);
  void finish_value(const Thread& thread, size_t drop);
  bool number_complete(const Thread& thread);
  const NumberGuide& guide(ExprId e);

  void begin_object(const Thread& thread, const ObjectPlan& plan);
  void between_members(const Thread& thread, uint8_t byte);
  void begin_key(const Thread& thread);
  void key(Thread thread, uint8_t byte);
  void named_key(Thread thread, uint8_t byte);
  void other_key(Thread thread, uint8_t byte);
  bool has_new_key(const Thread& thread, CodePointRange next, bool may_end);
  void after_key(const Thread& thread, int32_t named);
  void choose_member(const Thread& thread, const Frame& frame, ExprId value);
  bool object_complete(const Frame& frame) const;
  bool can_finish_object(const Frame& frame);
  size_t last_candidate(const Frame& frame) const;
  bool has_candidate(const Frame& frame);

  void begin_array(const Thread& thread, const ArrayPlan& plan);
  void between_items(const Thread& thread, uint8_t byte);
  void begin_item(const Thread& thread, bool space, const uint8_t* byte);
  bool array_complete(const Frame& frame) const;
  bool can_finish_array(const Frame& frame);
  ExprId unseen(const Frame& frame, ExprId item);

  const Net& net_;
  Normalizer& normal_;
  const bool canonical_;
  MachineState out_;
  int depth_ = 0;
  std::vector<std::pair<int32_t, FramePtr>> entered_;  // without a byte, in this step
  std::unordered_map<ExprId, std::unique_ptr<NumberGuide>> guides_;
};

/// Whether a character of the range leads to a live state; surrogates are none that a model writes.
bool live_characters(const Dfa& dfa, int32_t state, CodePointRange range);
/// A frame that is complete: its hash computed.
FramePtr make_frame(Frame frame);
}  // namespace ramjet::text
