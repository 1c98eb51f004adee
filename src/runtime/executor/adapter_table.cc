#include "runtime/executor/adapter_table.h"

namespace ramjet::runtime {
namespace {

constexpr size_t kMaxName = 256;

Error no_slots() {
  return invalid_argument(
      "the engine was built without adapters; build it with --max-loras N (and --max-lora-rank)");
}

}  // namespace

AdapterTable::AdapterTable(int64_t slots) : slots_(slots) {
  for (int64_t i = slots; i > 0; --i) free_.push_back(static_cast<int32_t>(i - 1));
}

void AdapterTable::give_back(const Adapter* adapter) {
  const std::unique_ptr<const Adapter> ended(adapter);
  const std::lock_guard lock(mutex_);
  free_.push_back(adapter->slot);
}

/// With the mutex held.
std::string AdapterTable::names() const {
  std::string all;
  for (const auto& [name, adapter] : loaded_) all += (all.empty() ? "" : ", ") + name;
  return all;
}

Result<AdapterRef> AdapterTable::reserve(const AdapterInfo& info) {
  if (slots_ == 0) return no_slots();
  if (info.name.empty() || info.name.size() > kMaxName) {
    return invalid_argument("an adapter's name has {} characters; it must have 1 to {}",
                            info.name.size(), kMaxName);
  }
  const std::lock_guard lock(mutex_);
  if (loaded_.contains(info.name)) {
    return invalid_argument("an adapter '{}' is loaded already; unload it first", info.name);
  }
  if (free_.empty()) {
    return make_error(ErrorCode::kResourceExhausted,
                      "all {} adapter slots (--max-loras) are taken: {}{}; unload one first, one "
                      "in use is free when its requests have ended",
                      slots_, names(), std::ssize(loaded_) < slots_ ? " and unloaded ones" : "");
  }
  auto adapter = std::make_unique<Adapter>();
  adapter->info = info;
  adapter->slot = free_.back();
  adapter->id = next_id_++;
  AdapterRef made(adapter.get(), [this](const Adapter* ended) { give_back(ended); });
  (void)adapter.release();
  free_.pop_back();
  return made;
}

Status AdapterTable::publish(const AdapterRef& adapter) {
  const std::lock_guard lock(mutex_);
  if (loaded_.emplace(adapter->info.name, adapter).second) return ok_status();
  return invalid_argument("an adapter '{}' was loaded meanwhile", adapter->info.name);
}

Result<AdapterRef> AdapterTable::find(const std::string& name) const {
  if (slots_ == 0) return no_slots();
  const std::lock_guard lock(mutex_);
  if (const auto found = loaded_.find(name); found != loaded_.end()) return found->second;
  return not_found("no adapter '{}' is loaded{}{}", name, loaded_.empty() ? "" : "; loaded are ",
                   names());
}

Status AdapterTable::remove(const std::string& name) {
  AdapterRef ended;  // goes after the lock, which its end takes
  const std::lock_guard lock(mutex_);
  const auto found = loaded_.find(name);
  if (found == loaded_.end()) return not_found("no adapter '{}' is loaded", name);
  ended = std::move(found->second);
  loaded_.erase(found);
  return ok_status();
}

std::vector<AdapterInfo> AdapterTable::list() const {
  const std::lock_guard lock(mutex_);
  std::vector<AdapterInfo> all;
  for (const auto& [name, adapter] : loaded_) all.push_back(adapter->info);
  return all;
}

}  // namespace ramjet::runtime
