#include "models/config_fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  ramjet::models::fuzz_config({reinterpret_cast<const char*>(data), size});
  return 0;
}
