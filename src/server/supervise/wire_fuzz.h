// What the fuzzer of the executor's messages does with its bytes; tests replay the committed corpus
// through the same function. The first byte says in which pieces the rest arrives.
#pragma once

#include <algorithm>
#include <cstring>
#include <string>
#include <string_view>
#include <tuple>

#include "base/check.h"
#include "server/supervise/messages.h"

namespace ramjet::server {

/// Whatever parses as these values is written back byte by byte.
template <class... T>
void fuzz_message(const Frame& frame) {
  std::tuple<T...> values;
  const Status read =
      std::apply([&](auto&... value) { return get_message(frame, value...); }, values);
  if (!read.ok()) return;
  std::string again;
  Encoder encode(again);
  std::apply([&](const auto&... value) { encode(value...); }, values);
  CHECK(again == frame.payload);
}

inline void fuzz_wire(std::string_view input) {
  if (input.empty()) return;
  const size_t piece = static_cast<uint8_t>(input[0]) + size_t{1};
  input.remove_prefix(1);
  FrameBuffer buffer;
  while (!input.empty()) {
    const size_t count = std::min(piece, input.size());
    std::memcpy(buffer.space().data(), input.data(), count);
    buffer.filled(count);
    input.remove_prefix(count);
    while (true) {
      const auto frame = buffer.next();
      if (!frame.ok()) return;
      if (!*frame) break;
      fuzz_message<uint32_t, ExecutorConfig>(**frame);
      fuzz_message<Request>(**frame);
      fuzz_message<uint64_t, int32_t>(**frame);
      fuzz_message<Error>(**frame);
      fuzz_message<uint64_t, Error>(**frame);
      fuzz_message<std::vector<uint64_t>>(**frame);
      fuzz_message<uint64_t, RequestOutput>(**frame);
      fuzz_message<ExecutorStats, std::optional<Error>>(**frame);
    }
  }
}

}  // namespace ramjet::server
