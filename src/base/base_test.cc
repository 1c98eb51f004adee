#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "base/env.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/name_filter.h"
#include "base/result.h"

namespace ramjet {
namespace {

Result<int> half(int x) {
  if (x % 2 != 0) return invalid_argument("{} is odd", x);
  return x / 2;
}
Result<int> quarter(int x) {
  ASSIGN_OR_RETURN(int h, half(x));
  return half(h);
}

TEST(Result, PropagatesErrors) {
  EXPECT_EQ(*quarter(8), 2);
  Result<int> bad = quarter(6);
  ASSERT_FALSE(bad.ok());
  EXPECT_EQ(bad.error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(bad.error().message, "3 is odd");
}

TEST(Json, OrderedKeepsOrderAndTheLastOfEqualKeys) {
  const auto small = parse_ordered_json(R"({"b":1,"a":[{"x":null},2.5,-3,"s"],"b":{"c":true}})");
  ASSERT_TRUE(small.ok()) << small.error().message;
  EXPECT_EQ(small->dump(), R"({"b":{"c":true},"a":[{"x":null},2.5,-3,"s"]})");
  std::string text = "{";
  for (int i = 0; i < 20; ++i) text += fmt::format(R"("k{}":{},)", i % 10, i);
  const auto repeated = parse_ordered_json(text + R"("z":0})");
  ASSERT_TRUE(repeated.ok()) << repeated.error().message;
  EXPECT_EQ(repeated->size(), 11u);
  EXPECT_EQ((*repeated)["k3"], 13);
  EXPECT_EQ(repeated->begin().key(), "k0");
  EXPECT_EQ(repeated->back(), 0);
  EXPECT_EQ(*parse_ordered_json("7"), 7);
  for (const char* bad : {"", "{", "[1,]", "{\"a\" 1}", "nul", "{} x", "\"\\ud800\"", "1e999"}) {
    const auto failed = parse_ordered_json(bad);
    ASSERT_FALSE(failed.ok()) << bad;
    EXPECT_NE(failed.error().message.find("invalid JSON: "), std::string::npos);
    EXPECT_EQ(failed.error().message, parse_json(bad).error().message);
  }
}

// Quadratic time would be minutes.
TEST(Json, OrderedTakesManyKeys) {
  std::string text = "{";
  for (int i = 0; i < 60'000; ++i) text += fmt::format(R"("key{}":{},)", i, i);
  const auto json = parse_ordered_json(text + R"("end":1})");
  ASSERT_TRUE(json.ok()) << json.error().message;
  EXPECT_EQ(json->size(), 60'001u);
  EXPECT_EQ(json->back(), 1);
}

TEST(Json, OrderedBoundsTheNumberOfValues) {
  const std::string_view ten = "0,0,0,0,0,0,0,0,0,0,";
  std::string text = "[";
  for (int i = 0; i < 400'000; ++i) text += ten;
  const auto json = parse_ordered_json(text + "0]");
  ASSERT_FALSE(json.ok());
  EXPECT_EQ(json.error().message, "invalid JSON: more than 4000000 values");
}

TEST(Json, RefusesDeepDocumentsAndNamesPosition) {
  std::string deep(100000, '[');
  EXPECT_EQ(parse_json(deep).error().code, ErrorCode::kInvalidArgument);
  EXPECT_NE(parse_json("{\"a\": }").error().message.find("line 1"), std::string::npos);
  EXPECT_EQ((*parse_json("{\"a\": [1]}"))["a"][0], 1);
}

TEST(File, AtomicFileAppearsWholeOrNotAtAll) {
  const std::string dir = testing::TempDir() + "/atomic_file";
  std::filesystem::remove_all(dir);
  ASSERT_TRUE(make_directories(dir).ok());
  {
    auto file = AtomicFile::create(dir + "/a");
    ASSERT_TRUE(file.ok());
    ASSERT_TRUE(file->write("half").ok());
  }
  EXPECT_TRUE(std::filesystem::is_empty(dir));
  auto file = AtomicFile::create(dir + "/a");
  ASSERT_TRUE(file->write("xx").ok());
  ASSERT_TRUE(file->pad_to(8).ok());
  ASSERT_TRUE(file->write_at(0, std::as_bytes(std::span("ab", 2))).ok());
  ASSERT_TRUE(file->commit().ok());
  EXPECT_EQ(*read_file(dir + "/a"), std::string("ab\0\0\0\0\0\0", 8));
  EXPECT_EQ(read_file(dir + "/none").error().code, ErrorCode::kNotFound);
}

TEST(NameFilter, FindsAnywhereAndNamesTheFlagOfABadPattern) {
  const NameFilter some = NameFilter::parse("gemm_[a-z]+$", "--filter").value();
  EXPECT_TRUE(some.matches("layer.gemm_up"));
  EXPECT_FALSE(some.matches("gemm_8"));
  EXPECT_TRUE(NameFilter::parse("", "--filter").value().matches("anything"));
  const auto bad = NameFilter::parse("gemm_(", "--filter");
  ASSERT_FALSE(bad.ok());
  EXPECT_THAT(bad.error().message, testing::HasSubstr("--filter 'gemm_('"));
}

TEST(Hash, StreamingEqualsWhole) {
  std::string text(100000, 'x');
  for (size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>(i * 31 >> 3);
  for (size_t length : {size_t{0}, size_t{1}, size_t{200}, text.size()}) {
    Hasher hasher;
    for (size_t i = 0; i < length; i += 777) {
      hasher.update(std::string_view(text).substr(i, std::min<size_t>(777, length - i)));
    }
    EXPECT_EQ(hasher.digest64(), hash64(std::string_view(text).substr(0, length)));
    EXPECT_EQ(hasher.digest128(), hash128(std::string_view(text).substr(0, length)));
  }
}

TEST(Hash, BlockChainDependsOnParentTokensAndExtra) {
  const int32_t tokens[] = {1, 2, 3};
  Hash128 root;
  Hash128 a = hash_kv_block(root, tokens);
  EXPECT_EQ(a, hash_kv_block(root, tokens));
  EXPECT_NE(a, hash_kv_block(a, tokens));
  EXPECT_NE(a, hash_kv_block(root, tokens, 1));
  EXPECT_EQ(a.hex().size(), 32u);
}

}  // namespace
}  // namespace ramjet
