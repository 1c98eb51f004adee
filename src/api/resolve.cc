#include <dlfcn.h>
#include <sys/stat.h>

#include <filesystem>

#include "api/build.h"
#include "base/env.h"
#include "base/file.h"
#include "base/gguf/gguf.h"
#include "base/hash.h"
#include "base/log.h"
#include "checkpoint/checkpoint.h"
#include "engine/engine_file.h"

namespace ramjet {
namespace {

/// Size and time of this program, or of the library that this code is in: another build of Ramjet
/// makes engines of its own.
std::string program_stamp() {
  struct stat info;
  Dl_info self;
  const bool found = ::dladdr(reinterpret_cast<const void*>(&cache_directory), &self) != 0;
  const bool library = found && std::string_view(self.dli_fname).ends_with(".so");
  if (::stat(library ? self.dli_fname : "/proc/self/exe", &info) != 0) return "unknown";
  return fmt::format("{}.{}", info.st_size, info.st_mtim.tv_sec);
}

/// Content, options, program and machine; anything that changes one of them misses the cache.
Result<std::string> cached_path(const std::string& model, const BuildOptions& options) {
  const bool stored = options.weights == BuildOptions::Weights::kCheckpoint;
  ASSIGN_OR_RETURN(auto checkpoint, checkpoint::open_checkpoint(model, stored));
  ASSIGN_OR_RETURN(compiler::CompileOptions compile, api::compile_options(options));
  const std::string key =
      fmt::format("{}|{}|{}|{}", checkpoint->fingerprint().hex(), api::options_text(options),
                  compile.target.name(), program_stamp());
  std::filesystem::path path = std::filesystem::absolute(model).lexically_normal();
  if (!path.has_filename()) path = path.parent_path();
  return fmt::format("{}/engines/{}-{}.engine", cache_directory(), path.filename().string(),
                     hash128(key).hex().substr(0, 16));
}

}  // namespace

Result<std::string> resolve_engine(const std::string& model, const BuildOptions& options) {
  if (!path_exists(model)) {
    return not_found("{}: no such model; give a Hugging Face folder, a .gguf or an .engine file",
                     model);
  }
  if (!is_directory(model) && !gguf::is_gguf(model)) {
    if (engine::EngineFile::is_engine(model)) return model;
    return invalid_argument("{}: neither a folder with config.json nor a GGUF nor an engine",
                            model);
  }
  ASSIGN_OR_RETURN(std::string path, cached_path(model, options));
  if (path_exists(path)) {
    Result<engine::EngineFile> file =
        engine::EngineFile::open(path, engine::EngineFile::Verify::kChecksums);
    if (file.ok()) return path;
    log_warn("cached engine is unusable and will be rebuilt: {}", file.error().message);
  }
  RETURN_IF_ERROR(make_directories(std::filesystem::path(path).parent_path().string()));
  ASSIGN_OR_RETURN(BuildReport report, build_engine(model, path, options));
  log_info("built {} ({:.1f} MB, {}) in {:.2f} s", report.path,
           static_cast<double>(report.bytes) * 1e-6, report.target, report.seconds);
  return path;
}

}  // namespace ramjet
