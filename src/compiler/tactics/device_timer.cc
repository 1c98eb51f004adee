#include "compiler/tactics/device_timer.h"

#include <fmt/format.h>
#include <ramjet/version.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "compiler/emit/compile_modules.h"
#include "op/fields.h"

namespace ramjet::compiler {
namespace {

constexpr std::string_view kLibrary = "cublaslt";

void forget_layer(AttentionDesc& desc) {
  desc.kv_layer = 0;
  desc.k_scale = desc.v_scale = 1;
}

/// What a layer's op shares with those of other layers.
OpAttrs without_layer(const OpAttrs& attrs) {
  OpAttrs out = attrs;
  if (auto* qkv = std::get_if<QkvDesc>(&out)) forget_layer(qkv->attention);
  if (auto* attention = std::get_if<AttentionDesc>(&out)) forget_layer(*attention);
  return out;
}

/// `desc` with the attributes in `attrs`.
kernels::OpDesc shared_desc(const kernels::OpDesc& desc, const OpAttrs& attrs) {
  kernels::OpDesc out = desc;
  out.attrs = &attrs;
  return out;
}

std::string desc_text(const kernels::OpDesc& desc) {
  std::string text = fmt::format("{} {}", op_name(desc.op), attrs_text(*desc.attrs));
  for (const auto* types : {&desc.inputs, &desc.outputs}) {
    for (const TensorType& type : *types) text += "|" + type_text(type, desc.symbols);
  }
  for (const Symbol& symbol : desc.symbols) text += fmt::format(" {}<={}", symbol.name, symbol.max);
  return text;
}

std::string key_of(std::string_view tactic, std::string_view fingerprint,
                   const kernels::OpDesc& desc, std::span<const int64_t> symbols) {
  return fmt::format("{} {} {}", tactic,
                     hash128(fmt::format("{}{}", fingerprint, desc_text(desc))).hex(),
                     fmt::join(symbols, ","));
}

}  // namespace

std::string work_text(const kernels::OpDesc& desc) {
  const OpAttrs attrs = without_layer(*desc.attrs);
  return desc_text(shared_desc(desc, attrs));
}

DeviceTimer::DeviceTimer(const kernels::Target& target, DeviceTimerOptions options,
                         std::unique_ptr<kernels::DeviceStopwatch> watch)
    : target_(target),
      facts_(kernels::device_facts(target)),
      options_(options),
      watch_(std::move(watch)),
      cache_(options.remembered ? fmt::format("{}, {}, ramjet {}", watch_->machine(), target.name(),
                                              RAMJET_VERSION)
                                : "") {}

Result<std::unique_ptr<DeviceTimer>> DeviceTimer::create(const kernels::Target& target,
                                                         DeviceTimerOptions options) {
  ASSIGN_OR_RETURN(auto watch, kernels::DeviceStopwatch::open());
  return std::unique_ptr<DeviceTimer>(new DeviceTimer(target, options, std::move(watch)));
}

Result<std::unique_ptr<TacticTimer>> DeviceTimer::create(const kernels::Target& target,
                                                         int num_threads) {
  ASSIGN_OR_RETURN(auto timer, create(target, DeviceTimerOptions{.num_threads = num_threads}));
  return std::unique_ptr<TacticTimer>(std::move(timer));
}

bool DeviceTimer::can_time(OpKind op) const {
  switch (op) {
    case OpKind::kSample:
    case OpKind::kResolveTokens:
    case OpKind::kAttention:
    case OpKind::kAllReduce:
    case OpKind::kAllGather:
    case OpKind::kReduceScatter: return false;
    default: return true;
  }
}

DeviceTimer::Planned& DeviceTimer::planned(const kernels::Tactic& tactic,
                                           const kernels::OpDesc& desc) {
  Planned& entry = planned_[fmt::format("{} {}", tactic.name, desc_text(desc))];
  if (!entry.fingerprint.empty()) return entry;
  kernels::DevicePlan plan;
  tactic.plan(desc, tactic, facts_, plan);
  entry.fingerprint = kernels::plan_fingerprint(plan);
  entry.plan = std::move(plan);
  return entry;
}

Status DeviceTimer::prepare(std::span<const TimingJob> jobs,
                            const std::function<void(double share)>& progress) {
  std::map<std::string, kernels::DeviceModule> wanted;  // by identity
  for (const TimingJob& job : jobs) {
    const OpAttrs attrs = without_layer(*job.desc->attrs);
    const kernels::OpDesc desc = shared_desc(*job.desc, attrs);
    const Planned& entry = planned(*job.tactic, desc);
    bool known = true;
    for (const auto& values : job.values) {
      known &= cache_.find(key_of(job.tactic->name, entry.fingerprint, desc, values)).has_value();
    }
    if (known || !entry.plan) continue;
    for (const kernels::DeviceModule& module : entry.plan->modules) {
      wanted.emplace(module_identity(module), module);
    }
  }
  std::vector<kernels::DeviceModule> modules;
  for (auto& [identity, module] : wanted) modules.push_back(std::move(module));
  const auto compiled = compile_modules(modules, target_.name(), options_.num_threads, progress);
  for (size_t i = 0; i < modules.size(); ++i) {
    if (!compiled[i].ok()) return compiled[i].error().with_context(modules[i].name);
  }
  return ok_status();
}

Result<double> DeviceTimer::measure(Planned& planned, const kernels::Tactic& tactic,
                                    const kernels::OpDesc& desc, std::span<const int64_t> symbols) {
  if (!planned.op) {
    ASSIGN_OR_RETURN(kernels::DeviceOp op,
                     kernels::DeviceOp::create(std::move(*planned.plan), target_.name()));
    planned.op = std::move(op);
  }
  return watch_->us(*planned.op, desc, tactic, symbols);
}

Result<std::optional<double>> DeviceTimer::us(const kernels::Tactic& tactic,
                                              const kernels::OpDesc& given,
                                              std::span<const int64_t> symbols) {
  const OpAttrs attrs = without_layer(*given.attrs);
  const kernels::OpDesc desc = shared_desc(given, attrs);
  Planned& entry = planned(tactic, desc);
  const std::string key = key_of(tactic.name, entry.fingerprint, desc, symbols);
  if (const auto known = cache_.find(key)) return known;
  if (spent_s_ >= options_.budget_s) {
    if (!told_)
      log_warn("timing kernels took {:.0f} s: the rest is left to the cost model", spent_s_);
    told_ = true;
    return std::optional<double>();
  }
  const double start = SteadyClock::instance().now_s();
  const Result<double> us = measure(entry, tactic, desc, symbols);
  spent_s_ += SteadyClock::instance().now_s() - start;
  if (!us.ok()) {
    return us.error().with_context(
        fmt::format("timing {} for {} (--no-tune builds without)", tactic.name, desc_text(desc)));
  }
  cache_.add(key, *us);
  return std::optional<double>(*us);
}

std::vector<engine::Candidate> DeviceTimer::baselines(const kernels::OpDesc& desc,
                                                      std::span<const int64_t> symbols) {
  if (!options_.baselines || desc.op != OpKind::kMatmul) return {};
  const std::string key = key_of(kLibrary, "", desc, symbols);
  auto us = cache_.find(key);
  if (!us && spent_s_ < options_.budget_s) {
    const double start = SteadyClock::instance().now_s();
    const Result<double> measured = watch_->cublaslt_us(desc, symbols);
    spent_s_ += SteadyClock::instance().now_s() - start;
    if (measured.ok()) {
      us = *measured;
      cache_.add(key, *us);
    } else if (measured.error().code == ErrorCode::kUnavailable) {
      log_info("no cuBLASLt to compare with: {}", measured.error().message);
      options_.baselines = false;
    }
  }
  if (!us) return {};
  return {{std::string(kLibrary), *us}};
}

void DeviceTimer::save() const { cache_.save(); }

}  // namespace ramjet::compiler
