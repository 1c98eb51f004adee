#include "doctor_gpu.h"

#include <dlfcn.h>

#include <array>
#include <initializer_list>
#include <memory>

#include "base/json.h"
#include "base/result.h"

namespace ramjet {
namespace {

struct Closer {
  void operator()(void* handle) const { ::dlclose(handle); }
};
using Library = std::unique_ptr<void, Closer>;

Library load(std::initializer_list<const char*> names) {
  for (const char* name : names) {
    if (void* handle = ::dlopen(name, RTLD_LAZY | RTLD_LOCAL)) return Library(handle);
  }
  return nullptr;
}

template <class Function>
Function* symbol(const Library& library, const char* name) {
  return library ? reinterpret_cast<Function*>(::dlsym(library.get(), name)) : nullptr;
}

/// The file that a symbol of the library was loaded from.
std::string path_of(const Library& library, const char* name) {
  Dl_info info;
  void* address = ::dlsym(library.get(), name);
  if (address == nullptr || ::dladdr(address, &info) == 0 || info.dli_fname == nullptr) return "";
  return info.dli_fname;
}

Library load_driver() { return load({"libcuda.so.1", "libcuda.so"}); }

OrderedJson library_json(const char* name, const char* purpose, const Library& library,
                         const char* known_symbol, const std::string& version) {
  return {{"name", name},
          {"purpose", purpose},
          {"found", library != nullptr},
          {"version", library ? version : ""},
          {"path", library ? path_of(library, known_symbol) : ""}};
}

std::string driver_version(const Library& library) {
  int version = 0;
  auto* get = symbol<int(int*)>(library, "cuDriverGetVersion");
  if (get == nullptr || get(&version) != 0) return "";
  return fmt::format("{}.{}", version / 1000, version % 1000 / 10);
}
std::string nvrtc_version(const Library& library) {
  int major = 0;
  int minor = 0;
  auto* get = symbol<int(int*, int*)>(library, "nvrtcVersion");
  if (get == nullptr || get(&major, &minor) != 0) return "";
  return fmt::format("{}.{}", major, minor);
}
std::string nccl_version(const Library& library) {
  int version = 0;
  auto* get = symbol<int(int*)>(library, "ncclGetVersion");
  if (get == nullptr || get(&version) != 0) return "";
  return fmt::format("{}.{}.{}", version / 10000, version % 10000 / 100, version % 100);
}
std::string cublaslt_version(const Library& library) {
  auto* get = symbol<size_t()>(library, "cublasLtGetVersion");
  return get == nullptr ? "" : fmt::format("{}", get());
}

}  // namespace

OrderedJson probe_gpus() {
  OrderedJson gpus = OrderedJson::array();
  const Library driver = load_driver();
  auto* init = symbol<int(unsigned)>(driver, "cuInit");
  auto* count_of = symbol<int(int*)>(driver, "cuDeviceGetCount");
  auto* device_of = symbol<int(int*, int)>(driver, "cuDeviceGet");
  auto* name_of = symbol<int(char*, int, int)>(driver, "cuDeviceGetName");
  auto* memory_of = symbol<int(size_t*, int)>(driver, "cuDeviceTotalMem_v2");
  auto* attribute_of = symbol<int(int*, int, int)>(driver, "cuDeviceGetAttribute");
  int count = 0;
  if (!init || !count_of || !device_of || !name_of || !memory_of || !attribute_of) return gpus;
  if (init(0) != 0 || count_of(&count) != 0) return gpus;
  for (int i = 0; i < count; ++i) {
    constexpr int kMajor = 75;  // CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, then _MINOR
    int device = 0;
    int major = 0;
    int minor = 0;
    size_t memory = 0;
    std::array<char, 256> name{};
    if (device_of(&device, i) != 0) continue;
    name_of(name.data(), static_cast<int>(name.size()) - 1, device);
    memory_of(&memory, device);
    attribute_of(&major, kMajor, device);
    attribute_of(&minor, kMajor + 1, device);
    gpus.push_back({{"index", i},
                    {"name", name.data()},
                    {"arch", fmt::format("sm_{}{}", major, minor)},
                    {"memory_bytes", memory}});
  }
  return gpus;
}

OrderedJson probe_libraries() {
  const Library driver = load_driver();
  const Library nvrtc =
      load({"libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so.11.2", "libnvrtc.so"});
  const Library nccl = load({"libnccl.so.2", "libnccl.so"});
  const Library cublaslt =
      load({"libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so.11", "libcublasLt.so"});
  return {library_json("libcuda", "running on a GPU", driver, "cuInit", driver_version(driver)),
          library_json("libnvrtc", "building engines for a GPU", nvrtc, "nvrtcVersion",
                       nvrtc_version(nvrtc)),
          library_json("libnccl", "several GPUs", nccl, "ncclGetVersion", nccl_version(nccl)),
          library_json("libcublasLt", "comparing with the vendor's GEMM", cublaslt,
                       "cublasLtGetVersion", cublaslt_version(cublaslt))};
}

}  // namespace ramjet
