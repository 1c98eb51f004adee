#include "server/responses/responses.h"

namespace ramjet::server {

size_t ResponseStore::size_of(const Entry& entry) {
  return 2 * entry.id.size() + entry.response.json.size() + entry.response.messages.size();
}

void ResponseStore::drop(std::list<Entry>::iterator entry) {
  bytes_ -= size_of(*entry);
  index_.erase(entry->id);
  entries_.erase(entry);
}

void ResponseStore::put(const std::string& id, StoredResponse response) {
  std::lock_guard lock(mutex_);
  if (const auto known = index_.find(id); known != index_.end()) drop(known->second);
  entries_.push_back({id, std::move(response)});
  index_[id] = std::prev(entries_.end());
  bytes_ += size_of(entries_.back());
  while (!entries_.empty() && (entries_.size() > kMaxResponses || bytes_ > kMaxBytes)) {
    drop(entries_.begin());
  }
}

std::optional<StoredResponse> ResponseStore::find(const std::string& id) const {
  std::lock_guard lock(mutex_);
  const auto found = index_.find(id);
  if (found == index_.end()) return std::nullopt;
  return found->second->response;
}

bool ResponseStore::erase(const std::string& id) {
  std::lock_guard lock(mutex_);
  const auto found = index_.find(id);
  if (found == index_.end()) return false;
  drop(found->second);
  return true;
}

}  // namespace ramjet::server
