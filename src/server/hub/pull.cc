#include "server/hub/pull.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <mutex>

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "server/hub/blob_download.h"
#include "server/hub/web_client.h"

namespace ramjet::server {
namespace {

namespace fs = std::filesystem;

constexpr std::array kTexts = {"config.json",         "generation_config.json",
                               "tokenizer.json",      "tokenizer_config.json",
                               "tokenizer.model",     "special_tokens_map.json",
                               "vocab.json",          "merges.txt",
                               "chat_template.jinja", "chat_template.json",
                               "hf_quant_config.json"};
constexpr std::string_view kSingle = "model.safetensors";
constexpr std::string_view kIndex = "model.safetensors.index.json";

/// %XX for all that a path's segment may not hold.
std::string escaped(std::string_view path, bool keep_slash) {
  std::string out;
  for (const char c : path) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '-' || c == '_' || c == '.' || c == '~' || (keep_slash && c == '/');
    out += plain ? std::string(1, c) : fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return out;
}

/// An etag without W/ and quotes, if it may name a file.
std::string plain_etag(std::string_view etag) {
  if (etag.starts_with("W/")) etag.remove_prefix(2);
  if (etag.size() >= 2 && etag.starts_with('"') && etag.ends_with('"')) {
    etag = etag.substr(1, etag.size() - 2);
  }
  const bool good =
      !etag.empty() && etag.size() <= 128 && std::all_of(etag.begin(), etag.end(), [](char c) {
        return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
               c == '-';
      });
  return good ? std::string(etag) : "";
}

/// Waits its turn at a file: the hub's clients lock the same one.
class FileLock {
 public:
  static Result<FileLock> take(const std::string& path) {
    RETURN_IF_ERROR(make_directories(fs::path(path).parent_path().string()));
    FileLock lock;
    lock.fd_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (lock.fd_ < 0 || ::flock(lock.fd_, LOCK_EX) != 0) {
      return internal_error("{}: cannot lock", path);
    }
    return lock;
  }
  FileLock(FileLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FileLock& operator=(FileLock&&) = delete;
  ~FileLock() {
    if (fd_ >= 0) ::close(fd_);
  }

 private:
  FileLock() = default;
  int fd_ = -1;
};

struct HubFile {
  std::string name, etag, url;
  uint64_t bytes = 0;
};

class Puller {
 public:
  Puller(const RepoId& repo, const PullOptions& options)
      : repo_(repo),
        options_(options),
        endpoint_(hub_endpoint()),
        token_(hub_token()),
        client_(endpoint_, token_) {}

  Result<PullReport> run() {
    if (!is_safe_path(options_.revision)) {
      return invalid_argument("revision '{}' is no name", options_.revision);
    }
    ASSIGN_OR_RETURN(const std::vector<std::string> all, list_files());
    std::vector<std::string> files = wanted_files(all, options_.include);
    RETURN_IF_ERROR(check_wanted(all, files));
    for (const std::string& file : files) RETURN_IF_ERROR(pull_file(file));
    if (options_.include.empty()) {
      ASSIGN_OR_RETURN(const std::vector<std::string> shards, listed_shards());
      for (const std::string& shard : shards) RETURN_IF_ERROR(pull_file(shard));
    }
    RETURN_IF_ERROR(write_ref(repo_, options_.revision, report_.commit));
    report_.path = repo_folder(repo_) + "/snapshots/" + report_.commit;
    return report_;
  }

 private:
  std::string label(const std::string& file) const { return repo_.text() + "/" + file; }

  Result<std::vector<std::string>> list_files() {
    const std::string url = fmt::format("{}/api/models/{}/revision/{}", endpoint_, repo_.text(),
                                        escaped(options_.revision, false));
    ASSIGN_OR_RETURN(const WebAnswer answer, client_.send({.url = url}));
    const std::string name = fmt::format("{} ({})", repo_.text(), options_.revision);
    if (answer.status != 200) return http_error(name, answer.status);
    const Result<Json> json = parse_json(answer.body, 64);
    if (!json.ok() || !json->is_object() || !json->contains("siblings") ||
        !(*json)["siblings"].is_array() || !json->contains("sha") || !(*json)["sha"].is_string()) {
      return corrupt("{}: the hub's answer is no description of a model", name);
    }
    report_.commit = (*json)["sha"].get<std::string>();
    if (plain_etag(report_.commit) != report_.commit) {
      return corrupt("{}: the hub's commit '{}' is no name", name, report_.commit.substr(0, 64));
    }
    std::vector<std::string> files;
    for (const Json& sibling : (*json)["siblings"]) {
      const auto file = sibling.is_object() ? sibling.find("rfilename") : sibling.end();
      if (!sibling.is_object() || file == sibling.end() || !file->is_string()) continue;
      if (is_safe_path(file->get_ref<const std::string&>())) files.push_back(*file);
    }
    return files;
  }

  Status check_wanted(const std::vector<std::string>& all,
                      const std::vector<std::string>& files) const {
    const auto has = [&](std::string_view name) {
      return std::find(files.begin(), files.end(), name) != files.end();
    };
    if (!options_.include.empty()) {
      if (!files.empty()) return ok_status();
      return not_found("{}: no file fits --include {}", repo_.text(), options_.include.front());
    }
    if (has("config.json") && (has(kSingle) || has(kIndex))) return ok_status();
    std::string ggufs;
    for (const std::string& file : all) {
      if (file.ends_with(".gguf")) ggufs += (ggufs.empty() ? "" : ", ") + file;
    }
    if (!ggufs.empty()) {
      return not_found("{}: GGUF files alone; choose with --include: {}", repo_.text(), ggufs);
    }
    return not_found("{}: no config.json with model.safetensors or its index", repo_.text());
  }

  /// The files that a pulled index names.
  Result<std::vector<std::string>> listed_shards() const {
    std::vector<std::string> shards;
    const std::string index =
        fmt::format("{}/snapshots/{}/{}", repo_folder(repo_), report_.commit, kIndex);
    const std::string single =
        fmt::format("{}/snapshots/{}/{}", repo_folder(repo_), report_.commit, kSingle);
    if (!path_exists(index) || path_exists(single)) return shards;
    ASSIGN_OR_RETURN(const Json json, read_json_file(index));
    const auto map = json.is_object() ? json.find("weight_map") : json.end();
    if (!json.is_object() || map == json.end() || !map->is_object()) {
      return corrupt("{}: no weight_map", label(std::string(kIndex)));
    }
    for (const auto& [tensor, shard] : map->items()) {
      if (!shard.is_string() || !is_safe_path(shard.get_ref<const std::string&>())) {
        return corrupt("{}: tensor '{}' is in no file", label(std::string(kIndex)),
                       tensor.substr(0, 128));
      }
      shards.push_back(shard);
    }
    std::sort(shards.begin(), shards.end());
    shards.erase(std::unique(shards.begin(), shards.end()), shards.end());
    return shards;
  }

  /// Size and checksum, from the hub itself and not from where it keeps the bytes.
  Result<HubFile> describe(const std::string& name) {
    HubFile file{.name = name};
    file.url = fmt::format("{}/{}/resolve/{}/{}", endpoint_, repo_.text(), report_.commit,
                           escaped(name, true));
    ASSIGN_OR_RETURN(const WebAnswer answer,
                     client_.send({.method = "HEAD",
                                   .url = file.url,
                                   .headers = {{"Accept-Encoding", "identity"}},
                                   .stay_on_host = true}));
    if (answer.status >= 400) return http_error(label(name), answer.status);
    const auto first = [&](const char* linked, const char* own) {
      const std::string_view value = find_header(answer.headers, linked);
      return std::string(value.empty() ? find_header(answer.headers, own) : value);
    };
    file.etag = plain_etag(first("x-linked-etag", "etag"));
    const std::string size = first("x-linked-size", "content-length");
    const bool number =
        !size.empty() && size.size() < 18 && size.find_first_not_of("0123456789") == size.npos;
    if (file.etag.empty() || !number) {
      return corrupt("{}: the hub says neither etag nor size", label(name));
    }
    file.bytes = std::stoull(size);
    return file;
  }

  Status pull_file(const std::string& name) {
    ASSIGN_OR_RETURN(const HubFile file, describe(name));
    const std::string blobs = repo_folder(repo_) + "/blobs";
    RETURN_IF_ERROR(make_directories(blobs));
    const std::string blob = blobs + "/" + file.etag;
    ASSIGN_OR_RETURN(
        const FileLock lock,
        FileLock::take(fmt::format("{}/.locks/models--{}--{}/{}.lock", hub_cache_directory(),
                                   repo_.org, repo_.name, file.etag)));
    std::error_code error;
    if (!path_exists(blob) || fs::file_size(blob, error) != file.bytes) {
      RETURN_IF_ERROR(fetch(file, blob));
    }
    RETURN_IF_ERROR(link_snapshot_file(repo_, {report_.commit, name, file.etag}));
    ++report_.files;
    return ok_status();
  }

  Status fetch(const HubFile& file, const std::string& blob) {
    std::error_code error;
    const auto space = fs::space(fs::path(blob).parent_path(), error);
    const auto part = fs::file_size(blob + ".part", error);
    const uint64_t there = error ? 0 : part;
    if (space.available + there < file.bytes) {
      return make_error(ErrorCode::kResourceExhausted, "{}: {} bytes wanted, {} has {} free",
                        label(file.name), file.bytes, hub_cache_directory(), space.available);
    }
    BlobSource source{label(file.name), file.url, endpoint_, token_, file.etag, file.bytes};
    DownloadOptions options;
    options.connections = options_.connections;
    options.range_bytes = options_.range_bytes;
    std::mutex mutex;
    uint64_t came = 0;
    options.progress = [&](uint64_t bytes) {
      const std::scoped_lock lock(mutex);
      came += bytes;
      if (!options_.progress || file.bytes == 0) return;
      options_.progress(file.name,
                        std::min(1.0, static_cast<double>(came) / static_cast<double>(file.bytes)));
    };
    RETURN_IF_ERROR(download_blob(source, blob, options));
    report_.bytes += file.bytes;
    return ok_status();
  }

  const RepoId& repo_;
  const PullOptions& options_;
  std::string endpoint_, token_;
  WebClient client_;
  PullReport report_;
};

}  // namespace

bool fits_pattern(std::string_view name, std::string_view pattern) {
  size_t n = 0, p = 0, star = pattern.npos, resume = 0;
  while (n < name.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resume = n;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == name[n])) {
      ++p, ++n;
    } else if (star != pattern.npos) {
      p = star + 1;
      n = ++resume;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

std::vector<std::string> wanted_files(const std::vector<std::string>& files,
                                      const std::vector<std::string>& include) {
  std::vector<std::string> out;
  const bool single = std::find(files.begin(), files.end(), kSingle) != files.end();
  for (const std::string& file : files) {
    bool wanted = false;
    if (include.empty()) {
      wanted = std::find(kTexts.begin(), kTexts.end(), file) != kTexts.end() ||
               file == (single ? kSingle : kIndex);
    } else {
      wanted = std::any_of(include.begin(), include.end(),
                           [&](const std::string& pattern) { return fits_pattern(file, pattern); });
    }
    if (wanted) out.push_back(file);
  }
  return out;
}

Result<PullReport> pull(const RepoId& repo, const PullOptions& options) {
  return Puller(repo, options).run();
}

Result<std::string> find_or_pull(const RepoId& repo, const PullOptions& options, bool offline) {
  Result<std::string> cached = cached_snapshot(repo, options.revision);
  if (cached.ok() || cached.error().code != ErrorCode::kNotFound) return cached;
  if (offline) {
    return Error{ErrorCode::kNotFound, cached.error().message + ", and the network is off limits"};
  }
  log_info("{}: pulling it from {}", cached.error().message, hub_endpoint());
  const Result<PullReport> report = pull(repo, options);
  if (!report.ok()) {
    return Error{report.error().code,
                 report.error().message + " (nor is there such a folder or file)"};
  }
  return report->path;
}

}  // namespace ramjet::server
