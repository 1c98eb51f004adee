// ThreadPool: the compute threads of the CPU backend, with fork-join calls that allocate nothing.
//
// The calling thread takes part as thread 0. One call runs at a time: calls from several threads
// take turns, a call from inside a call runs on its own thread alone. Workers spin for some tens of
// microseconds after a call and then sleep in the kernel, so an idle pool uses no CPU.
// The pool owns its threads and one scratch area a thread; both live as long as it does.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <thread>
#include <type_traits>
#include <vector>

namespace ramjet {

/// A borrowed callable: valid while the callable it was made from lives.
template <class Signature>
class FunctionRef;
template <class R, class... Args>
class FunctionRef<R(Args...)> {
 public:
  template <class F>
    requires(!std::is_same_v<std::remove_cvref_t<F>, FunctionRef>)
  FunctionRef(F&& f)
      : object_(const_cast<void*>(static_cast<const void*>(&f))),
        call_([](void* object, Args... args) -> R {
          return (*static_cast<std::remove_reference_t<F>*>(object))(args...);
        }) {}
  R operator()(Args... args) const { return call_(object_, args...); }

 private:
  void* object_;
  R (*call_)(void*, Args...);
};

struct ThreadPoolOptions {
  int threads = 0;   // 0: as many as the CPUs this process may use
  bool pin = false;  // one worker a CPU; off, so that several processes share a machine well
};

class ThreadPool {
 public:
  static constexpr size_t kScratchBytes = size_t{4} << 20;

  explicit ThreadPool(int threads = 0) : ThreadPool(ThreadPoolOptions{threads, false}) {}
  explicit ThreadPool(ThreadPoolOptions options);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return static_cast<int>(workers_.size()) + 1; }
  /// Memory of one thread, aligned to 2 MiB, for the duration of a call; not cleared.
  std::span<std::byte> scratch(int thread) const {
    return {scratch_ + static_cast<size_t>(thread) * kScratchBytes, kScratchBytes};
  }

  /// Calls fn(thread) once on each thread, thread in [0, size()), and returns when all are done.
  void run(FunctionRef<void(int)> fn);

  /// Covers [0, n) with calls fn(begin, end, thread) of at most `chunk` items; threads take the
  /// next chunk when they are done with theirs. Which thread gets which chunk is not fixed.
  void parallel_for(int64_t n, int64_t chunk, FunctionRef<void(int64_t, int64_t, int)> fn);
  /// The same with about one chunk a thread.
  void parallel_for(int64_t n, FunctionRef<void(int64_t, int64_t, int)> fn);

 private:
  class Turn;
  void work(int thread);
  int await_generation(int seen);

  std::vector<std::thread> workers_;
  void* mapping_ = nullptr;
  size_t scratch_bytes_ = 0;      // of the mapping
  std::byte* scratch_ = nullptr;  // within it
  std::mutex turn_;
  const FunctionRef<void(int)>* job_ = nullptr;  // guarded by generation_
  alignas(64) std::atomic<int> generation_{0};   // a step starts a job; negative ends the pool
  alignas(64) std::atomic<int> running_{0};
};

/// CPUs that this process may run on.
int allowed_cpus();

}  // namespace ramjet
