// Define a network, compile it into an engine file, load it, run it: relu(x w + b) is one kernel.
#include <ramjet/builder.h>

#include <cstdio>
#include <cstring>
#include <vector>

using ramjet::DType;

int main() {
  ramjet::Network net("mlp");
  const std::vector<float> w = {1, 0, 0, 1, 1, -1};  // [3, 2]
  const std::vector<float> b = {0.5f, -0.5f};
  if (!net.set_weight("w", DType::kF32, {3, 2}, std::as_bytes(std::span(w))).ok()) return 1;
  if (!net.set_weight("b", DType::kF32, {2}, std::as_bytes(std::span(b))).ok()) return 1;
  ramjet::Tensor x = net.input("x", DType::kF32, {"rows", 3});
  net.mark_output("y", relu(matmul(x, net.weight("w")) + net.weight("b")));
  net.set_profile("rows", {.min = 1, .opt = 4, .max = 64});

  auto report = ramjet::build_network(net, "mlp.engine", {});
  if (!report.ok()) return std::fprintf(stderr, "%s\n", report.error().message.c_str()), 1;
  auto engine = ramjet::Engine::load("mlp.engine");
  auto context = ramjet::Context::create(*engine);
  if (!context.ok()) return std::fprintf(stderr, "%s\n", context.error().message.c_str()), 1;

  const std::vector<float> rows = {1, 2, 3, -4, 5, -6};  // two rows of three
  ramjet::HostTensor input{DType::kF32, {2, 3}, std::vector<std::byte>(rows.size() * 4)};
  std::memcpy(input.bytes.data(), rows.data(), input.bytes.size());
  ramjet::Status status = (*context)->set_input("x", input);
  if (status.ok()) status = (*context)->run();
  if (!status.ok()) return std::fprintf(stderr, "%s\n", status.error().message.c_str()), 1;

  const ramjet::HostTensor y = *(*context)->output("y");
  std::vector<float> values(y.bytes.size() / 4);
  std::memcpy(values.data(), y.bytes.data(), y.bytes.size());
  std::printf("%d kernel: %g %g | %g %g\n", (*context)->num_launches(), values[0], values[1],
              values[2], values[3]);
}
