// Embed the executor: eight streams at once, one of them cancelled, statistics at the end.
// Usage: example_executor [MODEL]
#include <ramjet/executor.h>

#include <atomic>
#include <cstdio>
#include <mutex>
#include <semaphore>

int main(int argc, char** argv) {
  auto path = ramjet::resolve_engine(argc > 1 ? argv[1] : "models/demo", {});
  if (!path.ok()) return std::fprintf(stderr, "%s\n", path.error().message.c_str()), 1;
  auto engine = ramjet::Engine::load(*path);
  if (!engine.ok()) return std::fprintf(stderr, "%s\n", engine.error().message.c_str()), 1;
  ramjet::ExecutorConfig config;
  config.kv_bytes = 64 << 20;  // a hard cap
  auto executor = ramjet::Executor::create(*engine, config);
  if (!executor.ok()) return std::fprintf(stderr, "%s\n", executor.error().message.c_str()), 1;

  constexpr int kStreams = 8;
  std::counting_semaphore<kStreams> done(0);
  std::atomic<int> tokens{0};
  uint64_t last_id = 0;
  for (int i = 0; i < kStreams; ++i) {
    ramjet::Request request;
    request.prompt_ids = *(*engine)->encode("Once upon a time");
    request.sampling.seed = static_cast<uint64_t>(i);
    request.sampling.stop.max_tokens = 32;
    auto id = (*executor)->submit(request, [&](ramjet::RequestOutput&& output) {
      tokens += static_cast<int>(output.ids.size());  // a stream's tokens arrive here, in order
      if (output.last) done.release();
    });
    if (!id.ok()) return std::fprintf(stderr, "%s\n", id.error().message.c_str()), 1;
    last_id = *id;
  }
  (*executor)->cancel(last_id);
  for (int i = 0; i < kStreams; ++i) done.acquire();

  const ramjet::ExecutorStats stats = (*executor)->stats();
  std::printf("%d tokens in %llu steps on %s; %lld of %lld blocks still cached\n", tokens.load(),
              static_cast<unsigned long long>(stats.steps), stats.device.c_str(),
              static_cast<long long>(stats.kv_blocks_cached),
              static_cast<long long>(stats.kv_blocks_total));
}
