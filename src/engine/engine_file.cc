#include "engine/engine_file.h"

#include <algorithm>
#include <cstring>
#include <fstream>
#include <utility>

#include "base/hash.h"
#include "engine/layout.h"

namespace ramjet::engine {
namespace {

std::span<const std::byte> as_bytes(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

/// The header, if this build can read the file that it opens.
Result<FileHeader> read_header(std::string_view bytes, const std::string& path) {
  if (bytes.size() < sizeof(FileHeader) || bytes.substr(0, kMagic.size()) != kMagic) {
    if (kMagic.starts_with(bytes.substr(0, kMagic.size())) && !bytes.empty()) {
      return corrupt("header: {} bytes, it has 64; truncated download?", bytes.size());
    }
    return corrupt("not an engine file: it does not begin with RAMJET");
  }
  FileHeader header;
  std::memcpy(&header, bytes.data(), sizeof(header));
  if (header.byte_order != kByteOrder) {
    return corrupt("header: byte-order mark {:#010x} instead of {:#010x}", header.byte_order,
                   kByteOrder);
  }
  if (header.version != kFormatVersion) {
    return unsupported(
        "engine format {}, this ramjet reads format {}; rebuild it: ramjet build MODEL -o {}",
        header.version, kFormatVersion, path);
  }
  if (header.file_bytes != bytes.size()) {
    return corrupt("the header says {} bytes, the file has {}{}", header.file_bytes, bytes.size(),
                   bytes.size() < header.file_bytes ? "; truncated download?" : "");
  }
  return header;
}

Result<std::vector<SectionInfo>> read_table(std::string_view bytes, const FileHeader& header) {
  const uint64_t table_bytes = uint64_t{header.num_sections} * sizeof(TableEntry);
  if (header.entry_bytes != sizeof(TableEntry) || header.num_sections > kMaxSections ||
      header.table_offset % kSectionAlignment != 0 || header.table_offset < sizeof(FileHeader) ||
      header.table_offset > bytes.size() || bytes.size() - header.table_offset != table_bytes) {
    return corrupt("header: {} sections of {} bytes at {} do not end a file of {}",
                   header.num_sections, header.entry_bytes, header.table_offset, bytes.size());
  }
  const std::string_view table = bytes.substr(header.table_offset);
  if (header_checksum(header, as_bytes(table)) != header.checksum) {
    return corrupt("header and section table: checksum mismatch");
  }
  std::vector<SectionInfo> sections;
  for (size_t i = 0; i < header.num_sections; ++i) {
    TableEntry entry;
    std::memcpy(&entry, table.data() + i * sizeof(entry), sizeof(entry));
    std::string_view name(entry.name.data(), entry.name.size());
    name = name.substr(0, name.find('\0'));
    if (!valid_section_name(name)) return corrupt("section table: entry {} has no valid name", i);
    const uint64_t alignment = name == "weights" ? kWeightsAlignment : kSectionAlignment;
    if (entry.offset % alignment != 0 || entry.offset < sizeof(FileHeader) ||
        entry.offset > header.table_offset || entry.bytes > header.table_offset - entry.offset) {
      return corrupt("section '{}': {} bytes at {} do not lie in the file", name, entry.bytes,
                     entry.offset);
    }
    sections.push_back({std::string(name), entry.offset, entry.bytes, entry.checksum});
  }
  return sections;
}

/// Unique names and disjoint ranges.
Status check_sections(const std::vector<SectionInfo>& sections) {
  std::vector<const SectionInfo*> sorted;
  for (const SectionInfo& section : sections) sorted.push_back(&section);
  std::sort(sorted.begin(), sorted.end(), [](auto* a, auto* b) { return a->name < b->name; });
  for (size_t i = 1; i < sorted.size(); ++i) {
    if (sorted[i - 1]->name == sorted[i]->name) {
      return corrupt("section table: '{}' twice", sorted[i]->name);
    }
  }
  std::sort(sorted.begin(), sorted.end(), [](auto* a, auto* b) {
    return std::pair(a->offset, a->bytes) < std::pair(b->offset, b->bytes);
  });
  for (size_t i = 1; i < sorted.size(); ++i) {
    if (sorted[i - 1]->offset + sorted[i - 1]->bytes > sorted[i]->offset) {
      return corrupt("sections '{}' and '{}' overlap", sorted[i - 1]->name, sorted[i]->name);
    }
  }
  return ok_status();
}

/// All bytes outside header, sections and table are zero.
Status check_padding(std::string_view bytes, std::vector<SectionInfo> sections, uint64_t end) {
  std::sort(sections.begin(), sections.end(),
            [](const auto& a, const auto& b) { return a.offset < b.offset; });
  sections.push_back({"section table", end, 0, 0});
  uint64_t position = sizeof(FileHeader);
  for (const SectionInfo& section : sections) {
    const std::string_view gap = bytes.substr(position, section.offset - position);
    if (gap.find_first_not_of('\0') != std::string_view::npos) {
      return corrupt("padding before section '{}' is not zero", section.name);
    }
    position = section.offset + section.bytes;
  }
  return ok_status();
}

}  // namespace

struct EngineFile::Impl {
  MappedFile file;
  std::vector<SectionInfo> sections;
  Manifest manifest;

  std::string_view bytes_of(const SectionInfo& section) const {
    return file.text().substr(section.offset, section.bytes);
  }
  std::string_view section(std::string_view name) const {
    for (const SectionInfo& info : sections) {
      if (info.name == name) return bytes_of(info);
    }
    return {};
  }

  Status read(Verify verify) {
    const std::string_view bytes = file.text();
    ASSIGN_OR_RETURN(const FileHeader header, read_header(bytes, file.path()));
    ASSIGN_OR_RETURN(sections, read_table(bytes, header));
    RETURN_IF_ERROR(check_sections(sections));
    for (const SectionInfo& info : sections) {
      if (verify == Verify::kStructure && info.name == "weights") continue;
      if (hash64(bytes_of(info)) != info.checksum) {
        return corrupt("section '{}': checksum mismatch", info.name);
      }
    }
    if (verify == Verify::kChecksums) {
      RETURN_IF_ERROR(check_padding(bytes, sections, header.table_offset));
    }
    ASSIGN_OR_RETURN(manifest, decode_manifest(section("manifest")));
    RETURN_IF_ERROR(check_weights());
    return check_kernels();
  }

  Status check_kernels() const {
    const uint64_t available = section("kernels").size();
    for (const KernelImage& kernel : manifest.kernels) {
      if (kernel.offset > available || kernel.bytes > available - kernel.offset) {
        return corrupt("section 'kernels': '{}' wants {} bytes at {}, the section has {}",
                       kernel.name, kernel.bytes, kernel.offset, available);
      }
    }
    return ok_status();
  }

  Status check_weights() const {
    const uint64_t available = section("weights").size();
    for (const WeightEntry& weight : manifest.weights) {
      if (weight.seed != 0) continue;
      if (weight.offset > available || weight.bytes > available - weight.offset) {
        return corrupt("section 'weights': '{}' wants {} bytes at {}, the section has {}",
                       weight.name, weight.bytes, weight.offset, available);
      }
    }
    return ok_status();
  }
};

EngineFile::EngineFile(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
EngineFile::EngineFile(EngineFile&&) noexcept = default;
EngineFile& EngineFile::operator=(EngineFile&&) noexcept = default;
EngineFile::~EngineFile() = default;

Result<EngineFile> EngineFile::open(const std::string& path, Verify verify) {
  ASSIGN_OR_RETURN(MappedFile file, MappedFile::open(path));
  auto impl = std::make_unique<Impl>();
  impl->file = std::move(file);
  const Status status = impl->read(verify);
  if (!status.ok()) return status.error().with_context(path);
  return EngineFile(std::move(impl));
}

const Manifest& EngineFile::manifest() const { return impl_->manifest; }
std::span<const SectionInfo> EngineFile::sections() const { return impl_->sections; }
std::string_view EngineFile::section(std::string_view name) const { return impl_->section(name); }
std::string_view EngineFile::asset(std::string_view name) const {
  return impl_->section(fmt::format("asset/{}", name));
}
std::span<const std::byte> EngineFile::weight(size_t index) const {
  const WeightEntry& weight = impl_->manifest.weights[index];
  if (weight.seed != 0) return {};
  return as_bytes(impl_->section("weights").substr(weight.offset, weight.bytes));
}
std::string_view EngineFile::kernel(size_t index) const {
  const KernelImage& kernel = impl_->manifest.kernels[index];
  return impl_->section("kernels").substr(kernel.offset, kernel.bytes);
}
const std::string& EngineFile::path() const { return impl_->file.path(); }

bool EngineFile::is_engine(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string magic(kMagic.size(), '\0');
  return file.read(magic.data(), static_cast<std::streamsize>(magic.size())) && magic == kMagic;
}

}  // namespace ramjet::engine
