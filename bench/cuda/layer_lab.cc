// Decoder layers of the shape of Llama-3-8B as a chain of tactics in one graph: what a decode step
// costs, launches, waits and overlap included. Usage: layer_lab [fp8] [BATCH..]
//
// Each chain runs eight layers with weights and a cache of their own, so that nothing is left in
// L2. All chains of a batch must agree in the residual they end with. Then each op is left out in
// turn: the difference is what it costs where it stands.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <map>
#include <string>

#include "device/cuda/nvrtc.h"
#include "kernels/cuda/cuda_tactics.h"
#include "kernels/cuda/device_sources.h"
#include "op_lab.h"
#include "warm_compile.h"

namespace ramjet::lab {
namespace {

using kernels::DeviceOp;
using kernels::OpDesc;
using kernels::Tactic;

const char* const kLabSource = R"CUDA(
#include "types.cuh"
__device__ uint32_t mix(uint64_t x) {
  x ^= x >> 33; x *= 0xff51afd7ed558ccdull; x ^= x >> 33; x *= 0xc4ceb9fe1a85ec53ull; x ^= x >> 33;
  return (uint32_t)x;
}
extern "C" __global__ void fill(uint8_t* out, uint64_t n, int bytes, uint64_t seed, float low, float high) {
  for (uint64_t i = blockIdx.x * (uint64_t)blockDim.x + threadIdx.x; i < n; i += (uint64_t)gridDim.x * blockDim.x) {
    const float x = low + (high - low) * (mix(i * 0x9e3779b97f4a7c15ull + seed) >> 8) * (1.0f / 16777216.0f);
    if (bytes == 4) reinterpret_cast<float*>(out)[i] = x;
    else if (bytes == 2) reinterpret_cast<bf16_t*>(out)[i] = to_bf16(x);
    else out[i] = pack_e4m3(x, 0.0f) & 0xff;
  }
}
)CUDA";

constexpr int64_t kWidth = 4096, kHidden = 14336, kHeads = 32, kKvHeads = 8, kDim = 128;
constexpr int64_t kQkv = (kHeads + 2 * kKvHeads) * kDim, kPage = 64, kLayers = 8;

/// What lies where; weights, scales of weights and the cache are a layer's own.
enum Slot {
  kX,
  kXScale,
  kQkvOut,
  kTable,
  kStarts,
  kLengths,
  kPages,
  kQ,
  kAtt,
  kAtt8,
  kAttScale,
  kH,
  kH2,
  kAct,
  kAct8,
  kActScale,
  kWQkv,
  kWO,
  kWUp,
  kWDown,
  kSQkv,
  kSO,
  kSUp,
  kSDown,
  kNorm,
  kSlots
};

struct Node {
  const char* name;
  std::vector<Slot> in, out;
  std::optional<DeviceOp> op;
};

struct Tactics {
  const char* label;
  // What follows "sm90.gemm": of qkv, o and down (one name for all, or three), and the pair's.
  std::vector<std::string> small;
  std::string up;
  std::string attention;
};

class Chain {
 public:
  Chain(OpLab& lab, bool fp8, int batch, int context)
      : lab_(lab), fp8_(fp8), batch_(batch), context_(context) {
    cu::NvrtcSource source;
    source.name = "lab";
    source.arch = lab.info().arch();
    source.source = kLabSource;
    for (const auto& s : kernels::cuda::device_sources())
      source.headers.push_back({s.name, s.text});
    fills_ = take(cu::Module::load(take(cu::nvrtc_compile(source)).cubin));
    allocate();
  }

  /// Microseconds a layer; `skip`: a node left out, or -1.
  double run(const Tactics& tactics, std::vector<double>* marginal) {
    build(tactics);
    reset();
    enqueue(-1);
    check(lab_.stream().synchronize());
    compare(tactics);
    const double us = time(-1);
    if (marginal != nullptr) {
      for (int i = 0; i < static_cast<int>(nodes_.size()); ++i) {
        marginal->push_back(us - time(i));
      }
    }
    return us;
  }
  const std::vector<Node>& nodes() const { return nodes_; }
  int failures() const { return failures_; }

 private:
  void allocate() {
    const int64_t element = fp8_ ? 1 : 2, t = batch_;
    pages_ = (context_ + kPage - 1) / kPage;
    const std::pair<Slot, int64_t> shared[] = {
        {kX, t * kWidth * 2},     {kXScale, t * 4},        {kQkvOut, t * kQkv * 2},
        {kTable, t * kDim * 4},   {kStarts, (t + 1) * 4},  {kLengths, t * 4},
        {kPages, t * pages_ * 4}, {kQ, t * kWidth * 2},    {kAtt, t * kWidth * 2},
        {kAtt8, t * kWidth},      {kAttScale, t * 4},      {kH, t * kWidth * 2},
        {kH2, t * kWidth * 2},    {kAct, t * kHidden * 2}, {kAct8, t * kHidden},
        {kActScale, t * 4}};
    for (const auto& [slot, bytes] : shared) buffers_[{0, slot}] = buffer(bytes);
    const std::pair<Slot, int64_t> weights[] = {{kWQkv, kQkv * kWidth},
                                                {kWO, kWidth * kWidth},
                                                {kWUp, 2 * kHidden * kWidth},
                                                {kWDown, kWidth * kHidden}};
    const std::pair<Slot, int64_t> scales[] = {
        {kSQkv, kQkv}, {kSO, kWidth}, {kSUp, 2 * kHidden}, {kSDown, kWidth}};
    uint64_t seed = 1;
    for (int64_t layer = 0; layer < kLayers; ++layer) {
      for (const auto& [slot, count] : weights) {
        auto& made = buffers_[{layer, slot}] = buffer(count * element);
        fill(made, count, fp8_ ? 1 : 2, ++seed, fp8_ ? -1.0f : -0.02f, fp8_ ? 1.0f : 0.02f);
      }
      for (const auto& [slot, count] : scales) {
        auto& made = buffers_[{layer, slot}] = buffer(count * 4);
        fill(made, count, 4, ++seed, 0.015f, 0.025f);
      }
      auto& norm = buffers_[{layer, kNorm}] = buffer(kWidth * 2);
      fill(norm, kWidth, 2, ++seed, 0.5f, 1.5f);
    }
    kv_bytes_ = t * pages_ * 2 * kKvHeads * kPage * kDim * element;  // a layer
    kv_ = buffer(kv_bytes_ * kLayers);
    fill(kv_, kv_bytes_ * kLayers / element, fp8_ ? 1 : 2, ++seed, -1, 1);
    fill(buffers_[{0, kTable}], t * kDim, 4, ++seed, -1, 1);
    std::vector<int32_t> starts, lengths(static_cast<size_t>(t), context_), table;
    for (int i = 0; i <= batch_; ++i) starts.push_back(i);
    for (int i = 0; i < batch_ * pages_; ++i) table.push_back(i);
    upload(buffers_[{0, kStarts}], starts);
    upload(buffers_[{0, kLengths}], lengths);
    upload(buffers_[{0, kPages}], table);
    symbols_ = buffer(8);
    upload(symbols_, std::vector<int32_t>{batch_, batch_});
    check(lab_.stream().synchronize());
  }
  cu::DeviceBuffer buffer(int64_t bytes) {
    return take(cu::DeviceBuffer::allocate(static_cast<size_t>(std::max<int64_t>(bytes, 256))));
  }
  void upload(const cu::DeviceBuffer& to, const std::vector<int32_t>& from) {
    check(to.upload(std::as_bytes(std::span(from)), 0, lab_.stream()));
    check(lab_.stream().synchronize());
  }
  void fill(const cu::DeviceBuffer& to, int64_t n, int bytes, uint64_t seed, float low,
            float high) {
    uint64_t pointer = to.get(), count = static_cast<uint64_t>(n);
    void* params[] = {&pointer, &count, &bytes, &seed, &low, &high};
    cu::LaunchShape shape;
    shape.grid[0] = 1024, shape.block[0] = 256;
    check(cu::launch(take(fills_.function("fill", 0)), shape, params, lab_.stream()));
  }

  void add(const char* name, OpKind kind, OpAttrs attrs, std::vector<TensorType> inputs,
           std::vector<Slot> in, std::vector<TensorType> outputs, std::vector<Slot> out,
           std::string_view tactic_name = "") {
    const std::vector<Symbol> symbols = {{"tokens", 1, batch_, batch_},
                                         {"sequences", 1, batch_, batch_}};
    const OpDesc desc = {kind, &attrs, inputs, outputs, symbols};
    for (const auto table : kernels::cuda::tactic_tables()) {
      for (const Tactic& tactic : table) {
        if (tactic.op != kind || !tactic.supports(desc)) continue;
        if (!tactic_name.empty() && tactic.name != tactic_name) continue;
        kernels::DevicePlan plan;
        kernels::DeviceFacts facts;
        facts.multiprocessors = lab_.info().multiprocessors;
        tactic.plan(desc, tactic, facts, plan);
        plans_.push_back(std::move(plan));
        nodes_.push_back({name, std::move(in), std::move(out), {}});
        return;
      }
    }
    std::fprintf(stderr, "%s: no tactic %s\n", name, std::string(tactic_name).c_str());
    std::exit(1);
  }

  void add_matmul(const char* name, int64_t n, int64_t k, int accumulators, Slot x, Slot x_scale,
                  Slot w, Slot w_scale, Slot out, std::string_view tactic,
                  std::optional<Slot> residual = {}) {
    MatmulDesc desc;
    desc.accumulators = accumulators;
    const Dim t = Dim::of(0);
    const DType type = fp8_ ? DType::kF8E4M3 : DType::kBf16;
    std::vector<TensorType> types = {{type, {t, k}}, {type, {n, k}}};
    std::vector<Slot> in = {x, w};
    if (fp8_) {
      desc.quant = WeightQuant::kFp8Channel;
      types.push_back({DType::kF32, {n}}), types.push_back({DType::kF32, {t}});
      in.push_back(w_scale), in.push_back(x_scale);
    }
    if (accumulators == 2) {
      desc.epilogue = take(PointwiseProgram::parse("2: r2=silu(r0) r3=mul(r2,r1) -> r3"));
    }
    if (residual) {
      desc.epilogue = take(PointwiseProgram::parse("2: r2=add(r1,r0) -> r2"));
      types.push_back({DType::kBf16, {t, n}}), in.push_back(*residual);
    }
    add(name, OpKind::kMatmul, desc, types, in, {{DType::kBf16, {t, n / accumulators}}}, {out},
        tactic);
  }

  void add_norm(const char* name, Slot h) {
    NormDesc norm;
    const Dim t = Dim::of(0);
    const TensorType row = {DType::kBf16, {t, kWidth}};
    std::vector<TensorType> outputs = {row};
    std::vector<Slot> out = {kX};
    if (fp8_) {
      norm.quant = ActivationQuant::kFp8Token;
      outputs = {{DType::kF8E4M3, {t, kWidth}}, {DType::kF32, {t}}};
      out.push_back(kXScale);
    }
    add(name, OpKind::kNorm, norm, {row, {DType::kBf16, {kWidth}}}, {h, kNorm}, outputs, out);
  }
  void add_quantize(const char* name, int64_t width, Slot x, Slot out, Slot scale) {
    if (!fp8_) return;
    const Dim t = Dim::of(0);
    add(name, OpKind::kQuantize, {}, {{DType::kBf16, {t, width}}}, {x},
        {{DType::kF8E4M3, {t, width}}, {DType::kF32, {t}}}, {out, scale});
  }

  void build(const Tactics& tactics) {
    nodes_.clear(), plans_.clear();
    const auto plain = [&](size_t i) {
      return "sm90.gemm" + tactics.small[std::min(i, tactics.small.size() - 1)];
    };
    const std::string pair = "sm90.gemm" + tactics.up;
    const Dim t = Dim::of(0), s = Dim::of(1);
    QkvDesc qkv;
    AttentionDesc& a = qkv.attention;
    a.num_heads = kHeads, a.num_kv_heads = kKvHeads, a.head_dim = a.v_head_dim = kDim;
    a.block_tokens = kPage, a.scale = 1 / std::sqrt(static_cast<double>(kDim));
    a.kv_dtype = fp8_ ? DType::kF8E4M3 : DType::kBf16;
    qkv.rotary_dim = kDim;
    const TensorType starts = {DType::kI32, {Dim::of(1, 1, 1)}}, lengths = {DType::kI32, {s}};
    const TensorType pages = {DType::kI32, {s, pages_}}, rows = {DType::kBf16, {t, kWidth}};
    add_norm("norm", kH);
    add_matmul("qkv", kQkv, kWidth, 1, kX, kXScale, kWQkv, kSQkv, kQkvOut, plain(0));
    add("rope", OpKind::kQkvRopeAppend, qkv,
        {{DType::kBf16, {t, kQkv}}, {DType::kF32, {t, kDim}}, starts, lengths, pages},
        {kQkvOut, kTable, kStarts, kLengths, kPages}, {rows}, {kQ});
    add("attention", OpKind::kPagedAttention, a, {rows, starts, lengths, pages},
        {kQ, kStarts, kLengths, kPages}, {rows}, {kAtt}, tactics.attention);
    add_quantize("quantize", kWidth, kAtt, kAtt8, kAttScale);
    add_matmul("o", kWidth, kWidth, 1, fp8_ ? kAtt8 : kAtt, kAttScale, kWO, kSO, kH2, plain(1), kH);
    add_norm("norm2", kH2);
    add_matmul("gate_up", 2 * kHidden, kWidth, 2, kX, kXScale, kWUp, kSUp, kAct, pair);
    add_quantize("quantize2", kHidden, kAct, kAct8, kActScale);
    add_matmul("down", kWidth, kHidden, 1, fp8_ ? kAct8 : kAct, kActScale, kWDown, kSDown, kH,
               plain(2), kH2);
    std::vector<kernels::DeviceModule> modules;
    int64_t workspace = 256, flags = 256;
    for (const auto& plan : plans_) {
      modules.insert(modules.end(), plan.modules.begin(), plan.modules.end());
      workspace = std::max(workspace, plan.workspace_bytes);
      flags = std::max(flags, plan.flags_bytes);
    }
    warm_compile(modules, lab_.info().arch());
    workspace_ = buffer(workspace), flags_ = buffer(flags);
    check(flags_.fill(0, lab_.stream()));
    for (size_t i = 0; i < plans_.size(); ++i) {
      nodes_[i].op.emplace(take(DeviceOp::create(std::move(plans_[i]), lab_.info().arch())));
    }
  }

  void reset() {
    fill(buffers_[{0, kX}], batch_ * kWidth, fp8_ ? 1 : 2, 77, -1, 1);
    fill(buffers_[{0, kXScale}], batch_, 4, 78, 0.9f, 1.0f);
    fill(buffers_[{0, kH}], batch_ * kWidth, 2, 79, -1, 1);
  }

  void enqueue(int skip) {
    const std::vector<int64_t> values = {batch_, batch_};
    for (int64_t layer = 0; layer < kLayers; ++layer) {
      const kernels::DeviceKv kv[] = {
          {kv_.get() + static_cast<uint64_t>(layer * kv_bytes_), batch_ * pages_, kv_bytes_}};
      for (size_t i = 0; i < nodes_.size(); ++i) {
        if (static_cast<int>(i) == skip) continue;
        std::vector<uint64_t> in, out;
        for (const Slot slot : nodes_[i].in) in.push_back(address(layer, slot));
        for (const Slot slot : nodes_[i].out) out.push_back(address(layer, slot));
        const kernels::LaunchOperands operands = {
            in, out, workspace_.get(), flags_.get(), symbols_.get(), values, kv};
        check(nodes_[i].op->bind(operands));
        check(nodes_[i].op->launch(values, {.any_single = true, .any_many = false}, lab_.stream()));
      }
    }
  }
  uint64_t address(int64_t layer, Slot slot) const {
    const auto own = buffers_.find({layer, slot});
    return own != buffers_.end() ? own->second.get() : buffers_.at({0, slot}).get();
  }

  void compare(const Tactics& tactics) {
    std::vector<uint16_t> bits(static_cast<size_t>(batch_ * kWidth));
    check(buffers_[{0, kH}].download(std::as_writable_bytes(std::span(bits)), 0, lab_.stream()));
    check(lab_.stream().synchronize());
    std::vector<float> values;
    for (const uint16_t b : bits) {
      const uint32_t wide = static_cast<uint32_t>(b) << 16;
      float x;
      std::memcpy(&x, &wide, 4);
      values.push_back(x);
    }
    if (first_.empty()) first_ = values;
    double difference = 0, norm = 0;
    for (size_t i = 0; i < values.size(); ++i) {
      difference += std::pow(values[i] - first_[i], 2), norm += std::pow(first_[i], 2);
    }
    const double error = std::sqrt(difference / norm);
    if (!(error < (fp8_ ? 0.1 : 0.03))) {  // of eight layers, and NaN
      ++failures_;
      std::printf("BAD %s: residual differs by %.3e\n", tactics.label, error);
    }
  }

  double time(int skip) {
    constexpr int kRounds = 9;
    reset();
    check(lab_.stream().synchronize());
    check(cu::GraphExec::begin_capture(lab_.stream()));
    enqueue(skip);
    const auto graph = take(cu::GraphExec::end_capture(lab_.stream()));
    const auto start = take(cu::Event::create(true)), stop = take(cu::Event::create(true));
    std::vector<double> times;
    for (int round = 0; round < kRounds; ++round) {
      check(start.record(lab_.stream()));
      check(graph.launch(lab_.stream()));
      check(stop.record(lab_.stream()));
      check(stop.synchronize());
      times.push_back(1e3 * static_cast<double>(take(stop.elapsed_ms_since(start))) / kLayers);
    }
    std::sort(times.begin() + 1, times.end());
    return times[1 + (kRounds - 1) / 2];
  }

  OpLab& lab_;
  bool fp8_;
  int batch_, context_;
  int64_t pages_ = 0, kv_bytes_ = 0;
  int failures_ = 0;
  cu::Module fills_;
  std::map<std::pair<int64_t, Slot>, cu::DeviceBuffer> buffers_;
  cu::DeviceBuffer kv_, symbols_, workspace_, flags_;
  std::vector<kernels::DevicePlan> plans_;
  std::vector<Node> nodes_;
  std::vector<float> first_;
};

/// Milliseconds at 4.3 TB/s for the bytes of a step of 32 layers and a head.
double floor_ms(bool fp8, int batch, int context) {
  const double weights = 32.0 * (kQkv * kWidth + kWidth * kWidth + 3 * kHidden * kWidth);
  const double kv = 32.0 * batch * context * 2 * kKvHeads * kDim;
  return (weights + kv) * (fp8 ? 1 : 2) / 4.3e9;
}

int run_lab(int argc, char** argv) {
  OpLab lab;
  std::printf("%s, %d multiprocessors\n", lab.info().name.c_str(), lab.info().multiprocessors);
  std::vector<int> batches;
  bool only_fp8 = false;
  for (int i = 1; i < argc; ++i) {
    if (std::string_view(argv[i]) == "fp8") {
      only_fp8 = true;
    } else {
      batches.push_back(std::atoi(argv[i]));
    }
  }
  if (batches.empty()) batches = {1, 16, 64};
  int failures = 0;
  for (const bool fp8 : {false, true}) {
    if (only_fp8 && !fp8) continue;
    for (const int batch : batches) {
      Chain chain(lab, fp8, batch, 1024);
      const std::string t = batch <= 8 ? "8" : batch <= 16 ? "16" : batch <= 32 ? "32" : "64";
      const std::string stream = "_t" + t + ".v2", stream_pair = "_pair_t" + t + ".v2";
      const std::string slim = "_t" + t + "s.v1", slim_pair = "_pair_t" + t + "s.v1";
      const std::string runs = "cuda.attention_sm90.v2";
      const std::string cluster = "cuda.attention_sm90_cluster.v1";
      std::vector<Tactics> candidates = {{"whole", {stream}, stream_pair, runs},
                                         {"slim", {slim}, slim_pair, runs}};
      if (batch <= 8) {
        const std::string rows = "_t8r.v1";
        candidates = {{"slim", {slim}, slim_pair, cluster},
                      {"slim, whole pair", {slim}, stream_pair, cluster},
                      {"o by rows", {slim, rows, slim}, stream_pair, cluster},
                      {"qkv by rows", {rows, slim, slim}, stream_pair, cluster},
                      {"down by rows", {slim, slim, rows}, stream_pair, cluster},
                      {"rows", {rows}, stream_pair, cluster},
                      {"rows, slim pair", {rows}, slim_pair, cluster},
                      {"whole", {stream}, stream_pair, cluster}};
      }
      for (const Tactics& tactics : candidates) {
        std::vector<double> marginal;
        const double us = chain.run(tactics, &marginal);
        std::printf("%s batch %-3d %-17s %7.2f us a layer, 32 layers %.3f ms (floor %.3f):",
                    fp8 ? "fp8 " : "bf16", batch, tactics.label, us, us * 0.032,
                    floor_ms(fp8, batch, 1024));
        for (size_t i = 0; i < marginal.size(); ++i) {
          std::printf(" %s %.1f", chain.nodes()[i].name, marginal[i]);
        }
        std::printf("\n");
        std::fflush(stdout);
      }
      failures += chain.failures();
    }
  }
  std::printf("layer_lab: %d failed\n", failures);
  return failures == 0 ? 0 : 1;
}

}  // namespace
}  // namespace ramjet::lab

int main(int argc, char** argv) { return ramjet::lab::run_lab(argc, argv); }
