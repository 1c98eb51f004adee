#include "runtime/session/session.h"

namespace ramjet::runtime {

bool Session::samples(const SamplingParams&) const { return false; }

Status Session::launch(const StepBatch&, std::span<const RowSampling>) {
  return internal_error("this session does not choose tokens");
}

Status Session::collect(std::span<SampledRow>) {
  return internal_error("this session does not choose tokens");
}

Status Session::set_adapter(int32_t, const LoraWeights&) {
  return internal_error("this session holds no adapters");
}

}  // namespace ramjet::runtime
