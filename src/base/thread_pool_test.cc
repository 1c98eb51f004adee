#include "base/thread_pool.h"

#include <gtest/gtest.h>
#include <time.h>

#include <chrono>
#include <numeric>

namespace ramjet {
namespace {

TEST(ThreadPool, RunCallsEachThreadOnce) {
  for (int threads : {1, 2, 3, 5}) {
    ThreadPool pool(threads);
    ASSERT_EQ(pool.size(), threads);
    for (int round = 0; round < 200; ++round) {
      std::vector<int> calls(static_cast<size_t>(threads), 0);
      pool.run([&](int thread) { ++calls[static_cast<size_t>(thread)]; });
      EXPECT_EQ(calls, std::vector<int>(static_cast<size_t>(threads), 1));
    }
  }
}

TEST(ThreadPool, ParallelForCoversEachIndexOnce) {
  ThreadPool pool(3);
  for (int64_t n : {0, 1, 2, 3, 7, 64, 1000}) {
    for (int64_t chunk : {1, 2, 5, 1000}) {
      std::vector<int> hits(static_cast<size_t>(n), 0);
      pool.parallel_for(n, chunk, [&](int64_t begin, int64_t end, int thread) {
        EXPECT_LE(end - begin, chunk);
        EXPECT_GE(thread, 0);
        EXPECT_LT(thread, pool.size());
        for (int64_t i = begin; i < end; ++i) ++hits[static_cast<size_t>(i)];
      });
      EXPECT_EQ(hits, std::vector<int>(static_cast<size_t>(n), 1)) << n << " by " << chunk;
    }
  }
}

TEST(ThreadPool, NestedCallsRunOnTheirOwnThread) {
  ThreadPool pool(2);
  std::atomic<int64_t> sum{0};
  const auto inner = [&](int64_t begin, int64_t end, int) { sum += end - begin; };
  pool.parallel_for(8, 1, [&](int64_t, int64_t, int) { pool.parallel_for(10, 3, inner); });
  pool.parallel_for(1, 1, [&](int64_t, int64_t, int) { pool.parallel_for(10, 3, inner); });
  EXPECT_EQ(sum, 90);
}

TEST(ThreadPool, CallsFromSeveralThreadsTakeTurns) {
  ThreadPool pool(2);
  int64_t unguarded = 0;  // only one call runs at a time, and this one has a single chunk
  std::vector<std::thread> callers;
  for (int i = 0; i < 4; ++i) {
    callers.emplace_back([&] {
      for (int round = 0; round < 500; ++round) {
        pool.parallel_for(1, 1, [&](int64_t, int64_t, int) { ++unguarded; });
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(unguarded, 2000);
}

TEST(ThreadPool, ScratchAreasAreSeparateAndWritable) {
  ThreadPool pool(2);
  pool.run([&](int thread) {
    for (std::byte& byte : pool.scratch(thread)) byte = static_cast<std::byte>(thread);
  });
  EXPECT_EQ(pool.scratch(0).back(), std::byte{0});
  EXPECT_EQ(pool.scratch(1).front(), std::byte{1});
}

TEST(ThreadPool, AnIdlePoolUsesNoCpu) {
  ThreadPool pool(3);
  pool.run([](int) {});
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  const auto cpu_ms = [] {
    timespec t{};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return static_cast<double>(t.tv_sec) * 1e3 + static_cast<double>(t.tv_nsec) * 1e-6;
  };
  const double before = cpu_ms();
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  EXPECT_LT(cpu_ms() - before, 5.0);
}

}  // namespace
}  // namespace ramjet
