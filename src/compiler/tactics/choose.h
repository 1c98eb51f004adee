// Choosing tactics for one node: by time where there is a timer and a choice, else by priority.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "compiler/tactics/timing.h"
#include "engine/manifest.h"

namespace ramjet::compiler {

/// 1, 2, 4, .. up to the largest value of the program's first symbol, that value last.
std::vector<int64_t> buckets(std::span<const Symbol> symbols);

/// `candidates`: not empty, preferred first. All choices use one weight layout: the one whose best
/// tactics are fastest on (geometric) average over the buckets. `timer` null: the first candidate.
std::vector<engine::TacticChoice> choose_tactics(std::span<const kernels::Tactic* const> candidates,
                                                 const kernels::OpDesc& desc, TacticTimer* timer);

}  // namespace ramjet::compiler
