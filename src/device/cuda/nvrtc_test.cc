#include "device/cuda/nvrtc.h"

#include <dlfcn.h>
#include <gtest/gtest.h>

#include "device/cuda/driver.h"
#include "device/dynamic_library.h"

namespace ramjet::device::cuda {
namespace {

TEST(Nvrtc, CompilesForHopperWithoutAGpuAndReportsResources) {
  if (Result<std::string> version = nvrtc_version(); !version.ok()) {
    GTEST_SKIP() << version.error().message;
  }
  NvrtcSource source;
  source.name = "scale.cu";
  source.arch = "sm_90a";
  source.defines = {"FACTOR=3"};
  const NvrtcHeader header{"lib.cuh", "__device__ float scaled(float x) { return x * FACTOR; }\n"};
  source.headers = {header};
  source.source =
      "#include \"lib.cuh\"\n"
      "extern \"C\" __global__ void scale(float* x) { x[threadIdx.x] = scaled(x[threadIdx.x]); }\n";
  Result<NvrtcResult> result = nvrtc_compile(source);
  ASSERT_TRUE(result.ok()) << result.error().message;
  EXPECT_EQ(result->cubin.substr(1, 3), "ELF");
  EXPECT_NE(result->log.find("registers"), std::string::npos) << result->log;

  source.source = "extern \"C\" __global__ void broken() { nonsense; }\n";
  result = nvrtc_compile(source);
  ASSERT_FALSE(result.ok());
  EXPECT_NE(result.error().message.find("nonsense"), std::string::npos);
}

TEST(Driver, IsATypedErrorWhereThereIsNone) {
  Result<const Driver*> found = driver();
  if (found.ok()) {
    EXPECT_GE((*found)->version, 12000);
    GTEST_SKIP() << "this machine has a driver";
  }
  EXPECT_EQ(found.error().code, ErrorCode::kUnavailable);
  EXPECT_FALSE(check(2, "cuMemAlloc").ok());
  EXPECT_EQ(check(2, "cuMemAlloc").error().code, ErrorCode::kResourceExhausted);
  EXPECT_TRUE(check(0, "cuMemAlloc").ok());
}

TEST(DynamicLibrary, IsClosedUnlessItIsKept) {
  constexpr const char* kName = "libresolv.so.2";  // nothing here needs it
  const auto loaded = [] { return ::dlopen(kName, RTLD_NOW | RTLD_NOLOAD) != nullptr; };
  if (!DynamicLibrary::open({kName}, "").ok()) GTEST_SKIP() << "no " << kName;
  ASSERT_FALSE(loaded());
  {
    Result<DynamicLibrary> library = DynamicLibrary::open({"libabsent.so.7", kName}, "");
    ASSERT_TRUE(library.ok());
    library->keep();
    const DynamicLibrary moved = std::move(*library);
    EXPECT_TRUE(moved.symbol("ns_initparse").ok());
  }
  EXPECT_TRUE(loaded());
}

}  // namespace
}  // namespace ramjet::device::cuda
