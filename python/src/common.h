// What the parts of the Python module share: errors as exceptions, and calls without the GIL.
//
// Exceptions live in this folder alone: the C++ libraries report by Result, and their callbacks
// into here neither throw nor touch Python.
#pragma once

#include <pybind11/pybind11.h>
#include <ramjet/result.h>

#include <string>
#include <utility>

namespace ramjet::python {

namespace py = pybind11;

/// ramjet.errors.of(code, message) as the pending exception.
[[noreturn]] void raise(const Error& error);

inline void check(const Status& status) {
  if (!status.ok()) raise(status.error());
}
template <class T>
T take(Result<T> result) {
  if (!result.ok()) raise(result.error());
  return std::move(result).value();
}
/// Runs what may take long while other threads of Python go on.
template <class F>
auto unlocked(F&& f) {
  const py::gil_scoped_release release;
  return f();
}

void add_network(py::module_& module);
void add_executor(py::module_& module);

}  // namespace ramjet::python
