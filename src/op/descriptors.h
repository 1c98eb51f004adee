// Descriptors: what an op computes beyond its operands' types. Plain values.
//
// Each lists its fields once, in visit(); equality, hash, text and the engine's encoding are
// generated from that list (op/fields.h).
#pragma once

#include <ramjet/dtype.h>

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "op/pointwise_program.h"

namespace ramjet {

/// Eight bits with one f32 scale a row of b; fp8 weights take e4m3 activations.
enum class WeightQuant : uint8_t { kNone, kInt8Channel, kFp8Channel };
enum class ActivationQuant : uint8_t { kNone, kFp8Token };  // e4m3 with one f32 scale a token
enum class NormKind : uint8_t { kRms, kLayer };
enum class ReduceKind : uint8_t { kSum, kMean, kMax, kMin };
enum class RopeKind : uint8_t { kDefault, kLinear, kDynamic, kLlama3, kYarn, kLongrope };

struct MatmulDesc {
  bool transpose_b = true;
  WeightQuant quant = WeightQuant::kNone;
  int64_t accumulators = 1;       // 2: gate and up of a gated MLP share one pass over a
  int64_t prologue_operands = 0;  // operands of the prologue beside a
  PointwiseProgram prologue;      // register 0 is an element of a
  PointwiseProgram epilogue;      // registers 0 .. accumulators-1 are the accumulators

  template <class V>
  void visit(V&& v) {
    v("transpose_b", transpose_b), v("quant", quant), v("accumulators", accumulators);
    v("prologue_operands", prologue_operands), v("prologue", prologue), v("epilogue", epilogue);
  }
};

struct MoeRouteDesc {  // softmax over all experts, then the k best
  int64_t k = 1;
  bool renormalize = false;  // the weights of the chosen sum to 1
  double scale = 1;          // of the weights
  template <class V>
  void visit(V&& v) {
    v("k", k), v("renormalize", renormalize), v("scale", scale);
  }
};

struct MoeDesc {  // the two products of each expert; neither has a prologue
  MatmulDesc up, down;
  template <class V>
  void visit(V&& v) {
    v("up", up), v("down", down);
  }
};

struct PointwiseDesc {
  PointwiseProgram program;
  template <class V>
  void visit(V&& v) {
    v("program", program);
  }
};

struct NormDesc {
  NormKind kind = NormKind::kRms;
  double eps = 1e-5;
  double weight_offset = 0;  // Gemma multiplies by 1 + weight
  ActivationQuant quant = ActivationQuant::kNone;
  template <class V>
  void visit(V&& v) {
    v("kind", kind), v("eps", eps), v("weight_offset", weight_offset), v("quant", quant);
  }
};

struct EmbeddingDesc {
  double scale = 1;
  template <class V>
  void visit(V&& v) {
    v("scale", scale);
  }
};

struct ReduceDesc {
  ReduceKind kind = ReduceKind::kSum;
  int64_t axis = -1;
  bool keep_dim = false;
  template <class V>
  void visit(V&& v) {
    v("kind", kind), v("axis", axis), v("keep_dim", keep_dim);
  }
};

struct AxisDesc {  // softmax, concat
  int64_t axis = -1;
  template <class V>
  void visit(V&& v) {
    v("axis", axis);
  }
};

struct TransposeDesc {
  std::vector<int64_t> permutation;
  template <class V>
  void visit(V&& v) {
    v("permutation", permutation);
  }
};

struct SliceDesc {
  int64_t axis = -1;
  int64_t start = 0;
  int64_t length = 0;
  template <class V>
  void visit(V&& v) {
    v("axis", axis), v("start", start), v("length", length);
  }
};

struct TopkDesc {  // over the last axis: values and i32 indices, largest first
  int64_t k = 1;
  template <class V>
  void visit(V&& v) {
    v("k", k);
  }
};

struct ConvDesc {  // x[N,C,L or H,W], w[O,C/groups,k..]
  std::vector<int64_t> stride, padding, dilation;
  int64_t groups = 1;
  template <class V>
  void visit(V&& v) {
    v("stride", stride), v("padding", padding), v("dilation", dilation), v("groups", groups);
  }
};

struct RopeSpec {
  RopeKind kind = RopeKind::kDefault;
  int64_t rotary_dim = 0;  // even, at most head_dim
  double theta = 10000;
  double factor = 1;
  double low_freq_factor = 1;   // llama3
  double high_freq_factor = 4;  // llama3
  double beta_fast = 32;        // yarn
  double beta_slow = 1;         // yarn
  bool truncate = true;         // yarn rounds its correction range
  double attention_factor = 1;  // multiplies cos and sin
  int64_t original_max_position = 0;
  std::vector<double> short_factors, long_factors;  // longrope
  bool interleaved = false;  // pairs (2i, 2i+1) instead of (i, i + rotary_dim/2)

  template <class V>
  void visit(V&& v) {
    v("kind", kind), v("rotary_dim", rotary_dim), v("theta", theta), v("factor", factor);
    v("low_freq_factor", low_freq_factor), v("high_freq_factor", high_freq_factor);
    v("beta_fast", beta_fast), v("beta_slow", beta_slow), v("truncate", truncate);
    v("attention_factor", attention_factor), v("original_max_position", original_max_position);
    v("short_factors", short_factors), v("long_factors", long_factors);
    v("interleaved", interleaved);
  }
};

struct AttentionDesc {
  int64_t num_heads = 0;
  int64_t num_kv_heads = 0;
  int64_t head_dim = 0;
  int64_t v_head_dim = 0;
  double scale = 1;      // of q.k
  double softcap = 0;    // 0: none
  int64_t window = 0;    // keys a query sees, itself included; 0: all
  int64_t kv_layer = 0;  // layer's index within its KV group
  int64_t kv_group = 0;
  bool sinks = false;
  // What GPU kernels are compiled for; the CPU takes it from the cache that it is given.
  DType kv_dtype = DType::kBf16;
  int64_t block_tokens = 64;
  double k_scale = 1, v_scale = 1;  // an fp8 cache holds k / k_scale

  template <class V>
  void visit(V&& v) {
    v("num_heads", num_heads), v("num_kv_heads", num_kv_heads), v("head_dim", head_dim);
    v("v_head_dim", v_head_dim), v("scale", scale), v("softcap", softcap), v("window", window);
    v("kv_layer", kv_layer), v("kv_group", kv_group), v("sinks", sinks), v("kv_dtype", kv_dtype);
    v("block_tokens", block_tokens), v("k_scale", k_scale), v("v_scale", v_scale);
  }
};

struct RopeDesc {  // rope: which heads and how the pairs lie; angles come from the table
  int64_t num_heads = 0;
  int64_t head_dim = 0;
  int64_t rotary_dim = 0;
  bool interleaved = false;
  template <class V>
  void visit(V&& v) {
    v("num_heads", num_heads), v("head_dim", head_dim), v("rotary_dim", rotary_dim);
    v("interleaved", interleaved);
  }
};

struct QkvDesc {  // qkv_rope_append
  AttentionDesc attention;
  int64_t rotary_dim = 0;  // 0: no rotation
  bool interleaved = false;
  bool qk_norm = false;  // RMS norm of each head of q and k before rotation
  NormDesc norm;
  template <class V>
  void visit(V&& v) {
    v("attention", attention), v("rotary_dim", rotary_dim), v("interleaved", interleaved);
    v("qk_norm", qk_norm), v("norm", norm);
  }
};

using OpAttrs = std::variant<std::monostate, MatmulDesc, PointwiseDesc, NormDesc, EmbeddingDesc,
                             ReduceDesc, AxisDesc, TransposeDesc, SliceDesc, TopkDesc, ConvDesc,
                             RopeSpec, AttentionDesc, RopeDesc, QkvDesc, MoeRouteDesc, MoeDesc>;

}  // namespace ramjet
