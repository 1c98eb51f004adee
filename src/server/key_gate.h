// KeyGate: what each API key may do at once and by the minute, and whose turn it is.
//
// Turns are start-time fair queueing (Goyal, Vin and Cheng, 1996): a key's requests are numbered by
// the work that the key has asked for, and who comes after a pause begins at what is being served
// now. So a key with a thousand requests waits behind another's first. Thread-safe.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace ramjet::server {

struct KeyLimits {
  int concurrency = 0;             // requests of a key at once; 0: any number
  double requests_per_minute = 0;  // of a key, with bursts of ten seconds' worth; 0: any number
};

class KeyGate;

/// A request that was let in, until it has been answered.
class KeyTicket {
 public:
  KeyTicket(KeyGate& gate, size_t key) : gate_(gate), key_(key) {}
  ~KeyTicket();
  KeyTicket(const KeyTicket&) = delete;
  KeyTicket& operator=(const KeyTicket&) = delete;
  size_t key() const { return key_; }
  /// The request's place among those of equal priority, lower first. Call once; `cost` is its work
  /// in tokens.
  uint64_t take_turn(uint64_t cost);
  /// The answer is about to be sent: the next request may come. The destructor does it too.
  void leave();

 private:
  KeyGate& gate_;
  const size_t key_;
  uint64_t turn_ = 0;
  std::atomic<bool> left_{false};
};

struct KeyRefusal {
  std::string message;
  int retry_after_s = 1;
};

class KeyGate {
 public:
  KeyGate(size_t keys, const KeyLimits& limits);

  /// Lets a request of that key in, or says why not. `now_s` by the steady clock.
  std::shared_ptr<KeyTicket> enter(size_t key, double now_s, KeyRefusal& refusal);

 private:
  friend class KeyTicket;
  struct Key {
    int open = 0;
    double tokens = 0;  // of its bucket
    double filled_s = -1;
    uint64_t finish = 0;  // the turn after its last request's
  };
  uint64_t turn(size_t key, uint64_t cost);
  void leave(size_t key, uint64_t turn);

  const KeyLimits limits_;
  std::mutex mutex_;
  std::vector<Key> keys_;
  uint64_t now_ = 0;  // the turn being served
};

}  // namespace ramjet::server
