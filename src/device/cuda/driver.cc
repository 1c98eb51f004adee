#include "device/cuda/driver.h"

#include "device/dynamic_library.h"

namespace ramjet::device::cuda {
namespace {

/// The library's atexit handlers outlive our statics.
Result<Driver> load() {
  ASSIGN_OR_RETURN(DynamicLibrary library,
                   DynamicLibrary::open({"libcuda.so.1", "libcuda.so"},
                                        "install NVIDIA's driver, or run on the CPU"));
  library.keep();
  Driver table;
  void* address = nullptr;
#define X(name, symbol_name, parameters)                            \
  {                                                                 \
    ASSIGN_OR_RETURN(address, library.symbol(symbol_name));         \
    table.name = reinterpret_cast<CuResult(*) parameters>(address); \
  }
  RAMJET_CUDA_DRIVER(X)
#undef X
  if (const CuResult result = table.init(0); result != kCuSuccess) {
    const char* name = "unknown error";
    table.error_name(result, &name);
    return make_error(ErrorCode::kUnavailable, "cuInit: {}: no usable NVIDIA GPU", name);
  }
  table.driver_version(&table.version);
  return table;
}

const Result<Driver>& process_driver() {
  static const Result<Driver>* loaded = new Result<Driver>(load());
  return *loaded;
}

std::string_view remedy_of(CuResult result) {
  switch (result) {
    case kCuErrorOutOfMemory: return "; lower --kv-memory or --max-num-tokens";
    case 209: return "; the engine was built for another GPU: rebuild it here";  // no binary
    case 700:                                                                    // illegal address
    case 719: return "; the context is lost and the process must be replaced";   // launch failure
    default: return "";
  }
}

}  // namespace

Result<const Driver*> driver() {
  const Result<Driver>& loaded = process_driver();
  if (!loaded.ok()) return loaded.error();
  return &loaded.value();
}

Status check(CuResult result, std::string_view call) {
  if (result == kCuSuccess) return ok_status();
  const char* name = "unknown";
  const char* text = "";
  if (const Result<Driver>& loaded = process_driver(); loaded.ok()) {
    loaded->error_name(result, &name);
    loaded->error_string(result, &text);
  }
  const ErrorCode code =
      result == kCuErrorOutOfMemory ? ErrorCode::kResourceExhausted : ErrorCode::kInternal;
  return make_error(code, "{}: {} ({}){}", call, name, text, remedy_of(result));
}

}  // namespace ramjet::device::cuda
