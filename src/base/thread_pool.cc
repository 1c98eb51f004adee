#include "base/thread_pool.h"

#include <immintrin.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>

#include <algorithm>
#include <chrono>

#include "base/check.h"

namespace ramjet {
namespace {

// The pool whose call this thread is inside of, and as which thread.
thread_local const ThreadPool* current_pool = nullptr;
thread_local int current_thread = 0;

constexpr size_t kHugePage = size_t{2} << 20;
constexpr auto kSpin = std::chrono::microseconds(40);

/// Spins until done() or the spin time is over; returns done().
template <class Done>
bool spin_until(Done&& done) {
  for (int i = 0; i < 64; ++i) {
    if (done()) return true;
    _mm_pause();
  }
  const auto deadline = std::chrono::steady_clock::now() + kSpin;
  do {
    for (int i = 0; i < 32; ++i) {
      if (done()) return true;
      _mm_pause();
    }
  } while (std::chrono::steady_clock::now() < deadline);
  return done();
}

std::vector<int> allowed_cpu_list() {
  cpu_set_t set;
  CPU_ZERO(&set);
  std::vector<int> cpus;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) {
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
      if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
    }
  }
  if (cpus.empty()) cpus.resize(std::max(1u, std::thread::hardware_concurrency()), 0);
  return cpus;
}

void pin_to(std::thread& thread, int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  pthread_setaffinity_np(thread.native_handle(), sizeof(set), &set);
}

}  // namespace

int allowed_cpus() { return static_cast<int>(allowed_cpu_list().size()); }

ThreadPool::ThreadPool(ThreadPoolOptions options) {
  const std::vector<int> cpus = allowed_cpu_list();
  const int threads = options.threads > 0 ? options.threads : static_cast<int>(cpus.size());
  // Huge pages, where there are any: kernels walk scratch with long strides.
  scratch_bytes_ = static_cast<size_t>(threads) * kScratchBytes + kHugePage;
  void* memory =
      mmap(nullptr, scratch_bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(memory != MAP_FAILED, "no address space for the thread pool's scratch");
  mapping_ = memory;
  const auto address = (reinterpret_cast<uintptr_t>(memory) + kHugePage - 1) & ~(kHugePage - 1);
  scratch_ = reinterpret_cast<std::byte*>(address);
  madvise(scratch_, scratch_bytes_ - kHugePage, MADV_HUGEPAGE);
  workers_.reserve(static_cast<size_t>(threads - 1));
  for (int i = 1; i < threads; ++i) {
    workers_.emplace_back([this, i] { work(i); });
    if (options.pin && threads <= static_cast<int>(cpus.size())) {
      pin_to(workers_.back(), cpus[static_cast<size_t>(i)]);
    }
  }
}

ThreadPool::~ThreadPool() {
  generation_.store(-1, std::memory_order_release);
  generation_.notify_all();
  for (std::thread& worker : workers_) worker.join();
  munmap(mapping_, scratch_bytes_);
}

/// Makes the calling thread thread 0 of the pool, once it is free.
class ThreadPool::Turn {
 public:
  explicit Turn(ThreadPool& pool)
      : lock_(pool.turn_), outer_pool_(current_pool), outer_thread_(current_thread) {
    current_pool = &pool;
    current_thread = 0;
  }
  ~Turn() {
    current_pool = outer_pool_;
    current_thread = outer_thread_;
  }

 private:
  std::lock_guard<std::mutex> lock_;
  const ThreadPool* outer_pool_;
  int outer_thread_;
};

int ThreadPool::await_generation(int seen) {
  const auto changed = [&] { return generation_.load(std::memory_order_acquire) != seen; };
  if (!spin_until(changed)) {
    while (!changed()) generation_.wait(seen, std::memory_order_acquire);
  }
  return generation_.load(std::memory_order_acquire);
}

void ThreadPool::work(int thread) {
  current_pool = this;
  current_thread = thread;
  int seen = 0;
  while (true) {
    seen = await_generation(seen);
    if (seen < 0) return;
    (*job_)(thread);
    if (running_.fetch_sub(1, std::memory_order_acq_rel) == 1) running_.notify_one();
  }
}

void ThreadPool::run(FunctionRef<void(int)> fn) {
  if (current_pool == this) {  // nested: the other threads are busy with the outer call
    fn(current_thread);
    return;
  }
  const Turn turn(*this);
  if (workers_.empty()) {
    fn(0);
    return;
  }
  job_ = &fn;
  running_.store(static_cast<int>(workers_.size()), std::memory_order_relaxed);
  const int next = (generation_.load(std::memory_order_relaxed) + 1) & 0x3fffffff;
  generation_.store(next, std::memory_order_release);
  generation_.notify_all();
  fn(0);
  const auto done = [&] { return running_.load(std::memory_order_acquire) == 0; };
  if (spin_until(done)) return;
  for (int left; (left = running_.load(std::memory_order_acquire)) != 0;) {
    running_.wait(left, std::memory_order_acquire);
  }
}

void ThreadPool::parallel_for(int64_t n, int64_t chunk,
                              FunctionRef<void(int64_t, int64_t, int)> fn) {
  if (n <= 0) return;
  chunk = std::max<int64_t>(chunk, 1);
  if (n <= chunk) {  // not worth waking anyone
    if (current_pool == this) {
      fn(0, n, current_thread);
    } else {
      const Turn turn(*this);
      fn(0, n, 0);
    }
    return;
  }
  std::atomic<int64_t> cursor{0};
  run([&](int thread) {
    while (true) {
      const int64_t begin = cursor.fetch_add(chunk, std::memory_order_relaxed);
      if (begin >= n) return;
      fn(begin, std::min(n, begin + chunk), thread);
    }
  });
}

void ThreadPool::parallel_for(int64_t n, FunctionRef<void(int64_t, int64_t, int)> fn) {
  parallel_for(n, (n + size() - 1) / size(), fn);
}

}  // namespace ramjet
