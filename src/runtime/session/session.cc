#include "runtime/session/session.h"

namespace ramjet::runtime {

bool Session::samples(const SamplingParams&) const { return false; }

Status Session::launch(const StepBatch&, std::span<const RowSampling>) {
  return internal_error("this session does not choose tokens");
}

Status Session::collect(std::span<SampledRow>) {
  return internal_error("this session does not choose tokens");
}

}  // namespace ramjet::runtime
