#include "server/openai/wire_format.h"

#include <algorithm>

#include "base/json.h"

namespace ramjet::server {

std::string token_label(const text::Tokenizer& tokenizer, int32_t id, bool as_id) {
  if (as_id) return fmt::format("token_id:{}", id);
  std::string bytes = tokenizer.token_bytes(id);
  if (is_valid_utf8(bytes)) return bytes;
  std::string label = "bytes:";
  for (unsigned char byte : bytes) label += fmt::format("\\x{:02x}", byte);
  return label;
}

double finite_logprob(float logprob) { return std::max(static_cast<double>(logprob), -9999.0); }

OrderedJson usage_json(const Usage& usage) {
  return {{"prompt_tokens", usage.prompt_tokens},
          {"completion_tokens", usage.completion_tokens},
          {"total_tokens", usage.prompt_tokens + usage.completion_tokens},
          {"prompt_tokens_details", {{"cached_tokens", usage.cached_tokens}}},
          {"completion_tokens_details", {{"reasoning_tokens", usage.reasoning_tokens}}}};
}

OrderedJson stop_reason_json(const StopReason& reason) {
  if (const auto* id = std::get_if<int32_t>(&reason)) return *id;
  if (const auto* text = std::get_if<std::string>(&reason)) return *text;
  return nullptr;
}

OrderedJson prompt_logprobs_json(const text::Tokenizer& tokenizer,
                                 const std::vector<PositionLogprobs>& logprobs) {
  OrderedJson list = OrderedJson::array();
  for (size_t i = 0; i < logprobs.size(); ++i) {
    if (i == 0) {  // nothing comes before the first token
      list.push_back(nullptr);
      continue;
    }
    OrderedJson position = OrderedJson::object();
    const auto add = [&](const TokenLogprob& token) {
      position[std::to_string(token.id)] = {
          {"logprob", finite_logprob(token.logprob)},
          {"rank", token.rank},
          {"decoded_token", token_label(tokenizer, token.id, false)}};
    };
    add(logprobs[i].chosen);
    for (const TokenLogprob& token : logprobs[i].top) add(token);
    list.push_back(std::move(position));
  }
  return list;
}

void append_json_string(std::string_view text, std::string& out) {
  out += '"';
  for (const char c : text) {
    switch (c) {
      case '"': out += "\\\""; break;
      case '\\': out += "\\\\"; break;
      case '\n': out += "\\n"; break;
      case '\r': out += "\\r"; break;
      case '\t': out += "\\t"; break;
      default:
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
          fmt::format_to(std::back_inserter(out), "\\u{:04x}", static_cast<unsigned>(c));
        } else {
          out += c;
        }
    }
  }
  out += '"';
}

std::string dump(const OrderedJson& json) {
  return json.dump(-1, ' ', false, OrderedJson::error_handler_t::replace);
}

ChunkWriter::ChunkWriter(const AnswerHead& head, std::string_view object,
                         const StreamOptions& options)
    : options_(options) {
  OrderedJson json = {{"id", head.id},
                      {"object", object},
                      {"created", head.created},
                      {"model", head.model},
                      {"system_fingerprint", head.fingerprint}};
  head_ = "data: " + dump(json);
  head_.pop_back();  // the closing brace
  head_ += ",\"choices\":[";
}

void ChunkWriter::write(std::string_view choice, std::string_view more, const Usage& usage,
                        std::string& out) const {
  out += head_;
  out += choice;
  out += ']';
  out += more;
  if (options_.continuous_usage) {
    out += ",\"usage\":" + dump(usage_json(usage));
  } else if (options_.include_usage) {
    out += ",\"usage\":null";
  }
  out += "}\n\n";
}

void ChunkWriter::write_end(const Usage& usage, std::string& out) const {
  if (options_.include_usage) out += head_ + "],\"usage\":" + dump(usage_json(usage)) + "}\n\n";
  out += "data: [DONE]\n\n";
}

void ChunkWriter::write_error(const ApiError& error, std::string& out) {
  out += "data: " + error_json(error) + "\n\ndata: [DONE]\n\n";
}

}  // namespace ramjet::server
