#include "runtime/session/device_program.h"

#include <algorithm>
#include <map>

namespace ramjet::runtime {
namespace {

namespace cu = device::cuda;
using kernels::BoundLaunch;

struct Record {
  const engine::LaunchRecord* source = nullptr;
  std::vector<std::vector<BoundLaunch>> choices;
};

bool wanted(const BoundLaunch& launch, StepKind kind) {
  switch (launch.record().when) {
    case LaunchWhen::kAlways: return true;
    case LaunchWhen::kAnySingle: return kind.any_single;
    case LaunchWhen::kAnyMany: return kind.any_many;
  }
  return true;
}

/// Graphs beyond this many push out the one unused for longest.
constexpr size_t kMostGraphs = 128;

struct CachedGraph {
  cu::GraphExec exec;
  uint64_t used = 0;
};

}  // namespace

struct DeviceProgram::Impl {
  std::shared_ptr<const engine::EngineFile> file;
  std::shared_ptr<const DeviceWeights> weights;
  std::shared_ptr<const DeviceModules> modules;
  const engine::Program* program = nullptr;
  cu::DeviceBuffer arena;
  std::vector<Record> records;
  std::map<std::vector<int64_t>, CachedGraph> graphs;
  uint64_t uses = 0;
  std::vector<RecordTime> times;
  std::vector<cu::Event> marks;  // one more than records

  Status bind(const DeviceOperands& operands);
  Result<Record> bind_record(const engine::LaunchRecord& record, const DeviceOperands& operands,
                             std::span<const int64_t> most) const;
  uint64_t address(const engine::TensorRef& ref, const DeviceOperands& operands) const;
  Status launch_record(const Record& record, std::span<const int64_t> symbols, StepKind kind,
                       const cu::Stream& stream) const;
};

uint64_t DeviceProgram::Impl::address(const engine::TensorRef& ref,
                                      const DeviceOperands& operands) const {
  const auto index = static_cast<size_t>(ref.index);
  switch (ref.space) {
    case engine::Space::kArena: return arena.get() + program->arena[index].offset;
    case engine::Space::kWeight: return weights->address(index);
    case engine::Space::kInput: return operands.inputs[index];
    case engine::Space::kOutput: return operands.outputs[index];
  }
  return 0;
}

Result<Record> DeviceProgram::Impl::bind_record(const engine::LaunchRecord& record,
                                                const DeviceOperands& operands,
                                                std::span<const int64_t> most) const {
  std::vector<uint64_t> inputs, outputs;
  for (const engine::TensorRef& ref : record.inputs) inputs.push_back(address(ref, operands));
  for (const engine::TensorRef& ref : record.outputs) outputs.push_back(address(ref, operands));
  kernels::LaunchOperands bound;
  bound.inputs = inputs;
  bound.outputs = outputs;
  bound.flags = operands.flags;
  bound.symbols = operands.symbols;
  bound.most = most;
  bound.kv = operands.kv;
  if (record.workspace >= 0) {
    bound.workspace = arena.get() + program->arena[static_cast<size_t>(record.workspace)].offset;
  }
  Record result{&record, {}};
  for (const engine::TacticChoice& choice : record.choices) {
    if (choice.launches.empty()) {
      return unsupported("{}: '{}' has no launches for {}: the engine was not compiled for a GPU",
                         file->path(), record.name, choice.tactic);
    }
    std::vector<BoundLaunch> made;
    for (const DeviceLaunch& launch : choice.launches) {
      ASSIGN_OR_RETURN(const cu::CuFunction function, modules->function(launch));
      auto one = BoundLaunch::bind(launch, function, bound);
      if (!one.ok()) {
        return one.error().with_context(fmt::format("{}: '{}'", file->path(), record.name));
      }
      made.push_back(std::move(*one));
    }
    result.choices.push_back(std::move(made));
  }
  return result;
}

Status DeviceProgram::Impl::bind(const DeviceOperands& operands) {
  ASSIGN_OR_RETURN(arena,
                   cu::DeviceBuffer::allocate(std::max<uint64_t>(program->arena_bytes, 256)));
  std::vector<int64_t> most;
  for (const Symbol& symbol : program->symbols) most.push_back(symbol.max);
  for (const engine::LaunchRecord& record : program->records) {
    ASSIGN_OR_RETURN(Record bound, bind_record(record, operands, most));
    records.push_back(std::move(bound));
  }
  times.resize(records.size());
  return ok_status();
}

Status DeviceProgram::Impl::launch_record(const Record& record, std::span<const int64_t> symbols,
                                          StepKind kind, const cu::Stream& stream) const {
  for (const BoundLaunch& launch : record.choices[record.source->choice_at(symbols)]) {
    if (wanted(launch, kind)) RETURN_IF_ERROR(launch.launch(symbols, stream));
  }
  return ok_status();
}

DeviceProgram::DeviceProgram(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
DeviceProgram::~DeviceProgram() = default;
const engine::Program& DeviceProgram::program() const { return *impl_->program; }
size_t DeviceProgram::graphs() const { return impl_->graphs.size(); }
std::span<const RecordTime> DeviceProgram::times() const { return impl_->times; }

Result<std::unique_ptr<DeviceProgram>> DeviceProgram::create(
    std::shared_ptr<const engine::EngineFile> file, std::string_view program,
    std::shared_ptr<const DeviceWeights> weights, std::shared_ptr<const DeviceModules> modules,
    const DeviceOperands& operands) {
  auto impl = std::make_unique<Impl>();
  for (const engine::Program& p : file->manifest().programs) {
    if (p.name == program) impl->program = &p;
  }
  if (impl->program == nullptr) {
    return not_found("{}: the engine has no program '{}'", file->path(), program);
  }
  impl->file = std::move(file);
  impl->weights = std::move(weights);
  impl->modules = std::move(modules);
  RETURN_IF_ERROR(impl->bind(operands));
  return std::unique_ptr<DeviceProgram>(new DeviceProgram(std::move(impl)));
}

Status DeviceProgram::launch(std::span<const int64_t> symbols, StepKind kind,
                             const cu::Stream& stream) {
  for (const Record& record : impl_->records) {
    RETURN_IF_ERROR(impl_->launch_record(record, symbols, kind, stream));
  }
  return ok_status();
}

Status DeviceProgram::launch_graph(std::span<const int64_t> symbols, StepKind kind,
                                   const cu::Stream& stream) {
  std::vector<int64_t> key(symbols.begin(), symbols.end());
  key.push_back((kind.any_single ? 1 : 0) + (kind.any_many ? 2 : 0));
  auto it = impl_->graphs.find(key);
  if (it == impl_->graphs.end()) {
    RETURN_IF_ERROR(cu::GraphExec::begin_capture(stream));
    const Status queued = launch(symbols, kind, stream);
    auto exec = cu::GraphExec::end_capture(stream);  // also after a failure: it ends the capture
    RETURN_IF_ERROR(queued);
    if (!exec.ok()) return exec.error();
    if (impl_->graphs.size() >= kMostGraphs) {
      impl_->graphs.erase(std::ranges::min_element(
          impl_->graphs, {}, [](const auto& entry) { return entry.second.used; }));
    }
    it = impl_->graphs.emplace(std::move(key), CachedGraph{std::move(*exec), 0}).first;
  }
  it->second.used = ++impl_->uses;
  return it->second.exec.launch(stream);
}

Status DeviceProgram::launch_timed(std::span<const int64_t> symbols, StepKind kind,
                                   const cu::Stream& stream) {
  while (impl_->marks.size() <= impl_->records.size()) {
    ASSIGN_OR_RETURN(cu::Event event, cu::Event::create(true));
    impl_->marks.push_back(std::move(event));
  }
  RETURN_IF_ERROR(impl_->marks[0].record(stream));
  for (size_t i = 0; i < impl_->records.size(); ++i) {
    RETURN_IF_ERROR(impl_->launch_record(impl_->records[i], symbols, kind, stream));
    RETURN_IF_ERROR(impl_->marks[i + 1].record(stream));
  }
  RETURN_IF_ERROR(stream.synchronize());
  for (size_t i = 0; i < impl_->records.size(); ++i) {
    ASSIGN_OR_RETURN(const float ms, impl_->marks[i + 1].elapsed_ms_since(impl_->marks[i]));
    impl_->times[i].us += static_cast<double>(ms) * 1e3;
    ++impl_->times[i].calls;
  }
  return ok_status();
}

}  // namespace ramjet::runtime
