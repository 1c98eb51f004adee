#include "server/key_gate.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

namespace ramjet::server {
namespace {

constexpr double kBurstMinutes = 1.0 / 6;

}  // namespace

KeyTicket::~KeyTicket() { leave(); }

void KeyTicket::leave() {
  if (!left_.exchange(true)) gate_.leave(key_, turn_);
}

uint64_t KeyTicket::take_turn(uint64_t cost) {
  turn_ = gate_.turn(key_, cost);
  return turn_;
}

KeyGate::KeyGate(size_t keys, const KeyLimits& limits)
    : limits_(limits), keys_(std::max<size_t>(1, keys)) {}

std::shared_ptr<KeyTicket> KeyGate::enter(size_t index, double now_s, KeyRefusal& refusal) {
  const std::lock_guard lock(mutex_);
  Key& key = keys_[index];
  if (limits_.concurrency > 0 && key.open >= limits_.concurrency) {
    refusal.message = fmt::format(
        "this API key has {} requests in progress, its limit; wait for one to end", key.open);
    return nullptr;
  }
  if (limits_.requests_per_minute > 0) {
    const double rate = limits_.requests_per_minute;
    const double most = std::max(1.0, rate * kBurstMinutes);
    const double passed_s = key.filled_s < 0 ? 1e9 : std::max(0.0, now_s - key.filled_s);
    key.tokens = std::min(most, key.tokens + passed_s * rate / 60);
    key.filled_s = now_s;
    if (key.tokens < 1) {
      refusal.retry_after_s = static_cast<int>(std::ceil((1 - key.tokens) * 60 / rate));
      refusal.message = fmt::format("this API key may send {} requests a minute; try again in {} s",
                                    rate, refusal.retry_after_s);
      return nullptr;
    }
    key.tokens -= 1;
  }
  ++key.open;
  return std::make_shared<KeyTicket>(*this, index);  // with all that works on the request
}

uint64_t KeyGate::turn(size_t index, uint64_t cost) {
  const std::lock_guard lock(mutex_);
  Key& key = keys_[index];
  const uint64_t start = std::max(now_, key.finish);
  key.finish = start + std::max<uint64_t>(1, cost);
  return start;
}

void KeyGate::leave(size_t index, uint64_t turn) {
  const std::lock_guard lock(mutex_);
  --keys_[index].open;
  now_ = std::max(now_, turn);
}

}  // namespace ramjet::server
