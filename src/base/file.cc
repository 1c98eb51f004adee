#include "base/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

namespace ramjet {
namespace {

ErrorCode code_of_errno(int error) {
  switch (error) {
    case ENOENT:
    case ENOTDIR: return ErrorCode::kNotFound;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
    case EMFILE:
    case ENFILE:
    case ENOMEM: return ErrorCode::kResourceExhausted;
    case EACCES:
    case EPERM:
    case EISDIR:
    case EROFS: return ErrorCode::kInvalidArgument;
    default: return ErrorCode::kInternal;
  }
}

Error errno_error(const std::string& path, std::string_view action) {
  const int error = errno;
  return make_error(code_of_errno(error), "{}: cannot {}: {}", path, action, std::strerror(error));
}

}  // namespace

Result<MappedFile> MappedFile::open(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return errno_error(path, "open");
  struct stat info;
  if (::fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    ::close(fd);
    return invalid_argument("{}: not a regular file", path);
  }
  MappedFile file;
  file.path_ = path;
  file.size_ = static_cast<size_t>(info.st_size);
  if (file.size_ > 0) {
    void* data = ::mmap(nullptr, file.size_, PROT_READ, MAP_SHARED, fd, 0);
    if (data == MAP_FAILED) {
      Error error = errno_error(path, "map");
      ::close(fd);
      file.size_ = 0;
      return error;
    }
    file.data_ = static_cast<const std::byte*>(data);
  }
  ::close(fd);
  return file;
}

MappedFile::MappedFile(MappedFile&& other) noexcept { *this = std::move(other); }
MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(path_, other.path_);
  return *this;
}
MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

Result<std::string> read_file(const std::string& path, size_t max_bytes) {
  ASSIGN_OR_RETURN(MappedFile file, MappedFile::open(path));
  if (file.bytes().size() > max_bytes) {
    return invalid_argument("{}: {} bytes, the limit is {}", path, file.bytes().size(), max_bytes);
  }
  return std::string(file.text());
}

Result<AtomicFile> AtomicFile::create(const std::string& path) {
  static std::atomic<uint64_t> counter{0};
  AtomicFile file;
  file.path_ = path;
  file.temporary_ = fmt::format("{}.tmp.{}.{}", path, ::getpid(), counter++);
  file.fd_ = ::open(file.temporary_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (file.fd_ < 0) {
    Error error = errno_error(file.temporary_, "create");
    file.temporary_.clear();
    return error;
  }
  return file;
}

AtomicFile::AtomicFile(AtomicFile&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)),
      offset_(other.offset_),
      path_(std::move(other.path_)),
      temporary_(std::exchange(other.temporary_, {})) {}

AtomicFile::~AtomicFile() {
  if (fd_ >= 0) ::close(fd_);
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

Status AtomicFile::write(std::span<const std::byte> bytes) {
  RETURN_IF_ERROR(write_at(offset_, bytes));
  offset_ += bytes.size();
  return ok_status();
}
Status AtomicFile::write(std::string_view text) {
  return write(std::as_bytes(std::span(text.data(), text.size())));
}

Status AtomicFile::pad_to(size_t alignment) {
  // A hole reads as zeros; the file's length is fixed by the next write or by commit().
  offset_ = (offset_ + alignment - 1) / alignment * alignment;
  return ok_status();
}

Status AtomicFile::write_at(uint64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno_error(path_, "write");
    offset += static_cast<uint64_t>(n);
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
  return ok_status();
}

Status AtomicFile::commit() {
  struct stat info;
  if (::fstat(fd_, &info) != 0) return errno_error(path_, "stat");
  if (static_cast<uint64_t>(info.st_size) < offset_ &&
      ::ftruncate(fd_, static_cast<off_t>(offset_)) != 0) {
    return errno_error(path_, "extend");
  }
  if (::fsync(fd_) != 0) return errno_error(path_, "flush");
  ::close(std::exchange(fd_, -1));
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) return errno_error(path_, "rename into");
  temporary_.clear();
  return ok_status();
}

Status write_file_atomically(const std::string& path, std::string_view text) {
  ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::create(path));
  RETURN_IF_ERROR(file.write(text));
  return file.commit();
}

Status make_directories(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) return invalid_argument("{}: cannot create folder: {}", path, error.message());
  return ok_status();
}

bool path_exists(const std::string& path) {
  std::error_code error;
  return std::filesystem::exists(path, error);
}
bool is_directory(const std::string& path) {
  std::error_code error;
  return std::filesystem::is_directory(path, error);
}

}  // namespace ramjet
