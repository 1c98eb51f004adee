// Kernels over rows checked against the CPU reference and timed on a GPU. Usage: rows_lab [wide]
//
// Every tactic that claims a case runs it: random operands, poisoned outputs, grids laid out for
// more rows than the step has; all bytes compared, those beyond the step's rows too. Without a GPU
// the cases are compiled alone.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <memory>
#include <random>
#include <vector>

#include "base/thread_pool.h"
#include "device/cuda/handles.h"
#include "kernels/device_launch.h"
#include "kernels/reference/reference.h"
#include "kernels/registry.h"
#include "lab.h"

namespace ramjet {
namespace {

namespace cu = device::cuda;
using kernels::KvView;
using kernels::OpDesc;
using kernels::Tactic;
using lab::take;

constexpr int64_t kSpare = 5;  // rows a buffer has beyond those of the step

std::mt19937_64 g_random(20250);
float uniform(float low, float high) {
  return std::uniform_real_distribution<float>(low, high)(g_random);
}

struct Operand {
  TensorType type;
  Shape shape;  // of this step
  Shape room;   // of the buffer
  std::vector<std::byte> bytes;

  TensorView view(std::vector<std::byte>& memory) const {
    return {memory.data(), type.dtype, shape};
  }
};

/// `symbol` >= 0: the first extent is that symbol's.
Operand operand(DType dtype, std::vector<int64_t> dims, int symbol = -1) {
  Operand out;
  out.type.dtype = dtype;
  out.shape = Shape(dims);
  for (int64_t d : dims) out.type.dims.push_back(Dim(d));
  if (symbol >= 0) {
    out.type.dims[0] = Dim::of(symbol);
    dims[0] += kSpare;
  }
  out.room = Shape(dims);
  out.bytes.assign(static_cast<size_t>(out.room.elements() * dtype_bytes(dtype)), std::byte{0xff});
  return out;
}

Operand filled(DType dtype, std::vector<int64_t> dims, int symbol = -1) {
  Operand out = operand(dtype, std::move(dims), symbol);
  for (int64_t i = 0; i < out.shape.elements(); ++i) {
    kernels::reference::store_element(out.bytes.data(), dtype, i, uniform(-2, 2));
  }
  return out;
}

Operand ints(const std::vector<int32_t>& values, int symbol) {
  Operand out = operand(DType::kI32, {static_cast<int64_t>(values.size())}, symbol);
  std::memcpy(out.bytes.data(), values.data(), values.size() * 4);
  return out;
}

struct Case {
  OpKind op = OpKind::kNorm;
  OpAttrs attrs;
  std::vector<Operand> inputs, outputs;
  int64_t tokens = 1, sequences = 1;
  KvView kv;             // of one group; base is set at each run
  double tolerance = 0;  // beside the rounding of the dtype
};

int64_t kv_bytes(const KvView& kv) { return kv.num_layers * kv.layer_stride; }

class Lab {
 public:
  Lab() : pool_(2) {
    auto device = cu::CudaDevice::open(0);
    if (!device.ok()) {
      std::printf("no GPU (%s): kernels are compiled alone\n", device.error().message.c_str());
      return;
    }
    device_ = std::move(device).value();
    stream_ = std::make_unique<cu::Stream>(take(cu::Stream::create()));
  }

  void check(Case c) { run(c, false); }
  void time(Case c) { run(c, true); }
  int failures() const { return failures_; }
  int cases() const { return cases_; }

 private:
  struct Bound {
    std::vector<cu::DeviceBuffer> inputs, outputs;
    cu::DeviceBuffer kv, symbols;
  };

  std::vector<int64_t> most(const Case& c) const {
    return {c.tokens + kSpare, c.sequences + kSpare};
  }

  void run(Case& c, bool timed) {
    std::vector<TensorType> in, out;
    for (const Operand& o : c.inputs) in.push_back(o.type);
    for (const Operand& o : c.outputs) out.push_back(o.type);
    const std::vector<Symbol> symbols = {{"tokens", 1, c.tokens, c.tokens + kSpare},
                                         {"sequences", 1, c.sequences, c.sequences + kSpare}};
    const OpDesc desc{c.op, &c.attrs, in, out, symbols};
    const auto tactics = kernels::find_tactics(desc, kernels::Target{kernels::Isa::kScalar, 90});
    if (tactics.empty()) {
      std::printf("%s: no tactic\n", std::string(op_name(c.op)).c_str());
      ++failures_;
    }
    for (const Tactic* tactic : tactics) run_tactic(c, desc, *tactic, timed);
  }

  void run_tactic(Case& c, const OpDesc& desc, const Tactic& tactic, bool timed) {
    kernels::DevicePlan plan;
    tactic.plan(desc, tactic, {}, plan);
    const kernels::DeviceModule& source = plan.modules[0];
    const auto compiled = kernels::compile_device_module(source, "sm_90a");
    ++cases_;
    if (!compiled.ok()) {
      std::printf("%s: %s\n", source.name.c_str(), compiled.error().message.c_str());
      ++failures_;
      return;
    }
    const size_t spills = compiled->log.find("bytes spill stores");  // absent if it was cached
    if (spills != std::string::npos && compiled->log.substr(spills - 2, 2) != "0 ") {
      std::printf("%s spills: %s\n", source.name.c_str(), compiled->log.c_str());
    }
    if (stream_ == nullptr) return;
    const auto module = take(cu::Module::load(compiled->cubin));
    Bound bound = bind(c);
    const auto& launch = plan.launches[0];
    const auto function = take(module.function(launch.entry.c_str(), launch.shared_bytes));
    call(c, launch, function, bound);
    lab::check(stream_->synchronize());
    if (timed) {
      report_time(c, source.name, [&] { call(c, launch, function, bound); });
    } else {
      compare(c, tactic, source.name, bound);
    }
  }

  cu::DeviceBuffer upload(const std::vector<std::byte>& bytes) {
    auto buffer = take(cu::DeviceBuffer::allocate(std::max<size_t>(bytes.size(), 16)));
    lab::check(buffer.upload(bytes, 0, *stream_));
    lab::check(stream_->synchronize());
    return buffer;
  }

  Bound bind(const Case& c) {
    Bound bound;
    for (const Operand& o : c.inputs) bound.inputs.push_back(upload(o.bytes));
    for (const Operand& o : c.outputs) bound.outputs.push_back(upload(o.bytes));
    bound.kv = upload(std::vector<std::byte>(static_cast<size_t>(kv_bytes(c.kv)), std::byte{0xff}));
    const int32_t values[4] = {static_cast<int32_t>(c.tokens), static_cast<int32_t>(c.sequences)};
    const auto bytes = std::as_bytes(std::span(values));
    bound.symbols = upload({bytes.begin(), bytes.end()});
    return bound;
  }

  void call(const Case& c, const DeviceLaunch& launch, cu::CuFunction function,
            const Bound& bound) {
    std::vector<uint64_t> values;
    for (const LaunchArg& arg : launch.args) {
      const auto index = static_cast<size_t>(arg.index);
      const auto offset = static_cast<uint64_t>(arg.value);
      switch (arg.kind) {
        case LaunchArgKind::kInput: values.push_back(bound.inputs[index].get() + offset); break;
        case LaunchArgKind::kOutput: values.push_back(bound.outputs[index].get() + offset); break;
        case LaunchArgKind::kKvLayer:
          values.push_back(bound.kv.get() + offset * static_cast<uint64_t>(c.kv.layer_stride));
          break;
        case LaunchArgKind::kSymbol: values.push_back(bound.symbols.get() + index * 4); break;
        default: CHECK(false, "the lab does not bind this kind");
      }
    }
    std::vector<void*> params;
    for (uint64_t& value : values) params.push_back(&value);
    cu::LaunchShape shape;
    for (size_t i = 0; i < 3; ++i) {
      shape.grid[i] = static_cast<unsigned>(launch.grid[i].evaluate(most(c)));
    }
    shape.block[0] = launch.block;
    shape.programmatic = launch.programmatic;
    lab::check(cu::launch(function, shape, params, *stream_));
  }

  void compare(Case& c, const Tactic& tactic, const std::string& name, const Bound& bound) {
    std::vector<TensorView> in, out;
    std::vector<std::vector<std::byte>> want;
    for (Operand& o : c.inputs) in.push_back(o.view(o.bytes));
    for (Operand& o : c.outputs) want.push_back(o.bytes);
    for (size_t i = 0; i < want.size(); ++i) out.push_back(c.outputs[i].view(want[i]));
    std::vector<std::byte> cache(static_cast<size_t>(kv_bytes(c.kv)), std::byte{0xff});
    KvView kv = c.kv;
    kv.base = cache.data();
    kernels::KernelCall call{&c.attrs, in, out, {}, {&kv, 1}, &pool_};
    kernels::reference_tactic(c.op)->run(call);
    std::string complaint;
    for (size_t i = 0; i < want.size(); ++i) {
      complaint += difference(c, c.outputs[i].type.dtype, want[i], bound.outputs[i]);
    }
    if (!cache.empty()) complaint += difference(c, c.kv.dtype, cache, bound.kv);
    failures_ += complaint.empty() ? 0 : 1;
    if (!complaint.empty()) {
      std::printf("BAD %s %s tokens %ld:%s\n", std::string(tactic.name).c_str(), name.c_str(),
                  static_cast<long>(c.tokens), complaint.c_str());
    }
  }

  std::string difference(const Case& c, DType dtype, const std::vector<std::byte>& want,
                         const cu::DeviceBuffer& device) {
    std::vector<std::byte> got(want.size());
    lab::check(device.download(got, 0, *stream_));
    lab::check(stream_->synchronize());
    const double ulp = dtype == DType::kBf16     ? 0x1p-7
                       : dtype == DType::kF16    ? 0x1p-10
                       : dtype == DType::kF8E4M3 ? 0.126
                                                 : 0.0;
    const auto count = static_cast<int64_t>(want.size()) / dtype_bytes(dtype);
    int64_t unequal = 0;
    for (int64_t i = 0; i < count; ++i) {
      const float a = kernels::reference::load_element(want.data(), dtype, i);
      const float b = kernels::reference::load_element(got.data(), dtype, i);
      if (std::isnan(a) && std::isnan(b)) continue;
      unequal += a == b ? 0 : 1;
      const double bound = (ulp + c.tolerance) * std::fabs(a) + c.tolerance + ulp * 0x1p-6;
      if (std::fabs(double{a} - b) <= bound) continue;
      char text[120];
      std::snprintf(text, sizeof text, " [%ld] want %.9g got %.9g;", static_cast<long>(i),
                    double{a}, double{b});
      return text;
    }
    // Eight bits round apart only where the values before them do.
    if (dtype == DType::kF8E4M3 && unequal * 50 > count) return " over 2% of e4m3 differ;";
    return "";
  }

  template <class F>
  void report_time(const Case& c, const std::string& name, F&& launch) {
    constexpr int kLaunches = 20, kRounds = 7;
    lab::check(cu::GraphExec::begin_capture(*stream_));
    for (int i = 0; i < kLaunches; ++i) launch();
    auto graph = take(cu::GraphExec::end_capture(*stream_));
    auto start = take(cu::Event::create(true)), stop = take(cu::Event::create(true));
    std::vector<double> times;
    for (int round = 0; round < kRounds; ++round) {
      lab::check(start.record(*stream_));
      lab::check(graph.launch(*stream_));
      lab::check(stop.record(*stream_));
      lab::check(stop.synchronize());
      times.push_back(double{take(stop.elapsed_ms_since(start))} * 1e3 / kLaunches);
    }
    std::sort(times.begin() + 1, times.end());
    double bytes = 0;
    for (const Operand& o : c.inputs) bytes += static_cast<double>(o.bytes.size());
    for (const Operand& o : c.outputs) bytes += static_cast<double>(o.bytes.size());
    const double us = times[1 + (kRounds - 1) / 2];
    std::printf("%-40s tokens %-6ld %9.2f us %7.3f TB/s\n", name.c_str(),
                static_cast<long>(c.tokens), us, bytes / us * 1e-6);
  }

  ThreadPool pool_;
  std::unique_ptr<cu::CudaDevice> device_;
  std::unique_ptr<cu::Stream> stream_;
  int failures_ = 0, cases_ = 0;
};

Case norm_case(bool add, NormDesc norm, DType dtype, DType weight, int64_t tokens, int64_t width) {
  Case c{.op = add ? OpKind::kAddNorm : OpKind::kNorm, .attrs = norm, .tokens = tokens};
  c.tolerance = 2e-5;
  c.inputs.push_back(filled(dtype, {tokens, width}, 0));
  if (add) c.inputs.push_back(filled(dtype, {tokens, width}, 0));
  c.inputs.push_back(filled(weight, {width}));
  if (norm.kind == NormKind::kLayer) c.inputs.push_back(filled(weight, {width}));
  if (add) c.outputs.push_back(operand(dtype, {tokens, width}, 0));
  const bool quant = norm.quant == ActivationQuant::kFp8Token;
  c.outputs.push_back(operand(quant ? DType::kF8E4M3 : dtype, {tokens, width}, 0));
  if (quant) c.outputs.push_back(operand(DType::kF32, {tokens}, 0));
  return c;
}

Case quantize_case(DType dtype, int64_t tokens, int64_t width) {
  Case c{.op = OpKind::kQuantize, .tokens = tokens};
  c.inputs = {filled(dtype, {tokens, width}, 0)};
  // A row of zeros has a scale of 1.
  std::memset(c.inputs[0].bytes.data(), 0, static_cast<size_t>(width * dtype_bytes(dtype)));
  c.outputs = {operand(DType::kF8E4M3, {tokens, width}, 0), operand(DType::kF32, {tokens}, 0)};
  c.tolerance = 1e-7;
  return c;
}

Operand random_ids(int64_t count, int64_t below, int symbol) {
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < count; ++i) {
    ids.push_back(static_cast<int32_t>(g_random() % static_cast<uint64_t>(below)));
  }
  return ints(ids, symbol);
}

Case copy_case(bool embedding, DType dtype, DType out, int64_t tokens, int64_t width) {
  Case c{.op = embedding ? OpKind::kEmbedding : OpKind::kGatherRows, .tokens = tokens};
  const Operand ids = random_ids(tokens, 50, 0);
  const Operand table = filled(dtype, {50, width});
  if (embedding) {
    c.attrs = EmbeddingDesc{1.5};
    c.inputs = {ids, table};
  } else {
    c.inputs = {table, ids};
  }
  c.outputs = {operand(out, {tokens, width}, 0)};
  return c;
}

/// `lengths` pairs of new tokens and tokens in the cache after them.
struct Batch {
  std::vector<int32_t> starts{0}, kv_len, positions;
};
Batch make_batch(const std::vector<std::pair<int, int>>& lengths) {
  Batch batch;
  for (const auto& [fresh, total] : lengths) {
    batch.starts.push_back(batch.starts.back() + fresh);
    batch.kv_len.push_back(total);
    for (int i = 0; i < fresh; ++i) batch.positions.push_back(total - fresh + i);
  }
  return batch;
}

Operand starts_of(const Batch& batch) {
  Operand out = ints(batch.starts, 1);
  out.type.dims[0] = Dim::of(1, 1, 1);
  return out;
}

Case table_case(const RopeSpec& spec, const Batch& batch) {
  Case c{.op = OpKind::kRopeTable, .attrs = spec};
  c.tokens = batch.starts.back();
  c.sequences = static_cast<int64_t>(batch.kv_len.size());
  c.inputs = {ints(batch.positions, 0), starts_of(batch), ints(batch.kv_len, 1)};
  c.outputs = {operand(DType::kF32, {c.tokens, spec.rotary_dim}, 0)};
  // f32 angles of thousands of radians hold about 2e-4.
  c.tolerance = spec.kind == RopeKind::kDynamic ? 1e-3 : 2e-6;
  return c;
}

Case rope_case(const RopeDesc& desc, DType dtype, int64_t tokens) {
  Case c{.op = OpKind::kRope, .attrs = desc, .tokens = tokens, .tolerance = 1e-6};
  c.inputs = {filled(dtype, {tokens, desc.num_heads * desc.head_dim}, 0),
              filled(DType::kF32, {tokens, desc.rotary_dim}, 0)};
  c.outputs = {operand(dtype, {tokens, desc.num_heads * desc.head_dim}, 0)};
  return c;
}

Case append_case(QkvDesc desc, bool fused, DType dtype, const Batch& batch) {
  AttentionDesc& attention = desc.attention;
  attention.kv_layer = 1;
  const int64_t v_dim = attention.v_head_dim > 0 ? attention.v_head_dim : attention.head_dim;
  const int64_t kv_heads = attention.num_kv_heads, dim = attention.head_dim;
  Case c{.op = fused ? OpKind::kQkvRopeAppend : OpKind::kKvAppend, .tolerance = 5e-6};
  c.tokens = batch.starts.back();
  c.sequences = static_cast<int64_t>(batch.kv_len.size());
  const int64_t blocks = 9, size = dtype_bytes(attention.kv_dtype);
  c.kv.dtype = attention.kv_dtype;
  c.kv.num_layers = 2;
  c.kv.num_blocks = c.sequences * blocks;
  c.kv.block_tokens = attention.block_tokens;
  c.kv.v_offset = kv_heads * attention.block_tokens * dim * size;
  c.kv.block_stride = kv_heads * attention.block_tokens * (dim + v_dim) * size;
  c.kv.layer_stride = c.kv.num_blocks * c.kv.block_stride;
  Operand table = operand(DType::kI32, {c.sequences, blocks}, 1);
  std::vector<int32_t> order(static_cast<size_t>(c.sequences * blocks));
  for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int32_t>(i);
  std::shuffle(order.begin(), order.end(), g_random);
  std::memcpy(table.bytes.data(), order.data(), order.size() * 4);
  if (fused) {
    const int64_t width = (attention.num_heads + kv_heads) * dim + kv_heads * v_dim;
    c.inputs = {filled(dtype, {c.tokens, width}, 0),
                filled(DType::kF32, {c.tokens, std::max<int64_t>(desc.rotary_dim, 2)}, 0)};
    c.outputs = {operand(dtype, {c.tokens, attention.num_heads * dim}, 0)};
    c.attrs = desc;
  } else {
    c.inputs = {filled(dtype, {c.tokens, kv_heads * dim}, 0),
                filled(dtype, {c.tokens, kv_heads * v_dim}, 0)};
    c.attrs = attention;
  }
  c.inputs.push_back(starts_of(batch));
  c.inputs.push_back(ints(batch.kv_len, 1));
  c.inputs.push_back(table);
  if (fused && desc.qk_norm) {
    c.inputs.push_back(filled(dtype, {dim}));
    c.inputs.push_back(filled(dtype, {dim}));
  }
  return c;
}

const DType kReals[] = {DType::kBf16, DType::kF32, DType::kF16};

void check_norms(Lab& lab) {
  for (DType dtype : kReals) {
    for (int64_t width : {31, 130, 4096, 5120, 16384}) {
      for (int variant = 0; variant < 4; ++variant) {
        NormDesc norm{.kind = variant % 2 == 0 ? NormKind::kRms : NormKind::kLayer};
        norm.weight_offset = variant == 2 ? 1 : 0;
        if (variant >= 2) norm.quant = ActivationQuant::kFp8Token;
        const DType weight = width % 3 == 0 ? DType::kF32 : dtype;
        lab.check(norm_case(width % 2 == 0, norm, dtype, weight, width > 4096 ? 3 : 13, width));
      }
      lab.check(quantize_case(dtype, 7, width));
    }
  }
}

void check_copies(Lab& lab) {
  for (DType dtype : kReals) {
    for (int64_t width : {1, 33, 100, 4096}) {
      lab.check(copy_case(true, dtype, DType::kBf16, 11, width));
      lab.check(copy_case(true, dtype, DType::kF32, 1, width));
      lab.check(copy_case(false, dtype, dtype, 9, width));
    }
  }
}

void check_rope(Lab& lab) {
  const Batch batch = make_batch({{1, 1}, {5, 70}, {33, 33}, {1, 200}, {12, 130}});
  for (RopeKind kind : {RopeKind::kDefault, RopeKind::kLinear, RopeKind::kDynamic,
                        RopeKind::kLlama3, RopeKind::kYarn, RopeKind::kLongrope}) {
    RopeSpec spec{.kind = kind, .rotary_dim = 64, .factor = 4, .original_max_position = 128};
    spec.attention_factor = 1.25;
    spec.short_factors.assign(32, 1.5);
    spec.long_factors.assign(32, 3.5);
    lab.check(table_case(spec, batch));
  }
  for (DType dtype : kReals) {
    for (bool interleaved : {false, true}) {
      lab.check(rope_case({3, 128, 128, interleaved}, dtype, 7));
      lab.check(rope_case({5, 80, 32, interleaved}, dtype, 1));
      lab.check(rope_case({2, 33, 22, interleaved}, dtype, 9));
    }
  }
}

void check_appends(Lab& lab) {
  const Batch batch = make_batch({{1, 1}, {5, 70}, {33, 33}, {1, 64}, {12, 100}, {1, 65}});
  // So many rows that a warp takes four heads.
  const Batch many = make_batch({{1, 1}, {5, 70}, {33, 33}, {1, 64}, {112, 140}, {1, 65}});
  for (DType dtype : {DType::kBf16, DType::kF32}) {
    for (DType cache : {DType::kBf16, DType::kF32, DType::kF8E4M3}) {
      for (int variant = 0; variant < 4; ++variant) {
        QkvDesc desc;
        AttentionDesc& attention = desc.attention;
        attention.num_heads = variant == 1 ? 6 : 8;
        attention.num_kv_heads = variant == 1 ? 3 : 2;
        attention.head_dim = variant == 1 ? 80 : variant == 3 ? 256 : 128;
        attention.v_head_dim = variant == 3 ? 64 : 0;
        attention.kv_dtype = cache;
        attention.block_tokens = variant == 1 ? 16 : 64;
        attention.k_scale = 0.0123, attention.v_scale = 0.5;
        desc.rotary_dim = variant == 0 ? 128 : variant == 1 ? 32 : variant == 2 ? 0 : 256;
        desc.interleaved = variant == 1;
        desc.qk_norm = variant >= 2;
        desc.norm.weight_offset = variant == 3 ? 1 : 0;
        lab.check(append_case(desc, true, dtype, batch));
        lab.check(append_case(desc, true, dtype, many));
        lab.check(append_case(desc, false, dtype, batch));
      }
    }
  }
}

/// Rows wide enough for every geometry.
void check_wide(Lab& lab) {
  for (int64_t width : {4096, 14336, 28672}) {
    for (bool add : {false, true}) {
      for (ActivationQuant quant : {ActivationQuant::kNone, ActivationQuant::kFp8Token}) {
        lab.check(norm_case(add, {.quant = quant}, DType::kBf16, DType::kBf16, 7, width));
      }
    }
    lab.check(quantize_case(DType::kBf16, 7, width));
  }
}

void time_all(Lab& lab, bool wide_alone) {
  for (int64_t tokens : {1, 64, 256, 2048, 8192}) {
    for (int64_t width : {4096, 8192}) {
      if (wide_alone && (width != 4096 || tokens < 256)) continue;
      for (ActivationQuant quant : {ActivationQuant::kNone, ActivationQuant::kFp8Token}) {
        for (bool add : {false, true}) {
          lab.time(norm_case(add, {.quant = quant}, DType::kBf16, DType::kBf16, tokens, width));
        }
      }
    }
    if (tokens >= 256) lab.time(quantize_case(DType::kBf16, tokens, 14336));
    if (tokens >= 256) lab.time(quantize_case(DType::kBf16, tokens, 4096));
    if (!wide_alone) {
      lab.time(quantize_case(DType::kBf16, tokens, 8192));
      lab.time(copy_case(true, DType::kBf16, DType::kBf16, tokens, 4096));
    }
    QkvDesc desc;
    desc.attention = {.num_heads = 32, .num_kv_heads = 8, .head_dim = 128};
    desc.rotary_dim = 128;
    std::vector<std::pair<int, int>> lengths;
    for (int i = 0; i < 64 && i < tokens; ++i) {
      const int fresh = static_cast<int>(std::max<int64_t>(1, tokens / 64));
      lengths.emplace_back(fresh, fresh + 100);
    }
    lab.time(append_case(desc, true, DType::kBf16, make_batch(lengths)));
    desc.attention.kv_dtype = DType::kF8E4M3;
    lab.time(append_case(desc, true, DType::kBf16, make_batch(lengths)));
  }
}

int run_lab(bool wide_alone) {
  Lab lab;
  check_wide(lab);
  if (!wide_alone) check_appends(lab), check_rope(lab), check_copies(lab), check_norms(lab);
  std::printf("%d cases, %d failed\n", lab.cases(), lab.failures());
  std::fflush(stdout);
  if (lab::timed()) time_all(lab, wide_alone);
  return lab.failures() == 0 ? 0 : 1;
}

}  // namespace
}  // namespace ramjet

int main(int argc, char** argv) {
  return ramjet::run_lab(argc > 1 && std::string_view(argv[1]) == "wide");
}
