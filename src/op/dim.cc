#include "op/dim.h"

#include <charconv>

namespace ramjet {
namespace {

std::string_view trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

std::optional<int64_t> parse_number(std::string_view text) {
  int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || text.empty()) return std::nullopt;
  // So that products of an extent's parts cannot overflow, whatever a file says.
  constexpr int64_t kMost = int64_t{1} << 40;
  if (number > kMost || number < -kMost) return std::nullopt;
  return number;
}

}  // namespace

Shape TensorType::shape(std::span<const int64_t> symbols) const {
  Shape shape;
  for (const Dim& dim : dims) shape.push_back(dim.evaluate(symbols));
  return shape;
}

std::string dim_text(const Dim& dim, std::span<const Symbol> symbols) {
  if (dim.fixed()) return fmt::format("{}", dim.offset);
  std::string text = symbols[static_cast<size_t>(dim.symbol)].name;
  if (dim.factor != 1) text += fmt::format("*{}", dim.factor);
  if (dim.offset > 0) text += fmt::format("+{}", dim.offset);
  if (dim.offset < 0) text += fmt::format("-{}", -dim.offset);
  return text;
}

Result<Dim> parse_dim(std::string_view text, std::span<const Symbol> symbols) {
  text = trim(text);
  if (auto number = parse_number(text)) return Dim(*number);
  const size_t name_end = text.find_first_of("*+-");
  const std::string_view name = trim(text.substr(0, name_end));
  int symbol = -1;
  for (size_t i = 0; i < symbols.size(); ++i) {
    if (symbols[i].name == name) symbol = static_cast<int>(i);
  }
  if (symbol < 0) return invalid_argument("unknown symbol '{}' in extent '{}'", name, text);
  Dim dim = Dim::of(symbol);
  std::string_view rest = name_end == std::string_view::npos ? "" : text.substr(name_end);
  if (!rest.empty() && rest.front() == '*') {
    const size_t end = rest.find_first_of("+-");
    const auto factor = parse_number(trim(rest.substr(1, end == rest.npos ? end : end - 1)));
    if (!factor) return invalid_argument("bad factor in extent '{}'", text);
    dim.factor = *factor;
    rest = end == std::string_view::npos ? "" : rest.substr(end);
  }
  if (!rest.empty()) {
    const auto offset = parse_number(trim(rest.substr(1)));
    if (!offset) return invalid_argument("bad offset in extent '{}'", text);
    dim.offset = rest.front() == '-' ? -*offset : *offset;
  }
  return dim;
}

std::string type_text(const TensorType& type, std::span<const Symbol> symbols) {
  std::string text = std::string(dtype_name(type.dtype)) + "[";
  for (size_t i = 0; i < type.dims.size(); ++i) {
    if (i > 0) text += ", ";
    text += dim_text(type.dims[i], symbols);
  }
  return text + "]";
}

Result<TensorType> parse_type(std::string_view text, std::span<const Symbol> symbols) {
  text = trim(text);
  const size_t open = text.find('[');
  if (open == std::string_view::npos || text.back() != ']') {
    return invalid_argument("'{}' is not a type such as bf16[tokens, 64]", text);
  }
  const auto dtype = parse_dtype(trim(text.substr(0, open)));
  if (!dtype) return invalid_argument("unknown dtype in '{}'", text);
  TensorType type{*dtype, {}};
  std::string_view list = trim(text.substr(open + 1, text.size() - open - 2));
  while (!list.empty()) {
    const size_t comma = list.find(',');
    ASSIGN_OR_RETURN(Dim dim, parse_dim(list.substr(0, comma), symbols));
    type.dims.push_back(dim);
    list = comma == std::string_view::npos ? "" : list.substr(comma + 1);
  }
  if (type.rank() > Shape::kMaxRank) return invalid_argument("rank above 6 in '{}'", text);
  return type;
}

}  // namespace ramjet
