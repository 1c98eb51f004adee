#include "device/cuda/cublaslt.h"

#include "device/dynamic_library.h"

namespace ramjet::device::cuda {
namespace {

using LtHandle = struct LtHandleOpaque*;
using LtDesc = struct LtDescOpaque*;
using LtLayout = struct LtLayoutOpaque*;
using LtPreference = struct LtPreferenceOpaque*;

struct LtAlgo {
  uint64_t data[8];
};
struct LtHeuristic {
  LtAlgo algo;
  size_t workspace_bytes;
  int state;
  float waves;
  int reserved[4];
};

enum LtValue : int {
  kComputeF32 = 68,
  kTypeF32 = 0,
  kTypeBf16 = 14,
  kTypeE4M3 = 28,
  kTransposed = 1,
  kDescTransA = 3,
  kDescScaleA = 17,
  kDescScaleB = 18,
  kDescFastAccumulation = 25,
  kPreferenceWorkspace = 1,
};

// name, exported symbol, parameters
#define RAMJET_CUBLASLT(X)                                                                    \
  X(create, "cublasLtCreate", (LtHandle * handle))                                            \
  X(destroy, "cublasLtDestroy", (LtHandle handle))                                            \
  X(desc_create, "cublasLtMatmulDescCreate", (LtDesc * desc, int compute, int scale_type))    \
  X(desc_destroy, "cublasLtMatmulDescDestroy", (LtDesc desc))                                 \
  X(desc_set, "cublasLtMatmulDescSetAttribute",                                               \
    (LtDesc desc, int attribute, const void* value, size_t bytes))                            \
  X(layout_create, "cublasLtMatrixLayoutCreate",                                              \
    (LtLayout * layout, int type, uint64_t rows, uint64_t cols, int64_t stride))              \
  X(layout_destroy, "cublasLtMatrixLayoutDestroy", (LtLayout layout))                         \
  X(preference_create, "cublasLtMatmulPreferenceCreate", (LtPreference * preference))         \
  X(preference_destroy, "cublasLtMatmulPreferenceDestroy", (LtPreference preference))         \
  X(preference_set, "cublasLtMatmulPreferenceSetAttribute",                                   \
    (LtPreference preference, int attribute, const void* value, size_t bytes))                \
  X(heuristic, "cublasLtMatmulAlgoGetHeuristic",                                              \
    (LtHandle handle, LtDesc desc, LtLayout a, LtLayout b, LtLayout c, LtLayout d,            \
     LtPreference preference, int wanted, LtHeuristic* results, int* count))                  \
  X(matmul, "cublasLtMatmul",                                                                 \
    (LtHandle handle, LtDesc desc, const void* alpha, const void* a, LtLayout a_layout,       \
     const void* b, LtLayout b_layout, const void* beta, const void* c, LtLayout c_layout,    \
     void* d, LtLayout d_layout, const LtAlgo* algo, void* workspace, size_t workspace_bytes, \
     CuStream stream))

struct Lt {
#define X(name, symbol, parameters) int(*name) parameters = nullptr;
  RAMJET_CUBLASLT(X)
#undef X
  size_t (*version)() = nullptr;
};

Result<Lt> load() {
  ASSIGN_OR_RETURN(DynamicLibrary library,
                   DynamicLibrary::open({"libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so",
                                         "/usr/local/cuda/lib64/libcublasLt.so.13"},
                                        "install CUDA's cuBLAS to compare with it"));
  library.keep();
  Lt table;
  void* address = nullptr;
#define X(name, symbol_name, parameters)                       \
  {                                                            \
    ASSIGN_OR_RETURN(address, library.symbol(symbol_name));    \
    table.name = reinterpret_cast<int(*) parameters>(address); \
  }
  RAMJET_CUBLASLT(X)
#undef X
  ASSIGN_OR_RETURN(address, library.symbol("cublasLtGetVersion"));
  table.version = reinterpret_cast<size_t (*)()>(address);
  return table;
}

Result<const Lt*> lt() {
  static const Result<Lt>* loaded = new Result<Lt>(load());
  if (!loaded->ok()) return loaded->error();
  return &loaded->value();
}

Status check_lt(int status, const char* call) {
  if (status == 0) return ok_status();
  constexpr int kNotSupported = 15;
  if (status == kNotSupported) return unsupported("{}: not supported for this shape", call);
  return internal_error("{}: status {}", call, status);
}

}  // namespace

struct CublasLt::Impl {
  static constexpr size_t kWorkspaceBytes = size_t{64} << 20;
  const Lt* api = nullptr;
  LtHandle handle = nullptr;
  LtDesc desc = nullptr;
  LtLayout a = nullptr, b = nullptr, d = nullptr;
  LtHeuristic chosen = {};
  DeviceBuffer workspace;
  bool fp8 = false;

  ~Impl() {
    clear();
    if (handle != nullptr) api->destroy(handle);
  }
  void clear() {
    if (desc != nullptr) api->desc_destroy(std::exchange(desc, nullptr));
    for (LtLayout* layout : {&a, &b, &d}) {
      if (*layout != nullptr) api->layout_destroy(std::exchange(*layout, nullptr));
    }
  }
  Status describe(const LtShape& shape);
  Status choose();
};

/// Column-major, as the library sees it: d[n, m] = a^T b with a[k, n] and b[k, m].
Status CublasLt::Impl::describe(const LtShape& shape) {
  clear();
  fp8 = shape.fp8;
  const int type = fp8 ? kTypeE4M3 : kTypeBf16;
  const auto m = static_cast<uint64_t>(shape.m), n = static_cast<uint64_t>(shape.n);
  const auto k = static_cast<uint64_t>(shape.k);
  RETURN_IF_ERROR(
      check_lt(api->desc_create(&desc, kComputeF32, kTypeF32), "cublasLtMatmulDescCreate"));
  const int transposed = kTransposed;
  RETURN_IF_ERROR(check_lt(api->desc_set(desc, kDescTransA, &transposed, sizeof transposed),
                           "cublasLtMatmulDescSetAttribute"));
  if (fp8) {
    const int8_t fast = 1;
    RETURN_IF_ERROR(check_lt(api->desc_set(desc, kDescFastAccumulation, &fast, sizeof fast),
                             "cublasLtMatmulDescSetAttribute"));
  }
  constexpr const char* kCall = "cublasLtMatrixLayoutCreate";
  RETURN_IF_ERROR(check_lt(api->layout_create(&a, type, k, n, shape.k), kCall));
  RETURN_IF_ERROR(check_lt(api->layout_create(&b, type, k, m, shape.k), kCall));
  return check_lt(api->layout_create(&d, kTypeBf16, n, m, shape.n), kCall);
}

Status CublasLt::Impl::choose() {
  LtPreference preference = nullptr;
  RETURN_IF_ERROR(check_lt(api->preference_create(&preference), "cublasLtMatmulPreferenceCreate"));
  const size_t bytes = kWorkspaceBytes;
  int status = api->preference_set(preference, kPreferenceWorkspace, &bytes, sizeof bytes);
  int count = 0;
  if (status == 0) {
    status = api->heuristic(handle, desc, a, b, d, d, preference, 1, &chosen, &count);
  }
  api->preference_destroy(preference);
  RETURN_IF_ERROR(check_lt(status, "cublasLtMatmulAlgoGetHeuristic"));
  if (count == 0) return unsupported("cuBLASLt has no algorithm for this shape");
  return ok_status();
}

CublasLt::CublasLt(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
CublasLt::~CublasLt() = default;

Result<std::unique_ptr<CublasLt>> CublasLt::create() {
  auto impl = std::make_unique<Impl>();
  ASSIGN_OR_RETURN(impl->api, lt());
  RETURN_IF_ERROR(check_lt(impl->api->create(&impl->handle), "cublasLtCreate"));
  ASSIGN_OR_RETURN(impl->workspace, DeviceBuffer::allocate(Impl::kWorkspaceBytes));
  return std::unique_ptr<CublasLt>(new CublasLt(std::move(impl)));
}

std::string CublasLt::version() const {
  const size_t v = impl_->api->version();
  return fmt::format("{}.{}.{}", v / 10000, v / 100 % 100, v % 100);
}

Status CublasLt::plan(const LtShape& shape) {
  RETURN_IF_ERROR(impl_->describe(shape));
  return impl_->choose();
}

Status CublasLt::run(CuDevicePtr w, CuDevicePtr x, CuDevicePtr y, CuDevicePtr scale,
                     const Stream& stream) {
  const float one = 1, zero = 0;
  if (impl_->fp8) {
    for (int attribute : {kDescScaleA, kDescScaleB}) {
      RETURN_IF_ERROR(check_lt(impl_->api->desc_set(impl_->desc, attribute, &scale, sizeof scale),
                               "cublasLtMatmulDescSetAttribute"));
    }
  }
  const auto pointer = [](CuDevicePtr address) { return reinterpret_cast<void*>(address); };
  return check_lt(impl_->api->matmul(impl_->handle, impl_->desc, &one, pointer(w), impl_->a,
                                     pointer(x), impl_->b, &zero, pointer(y), impl_->d, pointer(y),
                                     impl_->d, &impl_->chosen.algo, pointer(impl_->workspace.get()),
                                     Impl::kWorkspaceBytes, stream.get()),
                  "cublasLtMatmul");
}

}  // namespace ramjet::device::cuda
