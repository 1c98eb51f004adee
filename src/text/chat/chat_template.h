// ChatTemplate: a chat template in the Jinja dialect of Hugging Face `transformers`, equal to the
// byte to jinja2's ImmutableSandboxedEnvironment(trim_blocks, lstrip_blocks, loopcontrols) with
// raise_exception, strftime_now, tojson and `generation` blocks.
//
// Immutable after compile(), so render() may be called from any thread at once. A template and its
// context are hostile: steps, output, memory and depth are bounded, no attribute that begins with
// an underscore can be reached, and every failure is an Error, never an exception.
// Limits against the reference: integers are 128-bit (an overflow is an Error); a block that is not
// `scoped` within another scope and autoescape are refused when compiled; `self`, bytes, \N
// escapes, lipsum, urlize and random are unsupported. include, import and extends fail when they
// are reached, as they do there: a chat template has no loader.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace ramjet::text {

/// A wall-clock time as strftime_now() shows it.
struct TemplateTime {
  int year = 1970;
  int month = 1;  // 1..12
  int day = 1;    // 1..31
  int hour = 0;
  int minute = 0;
  int second = 0;
  int microsecond = 0;
  std::optional<int> utc_offset_s;  // only %z and %Z show it; none for a local time

  /// "2024-07-26", "2024-07-26T12:34:56", with optional ".123456" and "Z" or "+02:00"; a space may
  /// stand for the T. Errors: kInvalidArgument.
  static Result<TemplateTime> from_iso(std::string_view iso);
  static TemplateTime now_local();
};

struct RenderLimits {
  int64_t max_steps = 10'000'000;             // nodes evaluated and items visited
  size_t max_output_bytes = 64 << 20;         // of the rendered text
  size_t max_memory_bytes = size_t{1} << 28;  // of values made while rendering
  int max_depth = 200;                        // of nested macro calls and recursive loops
};

struct RenderOptions {
  std::optional<TemplateTime> now;  // none: the local clock
  RenderLimits limits;
};

namespace chat {
struct Program;
}

class ChatTemplate {
 public:
  /// Errors: kInvalidArgument for a syntax error (names the line), an unknown filter or test, or a
  /// template that is too large or too deeply nested; kUnsupported for autoescape.
  static Result<ChatTemplate> compile(std::string source);

  /// Renders with the members of the object `context` as variables. Errors: kInvalidArgument where
  /// the template calls raise_exception (its message as it stands) or fails while it runs (the
  /// message names the line); kResourceExhausted where a limit is exceeded.
  Result<std::string> render(const nlohmann::ordered_json& context,
                             const RenderOptions& options = {}) const;

  const std::string& source() const;

 private:
  explicit ChatTemplate(std::shared_ptr<const chat::Program> program);
  std::shared_ptr<const chat::Program> program_;  // shared by the copies of this template
};

}  // namespace ramjet::text
