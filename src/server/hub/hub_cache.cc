#include "server/hub/hub_cache.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "base/env.h"
#include "base/file.h"
#include "base/json.h"

namespace ramjet::server {
namespace {

namespace fs = std::filesystem;

bool is_name(std::string_view text) {
  return !text.empty() && text.size() <= 96 && text != "." && text != ".." &&
         std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '-' || c == '_' || c == '.';
         });
}

std::string home() { return outside_env("HOME").value_or("/tmp"); }

std::string hub_home() {
  if (const auto path = outside_env("HF_HOME")) return *path;
  if (const auto xdg = outside_env("XDG_CACHE_HOME")) return *xdg + "/huggingface";
  return home() + "/.cache/huggingface";
}

Result<std::string> read_trimmed(const std::string& path) {
  ASSIGN_OR_RETURN(std::string text, read_file(path, 4096));
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r' || text.back() == ' ')) {
    text.pop_back();
  }
  return text;
}

/// What a snapshot lacks of a model; empty if it has one.
std::string missing_of(const std::string& folder) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    if (entry.path().extension() == ".gguf") return "";
  }
  if (!path_exists(folder + "/config.json")) return "config.json";
  if (path_exists(folder + "/model.safetensors")) return "";
  const std::string index = folder + "/model.safetensors.index.json";
  if (!path_exists(index)) return "model.safetensors";
  const auto json = read_json_file(index);
  if (!json.ok() || !json->is_object() || !json->contains("weight_map")) return "the index";
  for (const auto& [tensor, shard] : (*json)["weight_map"].items()) {
    const std::string name = shard.is_string() ? shard.get<std::string>() : "";
    if (name.empty() || !is_safe_path(name) || !path_exists(folder + "/" + name)) return name;
  }
  return "";
}

}  // namespace

std::optional<RepoId> parse_repo_id(std::string_view text) {
  const size_t slash = text.find('/');
  if (slash == text.npos) return {};
  const std::string_view org = text.substr(0, slash), name = text.substr(slash + 1);
  if (!is_name(org) || !is_name(name)) return {};
  return RepoId{std::string(org), std::string(name)};
}

bool is_safe_path(std::string_view path) {
  if (path.empty() || path.size() > 1024 || path[0] == '/' || path.find('\0') != path.npos ||
      path.find('\\') != path.npos) {
    return false;
  }
  while (true) {
    const size_t slash = path.find('/');
    const std::string_view part = path.substr(0, slash);
    if (part.empty() || part == "." || part == "..") return false;
    if (slash == path.npos) return true;
    path.remove_prefix(slash + 1);
  }
}

std::string hub_cache_directory() {
  for (const char* name : {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"}) {
    if (const auto path = outside_env(name)) return *path;
  }
  return hub_home() + "/hub";
}

std::string hub_token() {
  if (const auto token = outside_env("HF_TOKEN")) return *token;
  const std::string path = outside_env("HF_TOKEN_PATH").value_or(hub_home() + "/token");
  const auto token = read_trimmed(path);
  return token.ok() ? *token : "";
}

std::string hub_endpoint() {
  std::string endpoint = outside_env("HF_ENDPOINT").value_or("https://huggingface.co");
  while (endpoint.ends_with('/')) endpoint.pop_back();
  return endpoint;
}

bool hub_offline() {
  const std::string value = outside_env("HF_HUB_OFFLINE").value_or("");
  return value == "1" || value == "true" || value == "True" || value == "TRUE" || value == "yes" ||
         value == "YES" || value == "on" || value == "ON";
}

std::string repo_folder(const RepoId& repo) {
  return fmt::format("{}/models--{}--{}", hub_cache_directory(), repo.org, repo.name);
}

Result<std::string> cached_snapshot(const RepoId& repo, const std::string& revision) {
  const std::string folder = repo_folder(repo);
  std::string commit = revision;
  if (const std::string ref = folder + "/refs/" + revision; path_exists(ref)) {
    ASSIGN_OR_RETURN(commit, read_trimmed(ref));
  }
  const std::string snapshot = folder + "/snapshots/" + commit;
  if (!is_safe_path(commit) || !is_directory(snapshot)) {
    return not_found("{} ({}) is not in the cache {}", repo.text(), revision,
                     hub_cache_directory());
  }
  if (const std::string missing = missing_of(snapshot); !missing.empty()) {
    return not_found("{} ({}) is in the cache {} without {}", repo.text(), revision,
                     hub_cache_directory(), missing);
  }
  return snapshot;
}

Status link_snapshot_file(const RepoId& repo, const SnapshotFile& file) {
  const fs::path path = fs::path(repo_folder(repo)) / "snapshots" / file.commit / file.file;
  RETURN_IF_ERROR(make_directories(path.parent_path().string()));
  std::string target = "../../";
  for (const char c : file.file) {
    if (c == '/') target += "../";
  }
  target += "blobs/" + file.etag;
  const std::string temporary = fmt::format("{}.{}.link", path.string(), ::getpid());
  std::error_code error;
  fs::remove(temporary, error);
  fs::create_symlink(target, temporary, error);
  if (!error) fs::rename(temporary, path, error);
  if (error) return internal_error("{}: cannot link: {}", path.string(), error.message());
  return ok_status();
}

Status write_ref(const RepoId& repo, const std::string& revision, const std::string& commit) {
  if (revision == commit) return ok_status();
  const std::string path = repo_folder(repo) + "/refs/" + revision;
  RETURN_IF_ERROR(make_directories(fs::path(path).parent_path().string()));
  return write_file_atomically(path, commit);
}

}  // namespace ramjet::server
