#include <gtest/gtest.h>

#include <filesystem>

#include "base/env.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
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
