// How the sampling kernel is laid out for a vocabulary and a GPU. Values.
#pragma once

#include <cstdint>

#include "kernels/device_plan.h"

namespace ramjet::kernels::cuda {

struct SampleConfig {
  int64_t vocab = 0;
  int64_t splits = 1;         // blocks that share a row, a cluster
  int64_t threads = 512;      // of a block
  bool in_shared = true;      // a row's segments lie in shared memory
  int64_t blocks_per_sm = 1;  // that registers are kept for

  int64_t segment() const { return (vocab + splits * 512 - 1) / (splits * 512) * 512; }
  int64_t shared_bytes() const;
};

/// Clusters of up to 8 blocks on Hopper; elsewhere a block a row, in shared memory where it fits.
SampleConfig sample_config(int64_t vocab, const DeviceFacts& facts);
/// The op in that configuration.
void plan_sample(const OpDesc& desc, const SampleConfig& config, const DeviceFacts& facts,
                 DevicePlan& plan);

}  // namespace ramjet::kernels::cuda
