// The programs of a GPU engine beside its model: "sample" chooses tokens from the logits on the
// device, "resolve" puts tokens that were chosen there into the next step's ids (op/sampling.h).
#pragma once

#include <vector>

#include "ir/graph.h"

namespace ramjet::compiler {

/// Both, for a graph that maps "token_ids" to logits f32[logit_rows, vocabulary]; else none.
std::vector<ir::Graph> sampling_programs(const ir::Graph& main);

}  // namespace ramjet::compiler
