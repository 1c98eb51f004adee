// The command lines of other model servers in Ramjet's words: trtllm-serve, trtllm-build and
// trtllm-bench (a link to the program by that name), and vLLM's flags of `serve`.
//
// Free functions of their arguments; callable from any thread. docs/migrating.md is their table.
#pragma once

#include <ramjet/result.h>

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace ramjet {

struct Translation {
  std::vector<std::string> arguments;  // for ramjet, the command first
  std::vector<std::string> notes;      // a line for each flag not needed, not known or changed
};

/// The last part of argv[0] where it names a program whose flags we take; empty for others.
std::string_view migrant_program(std::string_view path);

/// Whether `ramjet serve` itself has a flag ("--port").
using OwnFlag = std::function<bool(std::string_view)>;

/// `arguments` of such a program (without argv[0]). Errors: kInvalidArgument and kUnsupported,
/// naming a flag that asks for what is not there, and what to do.
Result<Translation> translate_migrant(std::string_view program,
                                      std::span<const std::string> arguments, OwnFlag own);

/// `arguments` of `ramjet serve` (after the word): those of vLLM are translated, all others stay.
Result<Translation> translate_serve(std::span<const std::string> arguments, OwnFlag own);

/// All names that are taken, for the test that holds docs/migrating.md to them.
std::vector<std::string_view> migrant_flags();

}  // namespace ramjet
