#include "compiler/test_engine.h"

#include <unistd.h>

#include <cstring>
#include <filesystem>

#include "compiler/emit/convert.h"
#include "op/fields.h"
#include "tensor/half.h"

namespace ramjet::compiler::test {

std::vector<std::byte> encode(const std::vector<float>& values, DType dtype) {
  std::vector<std::byte> bytes(values.size() * static_cast<size_t>(dtype_bytes(dtype)));
  if (dtype == DType::kU8) {
    for (size_t i = 0; i < values.size(); ++i) bytes[i] = static_cast<std::byte>(values[i]);
    return bytes;
  }
  if (dtype == DType::kF8E4M3) {
    for (size_t i = 0; i < values.size(); ++i) bytes[i] = std::byte{f32_to_e4m3(values[i])};
    return bytes;
  }
  convert_row({reinterpret_cast<const std::byte*>(values.data()), DType::kF32, 1},
              static_cast<int64_t>(values.size()), dtype, bytes.data());
  return bytes;
}

std::vector<float> decode(std::span<const std::byte> bytes, DType dtype) {
  std::vector<float> values(bytes.size() / static_cast<size_t>(dtype_bytes(dtype)));
  convert_row({bytes.data(), dtype, 1}, static_cast<int64_t>(values.size()), DType::kF32,
              reinterpret_cast<std::byte*>(values.data()));
  return values;
}

void MapSource::set(const std::string& name, Shape shape, const std::vector<float>& values,
                    DType dtype) {
  CHECK(shape.elements() == static_cast<int64_t>(values.size()));
  tensors[name] = {dtype, shape, encode(values, dtype)};
}

Result<TensorView> MapSource::view(std::string_view name) const {
  const auto it = tensors.find(std::string(name));
  if (it == tensors.end()) return not_found("there is no tensor '{}'", name);
  const Entry& entry = it->second;
  return TensorView{const_cast<std::byte*>(entry.bytes.data()), entry.dtype, entry.shape};
}

std::vector<HostValue> run_engine(const engine::EngineFile& file, std::vector<HostValue> inputs,
                                  const std::vector<int64_t>& symbols, ThreadPool& pool) {
  const engine::Program& program = file.manifest().programs[0];
  std::vector<HostValue> outputs;
  for (const engine::Binding& binding : program.outputs) {
    HostValue value{binding.type.dtype, binding.type.shape(symbols), {}};
    value.bytes.resize(static_cast<size_t>(value.shape.elements() * dtype_bytes(value.dtype)),
                       std::byte{0xff});
    outputs.push_back(std::move(value));
  }
  std::vector<std::byte> arena(program.arena_bytes + 64, std::byte{0xff});
  std::byte* const base = arena.data() + (64 - reinterpret_cast<uintptr_t>(arena.data()) % 64) % 64;
  auto view = [&](const engine::TensorRef& ref) {
    TensorView view{nullptr, ref.type.dtype, ref.type.shape(symbols)};
    const size_t i = static_cast<size_t>(ref.index);
    switch (ref.space) {
      case engine::Space::kArena: view.data = base + program.arena[i].offset; break;
      case engine::Space::kWeight: view.data = const_cast<std::byte*>(file.weight(i).data()); break;
      case engine::Space::kInput: view.data = inputs[i].bytes.data(); break;
      case engine::Space::kOutput: view.data = outputs[i].bytes.data(); break;
    }
    return view;
  };
  for (const engine::LaunchRecord& record : program.records) {
    const OpAttrs attrs = parse_attrs(record.op, record.attrs).value();
    std::vector<TensorView> ins, outs;
    for (const auto& ref : record.inputs) ins.push_back(view(ref));
    for (const auto& ref : record.outputs) outs.push_back(view(ref));
    std::span<std::byte> workspace;
    if (record.workspace >= 0) {
      const auto& slot = program.arena[static_cast<size_t>(record.workspace)];
      workspace = {base + slot.offset, slot.bytes};
    }
    const engine::TacticChoice& choice = record.choices[record.choice_at(symbols)];
    const kernels::Tactic* tactic = kernels::find_tactic(choice.tactic);
    CHECK(tactic != nullptr, choice.tactic);
    tactic->run({&attrs, ins, outs, workspace, {}, &pool});
  }
  return outputs;
}

TemporaryFile::TemporaryFile(std::string_view name)
    : path_((std::filesystem::temp_directory_path() / fmt::format("ramjet_{}_{}", ::getpid(), name))
                .string()) {}
TemporaryFile::~TemporaryFile() {
  std::error_code error;
  std::filesystem::remove(path_, error);
}

}  // namespace ramjet::compiler::test
