// The machine code of an engine: equal modules are shared, launches renumbered, images aligned.
#include "compiler/emit/device_code.h"

#include <gtest/gtest.h>

#include "device/cuda/nvrtc.h"

namespace ramjet::compiler {
namespace {

kernels::DevicePlan plan_of(int value) {
  kernels::DevicePlan plan;
  kernels::DeviceModule module;
  module.name = "store";
  module.source =
      "extern \"C\" __global__ void store(int* out) { out[threadIdx.x] = VALUE + OTHER; }\n";
  module.defines = {"VALUE=" + std::to_string(value), "OTHER=1"};
  plan.modules = {module};
  DeviceLaunch launch;
  launch.entry = "store";
  launch.block = 32;
  launch.args = {LaunchArg::output(0)};
  plan.launches = {launch};
  plan.flags_bytes = value * 4;
  return plan;
}

TEST(DeviceCode, SharesEqualModules) {
  DeviceCode code;
  EXPECT_EQ(code.add(plan_of(3))[0].module, 0);
  EXPECT_EQ(code.add(plan_of(5))[0].module, 1);
  EXPECT_EQ(code.add(plan_of(3))[0].module, 0);
  EXPECT_EQ(code.modules(), 2u);
}

TEST(DeviceCode, CompilesIntoOneSection) {
  if (auto version = device::cuda::nvrtc_version(); !version.ok()) {
    GTEST_SKIP() << version.error().message;
  }
  DeviceCode code;
  code.add(plan_of(3));
  code.add(plan_of(7));
  engine::Manifest manifest;
  double last = 0;
  const auto section =
      code.compile("sm_90a", 2, manifest, [&](double share) { last = std::max(last, share); });
  ASSERT_TRUE(section.ok()) << section.error().message;
  EXPECT_EQ(last, 1);
  ASSERT_EQ(manifest.kernels.size(), 2u);
  EXPECT_EQ(manifest.flags_bytes, 28u);
  for (const engine::KernelImage& kernel : manifest.kernels) {
    EXPECT_EQ(kernel.offset % 64, 0u);
    EXPECT_EQ(section->substr(kernel.offset, 4),
              "\x7f"
              "ELF");
    EXPECT_LE(kernel.offset + kernel.bytes, section->size());
  }
}

TEST(DeviceCode, NamesTheModuleThatDoesNotCompile) {
  if (auto version = device::cuda::nvrtc_version(); !version.ok()) {
    GTEST_SKIP() << version.error().message;
  }
  kernels::DevicePlan plan = plan_of(1);
  plan.modules[0].name = "broken";
  plan.modules[0].source += "this is no code\n";
  DeviceCode code;
  code.add(plan);
  engine::Manifest manifest;
  const auto section = code.compile("sm_90a", 1, manifest, nullptr);
  ASSERT_FALSE(section.ok());
  EXPECT_NE(section.error().message.find("broken"), std::string::npos) << section.error().message;
}

}  // namespace
}  // namespace ramjet::compiler
