#include "kernels/cuda/gemm_sm90.h"

#include <algorithm>

#include "base/result.h"
#include "kernels/cuda/pointwise_codegen.h"

namespace ramjet::kernels::cuda {
namespace {

constexpr int kBlockW = 128;
constexpr int kRowBytes = 128;
constexpr int kRowsSlack = 64 * kRowBytes;
constexpr int kSharedLimit = 227 << 10, kSlimShared = 126 << 10, kMoreThanHalf = 116 << 10;

int stage_bytes(const GemmSm90Config& c) { return (gemm_sm90_block_w(c) + c.block_t) * kRowBytes; }

/// Tokens that one block of a tile finishes.
int owned_tokens(const GemmSm90Config& c) {
  return c.parts > 1 ? c.block_t / std::min(c.parts, c.block_t / 8) : c.block_t;
}

bool is_matrix(const GemmOperand& operand) { return operand.by_token && operand.by_feature; }
bool has_matrix(const GemmSm90Config& c) {
  return std::any_of(c.operands.begin(), c.operands.end(), is_matrix);
}

/// Tokens that go through shared memory at a time. Smaller chunks of an operand come earlier.
int chunk_tokens(const GemmSm90Config& c) {
  const bool small = has_matrix(c) || c.pingpong;  // a stage more is worth more
  if (gemm_sm90_fragments(c)) return std::min(owned_tokens(c), small ? 32 : 64);
  return std::min(owned_tokens(c), c.slim || c.parts > 1 ? 16 : 32);
}
int chunk_buffers(const GemmSm90Config& c) {
  return std::min(owned_tokens(c) / chunk_tokens(c), has_matrix(c) && !c.pingpong ? 4 : 2);
}

int store_bytes(const GemmSm90Config& c) {
  const int features = 64 / c.accumulators;
  int group = c.accumulators * chunk_tokens(c) * (features + 4) * 4;
  if (gemm_sm90_direct(c)) group = 2 * chunk_tokens(c) * (features * 2 + 16);
  if (gemm_sm90_fragments(c)) {
    group = chunk_buffers(c) * chunk_tokens(c) * features * 2 + (c.fp8 ? owned_tokens(c) * 4 : 0);
  }
  return (2 * group + 127) / 128 * 128;
}

/// Where the blocks of a cut tile leave sums for each other.
int exchange_bytes(const GemmSm90Config& c) {
  if (c.parts <= 1) return 0;
  return (c.parts - 1) * kBlockW * owned_tokens(c) * 4;
}

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t k_blocks(const GemmSm90Config& c) { return ceil_div(c.k * (c.fp8 ? 1 : 2), kRowBytes); }

/// wgmma_product() for 64 x n: an instruction with n / 2 accumulators is too long to write by hand.
std::string wgmma_product(int n, bool fp8) {
  const int count = n / 2;
  std::string registers, operands;
  for (int i = 0; i < count; ++i) {
    registers += fmt::format("{}%{}", i == 0 ? "" : ", ", i);
    operands += fmt::format("{}\"+f\"(d[{}])", i == 0 ? "" : ", ", i);
  }
  const std::string shape =
      fp8 ? fmt::format("m64n{}k32.f32.e4m3.e4m3", n) : fmt::format("m64n{}k16.f32.bf16.bf16", n);
  return fmt::format(
      "__device__ __forceinline__ void wgmma_product(float (&d)[{}], uint64_t a, uint64_t b, int "
      "add) {{\n  asm volatile(\"{{\\n.reg .pred p;\\nsetp.ne.b32 p, %{}, 0;\\n"
      "wgmma.mma_async.sync.aligned.{} {{{}}}, %{}, %{}, p, 1, 1{};\\n}}\\n\"\n"
      "      : {}\n      : \"l\"(a), \"l\"(b), \"r\"(add));\n}}\n",
      count, count + 2, shape, registers, count, count + 1, fp8 ? "" : ", 0, 0", operands);
}

/// struct Epilogue and the parameters that fill it.
std::string epilogue_struct(const GemmSm90Config& c) {
  std::string fields, parameters, values;
  const auto field = [&](std::string_view type, const std::string& name) {
    fields += fmt::format("  {} {};\n", type, name);
    parameters += fmt::format(", {} {}", type, name);
    values += fmt::format("{}{}", values.empty() ? "" : ", ", name);
  };
  if (c.fp8) {
    field("const float*", "weight_scales");
    field("const float*", "token_scales");
  }
  for (size_t i = 0; i < c.operands.size(); ++i) {
    field(fmt::format("const {}*", device_type(c.operands[i].dtype)), fmt::format("operand{}", i));
  }
  for (size_t i = 0; i < c.outputs.size(); ++i) {
    field(fmt::format("{}*", device_type(c.outputs[i])), fmt::format("output{}", i));
  }
  return fmt::format(
      "struct Epilogue {{\n{}}};\n#define EPILOGUE_PARAMETERS {}\n#define EPILOGUE_VALUES {{{}}}\n",
      fields, parameters, values);
}

/// epilogue_of_group(): operands are a feature's, of all groups.
std::string group_function(const GemmSm90Config& c) {
  std::string moved;
  if (c.fp8) moved += fmt::format("  e.weight_scales += int64_t{{group}} * {};\n", c.n);
  for (size_t i = 0; i < c.operands.size(); ++i) {
    moved += fmt::format("  e.operand{} += int64_t{{group}} * {};\n", i, c.n / c.accumulators);
  }
  return fmt::format(
      "__device__ __forceinline__ Epilogue epilogue_of_group(Epilogue e, int group) {{\n"
      "{}  return e;\n}}\n",
      moved);
}

/// Where an operand's element for (token, feature) lies.
std::string_view operand_index(const GemmOperand& operand) {
  if (operand.by_token && operand.by_feature) return "at";
  if (operand.by_feature) return "feature";
  return operand.by_token ? "token" : "0";
}

/// Scales lie in the order of the engine's weight: tiles of 16 of each in turn.
std::string scale_index(const GemmSm90Config& c, int accumulator) {
  if (c.accumulators == 1) return "feature";
  return fmt::format("feature / 16 * 32 + feature % 16 + {}", 16 * accumulator);
}

/// epilogue_store(): scales, the program, stores, of kCount neighbouring features.
std::string epilogue_store(const GemmSm90Config& c) {
  const int64_t n = c.n / c.accumulators;
  std::string body =
      fmt::format("  const int64_t at = static_cast<int64_t>(token) * {} + feature;\n", n);
  if (c.fp8) {
    body += "  const float token_scale = e.token_scales[token];\n";
    for (int a = 0; a < c.accumulators; ++a) {
      body += fmt::format(
          "  float scale{0}[kCount];\n  load_elements(e.weight_scales, {1}, scale{0});\n"
          "  for (int i = 0; i < kCount; ++i) acc[{0}][i] = scaled(acc[{0}][i], scale{0}[i] * "
          "token_scale);\n",
          a, scale_index(c, a));
    }
  }
  std::string inputs;
  for (int a = 0; a < c.accumulators; ++a) inputs += fmt::format("acc[{}][i], ", a);
  for (size_t i = 0; i < c.operands.size(); ++i) {
    const GemmOperand& operand = c.operands[i];
    if (operand.by_feature) {
      body += fmt::format("  float x{0}[kCount];\n  load_elements(e.operand{0}, {1}, x{0});\n", i,
                          operand_index(operand));
      inputs += fmt::format("x{}[i], ", i);
    } else {
      body += fmt::format("  const float x{0} = to_float(e.operand{0}[{1}]);\n", i,
                          operand_index(operand));
      inputs += fmt::format("x{}, ", i);
    }
  }
  const size_t outputs = c.outputs.size();
  body += fmt::format(
      "  float y[{0}][kCount];\n#pragma unroll\n  for (int i = 0; i < kCount; ++i) {{\n"
      "    const float in[] = {{{1}}};\n    float out[{0}];\n    epilogue_program(in, out);\n"
      "#pragma unroll\n    for (int o = 0; o < {0}; ++o) y[o][i] = out[o];\n  }}\n",
      outputs, inputs);
  for (size_t o = 0; o < outputs; ++o) {
    body += fmt::format("  store_elements(e.output{0}, at, y[{0}]);\n", o);
  }
  return fmt::format(
      "template <int kCount>\n__device__ __forceinline__ void epilogue_store(const Epilogue& e, "
      "int "
      "token, int feature,\n    float (&acc)[{}][kCount]) {{\n{}}}\n",
      c.accumulators, body);
}

/// epilogue_matrix(): the [T, N] operand.
std::string matrix_function(size_t operand) {
  return fmt::format(
      "__device__ __forceinline__ const bf16_t* epilogue_matrix(const Epilogue& e) {{\n"
      "  return e.operand{};\n}}\n",
      operand);
}

/// struct WeightScales, struct FeatureValues and what fills and uses them (DIRECT).
std::string direct_functions(const GemmSm90Config& c) {
  const int features = c.accumulators == 2 ? 1 : 2, a = c.accumulators;
  const int64_t n = c.n / a;
  const auto at = [&](int f) {
    return fmt::format("(feature + {0} < {1} ? feature + {0} : 0)", 8 * f, n);
  };
  std::string scales, values, inputs;
  for (int f = 0; f < features; ++f) {
    for (int i = 0; c.fp8 && i < a; ++i) {
      // Scales lie in the order of the engine's weight: tiles of 16 of each in turn.
      const std::string index =
          a == 1 ? at(f) : fmt::format("{0} / 16 * 32 + {0} % 16 + {1}", at(f), 16 * i);
      scales += fmt::format("  s.of[{}][{}] = e.weight_scales[{}];\n", f, i, index);
    }
    for (size_t x = 0; x < c.operands.size(); ++x) {
      if (is_matrix(c.operands[x])) continue;
      values += fmt::format("  v.x[{}][{}] = to_float(e.operand{}[{}]);\n", f, x, x,
                            c.operands[x].by_feature ? at(f) : "0");
    }
  }
  for (int i = 0; i < a; ++i) {
    inputs +=
        fmt::format(fmt::runtime(c.fp8 ? "scaled(acc[{0}], v.scales.of[which][{0}] * token_scale)"
                                       : "acc[{0}]"),
                    i);
    inputs += ", ";
  }
  std::string matrix;
  for (size_t x = 0; x < c.operands.size(); ++x) {
    const bool all = is_matrix(c.operands[x]);
    inputs += all ? "matrix, " : fmt::format("v.x[which][{}], ", x);
    if (all) matrix = matrix_function(x);
  }
  return fmt::format(
      "{6}struct WeightScales {{ float of[{0}][{1}]; }};\n"
      "struct FeatureValues {{ WeightScales scales; float x[{0}][{2}]; }};\n"
      "__device__ __forceinline__ WeightScales weight_scales(const Epilogue& e, int feature) {{\n"
      "  WeightScales s = {{}};\n{3}  return s;\n}}\n"
      "__device__ __forceinline__ FeatureValues feature_values(const Epilogue& e,\n"
      "    const WeightScales& scales, int feature) {{\n"
      "  FeatureValues v;\n  v.scales = scales;\n{4}  return v;\n}}\n"
      "__device__ __forceinline__ float direct_value(const FeatureValues& v, int which,\n"
      "    float token_scale, float matrix, const float (&acc)[{1}]) {{\n"
      "  const float in[] = {{{5}}};\n  float out[1];\n  epilogue_program(in, out);\n"
      "  return out[0];\n}}\n",
      features, a, std::max<size_t>(c.operands.size(), 1), scales, values, inputs, matrix);
}

/// Of one feature and token: epilogue_feature(), what a thread loads once a tile;
/// epilogue_value().
std::string fragment_epilogue(const GemmSm90Config& c) {
  std::string fields, loads, body, inputs, matrix;
  for (int a = 0; a < c.accumulators; ++a) {
    inputs += fmt::format("{}acc[{}]", a == 0 ? "" : ", ", a);
    if (!c.fp8) continue;
    fields += fmt::format("  float scale{};\n", a);
    loads += fmt::format("  f.scale{} = e.weight_scales[{}];\n", a, scale_index(c, a));
    body += fmt::format("  acc[{0}] = scaled(acc[{0}], f.scale{0} * token_scale);\n", a);
  }
  for (size_t i = 0; i < c.operands.size(); ++i) {
    const GemmOperand& operand = c.operands[i];
    if (is_matrix(operand)) {
      matrix = matrix_function(i);
      inputs += ", matrix";
    } else if (operand.by_token) {
      inputs += fmt::format(", to_float(e.operand{}[token])", i);
    } else {
      fields += fmt::format("  float x{};\n", i);
      loads += fmt::format("  f.x{0} = to_float(e.operand{0}[{1}]);\n", i, operand_index(operand));
      inputs += fmt::format(", f.x{}", i);
    }
  }
  return fmt::format(
      "struct EpilogueFeature {{\n{0}}};\n"
      "__device__ __forceinline__ EpilogueFeature epilogue_feature(const Epilogue& e, int "
      "feature) "
      "{{\n  EpilogueFeature f;\n{1}  return f;\n}}\n{2}"
      "__device__ __forceinline__ float epilogue_value(const Epilogue& e, const EpilogueFeature& "
      "f,"
      "\n    int token, float token_scale, float matrix, float (&acc)[{3}]) {{\n{4}"
      "  const float in[] = {{{5}}};\n  float out[1];\n  epilogue_program(in, out);\n"
      "  return out[0];\n}}\n",
      fields, loads, matrix, c.accumulators, body, inputs);
}

std::string epilogue_functions(const GemmSm90Config& c) {
  if (gemm_sm90_fragments(c)) return fragment_epilogue(c);
  return gemm_sm90_direct(c) ? direct_functions(c) : epilogue_store(c);
}

}  // namespace

bool gemm_sm90_fragments(const GemmSm90Config& c) {
  if (!c.fragments || c.n / c.accumulators % 8 != 0 || owned_tokens(c) % 16 != 0) return false;
  if (!has_matrix(c) && owned_tokens(c) < 64) return false;  // fewer are done directly
  if (c.outputs.size() != 1 || c.outputs[0] != DType::kBf16) return false;
  const auto matrices = std::count_if(c.operands.begin(), c.operands.end(), is_matrix);
  return matrices <= 1 && std::none_of(c.operands.begin(), c.operands.end(), [](const auto& o) {
           return is_matrix(o) && o.dtype != DType::kBf16;
         });
}

bool gemm_sm90_direct(const GemmSm90Config& c) {
  const bool operands = std::none_of(c.operands.begin(), c.operands.end(), [](const auto& o) {
    return is_matrix(o) ? o.dtype != DType::kBf16 : o.by_token;
  });
  const auto matrices = std::count_if(c.operands.begin(), c.operands.end(), is_matrix);
  return operands && matrices <= (owned_tokens(c) <= 16 ? 1 : 0) && !gemm_sm90_fragments(c) &&
         c.outputs.size() == 1 && c.outputs[0] == DType::kBf16 && c.n / c.accumulators % 8 == 0 &&
         (c.accumulators == 1 || c.block_t <= 32) && c.parts <= 1;
}

int gemm_sm90_rows(int64_t n) {
  constexpr int64_t kBlocks = 132, kFewBlocks = 100;
  for (int rows = 16; rows <= 64; rows += 16) {
    if (n % rows != 0 || n / rows > kBlocks) continue;
    return n / rows >= kFewBlocks ? rows : 0;
  }
  return 0;
}

bool gemm_rows_hold_all(const GemmSm90Config& config) {
  GemmSm90Config whole = config;
  whole.slim = false;
  return gemm_sm90_stages(whole) == k_blocks(config);
}

int gemm_sm90_block_w(const GemmSm90Config& c) { return c.pingpong ? kBlockW / 2 : kBlockW; }

bool gemm_sm90_store_map(const GemmSm90Config& c) {
  return c.store_map && !c.grouped && gemm_sm90_fragments(c) && !has_matrix(c) &&
         owned_tokens(c) == 256;
}

GemmStoreBox gemm_sm90_store_box(const GemmSm90Config& c) {
  const int features = 64 / c.accumulators;
  return {features, chunk_tokens(c), features * 2};
}

int gemm_sm90_segments(int64_t n, int64_t k, bool fp8) {
  constexpr int64_t kBlocks = 132, kMost = 8, kLeastRun = 4;  // k blocks
  constexpr int64_t kJoin = 3;                                // of sums, in the time of k blocks
  const int64_t tiles = ceil_div(n, kBlockW);
  const int64_t deep = ceil_div(k * (fp8 ? 1 : 2), kRowBytes);
  int64_t best = 1, least = 0;
  for (int64_t parts = 1; parts <= kMost && parts * kLeastRun <= deep; ++parts) {
    const int64_t runs = ceil_div(tiles * parts, kBlocks);
    const int64_t time = runs * ceil_div(deep, parts) + (parts > 1 ? kJoin + parts / 2 : 0);
    if (least == 0 || time < least) least = time, best = parts;
  }
  return static_cast<int>(best);
}

int gemm_sm90_stages(const GemmSm90Config& config) {
  if (config.stages > 0) return config.stages;
  if (config.rows > 0) {
    const int room = (config.slim ? kSlimShared : kSharedLimit) - kRowsSlack;
    const int64_t most = room / ((config.rows + config.block_t) * kRowBytes + 16);
    // A stage is always filled by the same warp and emptied by the same warpgroup.
    return static_cast<int>(k_blocks(config) <= most ? k_blocks(config) : most / 4 * 4);
  }
  const int limit = config.slim ? kSlimShared : kSharedLimit;
  const int rest = limit - store_bytes(config) - exchange_bytes(config) - 256;
  return std::min(12, rest / stage_bytes(config));
}

std::string_view gemm_sm90_entry(const GemmSm90Config& config) {
  return config.rows > 0 ? "gemm_rows" : "gemm_sm90";
}

unsigned gemm_sm90_threads(const GemmSm90Config& config) {
  return config.slim && config.rows == 0 ? 288 : 384;
}

unsigned gemm_sm90_shared_bytes(const GemmSm90Config& config) {
  const int stages = gemm_sm90_stages(config);
  if (config.rows > 0) {
    const int bytes = stages * ((config.rows + config.block_t) * kRowBytes + 16) + kRowsSlack;
    return static_cast<unsigned>(std::max(bytes, kMoreThanHalf));
  }
  const int barriers = (stages * 16 + 8 + 127) / 128 * 128;
  const int bytes =
      stages * stage_bytes(config) + store_bytes(config) + barriers + exchange_bytes(config);
  // Two slim blocks on one multiprocessor would leave another with none.
  return static_cast<unsigned>(config.slim ? std::max(bytes, kMoreThanHalf) : bytes);
}

int64_t gemm_sm90_workspace_bytes(const GemmSm90Config& config, int blocks) {
  if (config.parts > 0) return 0;
  return int64_t{blocks} * std::max(config.segments - 1, 1) * kBlockW * config.block_t * 4;
}

int64_t gemm_sm90_blocks_of_tile(const GemmSm90Config& config) {
  constexpr int64_t kLeastRun = 4;  // k blocks: shorter runs cost more to join than they save
  if (config.rows > 0) return config.n / config.rows;
  const int64_t tiles = ceil_div(config.n, int64_t{gemm_sm90_block_w(config)} * config.cluster);
  if (config.parts > 0) return tiles * config.cluster * config.parts;
  if (config.segments > 0) return tiles * config.segments * config.cluster;
  return std::max<int64_t>(1, tiles * k_blocks(config) / kLeastRun) * config.cluster;
}

int64_t gemm_sm90_most_blocks(const GemmSm90Config& config, int multiprocessors) {
  constexpr int64_t kAny = int64_t{1} << 30;
  const int64_t together = gemm_sm90_cluster(config);
  if (config.parts > 1 || config.rows > 0) return kAny / together * together;
  return multiprocessors / config.cluster * config.cluster;
}

uint32_t gemm_sm90_cluster(const GemmSm90Config& config) {
  return static_cast<uint32_t>(config.cluster * std::max(config.parts, 1));
}

std::string gemm_sm90_source(const GemmSm90Config& c) {
  PointwiseProgram program = c.epilogue;
  if (program.empty()) program = {.num_inputs = 1, .instrs = {}, .outputs = {0}};
  const bool fixed = c.fixed_tokens >= 0;
  const std::string tokens =
      c.grouped ? "#define TOKENS_PARAMETER , const int4* groups\n#define TOKENS_VALUE 0\n"
      : fixed   ? fmt::format(
                    "#define TOKENS_PARAMETER\n#define TOKENS_VALUE {0}\n"
                      "#define TOKENS_POINTER nullptr, {0}\n",
                    c.fixed_tokens)
              : "#define TOKENS_PARAMETER , const int* tokens\n#define TOKENS_VALUE *tokens\n"
                "#define TOKENS_POINTER tokens, 0\n";
  const std::string groups =
      fmt::format("#define GROUPS_VALUE {}\n", c.grouped ? "groups" : "nullptr");
  const std::string sums = c.parts > 0
                               ? "#define SUMS_PARAMETERS\n#define SUMS_VALUES nullptr, nullptr\n"
                               : "#define SUMS_PARAMETERS , float* partials, uint32_t* flags\n"
                                 "#define SUMS_VALUES partials, flags\n";
  return "#include \"hopper.cuh\"\n#include \"pointwise.cuh\"\n" + tokens + groups + sums +
         wgmma_product(c.block_t, c.fp8) + pointwise_function(program, "epilogue_program") +
         epilogue_struct(c) + epilogue_functions(c) + (c.grouped ? group_function(c) : "") +
         fmt::format("#include \"{}.cuh\"\n", gemm_sm90_entry(c));
}

std::vector<std::string> gemm_sm90_defines(const GemmSm90Config& c) {
  return {fmt::format("GEMM_N={}", c.n),
          fmt::format("GEMM_K={}", c.k),
          fmt::format("GEMM_FP8={}", c.fp8 ? 1 : 0),
          fmt::format("BLOCK_T={}", c.block_t),
          fmt::format("CHUNK_T={}", chunk_tokens(c)),
          fmt::format("FRAGMENTS={}", gemm_sm90_fragments(c) ? 1 : 0),
          fmt::format("FRAGMENT_T={}", chunk_tokens(c)),
          fmt::format("FRAGMENT_BUFFERS={}", chunk_buffers(c)),
          fmt::format("FRAGMENT_MATRIX={}", has_matrix(c) ? 1 : 0),
          fmt::format("STAGES={}", gemm_sm90_stages(c)),
          fmt::format("GROUP_T={}", c.group_t),
          fmt::format("CLUSTER={}", c.cluster),
          fmt::format("PARTS={}", c.parts),
          fmt::format("ROWS={}", c.rows),
          fmt::format("SLIM={}", c.slim ? 1 : 0),
          fmt::format("PINGPONG={}", c.pingpong ? 1 : 0),
          fmt::format("STORE_MAP={}", gemm_sm90_store_map(c) ? 1 : 0),
          fmt::format("SEGMENTS={}", c.segments),
          fmt::format("GROUPED={}", c.grouped ? 1 : 0),
          fmt::format("DIRECT={}", gemm_sm90_direct(c) ? 1 : 0),
          fmt::format("DIRECT_MATRIX={}", gemm_sm90_direct(c) && has_matrix(c) ? 1 : 0),
          fmt::format("ACCUMULATORS={}", c.accumulators)};
}

int64_t gemm_sm90_weight_offset(int64_t row, int64_t column_byte, int64_t k_blocks) {
  constexpr int64_t kTileRows = 64, kUnit = 16;
  const int64_t tile = row / kTileRows * k_blocks + column_byte / kRowBytes;
  const int64_t r = row % kTileRows;
  const int64_t unit = column_byte % kRowBytes / kUnit;
  return (tile * kTileRows + r) * kRowBytes + (unit ^ (r % 8)) * kUnit + column_byte % kUnit;
}

int64_t gemm_sm90_packed_bytes(int64_t rows, int64_t cols, DType dtype) {
  return ceil_div(rows, kBlockW) * kBlockW * ceil_div(cols * dtype_bytes(dtype), kRowBytes) *
         kRowBytes;
}

int64_t gemm_sm90_pair_row(int64_t row) {
  const int64_t within = row % 32, feature = within % 16;
  return row - within + feature / 8 * 16 + within / 16 * 8 + feature % 8;
}

}  // namespace ramjet::kernels::cuda
