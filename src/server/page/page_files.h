// The page at /: chat and live view, embedded when the server is built. No file of it is fetched
// from anywhere else, and nothing builds it. Static data, thread-safe.
#pragma once

#include <span>

namespace ramjet::server {

struct PageFile {
  const char* name;  // "index.html"
  const char* text;  // ASCII
};

std::span<const PageFile> page_files();
/// docs/openapi.json, what /openapi.json shows.
std::span<const PageFile> openapi_files();

}  // namespace ramjet::server
