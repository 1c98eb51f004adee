// What stands behind a Grammar. For src/text/grammar alone.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "text/grammar/grammar.h"
#include "text/grammar/machine.h"
#include "text/grammar/schema_expand.h"

namespace ramjet::text {

struct GrammarImpl {
  GrammarImpl();

  ExprPool pool;
  std::vector<std::unique_ptr<SchemaExpander>> documents;
  Normalizer normal;
  Net net;
  int32_t entry = 0;
  std::vector<std::string> specials;  // texts that special tokens may spell
  Machine whole;
  Machine canonical;
  std::mutex mutex;  // of all of it: normal forms are made on demand

  size_t bytes() const { return pool.bytes() + net.size() * sizeof(NetNode) + 4096; }
};

/// Builds the piece that `spec` says, going on to `next`. Throws Refusal.
int32_t build_spec(GrammarImpl& g, const nlohmann::ordered_json& spec, int32_t next, int depth);
/// An EBNF grammar's rule "root". Throws Refusal.
int32_t build_ebnf(Net& net, std::string_view grammar, int32_t next);

}  // namespace ramjet::text
