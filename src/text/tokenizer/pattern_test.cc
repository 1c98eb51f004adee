#include "text/tokenizer/pattern.h"

#include <gtest/gtest.h>

#include "text/tokenizer/unicode.h"
#include "text/tokenizer/utf8.h"

namespace ramjet::text {
namespace {

/// Matches in brackets, gaps as they are.
std::string mark(const Pattern& pattern, std::string_view text) {
  std::vector<Match> matches;
  EXPECT_TRUE(pattern.find(text, matches).ok());
  std::string out;
  uint32_t at = 0;
  for (const Match& m : matches) {
    EXPECT_EQ(m.begin, at);
    at = m.end;
    const std::string part(text.substr(m.begin, m.end - m.begin));
    out += m.is_match ? "[" + part + "]" : part;
  }
  EXPECT_EQ(at, text.size());
  return out;
}

std::string mark(std::string_view regex, std::string_view text) {
  Result<Pattern> pattern = Pattern::regex(regex);
  EXPECT_TRUE(pattern.ok()) << pattern.error().message;
  return mark(*pattern, text);
}

TEST(Pattern, Literal) {
  EXPECT_EQ(mark(Pattern::literal("ab"), "abcabab"), "[ab]c[ab][ab]");
  EXPECT_EQ(mark(Pattern::literal("."), "a.b"), "a[.]b");
  EXPECT_EQ(mark(Pattern::literal(""), "abc"), "abc");
  EXPECT_EQ(mark(Pattern::literal("x"), ""), "");
}

TEST(Pattern, TranslatesOniguruma) {
  EXPECT_EQ(mark(R"(\s+)", "a \u00a0\u3000b\u180e"), "a[ \u00a0\u3000]b\u180e");
  EXPECT_EQ(mark(R"(\S+)", "a b\u0085c"), "[a] [b]\u0085[c]");
  EXPECT_EQ(mark(R"([^\S\n]+)", "a \n\tb"), "a[ ]\n[\t]b");
  EXPECT_EQ(mark(R"(\h+)", "xyz09afGF"), "xyz[09af]G[F]");
  EXPECT_EQ(mark(R"(\d+)", "a1٣²"), "a[1٣]²");
  EXPECT_EQ(mark(R"(\w+)", "a_b-é²"), "[a_b]-[é²]");
  EXPECT_EQ(mark(R"(\bfoo\b)", "foo xfoo foo"), "[foo] xfoo [foo]");
  EXPECT_EQ(mark(R"(^a$)", "a\nb\na"), "[a]\nb\n[a]");
  EXPECT_EQ(mark("(?m:a.b)", "a\nb"), "[a\nb]");
  EXPECT_EQ(mark("a.b", "a\nb"), "a\nb");
  EXPECT_EQ(mark(R"([\p{L}&&[^\p{Han}]]+)", "ab世c"), "[ab]世[c]");
  EXPECT_EQ(mark(R"([^a-c[x]]+)", "abdxe"), "ab[d]x[e]");
  EXPECT_EQ(mark(R"([\p{L}&&[^ae]]+)", "abe"), "a[b]e");
  EXPECT_EQ(mark(R"(\p{Han}+)", "a世\U0002ebf0b"), "a[世\U0002ebf0]b");
  EXPECT_EQ(mark(R"(\p{^L}+)", "a12b"), "a[12]b");
  EXPECT_EQ(mark(R"(\P{N}+)", "a12b"), "[a]12[b]");
  EXPECT_EQ(mark(R"(\p{L}+)", "a\U00010d50b"), "[a\U00010d50b]");  // a letter since Unicode 16
  EXPECT_EQ(mark(R"(\p{N}{1,3})", "12345"), "[123][45]");
  EXPECT_EQ(mark(R"(\x{41}\u0042\x43)", "ABC"), "[ABC]");
  EXPECT_EQ(mark(R"((?i:'s|'LL))", "'S 'll 'ſ"), "['S] ['ll] ['ſ]");
  EXPECT_EQ(mark(R"([]a]+)", "a]b"), "[a]]b");
  EXPECT_EQ(mark(R"([a\-z]+)", "a-bz"), "[a-]b[z]");
  EXPECT_EQ(mark(R"(a*)", "baab"), "[]b[aa]b[]");  // no empty match right behind a match
}

TEST(Pattern, RefusesWhatItCannotTranslate) {
  for (const char* regex : {"(a)\\1", "a{2}+", "[[:alpha:]]", "\\p{Alpha}", "(?<n>a)\\k<n>", "\\K",
                            "\\xff", "(?~a)", "\\y"}) {
    const Result<Pattern> pattern = Pattern::regex(regex);
    ASSERT_FALSE(pattern.ok()) << regex;
    EXPECT_EQ(pattern.error().code, ErrorCode::kUnsupported) << pattern.error().message;
  }
  for (const char* regex : {"(", "[a", "\\", "*", "\\p{Nonsense}", "[z-a]", "\\x{110000}"}) {
    const Result<Pattern> pattern = Pattern::regex(regex);
    ASSERT_FALSE(pattern.ok()) << regex;
    EXPECT_EQ(pattern.error().code, ErrorCode::kInvalidArgument) << pattern.error().message;
  }
  EXPECT_FALSE(Pattern::regex(std::string(20000, 'a')).ok());
  EXPECT_FALSE(Pattern::regex(std::string(1000, '[')).ok());
  EXPECT_FALSE(Pattern::regex(std::string(1000, '(')).ok());
}

TEST(Pattern, CatastrophicBacktrackingEnds) {
  const Pattern pattern = Pattern::regex("(?:a+)+(?:b|d)").value();
  std::vector<Match> matches;
  const Status status = pattern.find(std::string(64, 'a') + "c", matches);
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code, ErrorCode::kResourceExhausted);
}

TEST(Pattern, ClassesEqualTheTables) {
  // Each code point alone: the regex's \p{L}, \p{N}, \p{M}, \s, \w against the flag table.
  const std::pair<const char*, uint16_t> classes[] = {{R"(\p{L})", kCharLetter},
                                                      {R"(\p{N})", kCharNumber},
                                                      {R"(\p{M})", kCharMark},
                                                      {R"(\s)", kCharSpace},
                                                      {R"(\w)", kCharRegexWord}};
  std::string all;
  std::vector<uint32_t> points;
  for (uint32_t c = 0; c < 0x110000; ++c) {
    if (c >= 0xd800 && c <= 0xdfff) continue;
    if (c == 0x40000) c = 0xe0000;
    if (c == 0xf0000) break;
    append_code_point(all, c);
  }
  for (const auto& [regex, flag] : classes) {
    std::vector<Match> matches;
    ASSERT_TRUE(Pattern::regex(regex).value().find(all, matches).ok());
    int wrong = 0;
    for (const Match& m : matches) {
      for (size_t pos = m.begin; pos < m.end;) {
        const bool expected = (char_flags(next_code_point(all, pos)) & flag) != 0;
        wrong += expected != m.is_match;
      }
    }
    EXPECT_EQ(wrong, 0) << regex;
  }
}

TEST(Unicode, NormalForms) {
  EXPECT_EQ(normalize_form("e\u0301", NormalForm::kNfc), "é");
  EXPECT_EQ(normalize_form("é", NormalForm::kNfd), "e\u0301");
  EXPECT_EQ(normalize_form("ﬁ²", NormalForm::kNfkc), "fi2");
  EXPECT_EQ(normalize_form("\u212b", NormalForm::kNfc), "Å");
  EXPECT_EQ(normalize_form("각", NormalForm::kNfd), "\u1100\u1161\u11a8");
  EXPECT_EQ(normalize_form("\u32ff", NormalForm::kNfkc), "\u32ff");  // unknown to the library
  // Of Unicode 15, which utf8proc may know: a decomposition, and a mark that would move.
  EXPECT_EQ(normalize_form("\U0001e053", NormalForm::kNfkc), "\U0001e053");
  EXPECT_EQ(normalize_form("a\u0345\U0001e08f", NormalForm::kNfd), "a\u0345\U0001e08f");
  EXPECT_EQ(normalize_form("plain", NormalForm::kNfkd), "plain");
}

TEST(Unicode, LowerCase) {
  const auto lower = [](uint32_t c) {
    std::string out;
    append_lower(out, c);
    return out;
  };
  EXPECT_EQ(lower('A'), "a");
  EXPECT_EQ(lower(0x130), "i\u0307");
  EXPECT_EQ(lower(0x3a3), "σ");
  EXPECT_EQ(lower(0x10d50), "\U00010d70");
  EXPECT_EQ(lower(0x4e00), "一");
}

}  // namespace
}  // namespace ramjet::text
