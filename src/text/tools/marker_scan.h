// Searching a growing text for markers, and the writing of what lies around them.
//
// Not thread-safe.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/tools/block_reader.h"
#include "text/tools/output_parser.h"

namespace ramjet::text {

struct MarkerHit {
  size_t at = 0;    // where the marker begins; without one: how many bytes hold no part of any
  int marker = -1;  // its index; -1: none
};

/// The first of `markers` in `text`, of those at one place the longest. Unless `final`, a tail that
/// may become a marker is left for later.
MarkerHit find_marker(std::string_view text, const std::vector<std::string>& markers, bool final);

/// Takes the content, reasoning and calls of one message in order, and trims white space around
/// blocks.
class MessageWriter {
 public:
  explicit MessageWriter(const ParserSetup& setup) : max_calls_(setup.max_calls) {}

  void content(std::string_view text);
  void reasoning(std::string_view text);
  void call(ParsedCall call);
  /// A block ended or reasoning ended: the space before what comes next is not content.
  void end_block() { trims_content_ = true; }
  void end_reasoning();
  /// The end of the message.
  void finish();

  bool has_content() const { return has_content_; }
  MessageDelta take() { return std::exchange(delta_, {}); }

 private:
  int max_calls_;
  MessageDelta delta_;
  std::string content_space_;  // held back: a block may follow
  std::string reasoning_space_;
  bool has_content_ = false;
  bool trims_content_ = false;
  bool trims_reasoning_ = true;
  int calls_ = 0;
};

}  // namespace ramjet::text
