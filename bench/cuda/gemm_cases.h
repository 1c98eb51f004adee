// The cases of gemm_lab: which products, tiles and epilogues each of its groups checks or times.
#pragma once

#include <algorithm>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "kernels/cuda/gemm_sm90.h"
#include "lab.h"

namespace ramjet::lab {

using kernels::cuda::GemmSm90Config;

struct Case {
  GemmSm90Config config;
  int tokens = 0;
  bool yardstick = false;  // cuBLASLt after it
  bool gated() const { return config.accumulators == 2; }
  bool residual() const { return !config.operands.empty(); }
  std::string kind() const {
    if (config.rows > 0) return config.slim ? "rows slim" : "rows";
    if (config.segments > 0) return fmt::format("in {}", config.segments);
    if (config.slim && config.parts <= 1) return "slim";
    const std::string pair = config.cluster > 1 ? "x2" : "";
    if (config.parts > 1) return fmt::format("cut{}{}", config.parts, pair);
    return (config.parts == 1 ? "whole" : "stream") + pair;
  }
};

/// `residual`: an operand of all elements is added; `bias`: one of features.
inline Case make_case(GemmSm90Config config, int tokens, bool gated = false, bool residual = false,
                      bool bias = false) {
  config.accumulators = gated ? 2 : 1;
  if (gated) config.epilogue = take(PointwiseProgram::parse("2: r2=silu(r0) r3=mul(r2,r1) -> r3"));
  if (residual || bias) {
    config.epilogue = take(PointwiseProgram::parse("2: r2=add(r0,r1) -> r2"));
    config.operands = {{.by_token = residual, .by_feature = true}};
  }
  return {config, tokens};
}

inline int best_block(int tokens) {
  for (int t : {8, 16, 32, 64, 128}) {
    if (tokens <= t) return t;
  }
  return 256;
}

/// Odd sizes: correctness of every variant.
inline void add_checks(std::vector<Case>& cases) {
  for (bool fp8 : {false, true}) {
    for (int m : {1, 7, 33, 130, 300, 1000}) {
      for (int variant = 0; variant < 4; ++variant) {
        const bool gated = variant == 1, residual = variant == 2, bias = variant == 3;
        const int64_t n = bias ? 1160 : 1280;  // of which the last tile is not full
        GemmSm90Config config = {.n = n, .k = 1792, .fp8 = fp8, .block_t = best_block(m)};
        cases.push_back(make_case(config, m, gated, residual, bias));
        if (m >= 130) {
          config.cluster = 2;
        } else {
          config.slim = true;
        }
        cases.push_back(make_case(config, m, gated, residual, bias));
      }
    }
  }
}

/// Whole and cut tiles, and the epilogue that goes through shared memory in f32.
inline void add_piece_checks(std::vector<Case>& cases, bool cut) {
  for (bool fp8 : {false, true}) {
    for (int m : {1, 7, 33, 130, 300, 1000}) {
      for (int variant = 0; variant < 3; ++variant) {
        const bool gated = variant == 1, residual = variant == 2;
        GemmSm90Config config = {.n = 1280, .k = 1792, .fp8 = fp8, .block_t = best_block(m)};
        const auto add = [&](int parts, int cluster, bool slim) {
          config.parts = parts, config.cluster = cluster, config.slim = slim;
          cases.push_back(make_case(config, m, gated, residual));
        };
        if (!cut) {
          add(1, m > 64 ? 2 : 1, false);
          config.fragments = false;
          if (m == 33 || m == 300) add(1, 1, false);
          continue;
        }
        config.block_t = std::min(config.block_t, 128);
        add(2, m > 64 ? 2 : 1, m <= 32);
        add(4, 1, m <= 32);
      }
    }
  }
}

/// One small product for each way of the kernels, for a sanitizer.
inline void add_tiny(std::vector<Case>& cases) {
  for (const bool fp8 : {false, true}) {
    const auto add = [&](GemmSm90Config config, int m, bool residual = false) {
      config.k = 640, config.fp8 = fp8;
      if (config.n == 0) config.n = 512;
      cases.push_back(make_case(config, m, false, residual));
    };
    add({.block_t = 8, .slim = true}, 1, true);
    add({.block_t = 8}, 3);
    add({.block_t = 8, .parts = 2, .slim = true}, 1);
    add({.n = 2048, .block_t = 8, .parts = 1, .rows = 16, .fragments = false, .slim = true}, 5);
    add({.n = 4096, .block_t = 16, .parts = 1, .rows = 32, .fragments = false}, 11, true);
    add({.n = 6144, .block_t = 8, .parts = 1, .rows = 48, .fragments = false}, 9);
    add({.block_t = 64}, 33);
    add({.block_t = 64, .parts = 2}, 33, true);
    add({.block_t = 64, .segments = 2}, 33);
    add({.block_t = 128, .cluster = 2}, 130, true);
    add({.block_t = 256, .cluster = 2}, 300);
    add({.block_t = 256, .cluster = 2, .parts = 1, .store_map = true}, 300);
    add({.block_t = 256, .cluster = 2, .parts = 1, .pingpong = true}, 600, true);
    add({.block_t = 256, .parts = 1, .pingpong = true, .store_map = true}, 300);
    add({.block_t = 64, .parts = 1, .fragments = false}, 33, true);
  }
}

struct Variant {
  int block_t = 256, cluster = 1, parts = 0;
  bool slim = false, fragments = true;
};

/// Products of Llama-3-8B with their own epilogues, at the sizes of steps: what may be chosen.
inline std::vector<Variant> variants_of(int m, bool cut) {
  if (m <= 16) {
    const int t = best_block(m);
    if (cut) return {{t, 1, 2, true}, {t, 1, 4, true}};
    return {{t, 1, 0, true}, {t, 1, 0, true, false}};
  }
  if (m <= 64) {
    if (cut) return {{64, 1, 2}, {64, 1, 4}};
    return {{64}, {64, 1, 0, true}, {64, 1, 0, true, false}, {64, 1, 1}};
  }
  if (m <= 256) {
    if (cut) return {{128, 1, 2}, {128, 1, 4}, {128, 2, 2}};
    return {{128, 2}, {128, 1, 1}, {128, 2, 1}, {256, 2}, {256, 2, 1}, {256, 1, 0, false, false}};
  }
  if (cut) return {};
  const Variant before = {256, 2, 0, false, false};
  if (m <= 1024) return {{128, 2, 1}, {256}, {256, 2}, {256, 1, 1}, {256, 2, 1}, before};
  return {{256, 1, 1}, {256, 2}, {256, 2, 1}, before};
}

inline void add_steps(std::vector<Case>& cases, bool cut) {
  const std::pair<int64_t, int64_t> shapes[] = {
      {6144, 4096}, {4096, 4096}, {28672, 4096}, {4096, 14336}};
  for (const auto& [n, k] : shapes) {
    for (int m : {1, 16, 64, 256, 1024, 8192}) {
      for (const Variant& v : variants_of(m, cut)) {
        GemmSm90Config config = {.n = n, .k = k, .fp8 = true, .block_t = v.block_t};
        config.cluster = v.cluster, config.parts = v.parts;
        config.slim = v.slim, config.fragments = v.fragments;
        cases.push_back(make_case(config, m, n == 28672, n == 4096));
      }
      if (!cut) cases.back().yardstick = true;
    }
  }
}

inline void add_small(std::vector<Case>& cases) {
  for (bool fp8 : {false, true}) {
    const std::pair<int64_t, int64_t> shapes[] = {
        {6144, 4096}, {4096, 4096}, {28672, 4096}, {4096, 14336}, {128256, 4096}};
    for (const auto& [n, k] : shapes) {
      for (int m : {1, 16, 64, 256}) {
        GemmSm90Config config = {.n = n, .k = k, .fp8 = fp8, .block_t = best_block(m)};
        cases.push_back(make_case(config, m));
        if (m <= 64) {
          config.slim = true;
          cases.push_back(make_case(config, m));
        }
        if (m == 256) {
          config.cluster = 2;
          cases.push_back(make_case(config, m));
          config.cluster = 1, config.block_t = 128;
          cases.push_back(make_case(config, m));
        }
      }
    }
  }
}

inline void add_large(std::vector<Case>& cases) {
  for (bool fp8 : {false, true}) {
    for (int64_t size : {4096, 8192}) {
      for (int cluster : {1, 2}) {
        for (int group : {4, 8, 16}) {
          if (cluster == 1 && group != 8) continue;
          GemmSm90Config config = {
              .n = size, .k = size, .fp8 = fp8, .block_t = 256, .group_t = group};
          config.cluster = cluster;
          cases.push_back(make_case(config, static_cast<int>(size)));
        }
      }
    }
  }
}

/// Equal shares of rows, beside what they would replace.
inline void add_rows(std::vector<Case>& cases) {
  const std::pair<int64_t, int64_t> shapes[] = {{6144, 4096}, {4096, 4096}, {4096, 14336},
                                                {2048, 1104}, {8192, 8192}, {8192, 28672}};
  for (const bool fp8 : {true, false}) {
    for (const auto& [n, k] : shapes) {
      for (const int m : {1, 3, 8, 13, 20}) {
        const bool residual = n == 4096, bias = n == 2048;
        if (m > 1 && n == 8192) continue;
        GemmSm90Config config = {
            .n = n, .k = k, .fp8 = fp8, .block_t = best_block(std::min(m, 16))};
        config.slim = true;
        if (m <= 16) cases.push_back(make_case(config, m, false, residual, bias));
        config.fragments = false, config.parts = 1;
        config.rows = kernels::cuda::gemm_sm90_rows(n);
        cases.push_back(make_case(config, m, false, residual, bias));
        config.slim = false;
        cases.push_back(make_case(config, m, false, residual, bias));
      }
    }
  }
}

/// Products of Llama-3-8B over a step's prompts.
inline void add_engine(std::vector<Case>& cases) {
  const std::pair<int64_t, int64_t> shapes[] = {
      {6144, 4096}, {4096, 4096}, {28672, 4096}, {4096, 14336}};
  for (bool fp8 : {false, true}) {
    for (const auto& [n, k] : shapes) {
      for (int cluster : {1, 2}) {
        GemmSm90Config config = {.n = n, .k = k, .fp8 = fp8, .block_t = 256, .cluster = cluster};
        cases.push_back(make_case(config, 2048, n == 28672));
      }
    }
  }
}

/// Every variant of a product whose K is cut into so many segments.
inline std::vector<GemmSm90Config> fixed_variants(GemmSm90Config config, bool gated) {
  std::vector<GemmSm90Config> variants;
  for (const int block_t : {8, 16, 32, 64, 128, 256}) {
    if (block_t == 256 && config.segments > 1) continue;
    config.block_t = block_t;
    variants.push_back(make_case(config, 1, gated).config);
    if (block_t <= 16) variants.emplace_back(variants.back()).slim = true;
    if (block_t >= 128) variants.emplace_back(variants.back()).cluster = 2;
  }
  return variants;
}

inline std::vector<std::vector<GemmSm90Config>> equal_sets() {
  const auto set = [](int64_t n, int64_t k, bool fp8, bool gated) {
    const int segments = kernels::cuda::gemm_sm90_segments(n, k, fp8);
    return fixed_variants({.n = n, .k = k, .fp8 = fp8, .segments = segments}, gated);
  };
  return {set(6144, 4096, false, false), set(4096, 14336, false, false),
          set(28672, 4096, false, true), set(28672, 4096, false, false),
          set(1280, 1792, false, false), set(6144, 4096, true, false)};
}

/// What cutting at fixed places costs, by the number of parts.
inline void add_fixed(std::vector<Case>& cases) {
  const std::pair<int64_t, int64_t> shapes[] = {
      {6144, 4096}, {4096, 4096}, {28672, 4096}, {4096, 14336}, {128256, 4096}};
  for (const auto& [n, k] : shapes) {
    const int usual = kernels::cuda::gemm_sm90_segments(n, k, false);
    for (const int m : {1, 64, 4096}) {
      if (m > 64 && n > 100000) continue;
      for (const int segments : std::set<int>{0, 1, 2, 4, usual}) {
        if (segments == 1 && n < 20000) continue;
        GemmSm90Config config = {.n = n, .k = k, .block_t = best_block(m), .segments = segments};
        if (m > 64) config.cluster = 2;
        if (segments > 1) config.block_t = std::min(config.block_t, 128);
        cases.push_back(make_case(config, m));
      }
    }
  }
}

}  // namespace ramjet::lab
