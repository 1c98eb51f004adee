#include "server/supervise/wire_fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  ramjet::server::fuzz_wire({reinterpret_cast<const char*>(data), size});
  return 0;
}
