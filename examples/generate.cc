// Generate text: a checkpoint becomes a cached engine, an executor runs one prompt.
// Usage: example_generate [MODEL [PROMPT]]
#include <ramjet/executor.h>

#include <cstdio>

int main(int argc, char** argv) {
  const std::string model = argc > 1 ? argv[1] : "models/demo";
  const std::string prompt = argc > 2 ? argv[2] : "The history of the city begins";

  auto path = ramjet::resolve_engine(model, {});
  if (!path.ok()) return std::fprintf(stderr, "%s\n", path.error().message.c_str()), 1;
  auto engine = ramjet::Engine::load(*path);
  if (!engine.ok()) return std::fprintf(stderr, "%s\n", engine.error().message.c_str()), 1;
  auto executor = ramjet::Executor::create(*engine, {});
  if (!executor.ok()) return std::fprintf(stderr, "%s\n", executor.error().message.c_str()), 1;

  ramjet::Request request;
  auto ids = (*engine)->encode(prompt);
  if (!ids.ok()) return std::fprintf(stderr, "%s\n", ids.error().message.c_str()), 1;
  request.prompt_ids = *ids;
  request.sampling.temperature = 0.8f;
  request.sampling.top_p = 0.95f;
  request.sampling.seed = 1;
  request.sampling.stop.max_tokens = 64;

  auto outputs = (*executor)->generate(request, /*timeout_s=*/60);
  if (!outputs.ok()) return std::fprintf(stderr, "%s\n", outputs.error().message.c_str()), 1;
  std::printf("%s%s\n", prompt.c_str(), (*engine)->decode((*outputs)[0].ids)->c_str());
}
