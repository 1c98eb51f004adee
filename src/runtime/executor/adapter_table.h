// AdapterTable: the names of loaded adapters and the slots that they lie in.
//
// Thread-safe. An adapter keeps its slot while the table or any request refers to it: removed from
// the table, it can be named no more, and its slot is free when its last request has ended. The
// table must outlive all references.
#pragma once

#include <ramjet/executor.h>

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/result.h"

namespace ramjet::runtime {

struct Adapter {
  AdapterInfo info;
  int32_t slot = -1;
  uint64_t id = 0;  // of this loading, never given twice: tells cached prefixes apart
};
/// Owners: the table, and requests that name it.
using AdapterRef = std::shared_ptr<const Adapter>;

class AdapterTable {
 public:
  explicit AdapterTable(int64_t slots);

  /// A slot under a name that nobody finds before publish(). Given up when the reference goes.
  /// Errors: kInvalidArgument (a bad or taken name, an engine without slots), kResourceExhausted
  /// naming the slots' owners.
  Result<AdapterRef> reserve(const AdapterInfo& info);
  Status publish(const AdapterRef& adapter);
  /// Errors: kNotFound.
  Result<AdapterRef> find(const std::string& name) const;
  Status remove(const std::string& name);
  std::vector<AdapterInfo> list() const;

 private:
  void give_back(const Adapter* adapter);
  std::string names() const;

  const int64_t slots_;
  mutable std::mutex mutex_;
  std::vector<int32_t> free_;
  uint64_t next_id_ = 1;
  std::map<std::string, AdapterRef> loaded_;
};

}  // namespace ramjet::runtime
