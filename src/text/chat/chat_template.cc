#include "text/chat/chat_template.h"

#include <new>
#include <nlohmann/json.hpp>

#include "text/chat/interpreter.h"
#include "text/chat/json_text.h"
#include "text/chat/parser.h"
#include "text/chat/scope.h"
#include "text/chat/unicode.h"

namespace ramjet::text {
namespace {

constexpr size_t kMaxSourceBytes = 1 << 20;

Error to_error(const chat::RenderError& e) { return Error{e.code, e.message}; }

}  // namespace

ChatTemplate::ChatTemplate(std::shared_ptr<const chat::Program> program)
    : program_(std::move(program)) {}

const std::string& ChatTemplate::source() const { return program_->source; }

Result<ChatTemplate> ChatTemplate::compile(std::string source) {
  if (source.size() > kMaxSourceBytes) {
    return invalid_argument("chat template has {} bytes; at most {} are supported", source.size(),
                            kMaxSourceBytes);
  }
  if (!chat::is_valid_utf8(source)) return invalid_argument("chat template is not valid UTF-8");
  auto program = std::make_shared<chat::Program>();
  program->source = std::move(source);
  program->normalized = chat::normalize_newlines(program->source);
  try {
    chat::Parser(*program).parse();
    chat::resolve_scopes(*program);
  } catch (const chat::RenderError& e) {
    return to_error(e).with_context("chat template");
  } catch (const std::bad_alloc&) {
    return Error{ErrorCode::kResourceExhausted, "chat template: out of memory"};
  } catch (const std::exception& e) {
    return internal_error("chat template: {}", e.what());
  }
  return ChatTemplate(std::move(program));
}

Result<std::string> ChatTemplate::render(const nlohmann::ordered_json& context,
                                         const RenderOptions& options) const {
  if (!context.is_object()) {
    return invalid_argument("chat template: the context must be a JSON object, not {}",
                            context.type_name());
  }
  int line = 0;
  try {
    chat::Runtime rt(options);
    chat::Interpreter interpreter(*program_, rt, chat::value_from_json(rt, context));
    try {
      return interpreter.render();
    } catch (const chat::RenderError&) {
      line = interpreter.line();
      throw;
    }
  } catch (const chat::RenderError& e) {
    if (e.is_raised) return to_error(e);
    Error error = to_error(e).with_context("chat template");
    if (line > 0) error.message += fmt::format(" (line {})", line);
    return error;
  } catch (const std::bad_alloc&) {
    return Error{ErrorCode::kResourceExhausted, "chat template: out of memory"};
  } catch (const std::exception& e) {
    return internal_error("chat template: {}", e.what());
  }
}

}  // namespace ramjet::text
