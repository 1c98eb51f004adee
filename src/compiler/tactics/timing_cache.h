// TimingCache: what was measured, kept in cache_directory()/timing, one file a machine.
//
// A line is "KEY us"; keys hold no line breaks. Not thread-safe; processes may share a file: each
// adds what it learnt, and readers see whole files.
#pragma once

#include <map>
#include <optional>
#include <string>

namespace ramjet::compiler {

class TimingCache {
 public:
  /// `machine`: everything that makes times comparable beside the key: names, versions, threads.
  /// Empty: nothing is read or written.
  explicit TimingCache(const std::string& machine);

  std::optional<double> find(const std::string& key) const;
  void add(const std::string& key, double us);
  /// Failing to write is no error: the next build measures again.
  void save() const;
  size_t size() const { return known_.size(); }

 private:
  std::string machine_;
  std::string path_;
  std::map<std::string, double> known_;
  size_t loaded_ = 0;
};

}  // namespace ramjet::compiler
