// ramjet._core: the public C++ API for the Python package, which gives it its shape and types.
#include <ramjet/version.h>

#include "common.h"

namespace ramjet::python {

void raise(const Error& error) {
  const py::object make = py::module_::import("ramjet.errors").attr("of");
  const py::object exception = make(std::string(error_code_name(error.code)), error.message);
  PyErr_SetObject(py::type::of(exception).ptr(), exception.ptr());
  throw py::error_already_set();
}

}  // namespace ramjet::python

PYBIND11_MODULE(_core, module) {
  module.attr("__version__") = RAMJET_VERSION;
  ramjet::python::add_executor(module);
  ramjet::python::add_network(module);
}
