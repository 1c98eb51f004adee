#include "op/fields.h"

#include <charconv>
#include <map>
#include <type_traits>

#include "base/hash.h"

namespace ramjet {
namespace {

// Names of each enumeration, in order of value.
constexpr std::string_view names_of(WeightQuant, int i) {
  constexpr std::string_view kNames[] = {"none", "int8_channel", "fp8_channel"};
  return i < 3 ? kNames[i] : "";
}
constexpr std::string_view names_of(ActivationQuant, int i) {
  constexpr std::string_view kNames[] = {"none", "fp8_token"};
  return i < 2 ? kNames[i] : "";
}
constexpr std::string_view names_of(DType, int i) {
  return i <= static_cast<int>(DType::kBool) ? dtype_name(static_cast<DType>(i)) : "";
}
constexpr std::string_view names_of(NormKind, int i) {
  constexpr std::string_view kNames[] = {"rms", "layer"};
  return i < 2 ? kNames[i] : "";
}
constexpr std::string_view names_of(ReduceKind, int i) {
  constexpr std::string_view kNames[] = {"sum", "mean", "max", "min"};
  return i < 4 ? kNames[i] : "";
}
constexpr std::string_view names_of(RopeKind, int i) {
  constexpr std::string_view kNames[] = {"default", "linear", "dynamic",
                                         "llama3",  "yarn",   "longrope"};
  return i < 6 ? kNames[i] : "";
}

template <class T>
concept Enumeration = std::is_enum_v<T>;
template <class T>
concept Descriptor = requires(T t) { t.visit([](auto&&...) {}); };

std::string value_text(int64_t value) { return fmt::format("{}", value); }
std::string value_text(bool value) { return value ? "true" : "false"; }
std::string value_text(double value) { return fmt::format("{}", value); }
std::string value_text(const PointwiseProgram& value) { return "\"" + value.text() + "\""; }
template <Enumeration E>
std::string value_text(E value) {
  return std::string(names_of(value, static_cast<int>(value)));
}
template <class T>
std::string value_text(const std::vector<T>& values) {
  std::string out = "[";
  for (size_t i = 0; i < values.size(); ++i) out += (i == 0 ? "" : ",") + value_text(values[i]);
  return out + "]";
}

template <class T>
bool parse_value(std::string_view text, T& value)
  requires std::is_arithmetic_v<T>
{
  if constexpr (std::is_same_v<T, bool>) {
    value = text == "true";
    return text == "true" || text == "false";
  } else {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    return error == std::errc() && end == text.data() + text.size();
  }
}
template <Enumeration E>
bool parse_value(std::string_view text, E& value) {
  for (int i = 0; !names_of(E{}, i).empty(); ++i) {
    if (names_of(E{}, i) != text) continue;
    value = static_cast<E>(i);
    return true;
  }
  return false;
}
bool parse_value(std::string_view text, PointwiseProgram& value) {
  if (text.size() < 2 || text.front() != '"' || text.back() != '"') return false;
  Result<PointwiseProgram> program = PointwiseProgram::parse(text.substr(1, text.size() - 2));
  if (!program.ok()) return false;
  value = std::move(*program);
  return true;
}
template <class T>
bool parse_value(std::string_view text, std::vector<T>& values) {
  if (text.size() < 2 || text.front() != '[' || text.back() != ']') return false;
  text = text.substr(1, text.size() - 2);
  values.clear();
  while (!text.empty()) {
    const size_t comma = text.find(',');
    T value{};
    if (!parse_value(text.substr(0, comma), value)) return false;
    values.push_back(value);
    text = comma == std::string_view::npos ? "" : text.substr(comma + 1);
  }
  return true;
}

/// (name, text) of every field; nested descriptors as "outer.inner".
using FieldTexts = std::vector<std::pair<std::string, std::string>>;

template <Descriptor D>
void collect(const D& desc, const std::string& prefix, FieldTexts& out) {
  const_cast<D&>(desc).visit([&](std::string_view name, auto& field) {
    const std::string key = prefix + std::string(name);
    if constexpr (Descriptor<std::remove_reference_t<decltype(field)>>) {
      collect(field, key + ".", out);
    } else {
      out.emplace_back(key, value_text(field));
    }
  });
}

template <Descriptor D>
std::string bad_field(D& desc, const std::string& prefix,
                      std::map<std::string, std::string>& texts) {
  std::string bad;
  desc.visit([&](std::string_view name, auto& field) {
    const std::string key = prefix + std::string(name);
    if constexpr (Descriptor<std::remove_reference_t<decltype(field)>>) {
      if (std::string inner = bad_field(field, key + ".", texts); !inner.empty()) bad = inner;
    } else if (auto it = texts.find(key); it != texts.end()) {
      if (!parse_value(it->second, field)) bad = key;
      texts.erase(it);
    }
  });
  return bad;
}

/// Splits "a=1 b="x y" c=[1,2]" at spaces outside quotes.
Result<std::map<std::string, std::string>> split_fields(std::string_view text) {
  std::map<std::string, std::string> fields;
  size_t i = 0;
  while (i < text.size()) {
    if (text[i] == ' ') {
      ++i;
      continue;
    }
    const size_t equals = text.find('=', i);
    if (equals == std::string_view::npos)
      return invalid_argument("attribute without '=': '{}'", text.substr(i));
    size_t end = equals + 1;
    if (end < text.size() && text[end] == '"') {
      end = text.find('"', end + 1);
      if (end == std::string_view::npos)
        return invalid_argument("unterminated quote in attributes");
      ++end;
    } else {
      while (end < text.size() && text[end] != ' ') ++end;
    }
    fields.emplace(text.substr(i, equals - i), text.substr(equals + 1, end - equals - 1));
    i = end;
  }
  return fields;
}

FieldTexts field_texts(const OpAttrs& attrs) {
  FieldTexts out;
  std::visit(
      [&](const auto& desc) {
        if constexpr (Descriptor<std::decay_t<decltype(desc)>>) collect(desc, "", out);
      },
      attrs);
  return out;
}

}  // namespace

OpAttrs default_attrs(OpKind op) {
  switch (op) {
    case OpKind::kMatmul: return MatmulDesc{};
    case OpKind::kPointwise: return PointwiseDesc{};
    case OpKind::kNorm:
    case OpKind::kAddNorm: return NormDesc{};
    case OpKind::kEmbedding: return EmbeddingDesc{};
    case OpKind::kReduce: return ReduceDesc{};
    case OpKind::kSoftmax:
    case OpKind::kConcat: return AxisDesc{};
    case OpKind::kTranspose: return TransposeDesc{};
    case OpKind::kSlice: return SliceDesc{};
    case OpKind::kTopk: return TopkDesc{};
    case OpKind::kConv: return ConvDesc{};
    case OpKind::kRopeTable: return RopeSpec{};
    case OpKind::kRope: return RopeDesc{};
    case OpKind::kKvAppend:
    case OpKind::kPagedAttention:
    case OpKind::kAttention: return AttentionDesc{};
    case OpKind::kQkvRopeAppend: return QkvDesc{};
    case OpKind::kMoeRoute: return MoeRouteDesc{};
    case OpKind::kMoe: return MoeDesc{};
    case OpKind::kGatherRows:
    case OpKind::kReshape:
    case OpKind::kAllReduce:
    case OpKind::kAllGather:
    case OpKind::kReduceScatter:
    case OpKind::kQuantize:
    case OpKind::kSample:
    case OpKind::kResolveTokens:
    case OpKind::kLora: return std::monostate{};
  }
  return std::monostate{};
}

std::string attrs_text(const OpAttrs& attrs) {
  FieldTexts fields = field_texts(attrs);
  const OpAttrs defaults =
      std::visit([](const auto& desc) { return OpAttrs(std::decay_t<decltype(desc)>{}); }, attrs);
  const FieldTexts plain = field_texts(defaults);
  std::string out;
  for (size_t i = 0; i < fields.size(); ++i) {
    if (fields[i].second == plain[i].second) continue;
    out += (out.empty() ? "" : " ") + fields[i].first + "=" + fields[i].second;
  }
  return out;
}

Result<OpAttrs> parse_attrs(OpKind op, std::string_view text) {
  ASSIGN_OR_RETURN(auto texts, split_fields(text));
  OpAttrs attrs = default_attrs(op);
  std::string bad;
  std::visit(
      [&](auto& desc) {
        if constexpr (Descriptor<std::decay_t<decltype(desc)>>) bad = bad_field(desc, "", texts);
      },
      attrs);
  if (!bad.empty()) return invalid_argument("{}: bad value for attribute '{}'", op_name(op), bad);
  if (!texts.empty()) {
    return invalid_argument("{} has no attribute '{}'", op_name(op), texts.begin()->first);
  }
  return attrs;
}

bool attrs_equal(const OpAttrs& a, const OpAttrs& b) {
  return a.index() == b.index() && field_texts(a) == field_texts(b);
}

uint64_t attrs_hash(const OpAttrs& attrs) {
  return hash64(attrs_text(attrs), static_cast<uint64_t>(attrs.index()));
}

}  // namespace ramjet
