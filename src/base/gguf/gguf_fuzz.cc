#include "base/gguf/gguf_fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  ramjet::gguf::fuzz_gguf({reinterpret_cast<const char*>(data), size});
  return 0;
}
