#include "device/dynamic_library.h"

#include <dlfcn.h>

#include <utility>

namespace ramjet::device {

Result<DynamicLibrary> DynamicLibrary::open(std::initializer_list<const char*> names,
                                            const std::string& remedy) {
  std::string tried;
  for (const char* name : names) {
    // Local: the symbols of one vendor library must not answer for another's.
    if (void* handle = ::dlopen(name, RTLD_NOW | RTLD_LOCAL)) return DynamicLibrary(handle, name);
    tried += (tried.empty() ? "" : ", ") + std::string(name);
  }
  return make_error(ErrorCode::kUnavailable, "none of {} can be loaded; {}", tried, remedy);
}

DynamicLibrary::DynamicLibrary(DynamicLibrary&& other) noexcept
    : handle_(std::exchange(other.handle_, nullptr)),
      kept_(other.kept_),
      name_(std::move(other.name_)) {}
DynamicLibrary& DynamicLibrary::operator=(DynamicLibrary&& other) noexcept {
  std::swap(handle_, other.handle_);
  std::swap(kept_, other.kept_);
  std::swap(name_, other.name_);
  return *this;
}
DynamicLibrary::~DynamicLibrary() {
  if (handle_ != nullptr && !kept_) ::dlclose(handle_);
}

Result<void*> DynamicLibrary::symbol(const char* name) const {
  if (void* address = ::dlsym(handle_, name)) return address;
  return unsupported("{} has no {}: it is older than Ramjet needs; update it", name_, name);
}

}  // namespace ramjet::device
