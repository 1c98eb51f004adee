// BlockReader: takes one block of tool calls off the front of a text that grows.
//
// One per block; one thread. What it decides depends on the text alone, never on the pieces in
// which it came. It holds offsets into the text, so that a long block is looked at once.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/tools/output_format.h"
#include "text/tools/tool_schemas.h"

namespace ramjet::text {

struct ParsedCall {
  std::string id;  // as the model gave it; may be empty
  std::string name;
  std::string arguments;  // a JSON object
};

struct BlockResult {
  enum class Kind {
    kMore,       // the block goes on
    kCalls,      // `length` bytes are a block
    kMalformed,  // `length` bytes (at least one) are no block but text
  };
  Kind kind = Kind::kMore;
  size_t length = 0;
  std::vector<ParsedCall> calls;

  static BlockResult more() { return {}; }
  static BlockResult malformed(size_t length) { return {Kind::kMalformed, length, {}}; }
  static BlockResult done(size_t length, std::vector<ParsedCall> calls) {
    return {Kind::kCalls, length, std::move(calls)};
  }
};

class BlockReader {
 public:
  virtual ~BlockReader() = default;
  /// `text` begins with the block and only grows between calls. `final`: it has ended.
  virtual BlockResult read(std::string_view text, bool final) = 0;
};

/// The reader for a block of that kind. It borrows both.
std::unique_ptr<BlockReader> make_block_reader(const CallBlock& block, const ToolSchemas& tools);
/// For a message that is JSON from its first byte; calls of unknown functions are text.
std::unique_ptr<BlockReader> make_bare_json_reader(const ToolSchemas& tools);

// The families behind make_block_reader().
std::unique_ptr<BlockReader> make_parameter_reader(const CallBlock& block,
                                                   const ToolSchemas& tools);
std::unique_ptr<BlockReader> make_key_value_reader(const CallBlock& block,
                                                   const ToolSchemas& tools);
std::unique_ptr<BlockReader> make_gemma_reader(const CallBlock& block);

/// The calls that a JSON value (an object or array) spells: {"name","arguments"} under all names in
/// use. False if it is anything else. `only` rejects functions that it does not know.
bool read_json_calls(std::string_view json, const ToolSchemas* only, std::vector<ParsedCall>& out);

/// Is `text` the beginning of `marker`, or the other way around?
inline bool may_become(std::string_view text, std::string_view marker) {
  return text.starts_with(marker) || marker.starts_with(text);
}

}  // namespace ramjet::text
