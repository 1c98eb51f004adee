#include "text/tokenizer/pattern.h"

#include <pcre2.h>

#include <algorithm>
#include <limits>

#include "base/json.h"
#include "text/tokenizer/utf8.h"

namespace ramjet::text {
namespace {

constexpr size_t kMaxPatternBytes = 16384;
constexpr uint32_t kMatchLimit = 20'000'000;
constexpr uint32_t kHeapLimitKib = 64 * 1024;
constexpr size_t kJitStackBytes = size_t{16} << 20;

/// What a match needs besides the pattern; one set a thread.
struct Workspace {
  pcre2_match_data* data = pcre2_match_data_create(1, nullptr);
  pcre2_match_context* context = pcre2_match_context_create(nullptr);
  pcre2_jit_stack* stack = nullptr;

  Workspace() {
    pcre2_set_match_limit(context, kMatchLimit);
    pcre2_set_heap_limit(context, kHeapLimitKib);
  }
  /// The machine stack's 32 KiB serve nearly always.
  void grow_stack() {
    if (stack != nullptr) return;
    stack = pcre2_jit_stack_create(32 * 1024, kJitStackBytes, nullptr);
    pcre2_jit_stack_assign(context, nullptr, stack);
  }
  ~Workspace() {
    pcre2_match_data_free(data);
    pcre2_match_context_free(context);
    if (stack != nullptr) pcre2_jit_stack_free(stack);
  }
};

Workspace& workspace() {
  thread_local Workspace w;
  return w;
}

}  // namespace

struct Pattern::Compiled {
  pcre2_code* code = nullptr;
  bool jit = false;
  std::string source;
  ~Compiled() { pcre2_code_free(code); }

  int match(std::string_view text, size_t from, Workspace& w) const {
    const auto subject = reinterpret_cast<PCRE2_SPTR>(text.data());
    const auto run = [&] {
      return jit ? pcre2_jit_match(code, subject, text.size(), from, PCRE2_NO_UTF_CHECK, w.data,
                                   w.context)
                 : pcre2_match(code, subject, text.size(), from, PCRE2_NO_UTF_CHECK, w.data,
                               w.context);
    };
    int rc = run();
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT) {
      w.grow_stack();
      rc = run();
    }
    return rc;
  }
};

Pattern::Pattern() = default;
Pattern::Pattern(Pattern&&) noexcept = default;
Pattern& Pattern::operator=(Pattern&&) noexcept = default;
Pattern::~Pattern() = default;

Pattern Pattern::literal(std::string text) {
  Pattern out;
  out.literal_ = std::move(text);
  return out;
}

Result<Pattern> Pattern::from_json(const Json& json) {
  if (json.contains("Regex")) return regex(json.at("Regex").get<std::string>());
  auto text = json.at("String").get<std::string>();
  // The empty string matches everywhere, as the empty regex does.
  return text.empty() ? regex("") : Result<Pattern>(literal(std::move(text)));
}

Result<Pattern> Pattern::regex(std::string_view onig_pattern) {
  if (onig_pattern.size() > kMaxPatternBytes) {
    return invalid_argument("regex of {} bytes, the limit is {}", onig_pattern.size(),
                            kMaxPatternBytes);
  }
  ASSIGN_OR_RETURN(std::string translated, translate_pattern(onig_pattern));
  Pattern out;
  out.compiled_ = std::make_unique<Compiled>();
  out.compiled_->source = std::string(onig_pattern);
  pcre2_compile_context* context = pcre2_compile_context_create(nullptr);
  pcre2_set_newline(context, PCRE2_NEWLINE_LF);
  pcre2_set_parens_nest_limit(context, 64);
  int error = 0;
  PCRE2_SIZE offset = 0;
  out.compiled_->code = pcre2_compile(
      reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
      PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &error, &offset, context);
  pcre2_compile_context_free(context);
  if (out.compiled_->code == nullptr) {
    PCRE2_UCHAR message[160];
    pcre2_get_error_message(error, message, sizeof(message));
    return invalid_argument("regex '{}': {}", onig_pattern, reinterpret_cast<const char*>(message));
  }
  out.compiled_->jit = pcre2_jit_compile(out.compiled_->code, PCRE2_JIT_COMPLETE) == 0;
  return out;
}

Status Pattern::find(std::string_view text, std::vector<Match>& out) const {
  if (text.empty()) return ok_status();
  if (text.size() > std::numeric_limits<uint32_t>::max()) {
    return make_error(ErrorCode::kResourceExhausted, "text of {} bytes, the limit is 4 GiB",
                      text.size());
  }
  if (compiled_ != nullptr) return find_regex(text, out);
  const auto end = static_cast<uint32_t>(text.size());
  uint32_t previous = 0;
  while (!literal_.empty()) {
    const size_t found = text.find(literal_, previous);
    if (found == std::string_view::npos) break;
    const auto at = static_cast<uint32_t>(found);
    if (at != previous) out.push_back({previous, at, false});
    previous = at + static_cast<uint32_t>(literal_.size());
    out.push_back({at, previous, true});
  }
  if (previous != end) out.push_back({previous, end, false});
  return ok_status();
}

Status Pattern::find_regex(std::string_view text, std::vector<Match>& out) const {
  Workspace& w = workspace();
  const PCRE2_SIZE* ovector = pcre2_get_ovector_pointer(w.data);
  const auto size = static_cast<uint32_t>(text.size());
  uint32_t previous = 0;  // end of what `out` covers
  size_t from = 0;
  size_t last_end = std::string_view::npos;
  while (from <= text.size()) {
    const int rc = compiled_->match(text, from, w);
    if (rc == PCRE2_ERROR_NOMATCH) break;
    if (rc < 0) {
      return make_error(ErrorCode::kResourceExhausted,
                        "regex '{}' gave up at byte {} of {} (PCRE2 error {}): shorten the text",
                        compiled_->source, from, text.size(), rc);
    }
    const auto begin = static_cast<uint32_t>(ovector[0]);
    const auto end = static_cast<uint32_t>(ovector[1]);
    if (end <= begin && (end < begin || end == last_end)) {
      // An empty match right behind the last one does not count; try from the next character.
      if (from >= text.size()) break;
      from += static_cast<size_t>(utf8_length(text[from]));
      continue;
    }
    from = last_end = end;
    if (previous < begin) out.push_back({previous, begin, false});
    out.push_back({begin, end, true});
    previous = end;
  }
  if (previous != size) out.push_back({previous, size, false});
  return ok_status();
}

Result<std::string> Pattern::replace(std::string_view text, std::string_view content) const {
  std::vector<Match> matches;
  RETURN_IF_ERROR(find(text, matches));
  std::string out;
  out.reserve(text.size());
  for (const Match& m : matches) {
    out += m.is_match ? content : text.substr(m.begin, m.end - m.begin);
  }
  return out;
}

}  // namespace ramjet::text
