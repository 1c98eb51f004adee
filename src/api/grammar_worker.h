// GrammarWorker: compiles the grammars of requests beside the step loop.
//
// Thread-safe. One thread, started with the first grammar; its queue is bounded by the executor's.
// Keeps the masks of the grammars used last, so that sequences share what is computed. The core
// must outlive it.
#pragma once

#include <ramjet/engine.h>
#include <ramjet/request.h>

#include <condition_variable>
#include <deque>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "base/result.h"

namespace ramjet {

namespace text {
class TokenTrie;
}

class GrammarWorker {
 public:
  using Mask = std::shared_ptr<const TokenMask>;  // of the cache and of the requests that use it
  using Done = std::function<void(Result<Mask>)>;

  explicit GrammarWorker(std::shared_ptr<const Engine> engine) : engine_(std::move(engine)) {}
  ~GrammarWorker();
  /// Calls `done` on the worker's thread, unless the worker ends before.
  void post(std::string spec, Done done);
  /// On the calling thread.
  Result<Mask> compile(const std::string& spec);

 private:
  void run();

  const std::shared_ptr<const Engine> engine_;
  std::mutex compile_mutex_;                     // of the next two
  std::shared_ptr<const text::TokenTrie> trie_;  // shared with the masks
  std::list<std::pair<std::string, Mask>> recent_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::pair<std::string, Done>> tasks_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace ramjet
