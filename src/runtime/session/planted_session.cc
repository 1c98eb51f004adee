#include "runtime/session/planted_session.h"

#include <unistd.h>

#include <charconv>
#include <chrono>
#include <thread>
#include <utility>

namespace ramjet::runtime {
namespace {

constexpr int kExitCode = 86;

class PlantedSession final : public Session {
 public:
  PlantedSession(std::unique_ptr<Session> inner, Plant what, std::function<Status()> break_device)
      : inner_(std::move(inner)), what_(what), break_device_(std::move(break_device)) {}

  const SessionInfo& info() const override { return inner_->info(); }
  Result<std::span<const float>> step(const StepBatch& batch) override {
    RETURN_IF_ERROR(count());
    return inner_->step(batch);
  }
  bool samples(const SamplingParams& params) const override { return inner_->samples(params); }
  Status launch(const StepBatch& batch, std::span<const RowSampling> rows) override {
    RETURN_IF_ERROR(count());
    return inner_->launch(batch, rows);
  }
  Status collect(std::span<SampledRow> rows) override { return inner_->collect(rows); }
  Status set_adapter(int32_t slot, const LoraWeights& weights) override {
    return inner_->set_adapter(slot, weights);
  }
  bool lost() override { return made_up_ || inner_->lost(); }
  double device_busy_s() const override { return inner_->device_busy_s(); }

 private:
  Status count() {
    if (++steps_ < what_.step) return ok_status();
    switch (what_.kind) {
      case Plant::Kind::kHang:
        while (true) std::this_thread::sleep_for(std::chrono::hours(1));
      case Plant::Kind::kExit: ::_exit(kExitCode);
      case Plant::Kind::kFault: break;
    }
    if (break_device_) return steps_ == what_.step ? break_device_() : ok_status();
    made_up_ = true;
    return internal_error("a planted device fault");
  }

  const std::unique_ptr<Session> inner_;
  const Plant what_;
  const std::function<Status()> break_device_;
  int64_t steps_ = 0;
  bool made_up_ = false;
};

}  // namespace

Result<Plant> Plant::parse(std::string_view text) {
  constexpr std::string_view kAlways = ":always";
  std::string_view what = text;
  if (what.ends_with(kAlways)) what.remove_suffix(kAlways.size());
  const size_t colon = what.find(':');
  const std::string_view name = what.substr(0, colon);
  Plant plant;
  if (name == "hang_at_step") plant.kind = Kind::kHang;
  if (name == "exit_at_step") plant.kind = Kind::kExit;
  const bool known = name == "fault_at_step" || plant.kind != Kind::kFault;
  const std::string_view number =
      colon == std::string_view::npos ? std::string_view() : what.substr(colon + 1);
  const auto [end, error] =
      std::from_chars(number.data(), number.data() + number.size(), plant.step);
  if (!known || error != std::errc() || end != number.data() + number.size() || plant.step < 1) {
    return invalid_argument(
        "RAMJET_PLANT is '{}'; it may be fault_at_step:N, hang_at_step:N or exit_at_step:N", text);
  }
  return plant;
}

std::unique_ptr<Session> plant(std::unique_ptr<Session> session, Plant what,
                               std::function<Status()> break_device) {
  return std::make_unique<PlantedSession>(std::move(session), what, std::move(break_device));
}

}  // namespace ramjet::runtime
