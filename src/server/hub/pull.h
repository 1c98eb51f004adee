// Pull: a model from a Hugging Face-compatible hub into the hub's own cache on disk.
//
// Blocking; several processes may pull the same model (they take turns at each file). A ref is
// written last, so a snapshot that a ref names is whole.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "server/hub/hub_cache.h"

namespace ramjet::server {

struct PullOptions {
  std::string revision = "main";
  /// Patterns of file names ("*.Q4_K_M.gguf", '*' and '?'); none: what a model needs.
  std::vector<std::string> include;
  int connections = 8;
  uint64_t range_bytes = uint64_t{16} << 20;
  std::function<void(std::string_view file, double share)> progress;
};

struct PullReport {
  std::string path;  // of the snapshot
  std::string commit;
  int files = 0;
  uint64_t bytes = 0;  // that came; files that were there count nothing
};

/// Errors: kUnavailable without network; kInvalidArgument for 401 and 403; kNotFound for 404 and
/// for a repository without a model; as download_blob().
Result<PullReport> pull(const RepoId& repo, const PullOptions& options);

/// The snapshot in the cache, else pulled, unless the network is forbidden.
Result<std::string> find_or_pull(const RepoId& repo, const PullOptions& options, bool offline);

/// What `files` of a repository a model needs: configuration, tokenizer, templates, safetensors or
/// their index (whose shards pull() takes too); with patterns, what fits one of them.
std::vector<std::string> wanted_files(const std::vector<std::string>& files,
                                      const std::vector<std::string>& include);
/// Whether a name fits a pattern of '*' and '?'; '*' takes slashes too.
bool fits_pattern(std::string_view name, std::string_view pattern);

}  // namespace ramjet::server
