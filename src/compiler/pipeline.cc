#include <algorithm>
#include <array>

#include "base/clock.h"
#include "compiler/compiler.h"
#include "compiler/passes/passes.h"

namespace ramjet::compiler {
namespace {

using Maker = std::unique_ptr<Pass> (*)();
constexpr std::array<Maker, 11> kMakers = {
    make_canonicalise,   make_shard,       make_quantize,      make_fuse_qkv,
    make_fuse_gated,     make_fuse_matmul, make_fuse_norm,     make_fuse_quantize,
    make_fuse_pointwise, make_tactics,     make_weight_layout,
};

Status check_disabled(const std::vector<std::string>& disabled) {
  for (const std::string& name : disabled) {
    const auto pass = make_pass(name);
    if (pass == nullptr) {
      std::string known;
      for (const auto& each : standard_passes()) {
        known += (known.empty() ? "" : ", ") + std::string(each->name());
      }
      return invalid_argument("there is no pass '{}'; known are {}", name, known);
    }
    if (pass->required()) return invalid_argument("pass '{}' cannot be switched off", name);
  }
  return ok_status();
}

}  // namespace

std::vector<std::unique_ptr<Pass>> standard_passes() {
  std::vector<std::unique_ptr<Pass>> passes;
  for (Maker make : kMakers) passes.push_back(make());
  return passes;
}

std::unique_ptr<Pass> make_pass(std::string_view name) {
  for (Maker make : kMakers) {
    auto pass = make();
    if (pass->name() == name) return pass;
  }
  return nullptr;
}

Result<std::vector<PassTime>> run_passes(ir::Graph& graph, PassContext& context) {
  const CompileOptions& options = *context.options;
  RETURN_IF_ERROR(check_disabled(options.disabled_passes));
  if (Status s = ir::verify(graph); !s.ok()) return s.error().with_context("graph");
  std::vector<PassTime> times;
  const auto passes = standard_passes();
  for (size_t i = 0; i < passes.size(); ++i) {
    Pass& pass = *passes[i];
    const bool disabled = std::find(options.disabled_passes.begin(), options.disabled_passes.end(),
                                    pass.name()) != options.disabled_passes.end();
    if (disabled) continue;
    if (options.progress) {
      options.progress("passes", static_cast<double>(i) / static_cast<double>(passes.size()));
    }
    const double start = SteadyClock::instance().now_s();
    auto changed = pass.run(graph, context);
    if (!changed.ok()) return changed.error().with_context(pass.name());
    times.push_back({std::string(pass.name()), (SteadyClock::instance().now_s() - start) * 1e3});
    if (!*changed) continue;
    if (Status s = ir::verify(graph); !s.ok()) {
      return internal_error("pass '{}' broke the graph: {}", pass.name(), s.error().message);
    }
  }
  return times;
}

}  // namespace ramjet::compiler
