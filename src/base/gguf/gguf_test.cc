#include "base/gguf/gguf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "base/gguf/gguf_fuzz.h"
#include "base/gguf/testing/gguf_writer.h"

namespace ramjet::gguf {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

GgufWriter sample(uint32_t version = 3) {
  GgufWriter writer(version);
  writer.text("general.architecture", "llama").u32("a.count", 7).f32("a.eps", 1e-5f);
  writer.flag("a.yes", true).texts("a.names", {"one", "", "three"}).i32s("a.kinds", {1, -3});
  writer.floats("x", {2, 3}, {1, 2, 3, 4, 5, 6});
  writer.tensor("q", Encoding::kQ8_0, {2, 32}, std::string(68, '\1'));
  return writer;
}
std::string message(std::string_view file) {
  const auto header = parse(file);
  return header.ok() ? "ok" : header.error().message;
}

TEST(Gguf, ReadsMetadataAndTensorsOfVersions2And3) {
  for (const uint32_t version : {2u, 3u}) {
    const std::string file = sample(version).bytes();
    const auto header = parse(file);
    ASSERT_TRUE(header.ok()) << header.error().message;
    EXPECT_EQ(header->version, version);
    EXPECT_EQ(*header->text("general.architecture"), "llama");
    EXPECT_EQ(*header->integer("a.count"), 7);
    EXPECT_EQ(*header->number("a.count"), 7.0);
    EXPECT_EQ(*header->number("a.eps"), double{1e-5f});
    EXPECT_TRUE(*header->flag("a.yes"));
    EXPECT_THAT(*header->find("a.names")->texts(), ElementsAre("one", "", "three"));
    EXPECT_THAT(*header->find("a.kinds")->numbers(), ElementsAre(1, -3));
    const TensorInfo& x = header->tensors.at("x");
    EXPECT_THAT(x.shape, ElementsAre(2, 3));
    EXPECT_EQ(x.type->name, "F32");
    float last = 0;
    std::memcpy(&last, file.data() + x.offset + 20, sizeof(last));
    EXPECT_EQ(last, 6.0f);
    EXPECT_EQ(header->tensors.at("q").bytes, 68u);
    EXPECT_EQ(header->tensors.at("q").offset % 32, 0u);
  }
}

TEST(Gguf, LookupsNameTheKey) {
  const std::string file = sample().bytes();
  const auto header = parse(file);
  EXPECT_EQ(*header->integer("none", 3), 3);
  EXPECT_EQ(header->integer("none").error().message, "metadata 'none' is missing");
  EXPECT_EQ(header->integer("a.eps").error().message,
            "metadata 'a.eps' is f32, it must be a whole number");
  EXPECT_EQ(header->text("a.names", "").error().message,
            "metadata 'a.names' is array of string, it must be a string");
  EXPECT_EQ(header->number("general.architecture").error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(header->flag("a.count").error().code, ErrorCode::kInvalidArgument);
}

TEST(Gguf, AlignmentIsTheFilesOwn) {
  GgufWriter writer = sample();
  writer.u32("general.alignment", 64).set_alignment(64);
  const std::string file = writer.bytes();
  EXPECT_EQ(parse(file)->alignment, 64u);
  EXPECT_EQ(parse(file)->tensors.at("q").offset % 64, 0u);
  EXPECT_THAT(message(sample().u32("general.alignment", 24).bytes()), HasSubstr("power of two"));
}

TEST(Gguf, EveryTruncationIsAnErrorThatSaysSo) {
  const std::string file = sample().bytes();
  for (size_t size = 0; size < file.size(); ++size) {
    const auto header = parse(std::string_view(file).substr(0, size));
    ASSERT_FALSE(header.ok()) << size;
    EXPECT_FALSE(header.error().message.empty());
  }
  EXPECT_THAT(message(file.substr(0, file.size() - 1)),
              HasSubstr("tensor 'q' wants 68 bytes at offset 32 of the data, file has 99"));
  EXPECT_THAT(message(file.substr(0, 60)), HasSubstr("metadata 'general.architecture': wants"));
  EXPECT_THAT(message("GGML"), HasSubstr("not a GGUF file"));
}

TEST(Gguf, LiesAreNamed) {
  GgufWriter writer = sample();
  writer.shift_tensor(1, -32);
  EXPECT_THAT(message(writer.bytes()), HasSubstr("tensor 'x' overlaps 'q' at offset"));
  writer.shift_tensor(1, 4);
  EXPECT_THAT(message(writer.bytes()), HasSubstr("tensor 'q' is misaligned: offset 36"));
  writer.shift_tensor(1, 1 << 20);
  EXPECT_THAT(message(writer.bytes()), HasSubstr("tensor 'q' wants 68 bytes at offset 1048608"));
  writer = sample();
  writer.tensor("k", Encoding::kQ4_K, {1, 128}, "");
  EXPECT_THAT(message(writer.bytes()),
              HasSubstr("tensor 'k' has rows of 128 elements, which are no whole blocks of 256"));
  EXPECT_THAT(message(sample().floats("x", {1}, {1}).bytes()), HasSubstr("'x' is there twice"));
  EXPECT_THAT(message(sample().u32("a.count", 1).bytes()), HasSubstr("'a.count' is there twice"));
  EXPECT_THAT(message(sample().tensor("y", Encoding{77}, {1}, "").bytes()),
              HasSubstr("tensor 'y' is of type 77"));
  EXPECT_THAT(message(sample().tensor("z", Encoding::kF32, {0, 4}, "").bytes()),
              HasSubstr("tensor 'z' has an extent of 0"));
  constexpr int64_t kHuge = int64_t{1} << 40;
  EXPECT_THAT(message(sample().tensor("z", Encoding::kF32, {kHuge, kHuge}, "").bytes()),
              HasSubstr("tensor 'z' has an extent of"));
  EXPECT_THAT(message(sample(1).bytes()), HasSubstr("version 1"));
  EXPECT_THAT(message(sample(0x03000000).bytes()), HasSubstr("big-endian"));
  EXPECT_THAT(message(sample().raw("b", ValueType::kBool, "\2").bytes()),
              HasSubstr("neither 0 nor 1"));
  EXPECT_THAT(message(sample().raw("t", ValueType{99}, "").bytes()),
              HasSubstr("metadata 't': has unknown type 99"));
  std::string counts = sample().bytes();
  counts.replace(8, 8, std::string(8, '\xff'));
  EXPECT_FALSE(parse(counts).ok());
}

TEST(Gguf, PartsAreFoundFromAnyOfThem) {
  const std::string folder = testing::TempDir() + "/gguf_parts";
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  const std::string first = folder + "/m-00001-of-00002.gguf";
  const std::string second = folder + "/m-00002-of-00002.gguf";
  ASSERT_TRUE(write_file_atomically(first, sample().bytes()).ok());
  EXPECT_THAT(part_paths(first).error().message, HasSubstr("m-00002-of-00002.gguf: missing"));
  ASSERT_TRUE(write_file_atomically(second, sample().bytes()).ok());
  EXPECT_THAT(*part_paths(second), ElementsAre(first, second));
  EXPECT_THAT(*part_paths(folder + "/plain.gguf"), ElementsAre(folder + "/plain.gguf"));
  EXPECT_EQ(model_name(second), "m");
  EXPECT_EQ(model_name(folder + "/plain.Q4.gguf"), "plain.Q4");
  EXPECT_EQ(model_name("some/folder"), "folder");
  EXPECT_TRUE(is_gguf(first));
  EXPECT_FALSE(is_gguf(folder));
  EXPECT_TRUE(File::open(first).ok());
  EXPECT_THAT(File::open(folder + "/none.gguf").error().message, HasSubstr("none.gguf"));
}

TEST(Gguf, ReplaysTheFuzzCorpus) {
  int seeds = 0;
  for (const auto& entry : std::filesystem::directory_iterator("tests/fuzz/gguf")) {
    fuzz_gguf(*read_file(entry.path().string()));
    ++seeds;
  }
  EXPECT_GE(seeds, 5);
}

}  // namespace
}  // namespace ramjet::gguf
