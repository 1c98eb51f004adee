#include "server/testing/test_model.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "base/check.h"

namespace ramjet::server {
namespace {

std::string utf8(unsigned code_point) {
  if (code_point < 0x80) return std::string(1, static_cast<char>(code_point));
  return {static_cast<char>(0xc0 | (code_point >> 6)),
          static_cast<char>(0x80 | (code_point & 0x3f))};
}

/// GPT-2's spelling of a byte.
std::string spelling(int byte) {
  const auto printable = [](int b) {
    return (b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || (b >= 0xae && b <= 0xff);
  };
  if (printable(byte)) return utf8(static_cast<unsigned>(byte));
  unsigned shift = 0;
  for (int b = 0; b < byte; ++b) shift += printable(b) ? 0 : 1;
  return utf8(256 + shift);
}

}  // namespace

std::unique_ptr<text::Tokenizer> make_test_tokenizer() {
  nlohmann::json vocab = nlohmann::json::object();
  for (int byte = 0; byte < 256; ++byte) vocab[spelling(byte)] = byte;
  nlohmann::json added = nlohmann::json::array();
  int id = 256;
  for (const char* name : {"<|bos|>", "<|end|>", "<|user|>", "<|assistant|>"}) {
    added.push_back({{"id", id++},
                     {"content", name},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", true}});
  }
  const nlohmann::json byte_level = {{"type", "ByteLevel"},
                                     {"add_prefix_space", false},
                                     {"trim_offsets", true},
                                     {"use_regex", true}};
  const nlohmann::json json = {{"version", "1.0"},
                               {"truncation", nullptr},
                               {"padding", nullptr},
                               {"added_tokens", added},
                               {"normalizer", nullptr},
                               {"pre_tokenizer", byte_level},
                               {"post_processor", nullptr},
                               {"decoder", byte_level},
                               {"model",
                                {{"type", "BPE"},
                                 {"dropout", nullptr},
                                 {"unk_token", nullptr},
                                 {"continuing_subword_prefix", nullptr},
                                 {"end_of_word_suffix", nullptr},
                                 {"fuse_unk", false},
                                 {"byte_fallback", false},
                                 {"vocab", vocab},
                                 {"merges", nlohmann::json::array()}}}};
  auto tokenizer = text::Tokenizer::from_json(json.dump());
  CHECK(tokenizer.ok(), tokenizer.ok() ? "" : tokenizer.error().message);
  return std::move(tokenizer).value();
}

std::vector<int32_t> byte_ids(std::string_view text) {
  std::vector<int32_t> ids;
  for (unsigned char byte : text) ids.push_back(byte);
  return ids;
}

std::function<std::vector<int32_t>(const Request&, int)> says(std::string text) {
  return [ids = byte_ids(text)](const Request&, int) { return ids; };
}

TestModel make_test_model(FakeBehavior behavior, std::string generation_config) {
  ModelHost::Parts parts;
  parts.names = {"test-model", "alias/of model"};
  parts.info = {.name = "test-model",
                .architecture = "FakeForCausalLM",
                .vocab_size = kTestVocab,
                .max_seq_len = behavior.max_seq_len,
                .eos_ids = {257},
                .bos_id = 256};
  parts.tokenizer = make_test_tokenizer();
  parts.generation_config = std::move(generation_config);
  parts.chat_template =
      "{{ bos_token }}{% for m in messages %}{% if m.role == 'alien' %}"
      "{{ raise_exception('no aliens') }}{% endif %}<|{{ m.role }}|>{{ m.content }}<|end|>"
      "{% endfor %}{% if tools %}T{{ tools | length }}{% endif %}"
      "{% if reasoning_effort %}E{{ reasoning_effort }}{% endif %}"
      "{% if add_generation_prompt %}<|assistant|>{% endif %}";
  auto backend = std::make_unique<FakeBackend>(std::move(behavior));
  TestModel model;
  model.backend = backend.get();
  auto host = ModelHost::create(std::move(parts), std::move(backend));
  CHECK(host.ok(), host.ok() ? "" : host.error().message);
  model.host = std::move(host).value();
  return model;
}

}  // namespace ramjet::server
