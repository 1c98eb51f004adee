#include "kernels/cuda/timing_memory.h"

#include <algorithm>
#include <numeric>
#include <random>

#include "kernels/op_work.h"
#include "kernels/paging.h"

namespace ramjet::kernels::cuda {

namespace cu = device::cuda;

namespace {

constexpr size_t kAlignment = 1024;
constexpr int64_t kPoolCaches = 4;   // the pool is this many L2 caches
constexpr int64_t kLargeCaches = 8;  // what is larger than this evicts itself
constexpr size_t kChoice = 3;        // operand of a moe: the experts chosen
constexpr size_t kChoices = 16;      // different ones in turn, so that other experts are read

size_t aligned(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

/// A buffer that grows and hands out slices from its start.
struct Arena {
  cu::DeviceBuffer memory;
  size_t used = 0;

  uint64_t take(size_t bytes) {
    const uint64_t address = memory.get() + used;
    used += aligned(bytes);
    return address;
  }
};

/// Random bits: elements of one byte must not be NaN in e4m3, wider ones be finite.
struct RandomPool {
  bool narrow = false;
  Arena arena;
  cu::Module module;
  cu::CuFunction fill = nullptr;
};

}  // namespace

struct TimingMemory::Impl {
  cu::DeviceInfo info;
  const cu::Stream* stream = nullptr;
  RandomPool pools[2], activations[2];  // by narrow
  Arena outputs, integers, workspace, flags;
  size_t zeroed = 0;  // bytes of flags

  // What is placed.
  std::vector<uint64_t> inputs, results;
  std::vector<DeviceKv> kv;
  std::vector<int64_t> values, most;
  uint64_t symbols_at = 0, one_at = 0;
  int rotating = -1;  // operand that comes from a pool
  uint64_t rotating_at = 0, kv_at = 0;
  std::vector<uint64_t> choices;
  size_t rotating_bytes = 0, rotating_slots = 1, kv_bytes = 0, kv_slots = 1;
  DeviceOp::Step step;

  Status load_fill(RandomPool& pool);
  Status reserve(Arena& arena, size_t bytes);
  Status reserve(RandomPool& pool, size_t bytes);
  Result<uint64_t> put(std::span<const int32_t> numbers);
  size_t input_bytes(const OpDesc& desc, const Tactic* tactic, size_t i) const;
  void find_rotating(const OpDesc& desc, const Tactic* tactic);
  Status reserve_all(const OpDesc& desc, const Tactic* tactic, const DevicePlan* plan);
  Status place_rotating(const OpDesc& desc, const Tactic* tactic);
  Status place_cache(const OpDesc& desc);
  std::vector<int32_t> integers_of(const OpDesc& desc, size_t i) const;
  Status place_choices(const OpDesc& desc);
};

Status TimingMemory::Impl::load_fill(RandomPool& pool) {
  DeviceModule source;
  source.name = "fill_random";
  source.source = "#include \"fill_random.cuh\"\n";
  source.defines = {pool.narrow ? "NARROW=1" : "NARROW=0"};
  ASSIGN_OR_RETURN(const CompiledModule code, compile_device_module(source, info.arch()));
  ASSIGN_OR_RETURN(pool.module, cu::Module::load(code.cubin));
  ASSIGN_OR_RETURN(pool.fill, pool.module.function("fill_random", 0));
  return ok_status();
}

Status TimingMemory::Impl::reserve(Arena& arena, size_t bytes) {
  arena.used = 0;
  if (arena.memory.bytes() >= bytes && arena.memory) return ok_status();
  RETURN_IF_ERROR(stream->synchronize());
  arena.memory = cu::DeviceBuffer();
  ASSIGN_OR_RETURN(arena.memory, cu::DeviceBuffer::allocate(std::max(aligned(bytes), kAlignment)));
  return ok_status();
}

Status TimingMemory::Impl::reserve(RandomPool& pool, size_t bytes) {
  if (pool.fill == nullptr) RETURN_IF_ERROR(load_fill(pool));
  const size_t before = pool.arena.memory.bytes();
  RETURN_IF_ERROR(reserve(pool.arena, bytes));
  if (pool.arena.memory.bytes() == before) return ok_status();
  uint64_t address = pool.arena.memory.get();
  int64_t count = static_cast<int64_t>(pool.arena.memory.bytes() / 16);
  uint32_t seed = pool.narrow ? 7 : 11;
  void* params[] = {&address, &count, &seed};
  cu::LaunchShape shape;
  shape.grid[0] = static_cast<unsigned>(info.multiprocessors) * 8;
  shape.block[0] = 256;
  return cu::launch(pool.fill, shape, params, *stream);
}

Result<uint64_t> TimingMemory::Impl::put(std::span<const int32_t> numbers) {
  const size_t offset = integers.used;
  const uint64_t address = integers.take(numbers.size_bytes());
  RETURN_IF_ERROR(integers.memory.upload(std::as_bytes(numbers), offset, *stream));
  RETURN_IF_ERROR(stream->synchronize());  // the numbers are the caller's
  return address;
}

size_t TimingMemory::Impl::input_bytes(const OpDesc& desc, const Tactic* tactic, size_t i) const {
  const TensorType& type = desc.inputs[i];
  const Shape shape = type.shape(most);
  const bool laid_out = tactic != nullptr && has_layout(desc.op, i);
  const WeightLayout* layout = laid_out ? find_layout(layout_of(*tactic, i)) : nullptr;
  if (layout != nullptr) {
    return static_cast<size_t>(layout->packed_bytes(shape.rows(), shape.back(), type.dtype));
  }
  return static_cast<size_t>(shape.elements() * dtype_bytes(type.dtype));
}

/// The largest operand of fixed extents: a weight, if it is worth the name.
void TimingMemory::Impl::find_rotating(const OpDesc& desc, const Tactic* tactic) {
  constexpr size_t kLeast = 256 << 10;
  rotating = -1, rotating_bytes = kLeast;
  for (size_t i = 0; i < desc.inputs.size(); ++i) {
    const auto& dims = desc.inputs[i].dims;
    const bool fixed =
        std::all_of(dims.begin(), dims.end(), [](const Dim& d) { return d.fixed(); });
    const size_t bytes = input_bytes(desc, tactic, i);
    if (!fixed || bytes <= rotating_bytes) continue;
    rotating = static_cast<int>(i), rotating_bytes = bytes;
  }
  if (rotating < 0) rotating_bytes = 0;
}

Status TimingMemory::Impl::reserve_all(const OpDesc& desc, const Tactic* tactic,
                                       const DevicePlan* plan) {
  size_t wanted[2] = {0, 0}, numbers = aligned(4 * (values.size() + 1)) + kAlignment, out = 0;
  for (size_t i = 0; i < desc.inputs.size(); ++i) {
    if (static_cast<int>(i) == rotating) continue;
    const size_t bytes = aligned(input_bytes(desc, tactic, i));
    if (desc.inputs[i].dtype == DType::kI32) {
      numbers += bytes * (desc.op == OpKind::kMoe ? kChoices : 1);
    }
    wanted[dtype_bytes(desc.inputs[i].dtype) == 1] += bytes;
  }
  for (const TensorType& type : desc.outputs) {
    out += aligned(static_cast<size_t>(type.shape(most).elements() * dtype_bytes(type.dtype)));
  }
  if (tactic == nullptr && desc.op == OpKind::kMatmul) {  // bf16, without the epilogue's thinning
    out = std::max(out, static_cast<size_t>(desc.inputs[0].shape(most).rows() *
                                            desc.inputs[1].shape(most).rows() * 2));
  }
  for (int narrow : {0, 1}) {
    if (wanted[narrow] > 0) RETURN_IF_ERROR(reserve(activations[narrow], wanted[narrow]));
  }
  RETURN_IF_ERROR(reserve(outputs, out));
  RETURN_IF_ERROR(reserve(integers, numbers));
  const auto scratch = plan == nullptr ? 0 : static_cast<size_t>(plan->workspace_bytes);
  const auto words = plan == nullptr ? 0 : static_cast<size_t>(plan->flags_bytes);
  RETURN_IF_ERROR(reserve(workspace, scratch));
  RETURN_IF_ERROR(reserve(flags, words));
  if (zeroed != flags.memory.bytes()) RETURN_IF_ERROR(flags.memory.fill(0, *stream));
  zeroed = flags.memory.bytes();
  return ok_status();
}

Status TimingMemory::Impl::place_rotating(const OpDesc& desc, const Tactic*) {
  if (rotating < 0) return ok_status();
  const auto l2 = static_cast<size_t>(info.l2_bytes);
  const bool narrow = dtype_bytes(desc.inputs[static_cast<size_t>(rotating)].dtype) == 1;
  size_t bytes = aligned(rotating_bytes);
  if (bytes < kLargeCaches * l2) bytes = std::max(2 * bytes, kPoolCaches * l2);
  RETURN_IF_ERROR(reserve(pools[narrow], bytes));
  rotating_at = pools[narrow].arena.memory.get();
  rotating_slots = pools[narrow].arena.memory.bytes() / aligned(rotating_bytes);
  return ok_status();
}

/// Blocks of the batch, or as many as the pool has: a pool of several L2 caches hides that some
/// sequences share them.
Status TimingMemory::Impl::place_cache(const OpDesc& desc) {
  kv.clear();
  const AttentionDesc* d = attention_desc_of(desc);
  if (d == nullptr) return ok_status();
  const bool narrow = dtype_bytes(d->kv_dtype) == 1;
  RETURN_IF_ERROR(reserve(pools[narrow], static_cast<size_t>(kPoolCaches * info.l2_bytes)));
  const size_t room = pools[narrow].arena.memory.bytes();
  const auto block_bytes = static_cast<size_t>(
      d->block_tokens * d->num_kv_heads * (d->head_dim + value_dim(*d)) * dtype_bytes(d->kv_dtype));
  const BatchShape batch = batch_shape(desc, values);
  const auto blocks =
      static_cast<size_t>(batch.sequences * ((batch.keys + d->block_tokens - 1) / d->block_tokens));
  const size_t used = std::max<size_t>(std::min(blocks, room / block_bytes), 1);
  kv_at = pools[narrow].arena.memory.get();
  kv_bytes = aligned(used * block_bytes);
  kv_slots = std::max<size_t>(room / kv_bytes, 1);
  kv.assign(static_cast<size_t>(d->kv_group) + 1, {kv_at, static_cast<int64_t>(used), 0});
  return ok_status();
}

std::vector<int32_t> TimingMemory::Impl::integers_of(const OpDesc& desc, size_t i) const {
  std::vector<int32_t> numbers(static_cast<size_t>(desc.inputs[i].shape(values).elements()));
  std::minstd_rand random(static_cast<unsigned>(i) + 1);
  const int operand = sequences_operand(desc.op);
  const int at = static_cast<int>(i);
  if (desc.op == OpKind::kEmbedding || desc.op == OpKind::kGatherRows) {
    const TensorType& table = desc.inputs[desc.op == OpKind::kEmbedding ? 1 : 0];
    const auto rows = static_cast<uint32_t>(std::max<int64_t>(table.shape(values).rows(), 1));
    for (int32_t& n : numbers) n = static_cast<int32_t>(random() % rows);
    return numbers;
  }
  if (operand < 0) return numbers;
  const BatchShape batch = batch_shape(desc, values);
  const int64_t tokens = desc.inputs[0].dims[0].evaluate(values);
  const auto start = [&](int64_t s) { return std::min(s * batch.queries, tokens); };
  if (at == operand - 1) {
    for (size_t s = 0; s < numbers.size(); ++s) {
      numbers[s] = static_cast<int32_t>(start(static_cast<int64_t>(s)));
    }
  } else if (at == operand) {
    for (size_t s = 0; s < numbers.size(); ++s) {
      const auto n = static_cast<int64_t>(s);
      numbers[s] = static_cast<int32_t>(batch.keys - batch.queries + start(n + 1) - start(n));
    }
  } else if (at == operand + 1 && !kv.empty()) {
    const auto blocks = static_cast<size_t>(kv[0].num_blocks);
    std::vector<int32_t> order(blocks);
    std::iota(order.begin(), order.end(), 0);
    std::shuffle(order.begin(), order.end(), random);
    const auto columns = static_cast<size_t>(desc.inputs[i].dims.back().offset);
    const auto used = static_cast<size_t>((batch.keys + attention_desc_of(desc)->block_tokens - 1) /
                                          attention_desc_of(desc)->block_tokens);
    for (size_t n = 0; n < numbers.size(); ++n) {
      const size_t s = n / columns, column = n % columns;
      numbers[n] = column < used ? order[(s * used + column) % blocks] : 0;
    }
  } else {  // positions
    for (size_t n = 0; n < numbers.size(); ++n) {
      numbers[n] = static_cast<int32_t>(batch.keys - batch.queries +
                                        static_cast<int64_t>(n) % batch.queries);
    }
  }
  return numbers;
}

/// Each token's experts are distinct, and any are as likely.
Status TimingMemory::Impl::place_choices(const OpDesc& desc) {
  const Shape shape = desc.inputs[kChoice].shape(values);
  const auto k = static_cast<size_t>(shape.back());
  std::minstd_rand random(5);
  std::vector<int32_t> experts(static_cast<size_t>(desc.inputs[1].dims[0].offset));
  std::iota(experts.begin(), experts.end(), 0);
  std::vector<int32_t> numbers;
  choices.clear();
  for (size_t draw = 0; draw < kChoices; ++draw) {
    numbers.clear();
    for (int64_t token = 0; token < shape.rows(); ++token) {
      for (size_t i = 0; i < k; ++i) {
        std::swap(experts[i], experts[i + random() % (experts.size() - i)]);
      }
      numbers.insert(numbers.end(), experts.begin(), experts.begin() + static_cast<ptrdiff_t>(k));
    }
    ASSIGN_OR_RETURN(const uint64_t address, put(numbers));
    choices.push_back(address);
  }
  return ok_status();
}

TimingMemory::TimingMemory(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
TimingMemory::~TimingMemory() = default;

Result<std::unique_ptr<TimingMemory>> TimingMemory::create(const cu::DeviceInfo& info,
                                                           const cu::Stream& stream) {
  auto impl = std::make_unique<Impl>();
  impl->info = info;
  impl->stream = &stream;
  for (int narrow : {0, 1}) impl->pools[narrow].narrow = impl->activations[narrow].narrow = narrow;
  return std::unique_ptr<TimingMemory>(new TimingMemory(std::move(impl)));
}

Status TimingMemory::place(const OpDesc& desc, const Tactic* tactic, const DevicePlan* plan,
                           std::span<const int64_t> symbols) {
  Impl& m = *impl_;
  m.values = batch_symbols(desc, symbols);
  m.most.clear();
  for (const Symbol& symbol : desc.symbols) m.most.push_back(symbol.max);
  m.find_rotating(desc, tactic);
  RETURN_IF_ERROR(m.reserve_all(desc, tactic, plan));
  RETURN_IF_ERROR(m.place_rotating(desc, tactic));
  RETURN_IF_ERROR(m.place_cache(desc));
  m.inputs.clear(), m.results.clear(), m.choices.clear();
  for (size_t i = 0; i < desc.inputs.size(); ++i) {
    const DType dtype = desc.inputs[i].dtype;
    if (static_cast<int>(i) == m.rotating) {
      m.inputs.push_back(m.rotating_at);
    } else if (desc.op == OpKind::kMoe && i == kChoice) {
      RETURN_IF_ERROR(m.place_choices(desc));
      m.inputs.push_back(m.choices[0]);
    } else if (dtype == DType::kI32) {
      ASSIGN_OR_RETURN(const uint64_t address, m.put(m.integers_of(desc, i)));
      m.inputs.push_back(address);
    } else {
      m.inputs.push_back(
          m.activations[dtype_bytes(dtype) == 1].arena.take(m.input_bytes(desc, tactic, i)));
    }
  }
  for (const TensorType& type : desc.outputs) {
    m.results.push_back(m.outputs.take(
        static_cast<size_t>(type.shape(m.most).elements() * dtype_bytes(type.dtype))));
  }
  std::vector<int32_t> numbers(m.values.begin(), m.values.end());
  numbers.push_back(0);
  ASSIGN_OR_RETURN(m.symbols_at, m.put(numbers));
  const int32_t one[] = {0x3f800000};
  ASSIGN_OR_RETURN(m.one_at, m.put(one));
  m.step = {true, true};
  if (sequences_operand(desc.op) < 0) return ok_status();
  const bool single = batch_shape(desc, m.values).queries == 1;
  m.step = {single, !single};
  return ok_status();
}

LaunchOperands TimingMemory::operands(int launch) {
  Impl& m = *impl_;
  const auto i = static_cast<size_t>(launch);
  if (m.rotating >= 0) {
    m.inputs[static_cast<size_t>(m.rotating)] =
        m.rotating_at + i % m.rotating_slots * aligned(m.rotating_bytes);
  }
  if (!m.choices.empty()) m.inputs[kChoice] = m.choices[i % m.choices.size()];
  for (DeviceKv& kv : m.kv) kv.base = m.kv_at + i % m.kv_slots * m.kv_bytes;
  return {m.inputs, m.results, m.workspace.memory.get(), m.flags.memory.get(), m.symbols_at,
          m.most,   m.kv};
}

std::span<const int64_t> TimingMemory::values() const { return impl_->values; }
DeviceOp::Step TimingMemory::step() const { return impl_->step; }
uint64_t TimingMemory::one() const { return impl_->one_at; }

Result<uint64_t> TimingMemory::pool(bool narrow, size_t bytes) {
  RETURN_IF_ERROR(impl_->reserve(impl_->pools[narrow], bytes));
  return impl_->pools[narrow].arena.memory.get();
}

}  // namespace ramjet::kernels::cuda
