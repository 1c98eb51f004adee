#include "ir/network.h"

#include "ir/append.h"

namespace ramjet {
namespace {

using ir::fail;

std::vector<Dim> fixed_dims(const std::vector<int64_t>& extents) {
  return std::vector<Dim>(extents.begin(), extents.end());
}

}  // namespace

Network::Network(std::string name) : impl_(std::make_unique<Impl>()) {
  impl_->graph.name = std::move(name);
}
Network::~Network() = default;

Tensor Network::input(std::string_view name, DType dtype, const std::vector<Extent>& extents) {
  auto dims = ir::dims_of(*this, extents);
  const std::string label = fmt::format("input '{}'", name);
  if (!dims.ok()) return fail(this, dims.error().with_context(label));
  for (const Dim& dim : *dims) {
    if (dim.fixed() && dim.offset < 0) return fail(this, invalid_argument("{}: extent -1", label));
  }
  const ir::ValueId value = impl_->graph.add_input(std::string(name), {dtype, std::move(*dims)});
  if (impl_->graph.value(value).name != name) {
    return fail(this, invalid_argument("{}: the name is taken, or has characters other than "
                                       "letters, digits and '_.-'",
                                       label));
  }
  return Tensor(this, value);
}

Tensor Network::weight(std::string_view name) {
  const std::string key(name);
  if (auto it = impl_->weights.find(key); it != impl_->weights.end()) {
    return Tensor(this, it->second);
  }
  const auto bytes = impl_->weight_bytes.find(key);
  if (bytes == impl_->weight_bytes.end()) {
    return fail(this, invalid_argument("weight '{}': its extents are unknown; give its bytes with "
                                       "set_weight first, or dtype and extents here",
                                       name));
  }
  std::vector<int64_t> extents;
  for (const Dim& dim : bytes->second.type.dims) extents.push_back(dim.offset);
  return weight(name, bytes->second.type.dtype, extents);
}

Tensor Network::weight(std::string_view name, DType dtype, const std::vector<int64_t>& extents) {
  const std::string key(name);
  TensorType type{dtype, fixed_dims(extents)};
  for (int64_t extent : extents) {
    if (extent < 0 || extent > ir::kMaxExtent || extents.size() > Shape::kMaxRank) {
      return fail(this, invalid_argument("weight '{}': bad extents", name));
    }
  }
  if (auto it = impl_->weights.find(key); it != impl_->weights.end()) {
    const TensorType& known = impl_->graph.value(it->second).type;
    if (known == type) return Tensor(this, it->second);
    return fail(this, invalid_argument("weight '{}' is {} and was {} before", name,
                                       type_text(type, {}), type_text(known, {})));
  }
  const auto bytes = impl_->weight_bytes.find(key);
  if (bytes != impl_->weight_bytes.end() && bytes->second.type.dims != type.dims) {
    return fail(this, invalid_argument("weight '{}' is {} but its bytes are {}", name,
                                       type_text(type, {}), type_text(bytes->second.type, {})));
  }
  const ir::ValueId value = impl_->graph.add_weight(key, std::move(type), {.sources = {key}});
  impl_->weights.emplace(key, value);
  return Tensor(this, value);
}

Status Network::set_weight(std::string_view name, DType dtype, const std::vector<int64_t>& extents,
                           std::span<const std::byte> bytes) {
  const std::string key(name);
  int64_t wanted = dtype_bytes(dtype);
  for (int64_t extent : extents) {
    if (extent < 0 || extents.size() > Shape::kMaxRank ||
        __builtin_mul_overflow(wanted, extent, &wanted)) {
      return invalid_argument("weight '{}': bad extents", name);
    }
  }
  TensorType type{dtype, fixed_dims(extents)};
  if (static_cast<uint64_t>(wanted) != bytes.size()) {
    return invalid_argument("weight '{}': {} wants {} bytes, given {}", name, type_text(type, {}),
                            wanted, bytes.size());
  }
  if (auto it = impl_->weights.find(key); it != impl_->weights.end()) {
    const TensorType& known = impl_->graph.value(it->second).type;
    if (known.dims != type.dims) {
      return invalid_argument("weight '{}': given {}, the network uses {}", name,
                              type_text(type, {}), type_text(known, {}));
    }
  }
  impl_->weight_bytes[key] = {std::move(type), {bytes.begin(), bytes.end()}};
  return ok_status();
}

void Network::mark_output(std::string_view name, Tensor tensor) {
  if (impl_->error) return;
  if (!tensor.valid() || tensor.network() != this) {
    fail(this, invalid_argument("output '{}' is no tensor of this network", name));
    return;
  }
  for (const ir::GraphOutput& output : impl_->graph.outputs) {
    if (output.name == name) fail(this, invalid_argument("output '{}' is marked twice", name));
  }
  impl_->graph.outputs.push_back({std::string(name), tensor.value()});
}

void Network::set_profile(std::string_view symbol, Profile profile) {
  if (profile.min < 0 || profile.min > profile.opt || profile.opt > profile.max ||
      profile.max > ir::kMaxExtent || symbol.empty() ||
      symbol.find_first_not_of(ir::kSymbolChars) != std::string_view::npos) {
    fail(this, invalid_argument("profile of '{}': {}..{}..{} is no range min <= opt <= max", symbol,
                                profile.min, profile.opt, profile.max));
    return;
  }
  const int index = impl_->graph.add_symbol({.name = std::string(symbol)});
  Symbol& entry = impl_->graph.symbols[static_cast<size_t>(index)];
  entry.min = profile.min, entry.opt = profile.opt, entry.max = profile.max;
}

void Network::set_scope(std::string scope) { impl_->scope = std::move(scope); }

Status Network::status() const {
  if (impl_->error) return *impl_->error;
  return ok_status();
}

std::string Network::text() const { return ir::print(impl_->graph); }

}  // namespace ramjet
