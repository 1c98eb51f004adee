// DynamicLibrary: a shared library found at run time. What is absent is an Error, not a link error.
//
// Owns the handle; never unloaded while an instance lives, nor afterwards if keep() was called.
// Thread-safe after open.
#pragma once

#include <initializer_list>
#include <memory>
#include <string>

#include "base/result.h"

namespace ramjet::device {

class DynamicLibrary {
 public:
  /// Tries the names in order. Errors: kUnavailable naming all that were tried and the remedy.
  static Result<DynamicLibrary> open(std::initializer_list<const char*> names,
                                     const std::string& remedy);
  DynamicLibrary(DynamicLibrary&& other) noexcept;
  DynamicLibrary& operator=(DynamicLibrary&& other) noexcept;
  ~DynamicLibrary();

  /// Errors: kUnsupported naming symbol and library: it is older than we need.
  Result<void*> symbol(const char* name) const;
  const std::string& name() const { return name_; }

  /// Stays loaded for the life of the process: for what has atexit handlers that outlive statics.
  void keep() { kept_ = true; }

 private:
  DynamicLibrary(void* handle, std::string name) : handle_(handle), name_(std::move(name)) {}
  void* handle_ = nullptr;
  bool kept_ = false;
  std::string name_;
};

}  // namespace ramjet::device
