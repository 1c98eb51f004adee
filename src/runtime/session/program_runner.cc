#include "runtime/session/program_runner.h"

#include <chrono>

#include "kernels/registry.h"
#include "op/fields.h"
#include "runtime/session/aligned_memory.h"

namespace ramjet::runtime {
namespace {

using kernels::Tactic;

/// A launch record, resolved: what run() needs and nothing else.
struct Launch {
  const engine::LaunchRecord* record = nullptr;
  OpAttrs attrs;
  std::vector<const Tactic*> tactics;  // of each choice
  std::vector<TensorView> inputs;      // data of arena and weights is fixed; shapes change
  std::vector<TensorView> outputs;
  std::span<std::byte> workspace;
};

/// Kernels trust their operands, so nothing is taken from the engine on trust: the tactic must be
/// for this op, these types and this machine, and read weights as they lie there.
Status check_tactic(const Tactic& tactic, const engine::LaunchRecord& record, const OpAttrs& attrs,
                    const engine::Program& program, const engine::Manifest& manifest) {
  std::vector<TensorType> inputs, outputs;
  for (const engine::TensorRef& ref : record.inputs) inputs.push_back(ref.type);
  for (const engine::TensorRef& ref : record.outputs) outputs.push_back(ref.type);
  const kernels::OpDesc desc{record.op, &attrs, inputs, outputs, program.symbols};
  if (tactic.op != record.op || !tactic.supports(desc)) {
    return corrupt("the kernel {} cannot run this {}", tactic.name, op_name(record.op));
  }
  if (!kernels::Target{tactic.isa}.runs_on(kernels::Target::host())) {
    return unsupported("the kernel {} is for {}, this machine runs at most {}", tactic.name,
                       kernels::Target{tactic.isa}.name(), kernels::Target::host().name());
  }
  for (size_t i = 0; i < record.inputs.size(); ++i) {
    const std::string_view wanted = kernels::layout_of(tactic, i);
    const bool stored = record.inputs[i].space == engine::Space::kWeight;
    const std::string_view layout =
        stored ? manifest.weights[static_cast<size_t>(record.inputs[i].index)].layout
               : std::string_view("row_major");
    if (layout == wanted) continue;
    return corrupt("operand {} lies in {}, the kernel {} wants {}", i, layout, tactic.name, wanted);
  }
  const int64_t wanted = tactic.workspace_bytes != nullptr ? tactic.workspace_bytes(desc) : 0;
  const uint64_t given =
      record.workspace < 0 ? 0 : program.arena[static_cast<size_t>(record.workspace)].bytes;
  if (wanted < 0 || static_cast<uint64_t>(wanted) > given) {
    return corrupt("a workspace of {} bytes, the kernel {} wants {}", given, tactic.name, wanted);
  }
  return ok_status();
}

Result<std::vector<const Tactic*>> resolve_tactics(const engine::LaunchRecord& record,
                                                   const OpAttrs& attrs,
                                                   const engine::Program& program,
                                                   const engine::EngineFile& file) {
  const std::string& path = file.path();
  std::vector<const Tactic*> tactics;
  for (const engine::TacticChoice& choice : record.choices) {
    const Tactic* tactic = kernels::find_tactic(choice.tactic);
    if (tactic == nullptr || tactic->run == nullptr) {
      return unsupported(
          "{}: '{}' wants the kernel {}, which this build lacks; rebuild the engine: ramjet build "
          "MODEL -o {}",
          path, record.name, choice.tactic, path);
    }
    if (Status fits = check_tactic(*tactic, record, attrs, program, file.manifest()); !fits.ok()) {
      return fits.error().with_context(fmt::format("{}: '{}'", path, record.name));
    }
    tactics.push_back(tactic);
  }
  return tactics;
}

}  // namespace

struct ProgramRunner::Impl {
  std::shared_ptr<const engine::EngineFile> file;  // shared with the Engine
  std::shared_ptr<const WeightStore> weights;      // shared with other runners
  const engine::Program* program = nullptr;
  ThreadPool* pool = nullptr;
  AlignedMemory arena;
  std::vector<Launch> launches;
  std::vector<int64_t> symbols;
  std::vector<RecordTime> times;
  bool profiling = false;

  Status prepare();
  TensorView fixed_view(const engine::TensorRef& ref) const;
  Status solve(std::span<const TensorView> inputs);
  Status solve_input(const engine::Binding& binding, const TensorView& view);
  void bind(Launch& launch, std::span<const TensorView> inputs,
            std::span<const TensorView> outputs);
  const Tactic& pick(const Launch& launch) const;
};

TensorView ProgramRunner::Impl::fixed_view(const engine::TensorRef& ref) const {
  const size_t index = static_cast<size_t>(ref.index);
  if (ref.space == engine::Space::kWeight) return weights->view(index);
  TensorView view{nullptr, ref.type.dtype, {}};
  if (ref.space == engine::Space::kArena) view.data = arena.data() + program->arena[index].offset;
  return view;
}

Status ProgramRunner::Impl::prepare() {
  ASSIGN_OR_RETURN(arena, AlignedMemory::allocate(program->arena_bytes, "the arena of a step"));
  symbols.assign(program->symbols.size(), 0);
  times.resize(program->records.size());
  for (const engine::LaunchRecord& record : program->records) {
    Launch launch;
    launch.record = &record;
    ASSIGN_OR_RETURN(launch.attrs, parse_attrs(record.op, record.attrs));
    ASSIGN_OR_RETURN(launch.tactics, resolve_tactics(record, launch.attrs, *program, *file));
    for (const engine::TensorRef& ref : record.inputs) launch.inputs.push_back(fixed_view(ref));
    for (const engine::TensorRef& ref : record.outputs) launch.outputs.push_back(fixed_view(ref));
    if (record.workspace >= 0) {
      const engine::ArenaSlot& slot = program->arena[static_cast<size_t>(record.workspace)];
      launch.workspace = arena.span().subspan(slot.offset, slot.bytes);
    }
    launches.push_back(std::move(launch));
  }
  return ok_status();
}

Status ProgramRunner::Impl::solve_input(const engine::Binding& binding, const TensorView& view) {
  bool fits = view.dtype == binding.type.dtype && view.shape.rank() == binding.type.rank();
  for (int i = 0; fits && i < view.shape.rank(); ++i) {
    const Dim& dim = binding.type.dims[static_cast<size_t>(i)];
    const int64_t extent = view.shape[i];
    if (dim.fixed()) {
      fits = extent == dim.offset;
      continue;
    }
    const int64_t value = dim.factor != 0 ? (extent - dim.offset) / dim.factor : 0;
    fits = value >= 0 && value * dim.factor + dim.offset == extent;
    int64_t& known = symbols[static_cast<size_t>(dim.symbol)];
    if (known >= 0 && known != value) {
      return invalid_argument("input '{}' says {} = {}, another input {}", binding.name,
                              program->symbols[static_cast<size_t>(dim.symbol)].name, value, known);
    }
    known = value;
  }
  if (fits) return ok_status();
  return invalid_argument("input '{}' wants {}, got {}{}", binding.name,
                          type_text(binding.type, program->symbols), dtype_name(view.dtype),
                          view.shape.text());
}

Status ProgramRunner::Impl::solve(std::span<const TensorView> inputs) {
  for (int64_t& value : symbols) value = -1;
  for (size_t i = 0; i < inputs.size(); ++i) {
    RETURN_IF_ERROR(solve_input(program->inputs[i], inputs[i]));
  }
  for (size_t i = 0; i < symbols.size(); ++i) {
    const Symbol& symbol = program->symbols[i];
    if (symbols[i] < 0) symbols[i] = symbol.opt;  // no input tells it: nothing depends on it
    // Nothing at all is always allowed: kernels return at once on zero rows.
    if (symbols[i] != 0 && (symbols[i] < symbol.min || symbols[i] > symbol.max)) {
      return invalid_argument("{} = {} is outside the engine's profile {}..{}", symbol.name,
                              symbols[i], symbol.min, symbol.max);
    }
  }
  return ok_status();
}

void ProgramRunner::Impl::bind(Launch& launch, std::span<const TensorView> inputs,
                               std::span<const TensorView> outputs) {
  const auto set = [&](TensorView& view, const engine::TensorRef& ref) {
    if (ref.space == engine::Space::kWeight) return;
    if (ref.space == engine::Space::kInput) view.data = inputs[static_cast<size_t>(ref.index)].data;
    if (ref.space == engine::Space::kOutput) {
      view.data = outputs[static_cast<size_t>(ref.index)].data;
    }
    view.shape = ref.type.shape(symbols);
  };
  const engine::LaunchRecord& record = *launch.record;
  for (size_t i = 0; i < record.inputs.size(); ++i) set(launch.inputs[i], record.inputs[i]);
  for (size_t i = 0; i < record.outputs.size(); ++i) set(launch.outputs[i], record.outputs[i]);
}

const Tactic& ProgramRunner::Impl::pick(const Launch& launch) const {
  return *launch.tactics[launch.record->choice_at(symbols)];
}

ProgramRunner::ProgramRunner(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ProgramRunner::~ProgramRunner() = default;

Result<std::unique_ptr<ProgramRunner>> ProgramRunner::create(
    std::shared_ptr<const engine::EngineFile> file, std::string_view program,
    std::shared_ptr<const WeightStore> weights, ThreadPool* pool) {
  auto impl = std::make_unique<Impl>();
  impl->file = std::move(file);
  impl->weights = std::move(weights);
  impl->pool = pool;
  for (const engine::Program& p : impl->file->manifest().programs) {
    if (p.name == program) impl->program = &p;
  }
  if (impl->program == nullptr) {
    return not_found("{}: the engine has no program '{}'", impl->file->path(), program);
  }
  RETURN_IF_ERROR(impl->prepare());
  return std::make_unique<ProgramRunner>(std::move(impl));
}

const engine::Program& ProgramRunner::program() const { return *impl_->program; }
void ProgramRunner::set_profiling(bool on) { impl_->profiling = on; }
std::span<const RecordTime> ProgramRunner::times() const { return impl_->times; }

Status ProgramRunner::run(std::span<const TensorView> inputs, std::span<const TensorView> outputs,
                          std::span<const kernels::KvView> kv) {
  CHECK(inputs.size() == impl_->program->inputs.size(), "one view an input");
  CHECK(outputs.size() == impl_->program->outputs.size(), "one view an output");
  RETURN_IF_ERROR(impl_->solve(inputs));
  for (size_t i = 0; i < impl_->launches.size(); ++i) {
    Launch& launch = impl_->launches[i];
    impl_->bind(launch, inputs, outputs);
    kernels::KernelCall call;
    call.attrs = &launch.attrs;
    call.inputs = launch.inputs;
    call.outputs = launch.outputs;
    call.workspace = launch.workspace;
    call.kv = kv;
    call.pool = impl_->pool;
    const Tactic& tactic = impl_->pick(launch);
    if (!impl_->profiling) {
      tactic.run(call);
      continue;
    }
    const auto start = std::chrono::steady_clock::now();
    tactic.run(call);
    const std::chrono::duration<double, std::micro> us = std::chrono::steady_clock::now() - start;
    impl_->times[i].us += us.count();
    ++impl_->times[i].calls;
  }
  return ok_status();
}

}  // namespace ramjet::runtime
