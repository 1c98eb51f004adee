// A model host for tests: byte tokens, a short chat template, a FakeBackend.
//
// Token ids: 0..255 are the bytes; 256 <|bos|>, 257 <|end|>, 258 <|user|>, 259 <|assistant|>.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "server/model_host.h"
#include "server/testing/fake_backend.h"

namespace ramjet::server {

inline constexpr int kTestVocab = 260;

std::unique_ptr<text::Tokenizer> make_test_tokenizer();
std::vector<int32_t> byte_ids(std::string_view text);
/// A script that always says `text`.
std::function<std::vector<int32_t>(const Request&, int)> says(std::string text);

struct TestModel {
  std::unique_ptr<ModelHost> host;
  FakeBackend* backend = nullptr;  // owned by host
};
TestModel make_test_model(FakeBehavior behavior, std::string generation_config = {});

}  // namespace ramjet::server
