// OpenAI's Responses API over the same chat: bodies translated both ways, events, stored responses.
//
// ResponseStore is thread-safe; the functions have no state.
#pragma once

#include <list>
#include <memory>
#include <mutex>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <unordered_map>

#include "server/openai/wire_format.h"

namespace ramjet::server {

struct StoredResponse {
  std::string json;
  std::string messages;  // the conversation with its answer, a JSON array as chat takes it
};

/// The last responses, within kMaxResponses and kMaxBytes; the oldest go first.
class ResponseStore {
 public:
  static constexpr size_t kMaxResponses = 1000;
  static constexpr size_t kMaxBytes = size_t{64} << 20;

  void put(const std::string& id, StoredResponse response);
  std::optional<StoredResponse> find(const std::string& id) const;
  bool erase(const std::string& id);

 private:
  struct Entry {
    std::string id;
    StoredResponse response;
  };
  static size_t size_of(const Entry& entry);
  void drop(std::list<Entry>::iterator entry);

  mutable std::mutex mutex_;
  std::list<Entry> entries_;  // oldest first
  std::unordered_map<std::string, std::list<Entry>::iterator> index_;
  size_t bytes_ = 0;
};

/// A body of /v1/responses as one of /v1/chat/completions. `earlier`: messages that go before its
/// input, an array. `messages`: those and the input, without the instructions.
std::optional<ApiError> responses_to_chat(const nlohmann::ordered_json& body,
                                          const nlohmann::ordered_json& earlier,
                                          nlohmann::ordered_json& chat,
                                          nlohmann::ordered_json& messages);

/// What a ResponsesFormat needs of its request.
struct ResponseFacts {
  std::string body;                      // as sent; its fields are told back
  std::string messages;                  // see responses_to_chat
  std::shared_ptr<ResponseStore> store;  // with the routes; null: not kept
};
std::unique_ptr<WireFormat> make_responses_format(AnswerHead head, ResponseFacts facts);

}  // namespace ramjet::server
