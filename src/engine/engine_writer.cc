#include <algorithm>
#include <cstring>
#include <utility>

#include "base/hash.h"
#include "engine/engine_file.h"
#include "engine/layout.h"

namespace ramjet::engine {

uint64_t header_checksum(FileHeader header, std::span<const std::byte> table) {
  header.checksum = 0;
  Hasher hasher;
  hasher.update(std::as_bytes(std::span(&header, 1)));
  hasher.update(table);
  return hasher.digest64();
}

bool valid_section_name(std::string_view name) {
  if (name.empty() || name.size() > 63) return false;
  return std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
           std::string_view("_-./").find(c) != std::string_view::npos;
  });
}

struct EngineWriter::Impl {
  std::string path;
  AtomicFile file;
  std::vector<SectionInfo> sections;
  std::unique_ptr<Hasher> weights;  // while the section is open

  Status start_section(std::string_view name, uint64_t alignment) {
    if (weights != nullptr) return internal_error("{}: the weights section is open", path);
    if (!valid_section_name(name)) {
      return invalid_argument("{}: '{}' is no section name (1-63 of a-z 0-9 _ - . /)", path, name);
    }
    for (const SectionInfo& section : sections) {
      if (section.name == name) return invalid_argument("{}: two sections '{}'", path, name);
    }
    if (sections.size() == kMaxSections) {
      return invalid_argument("{}: more than {} sections", path, kMaxSections);
    }
    RETURN_IF_ERROR(file.pad_to(alignment));
    sections.push_back({std::string(name), file.offset(), 0, 0});
    return ok_status();
  }
};

EngineWriter::EngineWriter(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
EngineWriter::EngineWriter(EngineWriter&&) noexcept = default;
EngineWriter::~EngineWriter() = default;

Result<EngineWriter> EngineWriter::create(const std::string& path) {
  ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::create(path));
  RETURN_IF_ERROR(file.write(std::string(sizeof(FileHeader), '\0')));
  return EngineWriter(std::unique_ptr<Impl>(new Impl{path, std::move(file), {}, nullptr}));
}

Status EngineWriter::add_section(std::string_view name, std::string_view bytes) {
  RETURN_IF_ERROR(impl_->start_section(name, kSectionAlignment));
  RETURN_IF_ERROR(impl_->file.write(bytes));
  impl_->sections.back().bytes = bytes.size();
  impl_->sections.back().checksum = hash64(bytes);
  return ok_status();
}

Status EngineWriter::begin_weights() {
  RETURN_IF_ERROR(impl_->start_section("weights", kWeightsAlignment));
  impl_->weights = std::make_unique<Hasher>();
  return ok_status();
}

Result<uint64_t> EngineWriter::append_weight(std::span<const std::byte> bytes) {
  if (impl_->weights == nullptr) {
    return internal_error("{}: no weights section is open", impl_->path);
  }
  static constexpr std::array<std::byte, kWeightAlignment> kZeros{};
  SectionInfo& section = impl_->sections.back();
  const uint64_t gap = (kWeightAlignment - section.bytes % kWeightAlignment) % kWeightAlignment;
  for (std::span<const std::byte> part : {std::span(kZeros).first(gap), bytes}) {
    RETURN_IF_ERROR(impl_->file.write(part));
    impl_->weights->update(part);
    section.bytes += part.size();
  }
  return section.bytes - bytes.size();
}

Status EngineWriter::end_weights() {
  if (impl_->weights == nullptr) {
    return internal_error("{}: no weights section is open", impl_->path);
  }
  impl_->sections.back().checksum = impl_->weights->digest64();
  impl_->weights.reset();
  return ok_status();
}

Result<uint64_t> EngineWriter::finish(const Manifest& manifest) {
  const Status verified = verify_manifest(manifest);
  if (!verified.ok()) {  // the caller's bug, not the file's
    return internal_error("{}: {}", impl_->path, verified.error().message);
  }
  RETURN_IF_ERROR(add_section("manifest", encode_manifest(manifest)));

  std::vector<TableEntry> table;
  for (const SectionInfo& section : impl_->sections) {
    TableEntry entry{{}, section.offset, section.bytes, section.checksum, 0};
    std::copy(section.name.begin(), section.name.end(), entry.name.begin());
    table.push_back(entry);
  }
  const auto table_bytes = std::as_bytes(std::span(table));
  AtomicFile& file = impl_->file;
  RETURN_IF_ERROR(file.pad_to(kSectionAlignment));
  FileHeader header{};
  std::copy(kMagic.begin(), kMagic.end(), header.magic.begin());
  header.byte_order = kByteOrder;
  header.version = kFormatVersion;
  header.table_offset = file.offset();
  header.file_bytes = file.offset() + table_bytes.size();
  header.num_sections = static_cast<uint32_t>(table.size());
  header.entry_bytes = sizeof(TableEntry);
  header.checksum = header_checksum(header, table_bytes);
  RETURN_IF_ERROR(file.write(table_bytes));
  RETURN_IF_ERROR(file.write_at(0, std::as_bytes(std::span(&header, 1))));
  RETURN_IF_ERROR(file.commit());
  return header.file_bytes;
}

}  // namespace ramjet::engine
