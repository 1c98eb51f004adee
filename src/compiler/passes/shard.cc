// shard: splits weights and ops over tensor- and pipeline-parallel ranks. One rank needs nothing;
// more are refused until collectives exist.
#include "compiler/passes/passes.h"

namespace ramjet::compiler {
namespace {

class Shard final : public Pass {
 public:
  std::string_view name() const override { return "shard"; }
  bool required() const override { return true; }
  Result<bool> run(ir::Graph&, PassContext& context) override {
    const auto& [tp, pp] = context.options->parallel;
    if (tp < 1 || pp < 1) return invalid_argument("tp={} pp={}: at least 1 each", tp, pp);
    if (tp == 1 && pp == 1) return false;
    return unsupported("tp={} pp={}: this version runs on one rank; build with tp=1 and pp=1", tp,
                       pp);
  }
};

}  // namespace

std::unique_ptr<Pass> make_shard() { return std::make_unique<Shard>(); }

}  // namespace ramjet::compiler
