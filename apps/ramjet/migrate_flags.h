// The flags of other model servers and what becomes of each. Constant tables.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace ramjet::migrate {

enum class Fate : uint8_t {
  kTo,         // its value goes to `target`
  kSwitch,     // takes no value; becomes `target`
  kModel,      // its value is MODEL
  kEngine,     // its value is a folder with rank0.engine: MODEL, or what to write
  kInputLen,   // adds to --max-seq-len
  kOutputLen,  // likewise
  kIdle,       // not needed; `note` says why
  kIdleFlag,   // likewise, and takes no value
  kOne,        // not needed if its value is 1 (or 0); else refused
  kRefused,    // not there; `note` says what to do
  kRefusedFlag,
};

struct Flag {
  std::string_view name;  // without dashes in front, '-' as '_'
  Fate fate;
  std::string_view target;  // flag of ours
  std::string_view note;    // with kTo: said as well, if not empty
};

std::span<const Flag> trtllm_serve_flags();
std::span<const Flag> trtllm_build_flags();
std::span<const Flag> trtllm_bench_flags();
std::span<const Flag> vllm_serve_flags();

}  // namespace ramjet::migrate
