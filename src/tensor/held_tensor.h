// HeldTensor: a view together with what keeps its memory. A value; copies share the memory.
#pragma once

#include <memory>

#include "tensor/tensor_view.h"

namespace ramjet {

struct HeldTensor {
  TensorView view;
  /// Null where the memory lives as long as whoever gave the view; else shared with the giver, who
  /// may hand the same memory out again.
  std::shared_ptr<const void> holder;
};

}  // namespace ramjet
