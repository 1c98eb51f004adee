// For tests: what device/simt.cuh offers, on the CPU. A cluster's threads are coroutines of one
// thread; whoever waits for others lets them run, so a missing partner is found as a deadlock.
//
// Included by sample_device_test.inc, which makes device code of it. Blocks of other clusters do
// not run at the same time. Not thread-safe.
#pragma once

#include <ucontext.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <vector>

namespace ramjet::kernels::cuda::emulation {

/// One cluster of blocks.
class Cluster {
 public:
  Cluster(int blocks, int threads, size_t shared_bytes)
      : threads_(threads), shared_(static_cast<size_t>(blocks)) {
    for (auto& memory : shared_) memory.resize(shared_bytes / sizeof(Line) + 1);
    const auto count = static_cast<size_t>(blocks * threads);
    fibers_.resize(count);
    warps_.resize(count / 32);
    in_block_.resize(shared_.size());
  }

  /// Runs `body` in every thread; `first` is the index of the first block.
  void run(int first, const std::function<void()>& body) {
    body_ = &body;
    first_block_ = first;
    for (auto& memory : shared_) std::memset(memory.data(), 0xff, memory.size() * sizeof(Line));
    for (size_t i = 0; i < fibers_.size(); ++i) start(i);
    running_ = fibers_.size();
    current_ = 0;
    active() = this;
    swapcontext(&main_, &fibers_[0].context);
  }

  static Cluster*& active() {
    static Cluster* cluster = nullptr;
    return cluster;
  }
  int thread() const { return static_cast<int>(current_) % threads_; }
  int rank() const { return static_cast<int>(current_) / threads_; }
  int block() const { return first_block_ + rank(); }
  char* shared(int rank) { return shared_[static_cast<size_t>(rank)].front().bytes; }
  void meet_cluster() { wait(&in_cluster_, fibers_.size()); }
  void arrive_cluster() { fibers_[current_].awaited = arrive(&in_cluster_, fibers_.size()); }
  void wait_cluster() { wait_for(&in_cluster_, fibers_[current_].awaited); }
  void meet_block() {
    wait(&in_block_[static_cast<size_t>(rank())], static_cast<size_t>(threads_));
  }
  /// Lets others run.
  void yield() { next(); }
  /// The values that all lanes of this warp bring.
  const std::array<uint64_t, 32>& gather(uint64_t value) {
    Warp& warp = warps_[current_ / 32];
    Fiber& fiber = fibers_[current_];
    auto& slots = warp.slots[fiber.parity];
    fiber.parity ^= 1;
    slots[current_ % 32] = value;
    wait(&warp.barrier, 32);
    return slots;
  }

 private:
  struct alignas(64) Line {
    char bytes[64];
  };
  struct Barrier {
    size_t arrived = 0;
    uint64_t generation = 0;
  };
  struct Warp {
    std::array<std::array<uint64_t, 32>, 2> slots;
    Barrier barrier;
  };
  struct Fiber {
    ucontext_t context;
    std::unique_ptr<char[]> stack;
    size_t parity = 0;
    uint64_t awaited = 0;  // generation of the cluster's barrier
    bool done = false;
  };
  static constexpr size_t kStack = 96 << 10;

  void start(size_t i) {
    Fiber& fiber = fibers_[i];
    if (!fiber.stack) fiber.stack = std::make_unique<char[]>(kStack);
    fiber.done = false;
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.get();
    fiber.context.uc_stack.ss_size = kStack;
    fiber.context.uc_link = nullptr;
    makecontext(
        &fiber.context, [] { active()->enter(); }, 0);
  }
  void enter() {
    (*body_)();
    fibers_[current_].done = true;
    if (--running_ == 0) {
      setcontext(&main_);
    } else {
      next();
    }
  }
  void next() {
    const size_t from = current_;
    do {
      current_ = (current_ + 1) % fibers_.size();
    } while (fibers_[current_].done);
    if (current_ != from) swapcontext(&fibers_[from].context, &fibers_[current_].context);
  }
  void wait(Barrier* barrier, size_t count) { wait_for(barrier, arrive(barrier, count)); }
  /// The generation to wait for.
  static uint64_t arrive(Barrier* barrier, size_t count) {
    const uint64_t generation = barrier->generation;
    if (++barrier->arrived == count) {
      barrier->arrived = 0;
      ++barrier->generation;
    }
    return generation + 1;
  }
  void wait_for(const Barrier* barrier, uint64_t generation) {
    for (int turns = 0; barrier->generation < generation; ++turns) {
      if (turns > 1'000'000) {
        std::fprintf(stderr, "emulated thread %zu waits for ever\n", current_);
        std::abort();
      }
      next();
    }
  }

  int threads_, first_block_ = 0;
  std::vector<std::vector<Line>> shared_;
  std::vector<Fiber> fibers_;
  std::vector<Warp> warps_;
  std::vector<Barrier> in_block_;
  Barrier in_cluster_;
  ucontext_t main_;
  const std::function<void()>* body_ = nullptr;
  size_t running_ = 0, current_ = 0;
};

inline Cluster& cluster() { return *Cluster::active(); }
inline int thread_index() { return cluster().thread(); }
inline int block_index() { return cluster().block(); }
inline char* shared_memory() { return cluster().shared(cluster().rank()); }
inline void meet_block() { cluster().meet_block(); }
inline void meet_cluster() { cluster().meet_cluster(); }
inline void arrive_cluster() { cluster().arrive_cluster(); }
inline void wait_cluster() { cluster().wait_cluster(); }
template <class T>
T* at_rank(T* pointer, int rank) {
  auto* bytes = reinterpret_cast<const char*>(pointer);
  return reinterpret_cast<T*>(cluster().shared(rank) + (bytes - shared_memory()));
}
template <class T>
T shuffle(T value, int lane) {
  return static_cast<T>(cluster().gather(static_cast<uint64_t>(value))[static_cast<size_t>(lane)]);
}
template <class T>
T shuffle_xor(T value, int mask) {
  return shuffle(value, thread_index() % 32 ^ mask);
}
template <class T>
T shuffle_up(T value, int distance) {
  const int lane = thread_index() % 32;
  return shuffle(value, lane >= distance ? lane - distance : lane);
}
inline uint32_t ballot(bool value) {
  const auto& all = cluster().gather(value ? 1 : 0);
  uint32_t bits = 0;
  for (size_t i = 0; i < 32; ++i) bits |= static_cast<uint32_t>(all[i]) << i;
  return bits;
}
inline uint32_t warp_total(uint32_t value) {
  uint64_t sum = 0;
  for (const uint64_t v : cluster().gather(value)) sum += v;
  if (sum >> 32 != 0) std::abort();  // the device would wrap around
  return static_cast<uint32_t>(sum);
}
inline uint32_t warp_largest(uint32_t value) {
  uint64_t most = 0;
  for (const uint64_t v : cluster().gather(value)) most = std::max(most, v);
  return static_cast<uint32_t>(most);
}
inline int lowest_bit(uint32_t bits) { return bits == 0 ? -1 : std::countr_zero(bits); }
inline int count_bits(uint32_t bits) { return std::popcount(bits); }
inline int leading_zeros(uint32_t bits) { return std::countl_zero(bits); }
inline uint32_t fetch_add(uint32_t* at, uint32_t value) {
  const uint32_t old = *at;
  *at += value;
  return old;
}
inline void count_in(uint32_t* bins, uint32_t bin, uint32_t num_bins) {
  ++bins[std::min(bin, num_bins)];
}
inline void fetch_add(uint64_t* at, uint64_t value) { *at += value; }
inline uint32_t bits_of(float x) { return std::bit_cast<uint32_t>(x); }
inline float float_of(uint32_t bits) { return std::bit_cast<float>(bits); }
/// For a whole power of two c of which b is the smallest that holds all of a * b.
inline float fused_toward_zero(float a, float b, float c) { return std::trunc(a * b) + c; }
inline float most_of(float a, float b) {
  return std::isnan(a) || !(a > b) ? (std::isnan(a) ? a : b) : a;
}
inline float fused(float a, float b, float c) { return std::fma(a, b, c); }
inline float product_of(float a, float b) { return a * b; }
inline float sum_of(float a, float b) { return a + b; }
inline float quotient_of(float a, float b) { return a / b; }
inline uint64_t high_product(uint64_t a, uint64_t b) {
  return static_cast<uint64_t>((static_cast<unsigned __int128>(a) * b) >> 64);
}
inline float power_of_two(float x) { return std::exp2(x); }
inline float natural_log(float x) { return std::log(x); }
inline void allow_next_kernel() {}
inline void await_last_kernel() {}
template <int64_t kFactor, int64_t kOffset>
int64_t extent_of(const int* symbol) {
  return kFactor * *symbol + kOffset;
}
using std::fmaxf;
using std::fminf;

struct alignas(16) Four {
  float x[4];
};

inline void arrive_cluster_idly() { arrive_cluster(); }
/// Phases completed, and bytes that are still to come in this one, plus one for the receiver.
struct Arrival {
  uint32_t phase;
  int32_t waits;
  void take(int32_t change) {
    waits += change;
    if (waits == 0) ++phase, waits = 1;
  }
};
static_assert(sizeof(Arrival) == 8);
inline Arrival& arrival_at(uint64_t* at) { return *reinterpret_cast<Arrival*>(at); }
inline void push_to(uint64_t* at, int rank, uint64_t value, uint64_t* arrival) {
  *at_rank(at, rank) = value;
  arrival_at(at_rank(arrival, rank)).take(-8);
}
inline void expect_pushes(uint64_t* arrival, uint32_t bytes) {
  arrival_at(arrival).take(static_cast<int32_t>(bytes) - 1);
}
inline void await_pushes(uint64_t* arrival, uint32_t parity) {
  for (int turns = 0; arrival_at(arrival).phase % 2 == parity; ++turns) {
    if (turns > 1'000'000) std::abort();
    cluster().yield();
  }
}
inline void order_pushes() {}

constexpr bool kHasCopies = true;
inline void prepare_arrival(uint64_t* arrival) { arrival_at(arrival) = {0, 1}; }
inline void start_copy(void* to, const void* from, uint32_t bytes, uint64_t* arrival) {
  if (reinterpret_cast<uintptr_t>(to) % 16 + reinterpret_cast<uintptr_t>(from) % 16 + bytes % 16) {
    std::abort();
  }
  std::memcpy(to, from, bytes);
  arrival_at(arrival).take(-1);
}
inline void prefetch(const void*, uint32_t) {}
inline void await_copy(uint64_t* arrival) {
  if (arrival_at(arrival).phase != 1) std::abort();
}

}  // namespace ramjet::kernels::cuda::emulation
