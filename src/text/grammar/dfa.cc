#include "text/grammar/dfa.h"

#include <algorithm>
#include <unordered_map>

namespace ramjet::text {
namespace {

constexpr int32_t kMinimizeStates = 3000;  // above, only if few rounds do
constexpr int kManyRounds = 64;

struct RowHash {
  size_t operator()(const std::vector<int32_t>& row) const {
    size_t h = row.size();
    for (const int32_t v : row) h = h * 1099511628211ULL + static_cast<size_t>(v + 7);
    return h;
  }
};

Error too_large() {
  return make_error(ErrorCode::kResourceExhausted,
                    "a pattern or string constraint needs more than {} automaton states; simplify "
                    "it or lower its lengths",
                    kMaxDfaStates);
}

}  // namespace

CodePointSet normalized(CodePointSet set) {
  std::sort(set.begin(), set.end());
  CodePointSet out;
  for (const auto& [low, high] : set) {
    if (!out.empty() && low <= out.back().second + 1) {
      out.back().second = std::max(out.back().second, high);
    } else {
      out.emplace_back(low, high);
    }
  }
  return out;
}

CodePointSet complement_of(const CodePointSet& set) {
  CodePointSet out;
  uint32_t at = 0;
  for (const auto& [low, high] : set) {
    if (low > at) out.emplace_back(at, low - 1);
    at = high + 1;
  }
  if (at < kCodePoints) out.emplace_back(at, kCodePoints - 1);
  return out;
}

Dfa::Dfa(std::vector<uint32_t> bounds, std::vector<int32_t> next, std::vector<uint8_t> accept)
    : bounds_(std::move(bounds)), next_(std::move(next)), accept_(std::move(accept)) {
  minimize();
  find_live();
}

size_t Dfa::class_of(uint32_t code_point) const {
  if (bounds_.size() == 1) return 0;
  const auto above = std::upper_bound(bounds_.begin(), bounds_.end(), code_point);
  return static_cast<size_t>(above - bounds_.begin()) - 1;
}

void Dfa::find_live() {
  const size_t n = accept_.size();
  std::vector<std::vector<int32_t>> from(n);
  for (size_t s = 0; s < n; ++s) {
    for (size_t c = 0; c < classes(); ++c) {
      const auto to = static_cast<size_t>(next_[s * classes() + c]);
      if (from[to].empty() || from[to].back() != static_cast<int32_t>(s)) {
        from[to].push_back(static_cast<int32_t>(s));
      }
    }
  }
  live_.assign(n, 0);
  std::vector<int32_t> work;
  for (size_t s = 0; s < n; ++s) {
    if (accept_[s] != 0) live_[s] = 1, work.push_back(static_cast<int32_t>(s));
  }
  while (!work.empty()) {
    const int32_t s = work.back();
    work.pop_back();
    for (const int32_t f : from[static_cast<size_t>(s)]) {
      if (live_[static_cast<size_t>(f)] != 0) continue;
      live_[static_cast<size_t>(f)] = 1;
      work.push_back(f);
    }
  }
}

// Moore's refinement; then classes that no state tells apart are merged. State 0 stays the start.
void Dfa::minimize() {
  const size_t n = accept_.size();
  const size_t k = classes();
  std::vector<int32_t> block(n);
  for (size_t s = 0; s < n; ++s) block[s] = accept_[s] != accept_[0] ? 1 : 0;
  size_t count = 0;
  std::vector<int32_t> signature;
  for (int round = 0;; ++round) {
    if (states() > kMinimizeStates && round >= kManyRounds) return;
    std::unordered_map<std::vector<int32_t>, int32_t, RowHash> ids;
    std::vector<int32_t> refined(n);
    for (size_t s = 0; s < n; ++s) {
      signature.assign(1, block[s]);
      for (size_t c = 0; c < k; ++c) {
        signature.push_back(block[static_cast<size_t>(next_[s * k + c])]);
      }
      refined[s] = ids.emplace(signature, static_cast<int32_t>(ids.size())).first->second;
    }
    block.swap(refined);
    if (ids.size() == count) break;
    count = ids.size();
  }
  std::vector<int32_t> next(count * k);
  std::vector<uint8_t> accept(count);
  for (size_t s = 0; s < n; ++s) {
    const auto b = static_cast<size_t>(block[s]);
    accept[b] = accept_[s];
    for (size_t c = 0; c < k; ++c) next[b * k + c] = block[static_cast<size_t>(next_[s * k + c])];
  }
  // Neighbouring classes with equal columns become one.
  std::vector<size_t> kept{0};
  for (size_t c = 1; c < k; ++c) {
    bool same = true;
    for (size_t s = 0; same && s < count; ++s) same = next[s * k + c] == next[s * k + kept.back()];
    if (!same) kept.push_back(c);
  }
  std::vector<uint32_t> bounds;
  for (const size_t c : kept) bounds.push_back(bounds_[c]);
  next_.clear();
  for (size_t s = 0; s < count; ++s) {
    for (const size_t c : kept) next_.push_back(next[s * k + c]);
  }
  bounds_ = std::move(bounds);
  accept_ = std::move(accept);
}

Dfa Dfa::all(bool accepted) { return Dfa({0}, {0}, {static_cast<uint8_t>(accepted)}); }

Dfa Dfa::literal(std::u32string_view text) {
  std::vector<uint32_t> bounds{0};
  for (const char32_t c : text) bounds.push_back(c), bounds.push_back(c + 1);
  std::sort(bounds.begin(), bounds.end());
  bounds.erase(std::unique(bounds.begin(), bounds.end()), bounds.end());
  const auto dead = static_cast<int32_t>(text.size()) + 1;
  std::vector<int32_t> next((text.size() + 2) * bounds.size(), dead);
  std::vector<uint8_t> accept(text.size() + 2, 0);
  accept[text.size()] = 1;
  for (size_t s = 0; s < text.size(); ++s) {
    const auto c = std::lower_bound(bounds.begin(), bounds.end(), uint32_t{text[s]});
    const auto at = static_cast<size_t>(c - bounds.begin());
    next[s * bounds.size() + at] = static_cast<int32_t>(s) + 1;
  }
  return Dfa(std::move(bounds), std::move(next), std::move(accept));
}

Result<Dfa> Dfa::lengths(int64_t min, int64_t max) {
  const int64_t last = max < 0 ? min : max;
  if (last + 2 > static_cast<int64_t>(kMaxDfaStates)) return too_large();
  if (max >= 0 && max < min) return all(false);
  std::vector<int32_t> next;
  std::vector<uint8_t> accept;
  for (int64_t s = 0; s <= last; ++s) {
    next.push_back(static_cast<int32_t>(s == last && max < 0 ? s : s + 1));
    accept.push_back(s >= min ? 1 : 0);
  }
  if (max >= 0) next.push_back(static_cast<int32_t>(last + 1)), accept.push_back(0);
  return Dfa({0}, std::move(next), std::move(accept));
}

namespace {

struct Pairs {
  std::unordered_map<uint64_t, int32_t> ids;
  std::vector<std::pair<int32_t, int32_t>> list;

  int32_t id(int32_t a, int32_t b) {
    const uint64_t key =
        static_cast<uint64_t>(static_cast<uint32_t>(a)) << 32 | static_cast<uint32_t>(b);
    const auto [at, fresh] = ids.emplace(key, static_cast<int32_t>(list.size()));
    if (fresh) list.emplace_back(a, b);
    return at->second;
  }
};

Result<Dfa> product(const Dfa& a, const Dfa& b, bool both) {
  std::vector<uint32_t> bounds;
  for (size_t c = 0; c < a.classes(); ++c) bounds.push_back(a.class_low(c));
  for (size_t c = 0; c < b.classes(); ++c) bounds.push_back(b.class_low(c));
  std::sort(bounds.begin(), bounds.end());
  bounds.erase(std::unique(bounds.begin(), bounds.end()), bounds.end());
  std::vector<std::pair<size_t, size_t>> classes;
  size_t ca = 0;
  size_t cb = 0;
  for (const uint32_t low : bounds) {
    while (ca + 1 < a.classes() && a.class_low(ca + 1) <= low) ++ca;
    while (cb + 1 < b.classes() && b.class_low(cb + 1) <= low) ++cb;
    classes.emplace_back(ca, cb);
  }
  Pairs pairs;
  pairs.id(0, 0);
  std::vector<int32_t> next;
  std::vector<uint8_t> accept;
  for (size_t i = 0; i < pairs.list.size(); ++i) {
    if (i >= kMaxDfaStates || next.size() > kMaxDfaEntries) return too_large();
    const auto [x, y] = pairs.list[i];
    const bool ok = both ? a.accepts(x) && b.accepts(y) : a.accepts(x) || b.accepts(y);
    accept.push_back(ok ? 1 : 0);
    for (const auto& [c, d] : classes) {
      int32_t to_a = a.class_step(x, c);
      int32_t to_b = b.class_step(y, d);
      // All pairs from which nothing is accepted are one.
      const bool dead = both && (!a.live(to_a) || !b.live(to_b));
      next.push_back(dead ? pairs.id(-1, -1) : pairs.id(to_a, to_b));
    }
    if (i + 1 < pairs.list.size() && pairs.list[i + 1].first < 0) {
      ++i;  // the dead pair leads to itself
      accept.push_back(0);
      next.insert(next.end(), classes.size(), static_cast<int32_t>(i));
    }
  }
  return Dfa(std::move(bounds), std::move(next), std::move(accept));
}

}  // namespace

Result<Dfa> Dfa::both(const Dfa& a, const Dfa& b) {
  if (a.is_all() || b.empty()) return b;
  if (b.is_all() || a.empty()) return a;
  return product(a, b, true);
}

Result<Dfa> Dfa::either(const Dfa& a, const Dfa& b) {
  if (a.empty() || b.is_all()) return b;
  if (b.empty() || a.is_all()) return a;
  return product(a, b, false);
}

Dfa Dfa::complement() const {
  Dfa out = *this;
  for (uint8_t& a : out.accept_) a = a != 0 ? 0 : 1;
  out.find_live();
  return out;
}

bool Dfa::live_within(int32_t state, uint32_t low, uint32_t high) const {
  for (size_t c = class_of(low); c < classes() && bounds_[c] <= high; ++c) {
    if (live(class_step(state, c))) return true;
  }
  return false;
}

bool Dfa::matches(std::u32string_view text) const {
  int32_t state = 0;
  for (const char32_t c : text) state = step(state, c);
  return accepts(state);
}

int64_t Dfa::count(int64_t limit) const {
  // Texts of each length by state; a live cycle shows as a length beyond the number of states.
  std::vector<int64_t> ways(accept_.size(), 0);
  ways[0] = 1;
  int64_t total = 0;
  for (size_t length = 0; length <= accept_.size(); ++length) {
    std::vector<int64_t> after(accept_.size(), 0);
    bool any = false;
    for (size_t s = 0; s < accept_.size(); ++s) {
      if (ways[s] == 0 || live_[s] == 0) continue;
      any = true;
      if (accept_[s] != 0) total = std::min(limit, total + ways[s]);
      for (size_t c = 0; c < classes(); ++c) {
        const uint32_t end = c + 1 < classes() ? bounds_[c + 1] : kCodePoints;
        int64_t& to = after[static_cast<size_t>(next_[s * classes() + c])];
        to = std::min(limit, to + std::min(limit, ways[s] * int64_t{end - bounds_[c]}));
      }
    }
    if (!any || total >= limit) return total;
    ways.swap(after);
    if (length * accept_.size() > 50'000'000) break;
  }
  return limit;
}

std::u32string to_code_points(std::string_view text) {
  std::u32string out;
  size_t at = 0;
  while (at < text.size()) {
    const auto lead = static_cast<uint8_t>(text[at]);
    const size_t length = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    uint32_t c = length == 1 ? lead : lead & (0x7fu >> length);
    bool ok = at + length <= text.size() && (lead < 0x80 || (lead >= 0xc2 && lead < 0xf5));
    for (size_t i = 1; ok && i < length; ++i) {
      const auto byte = static_cast<uint8_t>(text[at + i]);
      ok = (byte & 0xc0) == 0x80;
      c = c << 6 | (byte & 0x3f);
    }
    out.push_back(ok ? c : 0xfffd);
    at += ok ? length : 1;
  }
  return out;
}

void put_utf8(std::string& text, uint32_t c) {
  const auto put = [&text](uint32_t byte) { text.push_back(static_cast<char>(byte)); };
  if (c < 0x80) return put(c);
  if (c < 0x800) return put(0xc0 | c >> 6), put(0x80 | (c & 0x3f));
  if (c < 0x10000) {
    return put(0xe0 | c >> 12), put(0x80 | (c >> 6 & 0x3f)), put(0x80 | (c & 0x3f));
  }
  put(0xf0 | c >> 18), put(0x80 | (c >> 12 & 0x3f));
  put(0x80 | (c >> 6 & 0x3f)), put(0x80 | (c & 0x3f));
}

}  // namespace ramjet::text
