#include <algorithm>
#include <map>

#include "ir/infer.h"

namespace ramjet::ir {
namespace {

// A product of extents as a polynomial in the symbols. Coefficients wrap: extents are bounded by
// the verifier, so a wrapped one belongs to a graph that is refused anyway.
using Monomial = std::vector<int16_t>;  // symbols, ascending, with repetition
using Polynomial = std::map<Monomial, uint64_t>;

Polynomial product(std::span<const Dim> dims) {
  Polynomial result{{Monomial{}, 1}};
  for (const Dim& dim : dims) {
    Polynomial next;
    for (const auto& [monomial, coefficient] : result) {
      if (dim.offset != 0) next[monomial] += coefficient * static_cast<uint64_t>(dim.offset);
      if (dim.fixed()) continue;
      Monomial longer = monomial;
      longer.insert(std::upper_bound(longer.begin(), longer.end(), dim.symbol), dim.symbol);
      next[longer] += coefficient * static_cast<uint64_t>(dim.factor);
    }
    std::erase_if(next, [](const auto& term) { return term.second == 0; });
    result = std::move(next);
  }
  return result;
}

}  // namespace

std::optional<std::vector<Dim>> broadcast_dims(std::span<const Dim> a, std::span<const Dim> b) {
  if (a.size() < b.size()) std::swap(a, b);
  std::vector<Dim> result(a.begin(), a.end());
  const size_t shift = a.size() - b.size();
  for (size_t i = 0; i < b.size(); ++i) {
    Dim& dim = result[shift + i];
    if (dim == b[i] || b[i] == Dim(1)) continue;
    if (dim != Dim(1)) return std::nullopt;
    dim = b[i];
  }
  return result;
}

bool broadcasts_to(std::span<const Dim> from, std::span<const Dim> to) {
  const auto common = broadcast_dims(from, to);
  return common && std::equal(common->begin(), common->end(), to.begin(), to.end());
}

bool same_elements(std::span<const Dim> a, std::span<const Dim> b) {
  return product(a) == product(b);
}

std::optional<Dim> missing_extent(std::span<const Dim> whole, std::span<const Dim> others) {
  const Polynomial total = product(whole), known = product(others);
  if (known.size() != 1) return std::nullopt;
  const auto& [monomial, coefficient] = *known.begin();
  Dim result(0);
  for (const auto& [term, value] : total) {
    Monomial rest;
    std::set_difference(term.begin(), term.end(), monomial.begin(), monomial.end(),
                        std::back_inserter(rest));
    if (rest.size() + monomial.size() != term.size() || rest.size() > 1) return std::nullopt;
    if (value % coefficient != 0) return std::nullopt;
    const int64_t quotient = static_cast<int64_t>(value / coefficient);
    if (rest.empty()) {
      result.offset = quotient;
    } else if (result.fixed()) {
      result.symbol = rest[0];
      result.factor = quotient;
    } else {
      return std::nullopt;
    }
  }
  return result;
}

std::optional<Dim> add_dims(const Dim& a, const Dim& b) {
  if (!a.fixed() && !b.fixed() && a.symbol != b.symbol) return std::nullopt;
  Dim sum = a.fixed() ? b : a;
  sum.offset = a.offset + b.offset;
  sum.factor = (a.fixed() ? 0 : a.factor) + (b.fixed() ? 0 : b.factor);
  return sum;
}

}  // namespace ramjet::ir
