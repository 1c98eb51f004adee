#include "models/rope_config.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/json.h"

namespace ramjet::models {
namespace {

constexpr double kMaxFactor = 1e6;
constexpr int64_t kMaxPositions = int64_t{1} << 40;

Result<RopeKind> kind_of(const std::string& name) {
  constexpr std::pair<std::string_view, RopeKind> kKinds[] = {
      {"default", RopeKind::kDefault}, {"linear", RopeKind::kLinear},
      {"dynamic", RopeKind::kDynamic}, {"llama3", RopeKind::kLlama3},
      {"yarn", RopeKind::kYarn},       {"longrope", RopeKind::kLongrope},
      {"su", RopeKind::kLongrope},
  };
  for (const auto& [known, kind] : kKinds) {
    if (known == name) return kind;
  }
  return unsupported(
      "config: rope type '{}': known are default, linear, dynamic, llama3, yarn and longrope",
      name.substr(0, 64));
}

int64_t scaled(int64_t positions, double factor) {
  return static_cast<int64_t>(
      std::min(static_cast<double>(positions) * std::max(factor, 1.0), double{kMaxPositions}));
}

/// YaRN's temperature of a context that is `scale` times as long (Peng et al. 2023, eq. 22).
double yarn_scale(double scale, double mscale) {
  return scale <= 1 ? 1.0 : 0.1 * mscale * std::log(scale) + 1.0;
}

class RopeReader {
 public:
  RopeReader(const ConfigReader& config, const ConfigReader& rope, int64_t max_position,
             const RopeDefaults& defaults)
      : config_(config), rope_(rope), max_position_(max_position), defaults_(defaults) {}

  Result<RopeConfig> read(int64_t head_dim) {
    out_.max_positions = max_position_;
    ASSIGN_OR_RETURN(std::string type, rope_.text("type", "default"));
    ASSIGN_OR_RETURN(type, rope_.text("rope_type", type));
    ASSIGN_OR_RETURN(spec().kind, kind_of(type));
    RETURN_IF_ERROR(read_base(head_dim));
    switch (spec().kind) {
      case RopeKind::kDefault: break;
      case RopeKind::kLinear:
      case RopeKind::kDynamic: RETURN_IF_ERROR(read_stretched()); break;
      case RopeKind::kLlama3: RETURN_IF_ERROR(read_llama3()); break;
      case RopeKind::kYarn: RETURN_IF_ERROR(read_yarn()); break;
      case RopeKind::kLongrope: RETURN_IF_ERROR(read_longrope()); break;
    }
    return out_;
  }

 private:
  RopeSpec& spec() { return out_.spec; }

  Status read_base(int64_t head_dim) {
    ASSIGN_OR_RETURN(const double theta,
                     config_.number(defaults_.theta_field, 1, 1e15, defaults_.theta));
    ASSIGN_OR_RETURN(spec().theta, rope_.number("rope_theta", 1, 1e15, theta));
    ASSIGN_OR_RETURN(const double part,
                     config_.number(defaults_.share_field, 0, 1, defaults_.share));
    ASSIGN_OR_RETURN(const double share, rope_.number("partial_rotary_factor", 0, 1, part));
    spec().rotary_dim = static_cast<int64_t>(static_cast<double>(head_dim) * share);
    if (spec().rotary_dim < 2 || spec().rotary_dim % 2 != 0) {
      return invalid_argument("config: {} rotary dimensions of head_dim {}; they must be even",
                              spec().rotary_dim, head_dim);
    }
    return ok_status();
  }

  Status read_stretched() {
    ASSIGN_OR_RETURN(spec().factor, rope_.number("factor", 0, kMaxFactor));
    spec().original_max_position = max_position_;
    out_.max_positions = scaled(max_position_, spec().factor);
    if (spec().kind == RopeKind::kDynamic && spec().rotary_dim < 4) {
      return invalid_argument("config: dynamic rope scaling wants at least 4 rotary dimensions");
    }
    return ok_status();
  }

  /// The trained context: a field of the model (Phi-3), of the rope, or else max_position.
  Status read_original() {
    const IntRange range{1, int64_t{1} << 30};
    ASSIGN_OR_RETURN(const int64_t inner,
                     rope_.integer("original_max_position_embeddings", range, max_position_));
    ASSIGN_OR_RETURN(spec().original_max_position,
                     config_.integer("original_max_position_embeddings", range, inner));
    return ok_status();
  }
  double length_ratio() {
    return static_cast<double>(max_position_) / static_cast<double>(spec().original_max_position);
  }

  Status read_llama3() {
    RETURN_IF_ERROR(read_original());
    ASSIGN_OR_RETURN(spec().factor, rope_.number("factor", 0, kMaxFactor));
    ASSIGN_OR_RETURN(spec().low_freq_factor, rope_.number("low_freq_factor", 0, kMaxFactor));
    ASSIGN_OR_RETURN(spec().high_freq_factor,
                     rope_.number("high_freq_factor", spec().low_freq_factor, kMaxFactor));
    return ok_status();
  }

  Status read_yarn() {
    RETURN_IF_ERROR(read_original());
    ASSIGN_OR_RETURN(spec().factor, rope_.number("factor", 0, kMaxFactor, length_ratio()));
    ASSIGN_OR_RETURN(const double mscale, rope_.number("mscale", -1e-9, kMaxFactor, 0.0));
    ASSIGN_OR_RETURN(const double all_dim, rope_.number("mscale_all_dim", -1e-9, kMaxFactor, 0.0));
    const double inferred = mscale > 0 && all_dim > 0 ? yarn_scale(spec().factor, mscale) /
                                                            yarn_scale(spec().factor, all_dim)
                                                      : yarn_scale(spec().factor, 1);
    ASSIGN_OR_RETURN(spec().attention_factor,
                     rope_.number("attention_factor", 0, kMaxFactor, inferred));
    ASSIGN_OR_RETURN(spec().beta_fast, rope_.number("beta_fast", 0, kMaxFactor, 32.0));
    ASSIGN_OR_RETURN(spec().beta_slow, rope_.number("beta_slow", 0, kMaxFactor, 1.0));
    ASSIGN_OR_RETURN(spec().truncate, rope_.flag("truncate", true));
    out_.max_positions = scaled(spec().original_max_position, spec().factor);
    return ok_status();
  }

  Status read_longrope() {
    RETURN_IF_ERROR(read_original());
    const size_t pairs = static_cast<size_t>(spec().rotary_dim / 2);
    ASSIGN_OR_RETURN(spec().short_factors, rope_.numbers("short_factor", pairs));
    ASSIGN_OR_RETURN(spec().long_factors, rope_.numbers("long_factor", pairs));
    ASSIGN_OR_RETURN(spec().factor, rope_.number("factor", 0, kMaxFactor, length_ratio()));
    const double length = static_cast<double>(spec().original_max_position);
    const double inferred = spec().factor <= 1 || length <= 1
                                ? 1.0
                                : std::sqrt(1 + std::log(spec().factor) / std::log(length));
    ASSIGN_OR_RETURN(spec().attention_factor,
                     rope_.number("attention_factor", 0, kMaxFactor, inferred));
    return ok_status();
  }

  const ConfigReader& config_;
  const ConfigReader& rope_;
  int64_t max_position_;
  const RopeDefaults& defaults_;
  RopeConfig out_;
};

}  // namespace

Result<RopeConfig> read_rope(const ConfigReader& config, int64_t head_dim, int64_t max_position,
                             const RopeDefaults& defaults) {
  const bool modern = config.has("rope_parameters");
  ASSIGN_OR_RETURN(ConfigReader rope, config.object(modern ? "rope_parameters" : "rope_scaling"));
  const Json& given = rope.json();
  const bool layered =
      std::any_of(given.begin(), given.end(), [](const Json& value) { return value.is_object(); });
  if (layered && defaults.layer_type == nullptr) {
    return unsupported("config: rope_parameters that differ between layers are not supported");
  }
  static const Json kNone = Json::object();
  if (layered) {
    ASSIGN_OR_RETURN(rope, rope.object(defaults.layer_type));
  } else if (!modern && !defaults.scaled) {
    rope = ConfigReader(kNone);
  }
  return RopeReader(config, rope, max_position, defaults).read(head_dim);
}

}  // namespace ramjet::models
