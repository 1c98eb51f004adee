#include "checkpoint/safetensors_fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  ramjet::checkpoint::fuzz_safetensors({reinterpret_cast<const char*>(data), size});
  return 0;
}
