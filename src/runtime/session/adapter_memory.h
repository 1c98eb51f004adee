// AdapterMemory: what a program's lora ops read beside their tokens: the matrices of all slots, and
// the slots' scales. They are inputs of the program: "lora_scales" f32[slots], and for each module
// "lora_a." + its name [slots, rank, in] and "lora_b." + its name [slots, rank, out].
//
// Owns the memory, zeroed; pages are taken when a slot is first filled. Movable. set() may run
// beside readers of other slots.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "engine/manifest.h"
#include "runtime/session/aligned_memory.h"
#include "runtime/session/session.h"
#include "tensor/tensor_view.h"

namespace ramjet::runtime {

class AdapterMemory {
 public:
  /// Whether an input of this name lies here.
  static bool holds(std::string_view input);
  /// Of all such inputs of a program; none give an empty one. Errors: kCorrupt for inputs that do
  /// not belong together, kResourceExhausted.
  static Result<AdapterMemory> create(const engine::Program& program);

  int64_t slots() const { return slots_; }
  int64_t rank() const { return rank_; }
  uint64_t bytes() const { return memory_.size(); }
  /// The program's input `index`, if it lies here.
  TensorView view(size_t index) const { return views_[index]; }
  /// Modules that `weights` does not name get zeros. Errors: kInvalidArgument naming the module.
  Status set(int32_t slot, const LoraWeights& weights);

 private:
  struct Module {
    size_t a = 0, b = 0;  // inputs
  };
  Status check(const LoraWeights& weights) const;

  int64_t slots_ = 0, rank_ = 0;
  AlignedMemory memory_;
  std::vector<TensorView> views_;  // by input; empty where it lies elsewhere
  size_t scales_ = 0;              // input
  std::map<std::string, Module, std::less<>> modules_;
};

}  // namespace ramjet::runtime
