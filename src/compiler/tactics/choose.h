// Choosing tactics for one node: by time where there is a timer and a choice, else by the cost
// model of a GPU's tactics, else by priority.
//
// All choices of a node use one weight layout: the one whose best tactics are fastest on
// (geometric) average over the buckets. For a batch-invariant engine they also have one order of
// sums; tactics whose order follows the batch are looked at only to tell what that costs.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "compiler/compiler.h"
#include "compiler/tactics/tactic_timer.h"

namespace ramjet::compiler {

struct Chooser {
  TacticTimer* timer = nullptr;               // null: nothing is timed
  std::optional<kernels::DeviceFacts> facts;  // of a GPU target
  bool one_order = false;                     // all choices of a node sum in one order
};

/// Sizes that get a choice of their own, up to `most`, that value last: 1, 2, 4, 8, .. and, where
/// `fine`, what lies between from 32 on: 48, 80, 96, 112, 160, .. 448, then 768, 1536, ..
std::vector<int64_t> buckets(int64_t most, bool fine);

/// The symbol whose value picks the node's choice: the first that its results have, else that its
/// operands have.
int16_t choice_symbol(const kernels::OpDesc& desc);

/// What choose_tactics() may ask the timer for. `candidates`: not empty, preferred first; they and
/// `desc` are borrowed.
std::vector<TimingJob> timing_jobs(std::span<const kernels::Tactic* const> candidates,
                                   const kernels::OpDesc& desc, const Chooser& chooser);

/// Errors: those of the timer; kUnsupported where one order is wanted and no candidate has one.
Result<NodeChoice> choose_tactics(std::span<const kernels::Tactic* const> candidates,
                                  const kernels::OpDesc& desc, const Chooser& chooser);

}  // namespace ramjet::compiler
