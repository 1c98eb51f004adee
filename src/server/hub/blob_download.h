// BlobDownload: one file from a hub into its cache, in parallel ranges, resumed after a cut.
//
// The bytes gather in PATH.part and what is there in PATH.part.map; only when size and checksum are
// right is the file renamed to PATH. A cut connection leaves both for the next try; a full disk or
// a wrong checksum leaves neither. One process at a time works on a blob (the caller's lock).
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "base/result.h"

namespace ramjet::server {

struct BlobSource {
  std::string name;  // for messages
  std::string url;
  std::string endpoint;  // whose host gets the token
  std::string token;
  std::string etag;  // 64 hex digits: SHA-256; 40: git's SHA-1 of a blob; else no checksum
  uint64_t bytes = 0;
};

struct DownloadOptions {
  int connections = 8;
  uint64_t range_bytes = uint64_t{16} << 20;     // of one request, in large files
  int attempts = 5;                              // of a range, when connections break
  std::function<void(uint64_t bytes)> progress;  // bytes that came, from any thread
};

/// Errors: kUnavailable for the network; kResourceExhausted for a full disk; kCorrupt for a wrong
/// size or checksum; what http_error() makes of a refusal.
Status download_blob(const BlobSource& source, const std::string& path,
                     const DownloadOptions& options);

/// What an HTTP status of a hub means for a user: 401, 403, 404, 429, 5xx.
Error http_error(const std::string& name, int status);

/// Whether a file's content is what an etag says; true for an etag that is no checksum.
Result<bool> matches_etag(const std::string& path, const std::string& etag);

}  // namespace ramjet::server
