#include "api/grammar_worker.h"

#include <algorithm>
#include <exception>
#include <utility>

#include "api/engine_impl.h"
#include "text/grammar/token_mask.h"

namespace ramjet {
namespace {

constexpr size_t kMasks = 16;  // each up to some 40 MB at its largest

}  // namespace

GrammarWorker::~GrammarWorker() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void GrammarWorker::post(std::string spec, Done done) {
  {
    const std::lock_guard lock(mutex_);
    tasks_.emplace_back(std::move(spec), std::move(done));
    if (!thread_.joinable()) thread_ = std::thread([this] { run(); });
  }
  wake_.notify_one();
}

void GrammarWorker::run() {
  while (true) {
    std::pair<std::string, Done> task;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] { return stopping_ || !tasks_.empty(); });
      if (stopping_) return;
      task = std::move(tasks_.front());
      tasks_.pop_front();
    }
    task.second(compile(task.first));
  }
}

Result<GrammarWorker::Mask> GrammarWorker::compile(const std::string& spec) {
  const std::lock_guard lock(compile_mutex_);
  const auto known = std::find_if(recent_.begin(), recent_.end(),
                                  [&spec](const auto& entry) { return entry.first == spec; });
  if (known != recent_.end()) {
    recent_.splice(recent_.begin(), recent_, known);
    return known->second;
  }
  try {
    if (trie_ == nullptr) {
      ASSIGN_OR_RETURN(const text::Tokenizer* tokenizer, engine_->impl().get_tokenizer());
      trie_ = std::make_shared<const text::TokenTrie>(*tokenizer, engine_->model().vocab_size,
                                                      engine_->model().eos_ids);
    }
    ASSIGN_OR_RETURN(text::GrammarPtr grammar, text::compile_grammar(spec));
    ASSIGN_OR_RETURN(auto mask, text::make_token_mask(std::move(grammar), trie_));
    recent_.emplace_front(spec, Mask(std::move(mask)));
    if (recent_.size() > kMasks) recent_.pop_back();
    return recent_.front().second;
  } catch (const std::exception& e) {
    return internal_error("the grammar could not be compiled: {}", e.what());
  }
}

}  // namespace ramjet
