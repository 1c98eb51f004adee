#include "text/chat/json_text.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "text/chat/ops.h"
#include "text/chat/unicode.h"

namespace ramjet::text::chat {
namespace {

class JsonWriter {
 public:
  JsonWriter(Runtime& rt, const JsonStyle& style) : rt_(rt), style_(style) {}

  void write(const Value& v, int level) {
    rt_.charge();
    rt_.check_size(static_cast<Int>(out_.size()));
    switch (v.kind) {
      case Kind::kNone: out_ += "null"; return;
      case Kind::kBool: out_ += v.boolean ? "true" : "false"; return;
      case Kind::kInt:
      case Kind::kBigInt: out_ += int_to_text(integral(v)); return;
      case Kind::kFloat: out_ += float_text(v.real); return;
      case Kind::kString: write_text(v.text()); return;
      case Kind::kList:
      case Kind::kTuple: write_list(*v.seq, level); return;
      case Kind::kDict: write_dict(*v.dict, level); return;
      default: fail("Object of type {} is not JSON serializable", type_name(v));
    }
  }
  std::string take() { return std::move(out_); }

 private:
  static std::string float_text(double d) {
    if (std::isnan(d)) return "NaN";
    if (std::isinf(d)) return d < 0 ? "-Infinity" : "Infinity";
    return float_repr(d);
  }

  void line(int level) {
    if (!style_.is_indented) return;
    out_ += '\n';
    for (int i = 0; i < level; ++i) out_ += style_.indent;
  }

  void write_list(const Seq& seq, int level) {
    if (seq.size == 0) {
      out_ += "[]";
      return;
    }
    out_ += '[';
    for (uint32_t i = 0; i < seq.size; ++i) {
      if (i != 0) out_ += style_.item_separator;
      line(level + 1);
      write(seq.items[i], level + 1);
    }
    line(level);
    out_ += ']';
  }

  void write_dict(const Dict& dict, int level) {
    if (dict.size == 0) {
      out_ += "{}";
      return;
    }
    std::vector<uint32_t> order(dict.size);
    for (uint32_t i = 0; i < dict.size; ++i) order[i] = i;
    if (style_.sort_keys) {
      std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) {
        return less(rt_, dict.keys[a], dict.keys[b]);
      });
    }
    out_ += '{';
    bool is_first = true;
    for (const uint32_t i : order) {
      if (!is_first) out_ += style_.item_separator;
      is_first = false;
      line(level + 1);
      write_key(dict.keys[i]);
      out_ += style_.key_separator;
      write(dict.values[i], level + 1);
    }
    line(level);
    out_ += '}';
  }

  void write_key(const Value& key) {
    switch (key.kind) {
      case Kind::kString: write_text(key.text()); return;
      case Kind::kFloat: write_text(float_text(key.real)); return;
      case Kind::kBool: out_ += key.boolean ? "\"true\"" : "\"false\""; return;
      case Kind::kNone: out_ += "\"null\""; return;
      case Kind::kInt:
      case Kind::kBigInt: write_text(int_to_text(integral(key))); return;
      default: fail("keys must be str, int, float, bool or None, not {}", type_name(key));
    }
  }

  void write_text(std::string_view text) {
    rt_.charge_bytes(text.size());
    out_ += '"';
    size_t plain = 0;  // begin of what needs no escape
    for (size_t i = 0; i < text.size();) {
      const auto c = static_cast<unsigned char>(text[i]);
      if (c >= 0x20 && c != '"' && c != '\\' && (c < 0x80 || !style_.ensure_ascii)) {
        ++i;
        continue;
      }
      out_ += text.substr(plain, i - plain);
      escape(next_char(text, i));
      plain = i;
    }
    out_ += text.substr(plain);
    out_ += '"';
  }

  void escape(uint32_t c) {
    switch (c) {
      case '"': out_ += "\\\""; return;
      case '\\': out_ += "\\\\"; return;
      case '\n': out_ += "\\n"; return;
      case '\r': out_ += "\\r"; return;
      case '\t': out_ += "\\t"; return;
      case '\f': out_ += "\\f"; return;
      case '\b': out_ += "\\b"; return;
      default: break;
    }
    if (c >= 0x10000) {
      const uint32_t s = c - 0x10000;
      out_ += fmt::format("\\u{:04x}\\u{:04x}", 0xD800 + (s >> 10), 0xDC00 + (s & 0x3FF));
    } else {
      out_ += fmt::format("\\u{:04x}", c);
    }
  }

  Runtime& rt_;
  const JsonStyle& style_;
  std::string out_;
};

Value text_value(Runtime& rt, const std::string& text) {
  rt.check_size(static_cast<Int>(text.size()));
  return is_valid_utf8(text) ? Value::of_text(text) : rt.text(repair_utf8(text));
}

Value convert(Runtime& rt, const nlohmann::ordered_json& json, uint32_t depth) {
  if (depth > Runtime::kMaxValueDepth) {
    fail("template context is nested deeper than {} levels", Runtime::kMaxValueDepth);
  }
  using Type = nlohmann::ordered_json::value_t;
  switch (json.type()) {
    case Type::boolean: return Value::of_bool(json.get<bool>());
    case Type::number_integer: return Value::of_int(json.get<int64_t>());
    case Type::number_unsigned: return rt.integer(static_cast<Int>(json.get<uint64_t>()));
    case Type::number_float: return Value::of_float(json.get<double>());
    case Type::string: return text_value(rt, json.get_ref<const std::string&>());
    case Type::array: {
      Value* items = rt.allocate_values(json.size());
      size_t n = 0;
      for (const auto& item : json) items[n++] = convert(rt, item, depth + 1);
      return rt.sequence(Kind::kList, items, n);
    }
    case Type::object: {
      DictBuilder dict(rt);
      for (const auto& [key, value] : json.items()) {
        dict.set(text_value(rt, key), convert(rt, value, depth + 1));
      }
      return dict.dict();
    }
    default: return Value::none();
  }
}

}  // namespace

std::string dump_json_text(Runtime& rt, const Value& v, const JsonStyle& style) {
  JsonWriter writer(rt, style);
  writer.write(v, 0);
  return writer.take();
}

Value value_from_json(Runtime& rt, const nlohmann::ordered_json& json) {
  return convert(rt, json, 0);
}

}  // namespace ramjet::text::chat
