// tiktoken files (lines of base64 token and rank) become a tokenizer.json. They say neither pattern
// nor special tokens: those of the encodings that people publish are known here, by name or size.
#include <charconv>
#include <unordered_map>

#include "base/json.h"
#include "text/tokenizer/byte_level.h"
#include "text/tokenizer/charsmap.h"
#include "text/tokenizer/conversion.h"

namespace ramjet::text {
namespace {

constexpr size_t kMaxTokenBytes = 1024;

constexpr std::string_view kR50kPattern =
    R"('(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+\z|\s+(?!\S)|\s)";
constexpr std::string_view kCl100kPattern =
    R"('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
    R"(|\s+\z|\s*[\r\n]|\s+(?!\S)|\s)";
struct Special {
  std::string_view content;
  int64_t id;
};

struct Encoding {
  std::string_view name;
  size_t ranks;  // how many its file has
  std::string_view pattern;
  std::vector<Special> specials;
};

/// A name must come before any that it contains.
const std::vector<Encoding>& encodings() {
  static const std::vector<Encoding> known = {
      {"llama", 128000, kLlama3Pattern, {}},
      {"qwen", 151643, kQwen2Pattern, {}},
      {"harmony",
       199998,
       kO200kPattern,
       {{"<|startoftext|>", 199998},
        {"<|endoftext|>", 199999},
        {"<|return|>", 200002},
        {"<|constrain|>", 200003},
        {"<|channel|>", 200005},
        {"<|start|>", 200006},
        {"<|end|>", 200007},
        {"<|message|>", 200008},
        {"<|call|>", 200012},
        {"<|endofprompt|>", 200018}}},
      {"o200k", 199998, kO200kPattern, {{"<|endoftext|>", 199999}, {"<|endofprompt|>", 200018}}},
      {"cl100k",
       100256,
       kCl100kPattern,
       {{"<|endoftext|>", 100257},
        {"<|fim_prefix|>", 100258},
        {"<|fim_middle|>", 100259},
        {"<|fim_suffix|>", 100260},
        {"<|endofprompt|>", 100276}}},
      {"p50k_edit",
       50280,
       kR50kPattern,
       {{"<|endoftext|>", 50256},
        {"<|fim_prefix|>", 50281},
        {"<|fim_middle|>", 50282},
        {"<|fim_suffix|>", 50283}}},
      {"p50k", 50280, kR50kPattern, {{"<|endoftext|>", 50256}}},
      {"r50k", 50256, kR50kPattern, {{"<|endoftext|>", 50256}}},
      {"gpt2", 50256, kR50kPattern, {{"<|endoftext|>", 50256}}},
  };
  return known;
}

struct Rank {
  std::string bytes;
  int64_t rank;
};

Result<std::vector<Rank>> parse_ranks(std::string_view text) {
  std::vector<Rank> ranks;
  for (size_t line_number = 1; !text.empty(); ++line_number) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty()) continue;
    const size_t space = std::min(line.find(' '), line.size());
    Rank rank;
    const std::string_view digits = line.substr(std::min(space + 1, line.size()));
    const char* const stop = digits.data() + digits.size();
    const auto [next, error] = std::from_chars(digits.data(), stop, rank.rank);
    if (!decode_base64(line.substr(0, space), rank.bytes) || rank.bytes.empty() ||
        error != std::errc() || next != stop ||
        rank.rank <= (ranks.empty() ? -1 : ranks.back().rank)) {
      return invalid_argument(
          "line {} is not a base64 token and a rank above the last: not a tiktoken file; for other "
          "tokenizers provide tokenizer.json",
          line_number);
    }
    if (rank.bytes.size() > kMaxTokenBytes) {
      return invalid_argument("line {}: a token of {} bytes, the limit is {}", line_number,
                              rank.bytes.size(), kMaxTokenBytes);
    }
    ranks.push_back(std::move(rank));
  }
  return ranks;
}

Result<const Encoding*> encoding_of(const std::vector<Rank>& ranks, std::string_view file_name) {
  for (const Encoding& e : encodings()) {
    if (file_name.find(e.name) != file_name.npos) return &e;
  }
  for (const Encoding& e : encodings()) {
    // The names alone tell these from their namesakes of the same size.
    if (e.ranks == ranks.size() && e.name != "harmony" && e.name != "p50k_edit") return &e;
  }
  return unsupported(
      "tiktoken file of {} ranks: known are those of Llama 3, Qwen, cl100k, o200k, p50k and r50k, "
      "by "
      "their size or name; provide tokenizer.json",
      ranks.size());
}

/// Each way to join two tokens to a third, by the third's rank.
void add_merges(const std::vector<Rank>& ranks, Json& model) {
  std::unordered_map<std::string_view, const std::string*> spelled;
  std::vector<std::string> spellings(ranks.size());
  for (size_t i = 0; i < ranks.size(); ++i) {
    append_byte_level(spellings[i], ranks[i].bytes);
    spelled.emplace(ranks[i].bytes, &spellings[i]);
  }
  Json merges = Json::array();
  std::vector<uint32_t> merge_ranks;
  for (const Rank& rank : ranks) {
    const std::string_view token = rank.bytes;
    for (size_t cut = 1; cut < token.size(); ++cut) {
      const auto left = spelled.find(token.substr(0, cut));
      const auto right = spelled.find(token.substr(cut));
      if (left == spelled.end() || right == spelled.end()) continue;
      merges.push_back(Json::array({*left->second, *right->second}));
      merge_ranks.push_back(static_cast<uint32_t>(rank.rank));
    }
  }
  Json vocab = Json::object();
  for (size_t i = 0; i < ranks.size(); ++i) vocab[spellings[i]] = ranks[i].rank;
  model["vocab"] = std::move(vocab);
  model["merges"] = std::move(merges);
  model["merge_ranks"] = std::move(merge_ranks);
}

std::vector<std::string> numbered_specials(std::string_view encoding) {
  std::vector<std::string> out;
  if (encoding == "qwen") {
    out = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};
    for (int i = 0; i < 205; ++i) out.push_back(fmt::format("<|extra_{}|>", i));
  }
  if (encoding == "llama") {
    out = {"<|begin_of_text|>", "<|end_of_text|>"};
    for (int i = 0; i < 4; ++i) out.push_back(fmt::format("<|reserved_special_token_{}|>", i));
    for (const char* name : {"<|start_header_id|>", "<|end_header_id|>",
                             "<|reserved_special_token_4|>", "<|eot_id|>"}) {
      out.emplace_back(name);
    }
    for (int i = 5; out.size() < 256; ++i) {
      out.push_back(fmt::format("<|reserved_special_token_{}|>", i));
    }
  }
  return out;
}

Result<Json> convert(std::string_view text, std::string_view file_name) {
  ASSIGN_OR_RETURN(const std::vector<Rank> ranks, parse_ranks(text));
  if (ranks.size() < 256) {
    return invalid_argument("tiktoken file of {} ranks: fewer than there are bytes", ranks.size());
  }
  ASSIGN_OR_RETURN(const Encoding* encoding, encoding_of(ranks, file_name));
  Json out = json_skeleton();
  out["pre_tokenizer"] = split_then_bytes(encoding->pattern);
  if (encoding->name == "qwen") out["normalizer"] = {{"type", "NFC"}};
  Json& model = out["model"] = {{"type", "BPE"}, {"ignore_merges", true}};
  add_merges(ranks, model);
  // In the vocabulary, too, so that they get the ids they have.
  const auto add_special = [&](std::string_view content, int64_t id) {
    model["vocab"][std::string(content)] = id;
    out["added_tokens"].push_back(special_token(content, id));
  };
  for (const Special& special : encoding->specials) add_special(special.content, special.id);
  int64_t id = ranks.back().rank + 1;
  const int64_t first = id;
  for (const std::string& content : numbered_specials(encoding->name)) add_special(content, id++);
  if (encoding->name == "llama") {
    out["post_processor"] = bos_eos_template({"<|begin_of_text|>", first}, {});
  }
  return out;
}

}  // namespace

Result<Json> json_from_tiktoken(std::string_view text, std::string_view file_name) {
  try {
    return convert(text, file_name);
  } catch (const Json::exception& e) {
    return invalid_argument("tiktoken file: {}", e.what());
  }
}

}  // namespace ramjet::text
