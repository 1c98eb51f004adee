#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <set>

#include "engine/launch_verify.h"
#include "op/fields.h"

namespace ramjet::engine {
namespace {

constexpr int64_t kMaxExtent = int64_t{1} << 40;
constexpr int64_t kMaxBytes = int64_t{1} << 46;  // of one tensor, slot, arena or weight
constexpr uint64_t kAlignment = 64;

/// Elements of a type as coefficient * product of primitive symbolic extents; two types with the
/// same form have the same size whatever the symbols' values.
struct SizeForm {
  int64_t coefficient = 1;
  std::vector<std::array<int64_t, 3>> symbolic;  // symbol, factor, offset
  bool operator==(const SizeForm&) const = default;
};

SizeForm size_form(const TensorType& type) {
  SizeForm form;
  form.coefficient = dtype_bytes(type.dtype);
  for (const Dim& dim : type.dims) {
    if (dim.fixed()) {
      form.coefficient *= dim.offset;
      continue;
    }
    const int64_t divisor = std::gcd(dim.factor, dim.offset);
    form.coefficient *= divisor;
    form.symbolic.push_back({dim.symbol, dim.factor / divisor, dim.offset / divisor});
  }
  std::sort(form.symbolic.begin(), form.symbolic.end());
  return form;
}

/// Bytes with every symbol at its maximum. Extents must be non-negative over the whole profile and
/// grow with their symbol, so that this is an upper bound.
Result<int64_t> max_bytes(const TensorType& type, const std::vector<Symbol>& symbols) {
  if (type.dims.size() > Shape::kMaxRank) return corrupt("rank {}", type.dims.size());
  int64_t bytes = dtype_bytes(type.dtype);
  int64_t bound = bytes;  // as bytes, but not zero where an extent is
  for (const Dim& dim : type.dims) {
    if (dim.offset < -kMaxExtent || dim.offset > kMaxExtent)
      return corrupt("extent {}", dim.offset);
    int64_t low = dim.offset;
    int64_t high = dim.offset;
    if (!dim.fixed()) {
      if (static_cast<size_t>(dim.symbol) >= symbols.size()) {
        return corrupt("symbol {} of {}", dim.symbol, symbols.size());
      }
      const Symbol& symbol = symbols[static_cast<size_t>(dim.symbol)];
      if (dim.factor < 1 || dim.factor > kMaxExtent / std::max<int64_t>(symbol.max, 1)) {
        return corrupt("factor {} of symbol '{}'", dim.factor, symbol.name);
      }
      low += dim.factor * symbol.min;
      high += dim.factor * symbol.max;
    } else if (dim.symbol != -1 || dim.factor != 0) {
      return corrupt("factor {} without a symbol", dim.factor);
    }
    if (low < 0 || high > kMaxExtent) return corrupt("extent {} to {}", low, high);
    const int64_t least = std::max<int64_t>({high, dim.factor, 1});
    if (bound > kMaxBytes / least) return corrupt("more than {} bytes", kMaxBytes);
    bound *= least;
    bytes *= high;
  }
  return bytes;
}

Status check_names(std::string_view what, const auto& items) {
  std::set<std::string_view> seen;
  for (const auto& item : items) {
    if (item.name.empty()) return corrupt("a {} without a name", what);
    if (!seen.insert(item.name).second) return corrupt("two {}s named '{}'", what, item.name);
  }
  return ok_status();
}

Status check_slot(const ArenaSlot& slot, uint64_t arena_bytes) {
  if (slot.offset % kAlignment != 0 || slot.offset > arena_bytes ||
      slot.bytes > arena_bytes - slot.offset) {
    return corrupt("arena slot at {} of {} bytes, the arena has {}", slot.offset, slot.bytes,
                   arena_bytes);
  }
  return ok_status();
}

class ProgramVerifier {
 public:
  ProgramVerifier(const Manifest& manifest, const Program& program)
      : manifest_(manifest), program_(program) {}

  Status verify() const {
    RETURN_IF_ERROR(check_names("symbol", program_.symbols));
    RETURN_IF_ERROR(check_names("input", program_.inputs));
    RETURN_IF_ERROR(check_names("output", program_.outputs));
    for (const Symbol& s : program_.symbols) {
      if (s.min < 0 || s.min > s.opt || s.opt > s.max || s.max > kMaxExtent) {
        return corrupt("symbol '{}' with profile {}/{}/{}", s.name, s.min, s.opt, s.max);
      }
    }
    for (const auto* bindings : {&program_.inputs, &program_.outputs}) {
      for (const Binding& binding : *bindings) {
        const auto bytes = max_bytes(binding.type, program_.symbols);
        if (!bytes.ok()) return bytes.error().with_context(fmt::format("'{}'", binding.name));
      }
    }
    if (program_.arena_bytes > static_cast<uint64_t>(kMaxBytes)) {
      return corrupt("arena of {} bytes", program_.arena_bytes);
    }
    for (const ArenaSlot& slot : program_.arena) {
      RETURN_IF_ERROR(check_slot(slot, program_.arena_bytes));
    }
    for (const LaunchRecord& r : program_.records) {
      const Status status = record(r);
      if (!status.ok()) return status.error().with_context(fmt::format("step '{}'", r.name));
    }
    return ok_status();
  }

 private:
  Status record(const LaunchRecord& record) const {
    for (const TensorRef& ref : record.inputs) RETURN_IF_ERROR(reference(ref));
    for (const TensorRef& ref : record.outputs) {
      RETURN_IF_ERROR(reference(ref));
      if (ref.space == Space::kWeight || ref.space == Space::kInput) {
        return corrupt("writes a {}", ref.space == Space::kWeight ? "weight" : "program input");
      }
    }
    if (record.workspace < -1 || record.workspace >= static_cast<int64_t>(program_.arena.size())) {
      return corrupt("workspace in slot {} of {}", record.workspace, program_.arena.size());
    }
    RETURN_IF_ERROR(choices(record));
    RETURN_IF_ERROR(verify_launches(record, program_, manifest_));
    const Result<OpAttrs> attrs = parse_attrs(record.op, record.attrs);
    if (!attrs.ok()) return corrupt("attributes: {}", attrs.error().message);
    if (record.op == OpKind::kAttention) return ok_status();  // no cache
    if (const auto* desc = std::get_if<AttentionDesc>(&*attrs)) return attention(*desc);
    if (const auto* desc = std::get_if<QkvDesc>(&*attrs)) return attention(desc->attention);
    return ok_status();
  }

  Status choices(const LaunchRecord& record) const {
    if (record.choices.empty()) return corrupt("no tactic");
    int64_t previous = -1;
    for (const TacticChoice& choice : record.choices) {
      if (choice.tactic.empty()) return corrupt("a tactic without a name");
      if (choice.upto <= previous) return corrupt("tactic ranges do not ascend");
      if (!(choice.us >= 0) || std::isinf(choice.us)) return corrupt("time {}", choice.us);
      previous = choice.upto;
    }
    if (program_.symbols.empty() && record.symbol == 0) return ok_status();
    if (record.symbol < 0 || static_cast<size_t>(record.symbol) >= program_.symbols.size()) {
      return corrupt("tactics by symbol {} of {}", record.symbol, program_.symbols.size());
    }
    const Symbol& symbol = program_.symbols[static_cast<size_t>(record.symbol)];
    if (previous < symbol.max) {
      return corrupt("tactics up to {} {}, the profile goes to {}", previous, symbol.name,
                     symbol.max);
    }
    return ok_status();
  }

  Status reference(const TensorRef& ref) const {
    ASSIGN_OR_RETURN(const int64_t bytes, max_bytes(ref.type, program_.symbols));
    const auto in_range = [&](const auto& items) {
      return ref.index >= 0 && static_cast<size_t>(ref.index) < items.size();
    };
    const auto same_size = [&](const TensorType& type) {
      return size_form(ref.type) == size_form(type);
    };
    const size_t i = static_cast<size_t>(ref.index);
    switch (ref.space) {
      case Space::kArena:
        if (!in_range(program_.arena)) return corrupt("arena slot {}", ref.index);
        if (static_cast<uint64_t>(bytes) > program_.arena[i].bytes) {
          return corrupt("{} bytes in slot {} of {}", bytes, i, program_.arena[i].bytes);
        }
        return ok_status();
      case Space::kWeight:
        if (!in_range(manifest_.weights)) return corrupt("weight {}", ref.index);
        if (!same_size(manifest_.weights[i].type)) {
          return corrupt("another size than weight '{}'", manifest_.weights[i].name);
        }
        return ok_status();
      case Space::kInput:
      case Space::kOutput: {
        const auto& bindings = ref.space == Space::kInput ? program_.inputs : program_.outputs;
        if (!in_range(bindings)) return corrupt("program input or output {}", ref.index);
        if (!same_size(bindings[i].type))
          return corrupt("another size than '{}'", bindings[i].name);
        return ok_status();
      }
    }
    return corrupt("memory space {}", static_cast<int>(ref.space));
  }

  Status attention(const AttentionDesc& desc) const {
    if (desc.kv_group < 0 || desc.kv_group >= static_cast<int64_t>(manifest_.kv_groups.size())) {
      return corrupt("KV group {} of {}", desc.kv_group, manifest_.kv_groups.size());
    }
    const KvGroup& group = manifest_.kv_groups[static_cast<size_t>(desc.kv_group)];
    if (desc.kv_layer < 0 || desc.kv_layer >= group.num_layers) {
      return corrupt("KV layer {} of {}", desc.kv_layer, group.num_layers);
    }
    if (desc.num_kv_heads != group.num_kv_heads || desc.head_dim != group.head_dim ||
        desc.v_head_dim != group.v_head_dim) {
      return corrupt("{} KV heads of {}/{}, its KV group has {} of {}/{}", desc.num_kv_heads,
                     desc.head_dim, desc.v_head_dim, group.num_kv_heads, group.head_dim,
                     group.v_head_dim);
    }
    return ok_status();
  }

  const Manifest& manifest_;
  const Program& program_;
};

Status check_weight(const WeightEntry& weight) {
  ASSIGN_OR_RETURN(const int64_t bytes, max_bytes(weight.type, {}));
  if (weight.layout.empty()) return corrupt("no layout");
  if (weight.offset % kAlignment != 0 || weight.offset > static_cast<uint64_t>(kMaxBytes) ||
      weight.bytes > static_cast<uint64_t>(kMaxBytes)) {
    return corrupt("{} bytes at {}", weight.bytes, weight.offset);
  }
  if (weight.layout == "row_major" && weight.bytes != static_cast<uint64_t>(bytes)) {
    return corrupt("{} bytes stored, its type has {}", weight.bytes, bytes);
  }
  return ok_status();
}

Status check_facts(const Manifest& manifest) {
  const ModelInfo& model = manifest.model;
  const EngineLimits& limits = manifest.limits;
  if (model.parameters < 0 || model.vocab_size < 0 || model.num_layers < 0 ||
      model.max_seq_len < 0 || model.bos_id < -1) {
    return corrupt("model: negative sizes");
  }
  for (int32_t id : model.eos_ids) {
    if (id < 0) return corrupt("model: eos id {}", id);
  }
  if (limits.max_batch_size < 0 || limits.max_num_tokens < 0 || limits.block_tokens < 0 ||
      limits.block_tokens > 1 << 16) {
    return corrupt("limits: {} sequences, {} tokens, blocks of {}", limits.max_batch_size,
                   limits.max_num_tokens, limits.block_tokens);
  }
  if (manifest.tp < 1 || manifest.pp < 1) return corrupt("tp {}, pp {}", manifest.tp, manifest.pp);
  constexpr int64_t kLimit = 1 << 20;
  const auto sane_count = [](int64_t n) { return n >= 1 && n <= kLimit; };
  for (const KvGroup& g : manifest.kv_groups) {
    // The product bounds the bytes of a block of all layers, so that nobody's sums overflow.
    const bool sane = sane_count(g.num_layers) && sane_count(g.num_kv_heads) &&
                      sane_count(g.head_dim) && sane_count(g.v_head_dim) && g.window >= 0 &&
                      g.num_layers * g.num_kv_heads <= kMaxExtent / (g.head_dim + g.v_head_dim);
    if (!sane) {
      return corrupt("KV group of {} layers, {} heads of {}/{}, window {}", g.num_layers,
                     g.num_kv_heads, g.head_dim, g.v_head_dim, g.window);
    }
  }
  return ok_status();
}

Status verify_all(const Manifest& manifest) {
  RETURN_IF_ERROR(check_facts(manifest));
  RETURN_IF_ERROR(check_names("weight", manifest.weights));
  for (const WeightEntry& weight : manifest.weights) {
    const Status status = check_weight(weight);
    if (!status.ok()) return status.error().with_context(fmt::format("weight '{}'", weight.name));
  }
  for (const KernelImage& kernel : manifest.kernels) {
    if (kernel.name.empty() || kernel.offset % kAlignment != 0 || kernel.bytes == 0 ||
        kernel.offset > static_cast<uint64_t>(kMaxBytes) ||
        kernel.bytes > static_cast<uint64_t>(kMaxBytes)) {
      return corrupt("kernel '{}': {} bytes at {}", kernel.name, kernel.bytes, kernel.offset);
    }
  }
  if (manifest.flags_bytes > static_cast<uint64_t>(kMaxBytes)) {
    return corrupt("{} bytes of flags", manifest.flags_bytes);
  }
  RETURN_IF_ERROR(check_names("program", manifest.programs));
  for (const Program& program : manifest.programs) {
    const Status status = ProgramVerifier(manifest, program).verify();
    if (!status.ok()) return status.error().with_context(fmt::format("program '{}'", program.name));
  }
  return ok_status();
}

}  // namespace

Status verify_manifest(const Manifest& manifest) {
  const Status status = verify_all(manifest);
  if (!status.ok()) return status.error().with_context("manifest");
  return status;
}

}  // namespace ramjet::engine
