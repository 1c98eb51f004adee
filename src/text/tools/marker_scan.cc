#include "text/tools/marker_scan.h"

#include <algorithm>
#include <utility>

#include "text/tools/json_scan.h"

namespace ramjet::text {
namespace {

constexpr std::string_view kSpace = " \t\n\r";

size_t body_end(std::string_view text) {
  const size_t last = text.find_last_not_of(kSpace);
  return last == std::string_view::npos ? 0 : last + 1;
}

std::string_view without_leading_space(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of(kSpace), text.size()));
  return text;
}

}  // namespace

MarkerHit find_marker(std::string_view text, const std::vector<std::string>& markers, bool final) {
  for (size_t at = 0; at < text.size(); ++at) {
    const std::string_view rest = text.substr(at);
    int found = -1;
    for (size_t i = 0; i < markers.size(); ++i) {
      const std::string& marker = markers[i];
      if (rest.front() != marker.front()) continue;
      if (rest.starts_with(marker)) {
        const bool longer = found < 0 || marker.size() > markers[static_cast<size_t>(found)].size();
        if (longer) found = static_cast<int>(i);
      } else if (!final && marker.starts_with(rest)) {
        return {at, -1};
      }
    }
    if (found >= 0) return {at, found};
  }
  return {text.size(), -1};
}

void MessageWriter::content(std::string_view text) {
  if (trims_content_) {
    text = without_leading_space(text);
    if (text.empty()) return;
    trims_content_ = false;
    if (!has_content_) content_space_.clear();
  }
  const size_t end = body_end(text);
  if (end > 0) {
    delta_.content += content_space_;
    delta_.content += text.substr(0, end);
    content_space_.clear();
    has_content_ = true;
  }
  content_space_ += text.substr(end);
}

void MessageWriter::reasoning(std::string_view text) {
  if (trims_reasoning_) text = without_leading_space(text);
  if (text.empty()) return;
  trims_reasoning_ = false;
  const size_t end = body_end(text);
  if (end > 0) {
    delta_.reasoning += reasoning_space_;
    delta_.reasoning += text.substr(0, end);
    reasoning_space_.clear();
  }
  reasoning_space_ += text.substr(end);
}

void MessageWriter::end_reasoning() {
  if (!trims_reasoning_) reasoning_space_ = "\n";  // between this and more of it
  trims_reasoning_ = true;
  trims_content_ = true;
}

void MessageWriter::call(ParsedCall call) {
  if (calls_ >= max_calls_) return;
  CallDelta delta;
  delta.index = calls_++;
  delta.first = true;
  delta.id = std::move(call.id);
  delta.name = std::move(call.name);
  delta.arguments = std::move(call.arguments);
  delta_.calls.push_back(std::move(delta));
}

void MessageWriter::finish() {
  if (!trims_content_) delta_.content += content_space_;
  content_space_.clear();
}

}  // namespace ramjet::text
