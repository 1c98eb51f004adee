#include "text/grammar/net.h"

#include <algorithm>

namespace ramjet::text {

int32_t Net::add(NetNode node) {
  if (nodes_.size() >= kMaxNetNodes) refuse_limit("the grammar has more than 200000 nodes");
  nodes_.push_back(std::move(node));
  return static_cast<int32_t>(nodes_.size()) - 1;
}

int32_t Net::byte(uint8_t low, uint8_t high, int32_t next) {
  NetNode node;
  node.kind = NetNode::Kind::kByte;
  node.low = low, node.high = high, node.next = next;
  return add(std::move(node));
}

int32_t Net::bytes(std::string_view text, int32_t next) {
  for (size_t i = text.size(); i > 0; --i) {
    const auto b = static_cast<uint8_t>(text[i - 1]);
    next = byte(b, b, next);
  }
  return next;
}

int32_t Net::split(std::vector<int32_t> targets) {
  if (targets.size() == 1) return targets[0];
  NetNode node;
  node.kind = NetNode::Kind::kSplit;
  node.targets = std::move(targets);
  return add(std::move(node));
}

int32_t Net::call(int32_t entry, int32_t next) {
  NetNode node;
  node.kind = NetNode::Kind::kCall;
  node.entry = entry, node.next = next;
  return add(std::move(node));
}

int32_t Net::text(std::shared_ptr<const Dfa> language, int32_t next) {
  NetNode node;
  node.kind = NetNode::Kind::kText;
  node.language = std::move(language), node.next = next;
  return add(std::move(node));
}

int32_t Net::json(ExprId value, int32_t next) {
  NetNode node;
  node.kind = NetNode::Kind::kJson;
  node.value = value, node.next = next;
  return add(std::move(node));
}

namespace {

std::string utf8(uint32_t c) {
  std::string text;
  put_utf8(text, c);
  return text;
}

/// Cuts [low, high], of one length in UTF-8, into products of byte ranges.
void cut(Net& net, std::string_view low, std::string_view high, int32_t next,
         std::vector<int32_t>& out) {
  const auto at = [](std::string_view s, size_t i) { return static_cast<uint8_t>(s[i]); };
  const size_t n = low.size();
  if (n == 1 || low.substr(1) == std::string(n - 1, '\x80')) {
    if (n == 1 || high.substr(1) == std::string(n - 1, '\xbf')) {
      for (size_t i = 1; i < n; ++i) next = net.byte(0x80, 0xbf, next);
      out.push_back(net.byte(at(low, 0), at(high, 0), next));
      return;
    }
  }
  if (at(low, 0) == at(high, 0)) {
    std::vector<int32_t> inner;
    cut(net, low.substr(1), high.substr(1), next, inner);
    out.push_back(net.byte(at(low, 0), at(low, 0), net.split(std::move(inner))));
    return;
  }
  // The first and last lead bytes alone, what is between them whole.
  const std::string first = std::string(1, low[0]) + std::string(n - 1, '\xbf');
  const std::string last = std::string(1, high[0]) + std::string(n - 1, '\x80');
  cut(net, low, first, next, out);
  if (at(high, 0) > at(low, 0) + 1) {
    const std::string a =
        std::string(1, static_cast<char>(low[0] + 1)) + std::string(n - 1, '\x80');
    const std::string b =
        std::string(1, static_cast<char>(high[0] - 1)) + std::string(n - 1, '\xbf');
    cut(net, a, b, next, out);
  }
  cut(net, last, high, next, out);
}

}  // namespace

int32_t Net::characters(const CodePointSet& set, int32_t next) {
  constexpr CodePointRange kForms[] = {
      {0, 0x7f}, {0x80, 0x7ff}, {0x800, 0xd7ff}, {0xe000, 0xffff}, {0x10000, 0x10ffff}};
  std::vector<int32_t> targets;
  for (const auto& [low, high] : set) {
    for (const auto& [first, last] : kForms) {
      const uint32_t a = std::max(low, first);
      const uint32_t b = std::min(high, last);
      if (a <= b) cut(*this, utf8(a), utf8(b), next, targets);
    }
  }
  return split(std::move(targets));
}

/// Which nodes can reach a return without a byte.
std::vector<uint8_t> Net::find_empty() const {
  std::vector<uint8_t> empty(nodes_.size(), 0);
  bool changed = true;
  while (changed) {
    changed = false;
    for (size_t i = 0; i < nodes_.size(); ++i) {
      const NetNode& n = nodes_[i];
      if (empty[i] != 0) continue;
      const auto is = [&empty](int32_t node) { return empty[static_cast<size_t>(node)] != 0; };
      bool now = false;
      switch (n.kind) {
        case NetNode::Kind::kReturn: now = true; break;
        case NetNode::Kind::kSplit:
          now = std::any_of(n.targets.begin(), n.targets.end(), is);
          break;
        case NetNode::Kind::kCall: now = is(n.entry) && is(n.next); break;
        case NetNode::Kind::kText: now = n.language->accepts(0) && is(n.next); break;
        default: break;
      }
      if (now) empty[i] = 1, changed = true;
    }
  }
  return empty;
}

void Net::find_dead(const std::function<bool(ExprId)>& possible) {
  dead_.assign(nodes_.size(), 1);
  const auto lives = [this](int32_t node) { return dead_[static_cast<size_t>(node)] == 0; };
  bool changed = true;
  while (changed) {
    changed = false;
    for (size_t i = 0; i < nodes_.size(); ++i) {
      const NetNode& n = nodes_[i];
      if (dead_[i] == 0) continue;
      bool now = false;
      switch (n.kind) {
        case NetNode::Kind::kReturn: now = true; break;
        case NetNode::Kind::kByte: now = lives(n.next); break;
        case NetNode::Kind::kSplit:
          now = std::any_of(n.targets.begin(), n.targets.end(), lives);
          break;
        case NetNode::Kind::kCall: now = lives(n.entry) && lives(n.next); break;
        case NetNode::Kind::kText: now = !n.language->empty() && lives(n.next); break;
        case NetNode::Kind::kJson: now = lives(n.next) && possible(n.value); break;
      }
      if (now) dead_[i] = 0, changed = true;
    }
  }
}

namespace {

using Edges = std::vector<std::vector<std::pair<int32_t, bool>>>;

/// Strongly connected components by depth-first search without recursion (Tarjan, 1972).
std::vector<int32_t> find_components(const Edges& edges) {
  const size_t n = edges.size();
  std::vector<int32_t> index(n, -1);
  std::vector<int32_t> low(n, 0);
  std::vector<int32_t> component(n, -1);
  std::vector<int32_t> stack;
  std::vector<std::pair<size_t, size_t>> work;
  int32_t counter = 0;
  int32_t components = 0;
  const auto leave = [&](size_t v) {
    if (low[v] == index[v]) {
      for (; component[v] < 0; stack.pop_back()) {
        component[static_cast<size_t>(stack.back())] = components;
      }
      ++components;
    }
    work.pop_back();
    if (!work.empty()) low[work.back().first] = std::min(low[work.back().first], low[v]);
  };
  for (size_t root = 0; root < n; ++root) {
    if (index[root] < 0) work.emplace_back(root, 0);
    while (!work.empty()) {
      const size_t v = work.back().first;
      if (index[v] < 0) {
        index[v] = low[v] = counter++;
        stack.push_back(static_cast<int32_t>(v));
      }
      if (work.back().second == edges[v].size()) {
        leave(v);
        continue;
      }
      const auto to = static_cast<size_t>(edges[v][work.back().second++].first);
      if (index[to] < 0) {
        work.emplace_back(to, 0);
      } else if (component[to] < 0) {
        low[v] = std::min(low[v], index[to]);
      }
    }
  }
  return component;
}

}  // namespace

void Net::check_left_recursion() const {
  // Steps that take no byte; a cycle through a call is left recursion.
  const std::vector<uint8_t> empty = find_empty();
  Edges edges(nodes_.size());
  for (size_t i = 0; i < nodes_.size(); ++i) {
    const NetNode& node = nodes_[i];
    if (node.kind == NetNode::Kind::kSplit) {
      for (const int32_t t : node.targets) edges[i].emplace_back(t, false);
    } else if (node.kind == NetNode::Kind::kCall) {
      edges[i].emplace_back(node.entry, true);
      if (empty[static_cast<size_t>(node.entry)] != 0) edges[i].emplace_back(node.next, false);
    } else if (node.kind == NetNode::Kind::kText && node.language->accepts(0)) {
      edges[i].emplace_back(node.next, false);
    }
  }
  const std::vector<int32_t> component = find_components(edges);
  for (size_t i = 0; i < nodes_.size(); ++i) {
    for (const auto& [to, call] : edges[i]) {
      if (call && component[i] == component[static_cast<size_t>(to)]) {
        throw Refusal{unsupported("'ebnf': a rule begins with itself (left recursion); write it as "
                                  "a repetition"),
                      "ebnf"};
      }
    }
  }
}

}  // namespace ramjet::text
