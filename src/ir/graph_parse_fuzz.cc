// Any text either gives an error or a graph that prints and parses to the same text.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "ir/graph.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto graph = ramjet::ir::parse(std::string_view(reinterpret_cast<const char*>(data), size));
  if (!graph.ok()) return 0;
  const std::string text = ramjet::ir::print(*graph);
  const auto again = ramjet::ir::parse(text);
  CHECK(again.ok(), "printed graph does not parse");
  CHECK(ramjet::ir::print(*again) == text, "printing is not stable");
  return 0;
}
