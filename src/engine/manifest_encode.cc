#include <algorithm>

#include "engine/manifest.h"
#include "engine/manifest_generated.h"

namespace ramjet::engine {
namespace {

static_assert(static_cast<int>(fb::ElementType::Bool) == static_cast<int>(DType::kBool) &&
              static_cast<int>(fb::ElementType::I32) == static_cast<int>(DType::kI32));
static_assert(static_cast<int>(fb::Space::Output) == static_cast<int>(Space::kOutput));

using flatbuffers::FlatBufferBuilder;
using flatbuffers::Offset;
template <class T>
using Offsets = Offset<flatbuffers::Vector<Offset<T>>>;

fb::ElementType encode(DType dtype) { return static_cast<fb::ElementType>(dtype); }

/// A vector of tables, one for each of `items`.
template <class T, class Items, class Encode>
Offsets<T> encode_all(FlatBufferBuilder& builder, const Items& items, Encode&& encode_one) {
  std::vector<Offset<T>> offsets;
  offsets.reserve(items.size());
  for (const auto& item : items) offsets.push_back(encode_one(item));
  return builder.CreateVector(offsets);
}

Offset<fb::Type> encode(FlatBufferBuilder& builder, const TensorType& type) {
  std::vector<fb::Dim> dims;
  for (const Dim& dim : type.dims) dims.emplace_back(dim.factor, dim.offset, dim.symbol);
  return fb::CreateType(builder, encode(type.dtype), builder.CreateVectorOfStructs(dims));
}

Offset<fb::Ref> encode(FlatBufferBuilder& builder, const TensorRef& ref) {
  const auto type = encode(builder, ref.type);
  return fb::CreateRef(builder, static_cast<fb::Space>(ref.space), ref.index, type);
}

fb::Arg encode(const LaunchArg& arg) {
  return {arg.value, arg.index, static_cast<uint8_t>(arg.kind)};
}

Offset<fb::TensorMap> encode(FlatBufferBuilder& builder, const TensorMapSpec& map) {
  std::vector<fb::Dim> extents;
  for (const Dim& dim : map.extents) extents.emplace_back(dim.factor, dim.offset, dim.symbol);
  const auto extents_offset = builder.CreateVectorOfStructs(extents);
  const auto strides = builder.CreateVector(map.strides);
  const auto box = builder.CreateVector(map.box);
  const fb::Arg base = encode(map.base);
  return fb::CreateTensorMap(builder, &base, encode(map.dtype), extents_offset, strides, box,
                             map.swizzle_bytes);
}

Offset<fb::Launch> encode(FlatBufferBuilder& builder, const DeviceLaunch& launch) {
  std::vector<fb::Extent> grid;
  for (const LaunchExtent& extent : launch.grid) {
    grid.emplace_back(extent.dim.factor, extent.dim.offset, extent.divide, extent.multiply,
                      extent.most, extent.dim.symbol);
  }
  std::vector<fb::Arg> args;
  for (const LaunchArg& arg : launch.args) args.push_back(encode(arg));
  const auto entry = builder.CreateString(launch.entry);
  const auto grid_offset = builder.CreateVectorOfStructs(grid);
  const auto args_offset = builder.CreateVectorOfStructs(args);
  const auto maps = encode_all<fb::TensorMap>(
      builder, launch.maps, [&](const TensorMapSpec& map) { return encode(builder, map); });
  return fb::CreateLaunch(builder, launch.module, entry, grid_offset, launch.block, launch.cluster,
                          launch.shared_bytes, launch.programmatic,
                          static_cast<uint8_t>(launch.when), args_offset, maps);
}

Offset<fb::Choice> encode(FlatBufferBuilder& builder, const TacticChoice& choice) {
  const auto candidates =
      encode_all<fb::Candidate>(builder, choice.candidates, [&](const Candidate& candidate) {
        return fb::CreateCandidate(builder, builder.CreateString(candidate.tactic), candidate.us);
      });
  const auto tactic = builder.CreateString(choice.tactic);
  const auto launches =
      encode_all<fb::Launch>(builder, choice.launches,
                             [&](const DeviceLaunch& launch) { return encode(builder, launch); });
  return fb::CreateChoice(builder, choice.upto, tactic, choice.us, candidates, launches);
}

Offset<fb::Record> encode(FlatBufferBuilder& builder, const LaunchRecord& record) {
  const auto encode_ref = [&](const TensorRef& ref) { return encode(builder, ref); };
  const auto encode_choice = [&](const TacticChoice& choice) { return encode(builder, choice); };
  const auto op = builder.CreateString(std::string(op_name(record.op)));
  const auto name = builder.CreateString(record.name);
  const auto fused = builder.CreateVectorOfStrings(record.fused);
  const auto attrs = builder.CreateString(record.attrs);
  const auto inputs = encode_all<fb::Ref>(builder, record.inputs, encode_ref);
  const auto outputs = encode_all<fb::Ref>(builder, record.outputs, encode_ref);
  const auto choices = encode_all<fb::Choice>(builder, record.choices, encode_choice);
  return fb::CreateRecord(builder, op, name, fused, attrs, inputs, outputs, record.workspace,
                          choices, record.symbol);
}

Offset<fb::Program> encode(FlatBufferBuilder& builder, const Program& program) {
  const auto encode_binding = [&](const Binding& binding) {
    const auto name = builder.CreateString(binding.name);
    return fb::CreateBinding(builder, name, encode(builder, binding.type));
  };
  const auto symbols = encode_all<fb::Symbol>(builder, program.symbols, [&](const Symbol& symbol) {
    return fb::CreateSymbol(builder, builder.CreateString(symbol.name), symbol.min, symbol.opt,
                            symbol.max);
  });
  const auto records =
      encode_all<fb::Record>(builder, program.records,
                             [&](const LaunchRecord& record) { return encode(builder, record); });
  std::vector<fb::ArenaSlot> slots;
  for (const ArenaSlot& slot : program.arena) slots.emplace_back(slot.offset, slot.bytes);
  const auto name = builder.CreateString(program.name);
  const auto inputs = encode_all<fb::Binding>(builder, program.inputs, encode_binding);
  const auto outputs = encode_all<fb::Binding>(builder, program.outputs, encode_binding);
  const auto arena = builder.CreateVectorOfStructs(slots);
  return fb::CreateProgram(builder, name, symbols, inputs, outputs, arena, program.arena_bytes,
                           records);
}

Offset<fb::WeightEntry> encode(FlatBufferBuilder& builder, const WeightEntry& weight) {
  const auto name = builder.CreateString(weight.name);
  const auto type = encode(builder, weight.type);
  const auto layout = builder.CreateString(weight.layout);
  return fb::CreateWeightEntry(builder, name, type, layout, weight.offset, weight.bytes,
                               weight.seed);
}

Offset<fb::Model> encode(FlatBufferBuilder& builder, const ModelInfo& model) {
  const auto name = builder.CreateString(model.name);
  const auto architecture = builder.CreateString(model.architecture);
  const auto eos_ids = builder.CreateVector(model.eos_ids);
  return fb::CreateModel(builder, name, architecture, model.parameters, model.vocab_size,
                         model.num_layers, model.max_seq_len, eos_ids, model.bos_id);
}

Offset<fb::Provenance> encode(FlatBufferBuilder& builder, const Provenance& provenance) {
  const auto passes = encode_all<fb::Pass>(builder, provenance.passes, [&](const PassTime& pass) {
    return fb::CreatePass(builder, builder.CreateString(pass.name), pass.ms);
  });
  const auto version = builder.CreateString(provenance.ramjet_version);
  const auto target = builder.CreateString(provenance.target);
  const auto machine = builder.CreateString(provenance.machine);
  const auto source = builder.CreateString(provenance.source);
  const auto options = builder.CreateString(provenance.options);
  return fb::CreateProvenance(builder, version, target, machine, source, options, passes,
                              provenance.build_seconds);
}

}  // namespace

std::string encode_manifest(const Manifest& manifest) {
  FlatBufferBuilder builder(64 << 10);
  const auto groups =
      encode_all<fb::KvGroup>(builder, manifest.kv_groups, [&](const KvGroup& group) {
        return fb::CreateKvGroup(builder, group.num_layers, group.num_kv_heads, group.head_dim,
                                 group.v_head_dim, group.window, encode(group.dtype));
      });
  const auto programs = encode_all<fb::Program>(
      builder, manifest.programs, [&](const Program& program) { return encode(builder, program); });
  const auto weights = encode_all<fb::WeightEntry>(
      builder, manifest.weights,
      [&](const WeightEntry& weight) { return encode(builder, weight); });
  const auto facts = encode_all<fb::Fact>(builder, manifest.facts, [&](const auto& fact) {
    const auto key = builder.CreateString(fact.first);
    return fb::CreateFact(builder, key, builder.CreateString(fact.second));
  });
  const auto kernels =
      encode_all<fb::Kernel>(builder, manifest.kernels, [&](const KernelImage& kernel) {
        const auto name = builder.CreateString(kernel.name);
        return fb::CreateKernel(builder, name, kernel.offset, kernel.bytes);
      });
  const auto model = encode(builder, manifest.model);
  const EngineLimits& limits = manifest.limits;
  const auto limits_offset =
      fb::CreateLimits(builder, limits.max_batch_size, limits.max_num_tokens, limits.block_tokens);
  const auto dtype = builder.CreateString(manifest.dtype);
  const auto quantize = builder.CreateString(manifest.quantize);
  const auto provenance = encode(builder, manifest.provenance);
  fb::FinishManifestBuffer(
      builder, fb::CreateManifest(builder, model, limits_offset, dtype, quantize, manifest.tp,
                                  manifest.pp, groups, programs, weights, facts, provenance,
                                  kernels, manifest.flags_bytes));
  return std::string(reinterpret_cast<const char*>(builder.GetBufferPointer()), builder.GetSize());
}

}  // namespace ramjet::engine
