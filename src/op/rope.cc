#include "op/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace ramjet {
namespace {

constexpr double kTau = 2 * std::numbers::pi;

/// Dimension at which a rotation makes `turns` turns over the original context (YaRN, eq. 17).
double correction_dim(const RopeSpec& spec, double turns) {
  const double length = static_cast<double>(spec.original_max_position);
  return static_cast<double>(spec.rotary_dim) * std::log(length / (turns * kTau)) /
         (2 * std::log(spec.theta));
}

void apply_llama3(const RopeSpec& spec, std::span<double> frequencies) {
  const double length = static_cast<double>(spec.original_max_position);
  const double low_wavelength = length / spec.low_freq_factor;
  const double high_wavelength = length / spec.high_freq_factor;
  for (double& f : frequencies) {
    const double wavelength = kTau / f;
    if (wavelength > low_wavelength) {
      f /= spec.factor;
    } else if (wavelength >= high_wavelength) {
      const double smooth = (length / wavelength - spec.low_freq_factor) /
                            (spec.high_freq_factor - spec.low_freq_factor);
      f = (1 - smooth) * f / spec.factor + smooth * f;
    }
  }
}

void apply_yarn(const RopeSpec& spec, std::span<double> frequencies) {
  double low = correction_dim(spec, spec.beta_fast);
  double high = correction_dim(spec, spec.beta_slow);
  if (spec.truncate) low = std::floor(low), high = std::ceil(high);
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(spec.rotary_dim - 1));
  if (low == high) high += 0.001;
  for (size_t i = 0; i < frequencies.size(); ++i) {
    const double ramp = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    frequencies[i] = frequencies[i] / spec.factor * ramp + frequencies[i] * (1 - ramp);
  }
}

}  // namespace

float rope_inv_freq(const RopeSpec& spec, int64_t kv_len, std::span<float> inv_freq) {
  const double dim = static_cast<double>(spec.rotary_dim);
  double theta = spec.theta;
  if (spec.kind == RopeKind::kDynamic && kv_len > spec.original_max_position) {
    const double stretch =
        spec.factor * static_cast<double>(kv_len) / static_cast<double>(spec.original_max_position);
    theta *= std::pow(stretch - (spec.factor - 1), dim / (dim - 2));
  }
  std::vector<double> frequencies(inv_freq.size());
  for (size_t i = 0; i < frequencies.size(); ++i) {
    frequencies[i] = std::pow(theta, -2.0 * static_cast<double>(i) / dim);
  }
  switch (spec.kind) {
    case RopeKind::kDefault:
    case RopeKind::kDynamic: break;
    case RopeKind::kLinear:
      for (double& f : frequencies) f /= spec.factor;
      break;
    case RopeKind::kLlama3: apply_llama3(spec, frequencies); break;
    case RopeKind::kYarn: apply_yarn(spec, frequencies); break;
    case RopeKind::kLongrope: {
      const auto& factors =
          kv_len > spec.original_max_position ? spec.long_factors : spec.short_factors;
      for (size_t i = 0; i < frequencies.size() && i < factors.size(); ++i)
        frequencies[i] /= factors[i];
      break;
    }
  }
  for (size_t i = 0; i < inv_freq.size(); ++i) inv_freq[i] = static_cast<float>(frequencies[i]);
  return static_cast<float>(spec.attention_factor);
}

}  // namespace ramjet
