// TensorView: borrowed, row-major, contiguous memory with a dtype and a shape.
//
// It owns nothing; the memory is a device's (host memory for the CPU backend).
#pragma once

#include <ramjet/dtype.h>

#include <cstddef>
#include <span>

#include "base/check.h"
#include "tensor/shape.h"

namespace ramjet {

struct TensorView {
  void* data = nullptr;
  DType dtype = DType::kF32;
  Shape shape;

  int64_t elements() const { return shape.elements(); }
  int64_t bytes() const { return elements() * dtype_bytes(dtype); }
  bool empty() const { return data == nullptr; }

  template <class T>
  T* as() const {
    DCHECK(sizeof(T) == static_cast<size_t>(dtype_bytes(dtype)) || sizeof(T) == 1);
    return static_cast<T*>(data);
  }
  template <class T>
  std::span<T> span() const {
    return {as<T>(), static_cast<size_t>(elements())};
  }
};

}  // namespace ramjet
