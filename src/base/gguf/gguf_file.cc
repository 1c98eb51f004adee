#include <cstdio>

#include "base/gguf/gguf.h"

namespace ramjet::gguf {
namespace {

constexpr std::string_view kExtension = ".gguf";
constexpr size_t kDigits = 5;

/// "-00001-of-00003.gguf" at the end of a path: where it begins, and the count; 0 without one.
struct PartName {
  size_t begin = 0;
  int count = 0;
};

int five_digits(std::string_view text) {
  int out = 0;
  for (const char c : text.substr(0, kDigits)) {
    if (c < '0' || c > '9') return -1;
    out = out * 10 + (c - '0');
  }
  return text.size() < kDigits ? -1 : out;
}

PartName part_name(std::string_view path) {
  constexpr std::string_view kOf = "-of-";
  constexpr size_t kSize = 1 + kDigits + kOf.size() + kDigits + kExtension.size();
  if (path.size() <= kSize || !path.ends_with(kExtension)) return {};
  const size_t begin = path.size() - kSize;
  const std::string_view tail = path.substr(begin);
  const int number = five_digits(tail.substr(1));
  const int count = five_digits(tail.substr(1 + kDigits + kOf.size()));
  if (tail[0] != '-' || tail.substr(1 + kDigits, kOf.size()) != kOf || number < 1 ||
      count < number) {
    return {};
  }
  return {begin, count};
}

}  // namespace

Result<File> File::open(const std::string& path) {
  File file;
  ASSIGN_OR_RETURN(file.mapped_, MappedFile::open(path));
  Result<Header> header = parse(file.mapped_.text());
  if (!header.ok()) return header.error().with_context(path);
  file.header_ = *std::move(header);
  return file;
}

bool is_gguf(const std::string& path) {
  std::FILE* file = std::fopen(path.c_str(), "rb");
  if (file == nullptr) return false;
  char magic[4] = {};
  const bool out = std::fread(magic, 1, sizeof(magic), file) == sizeof(magic) &&
                   std::string_view(magic, sizeof(magic)) == "GGUF";
  std::fclose(file);
  return out;
}

Result<std::vector<std::string>> part_paths(const std::string& path) {
  const PartName name = part_name(path);
  if (name.count == 0) return std::vector<std::string>{path};
  std::vector<std::string> paths;
  for (int i = 1; i <= name.count; ++i) {
    paths.push_back(
        fmt::format("{}-{:05}-of-{:05}{}", path.substr(0, name.begin), i, name.count, kExtension));
    if (!path_exists(paths.back())) {
      return not_found("{}: missing; it is part {} of the {} of {}", paths.back(), i, name.count,
                       path);
    }
  }
  return paths;
}

std::string model_name(const std::string& path) {
  const PartName part = part_name(path);
  std::string_view name = path;
  if (part.count > 0) {
    name = name.substr(0, part.begin);
  } else if (name.ends_with(kExtension)) {
    name.remove_suffix(kExtension.size());
  }
  return std::string(name.substr(name.rfind('/') + 1));
}

}  // namespace ramjet::gguf
