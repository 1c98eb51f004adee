#include "engine/engine_fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  ramjet::engine::fuzz_engine({reinterpret_cast<const char*>(data), size});
  return 0;
}
