#include <cstring>
#include <type_traits>

#include "engine/manifest.h"
#include "engine/manifest_generated.h"
#include "tensor/shape.h"

namespace ramjet::engine {
namespace {

/// Copies a verified FlatBuffer into plain values. Offsets of a hostile buffer may point at the
/// same bytes many times over; the budget keeps what is copied within a multiple of its size.
class Decoder {
 public:
  explicit Decoder(size_t size) : budget_(size * 4 + 1024) {}
  Status status() const {
    if (failed_.empty()) return ok_status();
    return corrupt("manifest: {}", failed_);
  }

  Manifest manifest(const fb::Manifest& in) {
    Manifest out;
    out.model = model(*in.model());
    const fb::Limits& limits = *in.limits();
    out.limits = {limits.max_batch_size(), limits.max_num_tokens(), limits.block_tokens()};
    out.dtype = text(in.dtype());
    out.quantize = text(in.quantize());
    out.tp = in.tp();
    out.pp = in.pp();
    out.kv_groups = each<KvGroup>(*in.kv_groups(), &Decoder::kv_group);
    out.programs = each<Program>(*in.programs(), &Decoder::program);
    out.weights = each<WeightEntry>(*in.weights(), &Decoder::weight);
    for (const fb::Fact* fact : *in.facts()) {
      if (!take(16)) break;
      out.facts[text(fact->key())] = text(fact->value());
    }
    out.provenance = provenance(*in.provenance());
    if (in.kernels() != nullptr) out.kernels = each<KernelImage>(*in.kernels(), &Decoder::kernel);
    out.flags_bytes = in.flags_bytes();
    return out;
  }

 private:
  bool take(size_t bytes) {
    if (failed_.empty() && bytes > budget_) failed_ = "holds more than its bytes can";
    if (!failed_.empty()) return false;
    budget_ -= bytes;
    return true;
  }

  /// The verifier checks the alignment of tables and their scalars, not that of what is in vectors.
  /// An empty vector has no element that could be misaligned, and builders do not align it.
  template <class Element>
  bool aligned(const flatbuffers::Vector<Element>& in) {
    if (in.size() == 0) return true;
    constexpr size_t kAlignment = alignof(std::remove_cv_t<std::remove_pointer_t<Element>>);
    const bool good = reinterpret_cast<uintptr_t>(in.Data()) % kAlignment == 0;
    if (!good && failed_.empty()) failed_ = "misaligned elements";
    return good;
  }

  std::string text(const flatbuffers::String* in) {
    return take(in->size()) ? in->str() : std::string();
  }

  template <class Out, class In>
  std::vector<Out> each(const In& in, auto method) {
    std::vector<Out> out;
    for (const auto* item : in) {
      if (!take(4)) break;
      out.push_back((this->*method)(*item));
    }
    return out;
  }

  DType dtype(fb::ElementType in) {
    if (in > fb::ElementType::MAX) failed_ = "unknown element type";
    return static_cast<DType>(in);
  }

  TensorType type(const fb::Type& in) {
    TensorType out;
    out.dtype = dtype(in.dtype());
    if (in.dims()->size() > Shape::kMaxRank) failed_ = "a tensor of rank above 6";
    if (!aligned(*in.dims()) || !take(in.dims()->size() * 8)) return out;
    for (const fb::Dim* in_dim : *in.dims()) {
      Dim dim;
      dim.factor = in_dim->factor();
      dim.symbol = in_dim->symbol();
      dim.offset = in_dim->offset();
      out.dims.push_back(dim);
    }
    return out;
  }

  TensorRef ref(const fb::Ref& in) {
    if (in.space() > fb::Space::MAX) failed_ = "unknown memory space";
    return {static_cast<Space>(in.space()), in.index(), type(*in.type())};
  }
  Candidate candidate(const fb::Candidate& in) { return {text(in.tactic()), in.us()}; }
  TacticChoice choice(const fb::Choice& in) {
    TacticChoice out;
    out.upto = in.upto();
    out.tactic = text(in.tactic());
    out.us = in.us();
    out.candidates = each<Candidate>(*in.candidates(), &Decoder::candidate);
    if (in.launches() != nullptr)
      out.launches = each<DeviceLaunch>(*in.launches(), &Decoder::launch);
    return out;
  }

  Dim dim(int64_t factor, int64_t offset, int16_t symbol) {
    Dim out(offset);
    out.factor = factor;
    out.symbol = symbol;
    return out;
  }
  LaunchArg arg(const fb::Arg& in) {
    if (in.kind() > static_cast<uint8_t>(LaunchArgKind::kTensorMap)) failed_ = "unknown argument";
    return {static_cast<LaunchArgKind>(in.kind()), in.index(), in.value()};
  }
  std::vector<int64_t> numbers(const flatbuffers::Vector<int64_t>& in) {
    if (!aligned(in) || !take(in.size() * 8)) return {};
    return {in.begin(), in.end()};
  }
  TensorMapSpec tensor_map(const fb::TensorMap& in) {
    TensorMapSpec out;
    out.base = arg(*in.base());
    out.dtype = dtype(in.dtype());
    if (aligned(*in.extents()) && take(in.extents()->size() * 8)) {
      for (const fb::Dim* d : *in.extents()) {
        out.extents.push_back(dim(d->factor(), d->offset(), d->symbol()));
      }
    }
    out.strides = numbers(*in.strides());
    out.box = numbers(*in.box());
    out.swizzle_bytes = in.swizzle_bytes();
    return out;
  }
  DeviceLaunch launch(const fb::Launch& in) {
    DeviceLaunch out;
    out.module = in.kernel();
    out.entry = text(in.entry());
    if (in.grid()->size() != out.grid.size() && failed_.empty()) failed_ = "a grid not of three";
    if (failed_.empty() && aligned(*in.grid())) {
      for (size_t i = 0; i < out.grid.size(); ++i) {
        const fb::Extent& e = *in.grid()->Get(static_cast<flatbuffers::uoffset_t>(i));
        out.grid[i] = LaunchExtent::ceil(dim(e.factor(), e.offset(), e.symbol()), e.divide(),
                                         e.multiply(), e.most());
      }
    }
    out.block = in.block();
    out.cluster = in.cluster();
    out.shared_bytes = in.shared_bytes();
    out.programmatic = in.programmatic();
    if (in.when() > static_cast<uint8_t>(LaunchWhen::kAnyMany)) failed_ = "unknown condition";
    out.when = static_cast<LaunchWhen>(in.when());
    if (aligned(*in.args()) && take(in.args()->size() * 8)) {
      for (const fb::Arg* a : *in.args()) out.args.push_back(arg(*a));
    }
    out.maps = each<TensorMapSpec>(*in.maps(), &Decoder::tensor_map);
    return out;
  }

  LaunchRecord record(const fb::Record& in) {
    LaunchRecord out;
    const std::string op = text(in.op());
    if (auto kind = parse_op(op)) {
      out.op = *kind;
    } else if (failed_.empty()) {
      failed_ = fmt::format("unknown op '{}'", std::string_view(op).substr(0, 64));
    }
    out.name = text(in.name());
    for (const flatbuffers::String* name : *in.fused()) {
      if (!take(4)) break;
      out.fused.push_back(text(name));
    }
    out.attrs = text(in.attrs());
    out.inputs = each<TensorRef>(*in.inputs(), &Decoder::ref);
    out.outputs = each<TensorRef>(*in.outputs(), &Decoder::ref);
    out.workspace = in.workspace();
    out.choices = each<TacticChoice>(*in.choices(), &Decoder::choice);
    out.symbol = in.symbol();
    return out;
  }

  Symbol symbol(const fb::Symbol& in) { return {text(in.name()), in.min(), in.opt(), in.max()}; }
  Binding binding(const fb::Binding& in) { return {text(in.name()), type(*in.type())}; }

  Program program(const fb::Program& in) {
    Program out;
    out.name = text(in.name());
    out.symbols = each<Symbol>(*in.symbols(), &Decoder::symbol);
    out.inputs = each<Binding>(*in.inputs(), &Decoder::binding);
    out.outputs = each<Binding>(*in.outputs(), &Decoder::binding);
    if (aligned(*in.arena()) && take(in.arena()->size() * sizeof(fb::ArenaSlot))) {
      for (const fb::ArenaSlot* slot : *in.arena()) {
        out.arena.push_back({slot->offset(), slot->bytes()});
      }
    }
    out.arena_bytes = in.arena_bytes();
    out.records = each<LaunchRecord>(*in.records(), &Decoder::record);
    return out;
  }

  KernelImage kernel(const fb::Kernel& in) { return {text(in.name()), in.offset(), in.bytes()}; }
  WeightEntry weight(const fb::WeightEntry& in) {
    return {text(in.name()), type(*in.type()), text(in.layout()),
            in.offset(),     in.bytes(),       in.seed()};
  }
  KvGroup kv_group(const fb::KvGroup& in) {
    return {in.num_layers(), in.num_kv_heads(), in.head_dim(),
            in.v_head_dim(), in.window(),       dtype(in.dtype())};
  }

  ModelInfo model(const fb::Model& in) {
    ModelInfo out;
    out.name = text(in.name());
    out.architecture = text(in.architecture());
    out.parameters = in.parameters();
    out.vocab_size = in.vocab_size();
    out.num_layers = in.num_layers();
    out.max_seq_len = in.max_seq_len();
    if (aligned(*in.eos_ids()) && take(in.eos_ids()->size() * 4)) {
      out.eos_ids.assign(in.eos_ids()->begin(), in.eos_ids()->end());
    }
    out.bos_id = in.bos_id();
    return out;
  }

  PassTime pass(const fb::Pass& in) { return {text(in.name()), in.ms()}; }
  Provenance provenance(const fb::Provenance& in) {
    Provenance out;
    out.ramjet_version = text(in.ramjet_version());
    out.target = text(in.target());
    out.machine = text(in.machine());
    out.source = text(in.source());
    out.options = text(in.options());
    out.passes = each<PassTime>(*in.passes(), &Decoder::pass);
    out.build_seconds = in.build_seconds();
    return out;
  }

  size_t budget_;
  std::string failed_;
};

Result<Manifest> decode_aligned(const uint8_t* data, size_t size) {
  flatbuffers::Verifier::Options limits;
  limits.max_depth = 16;
  limits.max_tables = static_cast<flatbuffers::uoffset_t>(size / 8 + 16);  // what can fit unshared
  flatbuffers::Verifier verifier(data, size, limits);
  if (!fb::VerifyManifestBuffer(verifier)) {
    return corrupt("manifest: not a well-formed FlatBuffer of engine format 1");
  }
  Decoder decoder(size);
  Manifest manifest = decoder.manifest(*fb::GetManifest(data));
  RETURN_IF_ERROR(decoder.status());
  RETURN_IF_ERROR(verify_manifest(manifest));
  return manifest;
}

}  // namespace

Result<Manifest> decode_manifest(std::string_view bytes) {
  if (bytes.size() < 16 || bytes.size() >= FLATBUFFERS_MAX_BUFFER_SIZE) {
    return corrupt("manifest: {} bytes", bytes.size());
  }
  if (reinterpret_cast<uintptr_t>(bytes.data()) % 16 == 0) {
    return decode_aligned(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
  }
  std::vector<uint64_t> aligned((bytes.size() + 7) / 8);  // scalars are read in place
  std::memcpy(aligned.data(), bytes.data(), bytes.size());
  return decode_aligned(reinterpret_cast<const uint8_t*>(aligned.data()), bytes.size());
}

}  // namespace ramjet::engine
