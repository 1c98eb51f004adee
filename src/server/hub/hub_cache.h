// The Hugging Face hub's own cache on disk: models--ORG--NAME/{blobs,refs,snapshots}.
//
// Other programs read and write the same folders. Free functions over the file system; a blob is
// named by its etag and appears whole, a ref is written when its snapshot is complete.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace ramjet::server {

struct RepoId {
  std::string org, name;
  std::string text() const { return org + "/" + name; }
};
/// "ORG/NAME"; none for anything else.
std::optional<RepoId> parse_repo_id(std::string_view text);
/// Whether a revision or a file's name may become part of a path: relative, without "..".
bool is_safe_path(std::string_view path);

/// HF_HUB_CACHE, else HF_HOME/hub, else the user's cache folder.
std::string hub_cache_directory();
/// HF_TOKEN, else the token that `hf auth login` left; empty without one.
std::string hub_token();
/// HF_ENDPOINT, else the hub.
std::string hub_endpoint();
/// Whether HF_HUB_OFFLINE forbids the network.
bool hub_offline();

std::string repo_folder(const RepoId& repo);
/// The snapshot that a ref or a commit names, if it holds a model: a configuration with all its
/// safetensors, or a GGUF. Errors: kNotFound saying what is missing.
Result<std::string> cached_snapshot(const RepoId& repo, const std::string& revision);

struct SnapshotFile {
  std::string commit, file, etag;
};
/// Makes snapshots/COMMIT/FILE point at the blob. Replaces what is there.
Status link_snapshot_file(const RepoId& repo, const SnapshotFile& file);
Status write_ref(const RepoId& repo, const std::string& revision, const std::string& commit);

}  // namespace ramjet::server
