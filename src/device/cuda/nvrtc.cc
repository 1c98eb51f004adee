#include "device/cuda/nvrtc.h"

#include <memory>

#include "device/dynamic_library.h"

namespace ramjet::device::cuda {
namespace {

using Program = struct NvrtcProgramOpaque*;

// name, exported symbol, parameters
#define RAMJET_NVRTC(X)                                                                          \
  X(version, "nvrtcVersion", (int* major, int* minor))                                           \
  X(create, "nvrtcCreateProgram",                                                                \
    (Program * program, const char* source, const char* name, int num_headers,                   \
     const char* const* headers, const char* const* include_names))                              \
  X(destroy, "nvrtcDestroyProgram", (Program * program))                                         \
  X(compile, "nvrtcCompileProgram", (Program program, int num_options, const char* const* opts)) \
  X(cubin_size, "nvrtcGetCUBINSize", (Program program, size_t * bytes))                          \
  X(cubin, "nvrtcGetCUBIN", (Program program, char* out))                                        \
  X(log_size, "nvrtcGetProgramLogSize", (Program program, size_t * bytes))                       \
  X(log, "nvrtcGetProgramLog", (Program program, char* out))

struct Nvrtc {
#define X(name, symbol, parameters) int(*name) parameters = nullptr;
  RAMJET_NVRTC(X)
#undef X
};

Result<Nvrtc> load() {
  ASSIGN_OR_RETURN(
      DynamicLibrary library,
      DynamicLibrary::open({"libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so",
                            "/usr/local/cuda/lib64/libnvrtc.so.13"},
                           "install CUDA's NVRTC where engines are built (serving needs none)"));
  library.keep();
  Nvrtc table;
  void* address = nullptr;
#define X(name, symbol_name, parameters)                       \
  {                                                            \
    ASSIGN_OR_RETURN(address, library.symbol(symbol_name));    \
    table.name = reinterpret_cast<int(*) parameters>(address); \
  }
  RAMJET_NVRTC(X)
#undef X
  return table;
}

Result<const Nvrtc*> nvrtc() {
  static const Result<Nvrtc>* loaded = new Result<Nvrtc>(load());
  if (!loaded->ok()) return loaded->error();
  return &loaded->value();
}

struct ProgramOwner {
  const Nvrtc* api = nullptr;
  Program program = nullptr;
  ~ProgramOwner() {
    if (program != nullptr) api->destroy(&program);
  }
};

std::string program_log(const Nvrtc& api, Program program) {
  size_t bytes = 0;
  if (api.log_size(program, &bytes) != 0 || bytes < 2) return "";
  std::string log(bytes, '\0');
  api.log(program, log.data());
  log.resize(bytes - 1);
  return log;
}

}  // namespace

Result<std::string> nvrtc_version() {
  ASSIGN_OR_RETURN(const Nvrtc* api, nvrtc());
  int major = 0, minor = 0;
  api->version(&major, &minor);
  return fmt::format("{}.{}", major, minor);
}

Result<NvrtcResult> nvrtc_compile(const NvrtcSource& source) {
  ASSIGN_OR_RETURN(const Nvrtc* api, nvrtc());
  std::vector<std::string> names, texts;  // NVRTC wants terminated strings
  for (const NvrtcHeader& header : source.headers) {
    names.emplace_back(header.name);
    texts.emplace_back(header.source);
  }
  std::vector<const char*> name_pointers, text_pointers;
  for (size_t i = 0; i < names.size(); ++i) {
    name_pointers.push_back(names[i].c_str());
    text_pointers.push_back(texts[i].c_str());
  }
  ProgramOwner owner{api};
  if (api->create(&owner.program, source.source.c_str(), source.name.c_str(),
                  static_cast<int>(names.size()), text_pointers.data(),
                  name_pointers.data()) != 0) {
    return internal_error("{}: nvrtcCreateProgram failed", source.name);
  }
  std::vector<std::string> options = {"--gpu-architecture=" + source.arch, "--std=c++17",
                                      "--device-as-default-execution-space", "--ptxas-options=-v"};
  for (const std::string& define : source.defines) options.push_back("-D" + define);
  std::vector<const char*> option_pointers;
  for (const std::string& option : options) option_pointers.push_back(option.c_str());
  const int rc =
      api->compile(owner.program, static_cast<int>(options.size()), option_pointers.data());
  NvrtcResult result;
  result.log = program_log(*api, owner.program);
  if (rc != 0) {
    return invalid_argument("{} does not compile for {}:\n{}", source.name, source.arch,
                            result.log);
  }
  size_t bytes = 0;
  api->cubin_size(owner.program, &bytes);
  result.cubin.resize(bytes);
  if (bytes == 0 || api->cubin(owner.program, result.cubin.data()) != 0) {
    return internal_error("{}: NVRTC gave no machine code for {}", source.name, source.arch);
  }
  return result;
}

}  // namespace ramjet::device::cuda
