#include "engine/dummy_weights.h"
#include "kernels/registry.h"
#include "runtime/session/aligned_memory.h"
#include "runtime/session/program_runner.h"

namespace ramjet::runtime {

struct WeightStore::Impl {
  std::shared_ptr<const engine::EngineFile> file;  // shared with the Engine; views point into it
  std::vector<AlignedMemory> generated;            // one a seeded weight
  std::vector<TensorView> views;
};

WeightStore::WeightStore(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
WeightStore::~WeightStore() = default;

TensorView WeightStore::view(size_t index) const { return impl_->views[index]; }

namespace {

void generate(const engine::WeightEntry& entry, std::span<std::byte> out, ThreadPool& pool) {
  const int64_t element = dtype_bytes(entry.type.dtype);
  const int64_t count = static_cast<int64_t>(out.size()) / element;
  const engine::DummyKind kind = engine::dummy_kind(entry.name, entry.type.rank());
  constexpr int64_t kChunk = 1 << 18;
  pool.parallel_for(count, kChunk, [&](int64_t begin, int64_t end, int) {
    engine::fill_dummy(out.subspan(static_cast<size_t>(begin * element),
                                   static_cast<size_t>((end - begin) * element)),
                       entry.type.dtype, entry.seed, kind, static_cast<uint64_t>(begin));
  });
}

/// Kernels read a weight by its extents and layout alone.
Status check_bytes(const engine::WeightEntry& entry, const std::string& path) {
  const kernels::WeightLayout* layout = kernels::find_layout(entry.layout);
  if (layout == nullptr) {
    return unsupported(
        "{}: weight '{}' lies in the layout '{}', which this build lacks; rebuild the engine: "
        "ramjet build MODEL -o {}",
        path, entry.name, entry.layout, path);
  }
  const Shape shape = entry.type.shape({});
  const int64_t cols = shape.rank() == 0 ? 1 : shape.back();
  int64_t rows = 1;  // all extents but the last
  for (int i = 0; i + 1 < shape.rank(); ++i) rows *= shape[i];
  const int64_t wanted = layout->packed_bytes(rows, cols, entry.type.dtype);
  if (wanted >= 0 && entry.bytes == static_cast<uint64_t>(wanted)) return ok_status();
  return corrupt("{}: weight '{}' has {} bytes, {} wants {} for it", path, entry.name, entry.bytes,
                 entry.layout, wanted);
}

}  // namespace

Result<std::shared_ptr<const WeightStore>> WeightStore::load(
    std::shared_ptr<const engine::EngineFile> file, ThreadPool& pool) {
  auto impl = std::make_unique<Impl>();
  impl->file = std::move(file);
  const std::vector<engine::WeightEntry>& entries = impl->file->manifest().weights;
  for (size_t i = 0; i < entries.size(); ++i) {
    const engine::WeightEntry& entry = entries[i];
    RETURN_IF_ERROR(check_bytes(entry, impl->file->path()));
    TensorView view{nullptr, entry.type.dtype, entry.type.shape({})};
    if (entry.seed != 0) {
      ASSIGN_OR_RETURN(AlignedMemory memory,
                       AlignedMemory::allocate(entry.bytes, entry.name.c_str()));
      generate(entry, memory.span(), pool);
      view.data = memory.data();
      impl->generated.push_back(std::move(memory));
    } else {
      // Kernels take weights as they take all operands; none writes to an input.
      view.data = const_cast<std::byte*>(impl->file->weight(i).data());
    }
    impl->views.push_back(view);
  }
  return std::shared_ptr<const WeightStore>(std::make_shared<WeightStore>(std::move(impl)));
}

}  // namespace ramjet::runtime
