// Lexer: template text to tokens, as jinja2 does with trim_blocks and lstrip_blocks.
//
// tokenize() is a free function without state. Tokens borrow the Program's text.
#pragma once

#include <string_view>
#include <vector>

#include "text/chat/ast.h"

namespace ramjet::text::chat {

enum class TokenKind : uint8_t {
  kData,
  kVariableBegin,
  kVariableEnd,
  kBlockBegin,
  kBlockEnd,
  kName,
  kString,
  kNumber,
  kOperator,
  kEnd,
};

struct Token {
  TokenKind kind;
  int line;
  std::string_view text;  // of an operator: its characters
  Value value;            // of a string or a number

  bool is_name(std::string_view name) const { return kind == TokenKind::kName && text == name; }
  bool is_operator(std::string_view op) const { return kind == TokenKind::kOperator && text == op; }
};

/// Tokenizes `program.normalized`; the last token is kEnd. Throws RenderError naming the line.
std::vector<Token> tokenize(Program& program);

/// The text with \n for all line ends, and without the last one.
std::string normalize_newlines(std::string_view source);

}  // namespace ramjet::text::chat
