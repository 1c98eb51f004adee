#include "compiler/check_programs.h"

#include <array>
#include <optional>
#include <string_view>

#include "ir/infer.h"
#include "op/fields.h"

namespace ramjet::compiler {
namespace {

using engine::Space;

/// An operand that holds indices, and the program input that must provide it. A wrong index would
/// lead a kernel out of its operand, and only the scheduler's own ones are known to be right.
struct Role {
  OpKind op;
  size_t operand;
  std::string_view input;
};
constexpr std::array kRoles = {
    Role{OpKind::kGatherRows, 1, "logit_rows"},     Role{OpKind::kRopeTable, 0, "positions"},
    Role{OpKind::kRopeTable, 1, "query_start"},     Role{OpKind::kRopeTable, 2, "prompt_len"},
    Role{OpKind::kKvAppend, 2, "query_start"},      Role{OpKind::kKvAppend, 3, "kv_len"},
    Role{OpKind::kKvAppend, 4, "block_table"},      Role{OpKind::kPagedAttention, 1, "query_start"},
    Role{OpKind::kPagedAttention, 2, "kv_len"},     Role{OpKind::kPagedAttention, 3, "block_table"},
    Role{OpKind::kQkvRopeAppend, 2, "query_start"}, Role{OpKind::kQkvRopeAppend, 3, "kv_len"},
    Role{OpKind::kQkvRopeAppend, 4, "block_table"}, Role{OpKind::kSample, 1, "sample_params"},
    Role{OpKind::kSample, 2, "sample_edits"},       Role{OpKind::kSample, 3, "sample_masks"},
    Role{OpKind::kSample, 4, "sample_counts"},      Role{OpKind::kSample, 5, "chosen"},
    Role{OpKind::kResolveTokens, 0, "token_ids"},   Role{OpKind::kResolveTokens, 1, "chosen"},
    Role{OpKind::kLora, 1, "lora_slots"},           Role{OpKind::kLora, 2, "lora_scales"},
};

/// Of encoders, which have no cache: who runs one checks that its tables hold what it looks up.
constexpr std::array kEncoderRoles = {
    Role{OpKind::kGatherRows, 1, "first_rows"},
    Role{OpKind::kAttention, 3, "query_start"},
    Role{OpKind::kAttention, 4, "kv_len"},
};

class Checker {
 public:
  Checker(const engine::Manifest& manifest, const engine::Program& program)
      : manifest_(manifest), program_(program) {}

  Status check() const {
    for (size_t at = 0; at < program_.records.size(); ++at) {
      const engine::LaunchRecord& record = program_.records[at];
      Status status = types(record);
      if (status.ok() && record.op == OpKind::kMoe) status = experts(at);
      // A user's network takes its indices from whoever runs it.
      if (status.ok() && manifest_.model.architecture != "network") {
        status = manifest_.kv_groups.empty() ? roles(record, kEncoderRoles) : roles(record, kRoles);
        if (status.ok() && !manifest_.kv_groups.empty()) status = tables(record);
      }
      if (!status.ok()) {
        return Error{ErrorCode::kCorrupt, fmt::format("program '{}', step '{}': {}", program_.name,
                                                      record.name, status.error().message)};
      }
    }
    return ok_status();
  }

 private:
  Status types(const engine::LaunchRecord& record) const {
    ASSIGN_OR_RETURN(const OpAttrs attrs, parse_attrs(record.op, record.attrs));
    std::vector<TensorType> inputs, stated;
    for (const engine::TensorRef& ref : record.inputs) inputs.push_back(ref.type);
    for (const engine::TensorRef& ref : record.outputs) stated.push_back(ref.type);
    ASSIGN_OR_RETURN(const std::vector<TensorType> inferred,
                     ir::infer_types({record.op, &attrs, inputs, program_.symbols, stated}));
    if (inferred.size() != stated.size()) {
      return corrupt("{} results, wants {}", stated.size(), inferred.size());
    }
    for (size_t i = 0; i < stated.size(); ++i) {
      const bool dtype_fits = ir::stores_as(record.op, inferred, i, stated[i].dtype);
      if (stated[i].dims == inferred[i].dims && dtype_fits) continue;
      return corrupt("result {} is {}, follows as {}", i, type_text(stated[i], program_.symbols),
                     type_text(inferred[i], program_.symbols));
    }
    return weights(record);
  }

  /// A weight is packed by its own extents, so it cannot be seen under others.
  Status weights(const engine::LaunchRecord& record) const {
    for (const engine::TensorRef& ref : record.inputs) {
      if (ref.space != Space::kWeight) continue;
      const engine::WeightEntry& weight = manifest_.weights[static_cast<size_t>(ref.index)];
      if (ref.type == weight.type) continue;
      return corrupt("reads weight '{}' as {}, it is {}", weight.name,
                     type_text(ref.type, program_.symbols), type_text(weight.type, {}));
    }
    return ok_status();
  }

  bool is_input(const engine::TensorRef& ref, std::string_view name) const {
    if (ref.space != Space::kInput) return false;
    const engine::Binding& input = program_.inputs[static_cast<size_t>(ref.index)];
    return input.name == name && input.type == ref.type;
  }

  Status roles(const engine::LaunchRecord& record, std::span<const Role> all) const {
    for (const Role& role : all) {
      if (role.op != record.op || is_input(record.inputs[role.operand], role.input)) continue;
      return corrupt("operand {} is not the input '{}'", role.operand, role.input);
    }
    return ok_status();
  }

  bool overlap(int32_t a, int32_t b) const {
    const engine::ArenaSlot& x = program_.arena[static_cast<size_t>(a)];
    const engine::ArenaSlot& y = program_.arena[static_cast<size_t>(b)];
    return x.offset < y.offset + y.bytes && y.offset < x.offset + x.bytes;
  }

  bool writes(const engine::LaunchRecord& record, int32_t slot) const {
    if (record.workspace >= 0 && overlap(record.workspace, slot)) return true;
    for (const engine::TensorRef& ref : record.outputs) {
      if (ref.space == Space::kArena && overlap(ref.index, slot)) return true;
    }
    return false;
  }

  /// The record that a router is, if it chose `ids` among so many and wrote nothing else over them.
  bool routes(const engine::LaunchRecord& record, const engine::TensorRef& ids,
              const auto& experts) const {
    if (record.op != OpKind::kMoeRoute || record.outputs[0] != ids) return false;
    const engine::TensorRef& weights = record.outputs[1];
    if (weights.space != Space::kArena || overlap(weights.index, ids.index)) return false;
    if (record.workspace >= 0 && overlap(record.workspace, ids.index)) return false;
    return record.inputs[0].type.dims[1] == experts;
  }

  /// Experts are what a moe_route chose among as many, and nothing wrote over it since.
  Status experts(size_t at) const {
    const engine::LaunchRecord& record = program_.records[at];
    const engine::TensorRef& ids = record.inputs[3];
    const auto& experts = record.inputs[1].type.dims[0];
    bool sound = ids.space == Space::kArena && !writes(record, ids.index);
    while (sound && at > 0 && !writes(program_.records[at - 1], ids.index)) --at;
    sound = sound && at > 0 && routes(program_.records[at - 1], ids, experts);
    return sound ? ok_status() : corrupt("the chosen experts are not those of a moe_route");
  }

  Status tables(const engine::LaunchRecord& record) const {
    if (record.op == OpKind::kSample) return same_vocabulary(record);
    return record.op == OpKind::kEmbedding ? table(record) : ok_status();
  }

  /// Chosen tokens become ids of the first program.
  Status same_vocabulary(const engine::LaunchRecord& record) const {
    const Dim sampled = record.inputs[0].type.dims[1];
    for (const engine::Binding& output : manifest_.programs[0].outputs) {
      if (!output.type.dims.empty() && output.type.dims.back() == sampled) continue;
      return corrupt("samples from {} tokens, which are not those of program '{}'", sampled.offset,
                     manifest_.programs[0].name);
    }
    return ok_status();
  }

  /// Token ids are below the number of logits, positions below the length of a sequence.
  Status table(const engine::LaunchRecord& record) const {
    const Dim rows = record.inputs[1].type.dims[0];
    if (is_input(record.inputs[0], "positions")) {
      const int64_t positions = manifest_.model.max_seq_len;
      if (rows.fixed() && positions > 0 && rows.offset >= positions) return ok_status();
      return corrupt("a table of {} rows for {} positions", rows.offset, positions);
    }
    if (!is_input(record.inputs[0], "token_ids")) {
      return corrupt("operand 0 is not the input 'token_ids'");
    }
    for (const engine::Binding& output : program_.outputs) {
      const Dim vocab = output.type.dims.empty() ? Dim(0) : output.type.dims.back();
      if (rows.fixed() && vocab.fixed() && rows.offset >= vocab.offset) continue;
      return corrupt("a table of {} rows for {} logits", rows.offset, vocab.offset);
    }
    return ok_status();
  }

  const engine::Manifest& manifest_;
  const engine::Program& program_;
};

}  // namespace

Status check_programs(const engine::Manifest& manifest) {
  for (const engine::Program& program : manifest.programs) {
    RETURN_IF_ERROR(Checker(manifest, program).check());
  }
  return ok_status();
}

}  // namespace ramjet::compiler
