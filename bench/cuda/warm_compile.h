// Compiles device modules side by side before a lab wants them one by one: they land in the cache.
#pragma once

#include <atomic>
#include <cstdio>
#include <string_view>
#include <thread>
#include <vector>

#include "kernels/device_launch.h"

namespace ramjet::lab {

inline void warm_compile(const std::vector<kernels::DeviceModule>& modules, std::string_view arch) {
  std::atomic<size_t> next{0};
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < std::max(1u, std::thread::hardware_concurrency()); ++i) {
    threads.emplace_back([&] {
      for (size_t at = next++; at < modules.size(); at = next++) {
        const auto made = kernels::compile_device_module(modules[at], arch);
        if (!made.ok()) std::fprintf(stderr, "%s\n", made.error().message.c_str());
      }
    });
  }
  for (std::thread& t : threads) t.join();
}

}  // namespace ramjet::lab
