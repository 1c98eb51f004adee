// pprint.pformat with its defaults: 80 columns, an indent of one, keys in order.
//
// Source: the behaviour of CPython 3.11's pprint. What fits behind its indent is written as repr()
// does; else lists, tuples and dicts have a line an item, and strings a line a line of theirs.
#include <algorithm>
#include <numeric>

#include "text/chat/filters.h"
#include "text/chat/methods.h"
#include "text/chat/unicode.h"

namespace ramjet::text::chat {
namespace {

constexpr int64_t kWidth = 80;

/// Where keys of different types stand: by the names of their types, numbers alike.
int type_rank(const Value& v) {
  if (v.is(Kind::kNone)) return 0;
  if (v.is_number()) return 1;
  return v.is_string() ? 2 : 3;
}

bool comes_before(const Value& a, const Value& b) {
  if (type_rank(a) != type_rank(b)) return type_rank(a) < type_rank(b);
  if (a.is_string()) return a.text() < b.text();
  if (!a.is_number()) return false;
  const auto number = [](const Value& v) {
    return v.is(Kind::kFloat) ? v.real : static_cast<double>(integral(v));
  };
  return number(a) < number(b);
}

std::vector<uint32_t> sorted_keys(const Dict& dict) {
  std::vector<uint32_t> order(dict.size);
  std::iota(order.begin(), order.end(), 0u);
  std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) {
    return comes_before(dict.keys[a], dict.keys[b]);
  });
  return order;
}

class Printer {
 public:
  explicit Printer(Runtime& rt) : rt_(rt) {}

  /// `indent`: the column that it begins in; `allowance`: what follows it on its last line.
  void print(const Value& v, int64_t indent, int64_t allowance, int level) {
    rt_.charge();
    rt_.check_stack();
    const std::string line = flat(v);
    if (static_cast<int64_t>(count_chars(line)) <= kWidth - indent - allowance) {
      out_ += line;
    } else if (v.is(Kind::kDict)) {
      print_dict(*v.dict, indent, allowance + 1, level + 1);
    } else if (v.is(Kind::kList)) {
      print_items(*v.seq, "[", "]", {indent, allowance, level + 1});
    } else if (v.is(Kind::kTuple) && v.flags != Value::kGroup) {
      print_items(*v.seq, "(", v.seq->size == 1 ? ",)" : ")", {indent, allowance, level + 1});
    } else if (v.is_string() && !v.is_markup() && v.size > 0) {
      print_text(v.text(), indent, allowance, level + 1);
    } else {
      out_ += line;
    }
    rt_.check_size(static_cast<Int>(out_.size()));
  }

  std::string& out() { return out_; }

 private:
  struct Place {
    int64_t indent;
    int64_t allowance;
    int level;
  };

  /// repr(), but for the order of keys.
  std::string flat(const Value& v) {
    rt_.charge();
    rt_.check_stack();
    std::string out;
    const auto add_items = [&](std::string_view open, std::string_view close) {
      out += open;
      for (uint32_t i = 0; i < v.seq->size; ++i)
        out += (i == 0 ? "" : ", ") + flat(v.seq->items[i]);
      out += close;
    };
    if (v.is(Kind::kDict)) {
      out += '{';
      for (const uint32_t i : sorted_keys(*v.dict)) {
        if (out.size() > 1) out += ", ";
        out += flat(v.dict->keys[i]) + ": " + flat(v.dict->values[i]);
      }
      out += '}';
    } else if (v.is(Kind::kList)) {
      add_items("[", "]");
    } else if (v.is(Kind::kTuple) && v.flags != Value::kGroup) {
      add_items("(", v.seq->size == 1 ? ",)" : ")");
    } else {
      append_repr(rt_, out, v);
    }
    rt_.charge_bytes(out.size());
    rt_.check_size(static_cast<Int>(out.size()));
    return out;
  }

  void new_line(int64_t indent) {
    rt_.check_size(static_cast<Int>(out_.size()) + indent);
    out_ += '\n';
    out_.append(static_cast<size_t>(indent), ' ');
  }

  void print_items(const Seq& items, std::string_view open, std::string_view close, Place place) {
    out_ += open;
    const int64_t end = place.allowance + static_cast<int64_t>(close.size());
    for (uint32_t i = 0; i < items.size; ++i) {
      if (i > 0) {
        out_ += ',';
        new_line(place.indent + 1);
      }
      print(items.items[i], place.indent + 1, i + 1 == items.size ? end : 1, place.level);
    }
    out_ += close;
  }

  void print_dict(const Dict& dict, int64_t indent, int64_t allowance, int level) {
    out_ += '{';
    const auto order = sorted_keys(dict);
    for (size_t i = 0; i < order.size(); ++i) {
      if (i > 0) {
        out_ += ',';
        new_line(indent + 1);
      }
      const std::string key = flat(dict.keys[order[i]]) + ": ";
      out_ += key;
      print(dict.values[order[i]], indent + 1 + static_cast<int64_t>(count_chars(key)),
            i + 1 == order.size() ? allowance : 1, level);
    }
    out_ += '}';
  }

  std::string quoted(std::string_view text) {
    std::string out;
    rt_.charge_bytes(text.size());
    append_text_repr(out, text);
    return out;
  }
  int64_t quoted_width(std::string_view text) {
    return static_cast<int64_t>(count_chars(quoted(text)));
  }

  /// A line in pieces of words with the spaces behind them, each as long as fits.
  void cut_line(std::string_view line, int64_t width, int64_t last_width,
                std::vector<std::string>& chunks) {
    std::string current;
    for (size_t at = 0; at < line.size();) {
      size_t end = at;
      bool in_space = false;
      while (end < line.size()) {
        size_t next = end;
        const bool space = is_space(next_char(line, next));
        if (in_space && !space) break;
        in_space = space;
        end = next;
      }
      const std::string candidate = current + std::string(line.substr(at, end - at));
      if (quoted_width(candidate) > (end == line.size() ? last_width : width)) {
        if (!current.empty()) chunks.push_back(quoted(current));
        current = line.substr(at, end - at);
      } else {
        current = candidate;
      }
      at = end;
    }
    if (!current.empty()) chunks.push_back(quoted(current));
  }

  void print_text(std::string_view text, int64_t indent, int64_t allowance, int level) {
    const bool outermost = level == 1;  // in parentheses
    if (outermost) ++indent, ++allowance;
    const int64_t width = kWidth - indent;
    const Value lines = split_lines(rt_, text, true);
    std::vector<std::string> chunks;
    for (uint32_t i = 0; i < lines.seq->size; ++i) {
      const std::string_view line = lines.seq->items[i].text();
      const bool last = i + 1 == lines.seq->size;
      if (quoted_width(line) <= (last ? width - allowance : width)) {
        chunks.push_back(quoted(line));
      } else {
        cut_line(line, width, last ? width - allowance : width, chunks);
      }
    }
    const bool several = chunks.size() > 1;
    if (several && outermost) out_ += '(';
    for (size_t i = 0; i < chunks.size(); ++i) {
      if (i > 0) new_line(indent);
      out_ += chunks[i];
    }
    if (several && outermost) out_ += ')';
  }

  Runtime& rt_;
  std::string out_;
};

}  // namespace

Value pretty_print(Runtime& rt, const Value& v, const CallArgs& call) {
  const Bound none({"pprint", {}}, call);
  Printer printer(rt);
  printer.print(v, 0, 0, 0);
  return rt.text(printer.out());
}

}  // namespace ramjet::text::chat
