#include "server/hub/blob_download.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "base/file.h"
#include "base/log.h"
#include "server/hub/web_client.h"

namespace ramjet::server {
namespace {

namespace fs = std::filesystem;
constexpr double kRangeTimeout_s = 600;

Error disk_error(const std::string& path, int number) {
  const bool full = number == ENOSPC || number == EDQUOT || number == EFBIG;
  return make_error(full ? ErrorCode::kResourceExhausted : ErrorCode::kInternal,
                    "{}: cannot write: {}", path, std::strerror(number));
}

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

/// 0, or the errno of what failed.
int write_at(int fd, std::string_view bytes, uint64_t offset) {
  while (!bytes.empty()) {
    const ssize_t n = ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return n < 0 ? errno : EIO;
    bytes.remove_prefix(static_cast<size_t>(n));
    offset += static_cast<uint64_t>(n);
  }
  return 0;
}

/// One file's ranges and which of them are there.
class BlobDownload {
 public:
  BlobDownload(const BlobSource& source, const std::string& path, const DownloadOptions& options)
      : source_(source),
        options_(options),
        path_(path),
        part_(path + ".part"),
        map_(path + ".part.map") {}

  Status run() {
    const Status status = gather();
    if (!status.ok()) {
      const ErrorCode code = status.error().code;
      if (code == ErrorCode::kResourceExhausted || code == ErrorCode::kCorrupt) discard();
      return status.error();
    }
    return finish();
  }

 private:
  Status gather() {
    Descriptor part(::open(part_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
    Descriptor map(::open(map_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
    if (part.get() < 0 || map.get() < 0) return disk_error(part_, errno);
    part_fd_ = part.get();
    map_fd_ = map.get();
    RETURN_IF_ERROR(read_map());
    if (::posix_fallocate(part_fd_, 0, static_cast<off_t>(source_.bytes)) == ENOSPC) {
      return disk_error(part_, ENOSPC);
    }
    RETURN_IF_ERROR(fetch_ranges());
    if (ranges_refused_) RETURN_IF_ERROR(fetch_whole());
    if (::fsync(part_fd_) != 0) return disk_error(part_, errno);
    return ok_status();
  }

  /// The map's first line says what it is about; a byte a range follows: '1' if it is there.
  Status read_map() {
    const uint64_t count = (source_.bytes + options_.range_bytes - 1) / options_.range_bytes;
    done_.assign(static_cast<size_t>(count), '0');
    head_ = fmt::format("{} {} {}\n", source_.etag, source_.bytes, options_.range_bytes);
    ASSIGN_OR_RETURN(const std::string known, read_file(map_));
    std::error_code error;
    if (known.size() == head_.size() + count && known.starts_with(head_) &&
        fs::file_size(part_, error) == source_.bytes) {
      done_ = known.substr(head_.size());
      uint64_t kept = 0;
      for (size_t i = 0; i < done_.size(); ++i) kept += done_[i] == '1' ? length_of(i) : 0;
      if (kept > 0)
        log_info("{}: {} of {} bytes are there already", source_.name, kept, source_.bytes);
      report(kept);
      return ok_status();
    }
    if (::ftruncate(part_fd_, 0) != 0 || ::ftruncate(map_fd_, 0) != 0) {
      return disk_error(part_, errno);
    }
    if (const int failed = write_at(map_fd_, head_ + done_, 0)) return disk_error(map_, failed);
    return ok_status();
  }

  uint64_t length_of(size_t range) const {
    return std::min(options_.range_bytes, source_.bytes - range * options_.range_bytes);
  }
  void report(uint64_t bytes) const {
    if (options_.progress && bytes > 0) options_.progress(bytes);
  }

  Status fetch_ranges() {
    const auto left = static_cast<int>(std::count(done_.begin(), done_.end(), '0'));
    const int count = std::clamp(left, 0, options_.connections);
    std::vector<std::thread> threads;
    for (int i = 0; i < count; ++i) {
      clients_.push_back(std::make_unique<WebClient>(source_.endpoint, source_.token));
    }
    for (int i = 0; i < count; ++i) {
      threads.emplace_back([this, i] { work(*clients_[static_cast<size_t>(i)]); });
    }
    for (std::thread& thread : threads) thread.join();
    if (failure_ && !ranges_refused_) return *failure_;
    return ok_status();
  }

  void work(WebClient& client) {
    for (;;) {
      size_t range = 0;
      {
        const std::scoped_lock lock(mutex_);
        while (next_ < done_.size() && done_[next_] == '1') ++next_;
        if (next_ == done_.size() || failure_) return;
        range = next_++;
      }
      const Status status = fetch_range(client, range);
      const std::scoped_lock lock(mutex_);
      if (!status.ok()) {
        if (!failure_) failure_ = status.error();
        for (const auto& other : clients_) other->abort();
        return;
      }
      done_[range] = '1';
      write_at(map_fd_, "1", head_.size() + range);
    }
  }

  /// Tries again where the connection broke, from the byte that did not come.
  Status fetch_range(WebClient& client, size_t range) {
    Span span{range * options_.range_bytes, length_of(range), done_.size() > 1};
    for (int attempt = 1;; ++attempt) {
      const Status status = transfer(client, span);
      if (status.ok() || ranges_refused_) return status;
      if (status.error().code != ErrorCode::kUnavailable || attempt >= options_.attempts) {
        return status;
      }
      {
        const std::scoped_lock lock(mutex_);
        if (failure_) return status;
      }
      span.ranged = true;
      std::this_thread::sleep_for(std::chrono::milliseconds(100 << attempt));
    }
  }

  /// For servers without ranges: everything in one answer, again from the start if it is cut.
  Status fetch_whole() {
    log_info("{}: the server has no ranges, so it comes in one piece", source_.name);
    for (int attempt = 1;; ++attempt) {
      WebClient client(source_.endpoint, source_.token);
      Span span{0, source_.bytes, false};
      const Status status = transfer(client, span);
      if (status.ok() || status.error().code != ErrorCode::kUnavailable ||
          attempt >= options_.attempts) {
        return status;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(100 << attempt));
    }
  }

  struct Span {
    uint64_t begin = 0, bytes = 0;
    bool ranged = false;  // ask for these bytes, not for the file
    uint64_t got = 0;
  };

  Status transfer(WebClient& client, Span& span) {
    int write_error = 0;
    bool too_long = false;
    WebRequest request{.url = source_.url, .timeout_s = kRangeTimeout_s};
    if (span.ranged) {
      request.headers = {{"Range", fmt::format("bytes={}-{}", span.begin + span.got,
                                               span.begin + span.bytes - 1)}};
    } else {
      span.got = 0;
    }
    const std::string wanted = fmt::format("bytes {}-", span.begin + span.got);
    request.accept = [&](int status, const Headers& headers) {
      if (!span.ranged) return status == 200;
      ranges_refused_ = ranges_refused_ || status == 200;
      return status == 206 && find_header(headers, "content-range").starts_with(wanted);
    };
    request.sink = [&](std::string_view bytes) {
      too_long = too_long || span.got + bytes.size() > span.bytes;
      if (too_long || write_error != 0) return;
      write_error = write_at(part_fd_, bytes, span.begin + span.got);
      if (write_error != 0) return client.abort();
      span.got += bytes.size();
      report(bytes.size());
    };
    const Result<WebAnswer> answer = client.send(request);
    if (write_error != 0) return disk_error(part_, write_error);
    if (too_long) return corrupt("{}: the answer is longer than the hub says", source_.name);
    if (answer.ok() && answer->status / 100 != 2) return http_error(source_.name, answer->status);
    if (span.got == span.bytes) return ok_status();
    if (!answer.ok()) return answer.error().with_context(source_.name);
    return make_error(ErrorCode::kUnavailable, "{}: the answer ended after {} of {} bytes",
                      source_.name, span.got, span.bytes);
  }

  Status finish() {
    ASSIGN_OR_RETURN(const bool good, matches_etag(part_, source_.etag));
    if (!good) {
      discard();
      return corrupt("{}: its checksum is not the hub's ({}); nothing was kept, pull it again",
                     source_.name, source_.etag);
    }
    std::error_code error;
    fs::rename(part_, path_, error);
    if (error) return internal_error("{}: cannot rename: {}", part_, error.message());
    fs::remove(map_, error);
    return ok_status();
  }

  void discard() const {
    std::error_code ignored;
    fs::remove(part_, ignored);
    fs::remove(map_, ignored);
  }

  const BlobSource& source_;
  const DownloadOptions& options_;
  std::string path_, part_, map_, head_;
  int part_fd_ = -1, map_fd_ = -1;
  std::mutex mutex_;  // of what follows
  std::string done_;
  size_t next_ = 0;
  std::optional<Error> failure_;
  std::vector<std::unique_ptr<WebClient>> clients_;
  std::atomic<bool> ranges_refused_{false};
};

}  // namespace

Status download_blob(const BlobSource& source, const std::string& path,
                     const DownloadOptions& options) {
  return BlobDownload(source, path, options).run();
}

Error http_error(const std::string& name, int status) {
  switch (status) {
    case 401: return invalid_argument("{}: the hub wants a token (401); set HF_TOKEN", name);
    case 403:
      return invalid_argument("{}: not for this token (403); ask for access on the model's page",
                              name);
    case 404: return not_found("{}: not found on the hub (404)", name);
    default: break;
  }
  const bool passing = status == 408 || status == 429 || status / 100 == 5;
  return make_error(passing ? ErrorCode::kUnavailable : ErrorCode::kInternal,
                    "{}: the hub answers with status {}", name, status);
}

Result<bool> matches_etag(const std::string& path, const std::string& etag) {
  const bool hex = !etag.empty() && etag.find_first_not_of("0123456789abcdef") == etag.npos;
  if (!hex || (etag.size() != 64 && etag.size() != 40)) return true;
  ASSIGN_OR_RETURN(const MappedFile file, MappedFile::open(path));
  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(),
                                                                        EVP_MD_CTX_free);
  const bool sha256 = etag.size() == 64;
  bool good = EVP_DigestInit_ex(context.get(), sha256 ? EVP_sha256() : EVP_sha1(), nullptr) == 1;
  if (!sha256) {  // git's name of a blob
    const std::string head = fmt::format("blob {}", file.bytes().size());
    good = good && EVP_DigestUpdate(context.get(), head.c_str(), head.size() + 1) == 1;
  }
  good = good && EVP_DigestUpdate(context.get(), file.bytes().data(), file.bytes().size()) == 1;
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  if (!good || EVP_DigestFinal_ex(context.get(), digest, &size) != 1) {
    return internal_error("{}: no checksum can be computed", path);
  }
  std::string text;
  for (unsigned int i = 0; i < size; ++i) text += fmt::format("{:02x}", digest[i]);
  return text == etag;
}

}  // namespace ramjet::server
