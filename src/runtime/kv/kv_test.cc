#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <unordered_map>

#include "runtime/kv/block_manager.h"
#include "runtime/kv/hash_index.h"

namespace ramjet::runtime::kv {
namespace {

using Tokens = std::vector<int32_t>;

Hash128 hash_of(uint64_t low, uint64_t high = 0) {
  Hash128 hash;
  hash.low = low, hash.high = high;
  return hash;
}

TEST(HashIndex, EqualsAMapUnderRandomOperations) {
  std::mt19937 rng(7);
  HashIndex index(64);
  std::map<Hash128, int32_t> model;
  for (int i = 0; i < 20000; ++i) {
    // Few distinct low bits, so that probes collide and erasing shifts.
    const Hash128 hash = hash_of(rng() % 24, rng() % 4);
    if (rng() % 2 == 0 && model.size() < 60) {
      index.put(hash, i);
      model[hash] = i;
    } else {
      index.erase(hash);
      model.erase(hash);
    }
    ASSERT_EQ(index.size(), model.size());
    for (const auto& [key, value] : model) ASSERT_EQ(index.find(key), value);
  }
}

TEST(BlockPool, EvictsByLevelThenLeastRecentlyUsed) {
  BlockPool pool(4, 1);
  std::vector<BlockId> blocks;
  const int levels[] = {5, 3, 3, 0};
  for (int i = 0; i < 4; ++i) {
    blocks.push_back(pool.allocate(levels[i]));
    const Tokens token = {i};
    EXPECT_EQ(pool.store(blocks.back(), hash_of(static_cast<uint64_t>(i) + 1), token, {}),
              blocks.back());
  }
  EXPECT_EQ(pool.allocate(), kNoBlock) << "the cap is hard";
  for (const int i : {2, 0, 3, 1}) pool.unref(blocks[static_cast<size_t>(i)]);
  EXPECT_EQ(pool.counts().cached, 4);
  std::vector<BlockId> evicted;
  for (int i = 0; i < 4; ++i) evicted.push_back(pool.allocate());
  EXPECT_EQ(evicted, (std::vector<BlockId>{blocks[3], blocks[2], blocks[1], blocks[0]}));
  EXPECT_EQ(pool.allocate(), kNoBlock);
}

TEST(BlockPool, HitsAreVerifiedByTokensAndParent) {
  BlockPool pool(4, 2);
  const BlockId first = pool.allocate();
  pool.store(first, hash_of(1), Tokens{1, 2}, {});
  const ParentLink parent = pool.link_of(first);
  const BlockId second = pool.allocate();
  pool.store(second, hash_of(2), Tokens{3, 4}, parent);
  EXPECT_EQ(pool.find(hash_of(2), Tokens{3, 4}, parent), second);
  EXPECT_EQ(pool.find(hash_of(2), Tokens{3, 5}, parent), kNoBlock) << "same hash, other tokens";
  EXPECT_EQ(pool.find(hash_of(2), Tokens{3, 4}, {}), kNoBlock) << "same tokens, other parent";
  pool.forget(first);
  pool.store(first, hash_of(1), Tokens{1, 2}, {});
  EXPECT_EQ(pool.find(hash_of(2), Tokens{3, 4}, pool.link_of(first)), kNoBlock)
      << "the parent's content was replaced in between";
}

TEST(BlockPool, ReportsEvents) {
  BlockPool pool(1, 1);
  std::vector<std::string> log;
  pool.set_events({[&](BlockId b, const Hash128& h, const Hash128&) {
                     log.push_back("stored " + std::to_string(b) + " " + std::to_string(h.low));
                   },
                   [&](BlockId b, const Hash128& h) {
                     log.push_back("removed " + std::to_string(b) + " " + std::to_string(h.low));
                   }});
  const BlockId block = pool.allocate();
  pool.store(block, hash_of(9), Tokens{1}, {});
  pool.unref(block);
  EXPECT_EQ(pool.allocate(), block);
  EXPECT_THAT(log, testing::ElementsAre("stored 0 9", "removed 0 9"));
}

TEST(BlockPool, CheckFindsWrongCounts) {
  BlockPool pool(2, 1);
  const BlockId block = pool.allocate();
  std::vector<int32_t> refs = {0, 0};
  EXPECT_FALSE(pool.check(refs).ok());
  refs[static_cast<size_t>(block)] = 1;
  EXPECT_TRUE(pool.check(refs).ok());
}

// A table together with the memory that a session would keep for it.
struct World {
  explicit World(BlockManagerConfig config)
      : manager(config), memory(static_cast<size_t>(config.num_blocks * config.block_tokens), -1) {}

  struct Sequence {
    TableId table = kNoTable;
    Tokens tokens;
    PrefixKey key;
  };

  int32_t& cell(TableId table, int64_t position) {
    const int64_t size = manager.config().block_tokens;
    const BlockId block = manager.blocks(table)[static_cast<size_t>(position / size)];
    return memory[static_cast<size_t>(block * size + position % size)];
  }

  bool grow(Sequence& s, int64_t upto) {
    std::vector<CopyPair> copies;
    const int64_t from = manager.committed(s.table);
    const int64_t wanted = manager.blocks_wanted(s.table, upto);
    const int64_t before = manager.available();
    if (!manager.reserve(s.table, upto, &copies)) {
      EXPECT_GT(wanted, before);
      return false;
    }
    EXPECT_LE(wanted, before);
    const auto size = static_cast<size_t>(manager.config().block_tokens);
    for (const CopyPair& c : copies) {
      std::copy_n(memory.begin() + static_cast<ptrdiff_t>(static_cast<size_t>(c.from) * size), size,
                  memory.begin() + static_cast<ptrdiff_t>(static_cast<size_t>(c.to) * size));
    }
    for (int64_t p = from; p < upto; ++p) cell(s.table, p) = s.tokens[static_cast<size_t>(p)];
    s.key.extend(std::span(s.tokens).first(static_cast<size_t>(upto)),
                 manager.config().block_tokens);
    manager.commit(s.table, std::span(s.tokens).first(static_cast<size_t>(upto)), s.key);
    return true;
  }

  void expect_content(const Sequence& s) {
    const int64_t end = manager.committed(s.table);
    const int64_t window = manager.config().window;
    const int64_t first = window == 0 ? 0 : std::max<int64_t>(0, end - window + 1);
    for (int64_t p = first; p < end; ++p) {
      ASSERT_EQ(cell(s.table, p), s.tokens[static_cast<size_t>(p)]) << "position " << p;
    }
  }

  BlockManager manager;
  std::vector<int32_t> memory;
};

class BlockManagerRandom : public testing::TestWithParam<std::tuple<int, int64_t, bool>> {};

TEST_P(BlockManagerRandom, EveryTableReadsBackItsOwnTokens) {
  const auto [seed, window, caching] = GetParam();
  std::mt19937 rng(static_cast<uint32_t>(seed));
  SCOPED_TRACE("seed " + std::to_string(seed));
  World world({40, 4, window, caching});
  BlockManager& m = world.manager;
  std::vector<World::Sequence> live;
  std::vector<Lease> leases;
  int64_t hits = 0;
  for (int step = 0; step < 6000; ++step) {
    const uint32_t dice = rng() % 100;
    const size_t pick = live.empty() ? 0 : rng() % live.size();
    if (live.empty() || (dice < 15 && live.size() < 8)) {
      World::Sequence s;
      const int32_t family = static_cast<int32_t>(rng() % 3);  // shared beginnings
      for (uint32_t i = 0; i < 6 + rng() % 30; ++i) {
        s.tokens.push_back(i < 18 ? family : static_cast<int32_t>(rng() % 2));
      }
      s.key.extra = rng() % 8 == 0 ? 1 : 0;
      if (caching) s.key.extend(s.tokens, 4);
      s.table = m.open(static_cast<int>(rng() % 8));
      hits += m.adopt(s.table, s.key, s.tokens, static_cast<int64_t>(s.tokens.size()) - 1);
      m.announce(s.table, s.key);
      live.push_back(std::move(s));
    } else if (dice < 60) {
      World::Sequence& s = live[pick];
      const int64_t done = m.committed(s.table);
      while (static_cast<int64_t>(s.tokens.size()) <= done + 5) {
        s.tokens.push_back(static_cast<int32_t>(rng() % 2));
      }
      if (s.tokens.size() < 60) world.grow(s, done + 1 + static_cast<int64_t>(rng() % 5));
    } else if (dice < 70 && live.size() < 8) {
      World::Sequence copy = live[pick];
      copy.table = m.fork(live[pick].table);
      copy.tokens.resize(static_cast<size_t>(m.committed(copy.table)));
      copy.key.truncate(m.committed(copy.table), 4);
      live.push_back(std::move(copy));
    } else if (dice < 75 && window == 0) {
      World::Sequence& s = live[pick];
      const int64_t keep = m.committed(s.table) - static_cast<int64_t>(rng() % 6);
      if (keep >= 0) {
        m.truncate(s.table, keep);
        s.tokens.resize(static_cast<size_t>(keep));
        s.key.truncate(keep, 4);
      }
    } else if (dice < 78) {
      leases.push_back(m.lease(live[pick].table));
    } else if (dice < 82 && !leases.empty()) {
      ASSERT_TRUE(m.release(leases.back()).ok());
      EXPECT_FALSE(m.release(leases.back()).ok()) << "released twice";
      leases.pop_back();
    } else if (dice == 82) {
      m.revoke_leases();
      leases.clear();
    } else if (dice == 83) {
      m.reset_index();
    } else if (dice < 87) {
      m.distrust(live[pick].table);
    } else {
      m.close(live[pick].table);
      live.erase(live.begin() + static_cast<ptrdiff_t>(pick));
    }
    const Status integrity = m.check_integrity();
    ASSERT_TRUE(integrity.ok()) << integrity.error().message << " at step " << step;
    for (const World::Sequence& s : live) world.expect_content(s);
    if (HasFatalFailure()) return;
  }
  for (World::Sequence& s : live) m.close(s.table);
  m.revoke_leases();
  EXPECT_TRUE(m.check_integrity().ok());
  EXPECT_EQ(m.available(), 40);
  EXPECT_EQ(m.open_tables(), 0);
  if (caching) EXPECT_GT(hits, 100) << "the test must exercise reuse";
}

INSTANTIATE_TEST_SUITE_P(Seeds, BlockManagerRandom,
                         testing::Combine(testing::Values(1, 2, 3, 4), testing::Values(0, 6, 9),
                                          testing::Bool()));

TEST(BlockManager, AForkCopiesThePartialBlockWhenItIsWritten) {
  World world({8, 4, 0, true});
  World::Sequence a;
  a.tokens = {1, 2, 3, 4, 5, 6};
  a.table = world.manager.open();
  ASSERT_TRUE(world.grow(a, 6));
  World::Sequence b = a;
  b.table = world.manager.fork(a.table);
  EXPECT_EQ(world.manager.pool().counts().active, 2) << "a fork takes no block";
  b.tokens.push_back(7);
  EXPECT_EQ(world.manager.blocks_wanted(b.table, 7), 1);
  ASSERT_TRUE(world.grow(b, 7));
  EXPECT_EQ(world.manager.blocks(a.table)[0], world.manager.blocks(b.table)[0]);
  EXPECT_NE(world.manager.blocks(a.table)[1], world.manager.blocks(b.table)[1]);
  a.tokens.push_back(8);
  EXPECT_EQ(world.manager.blocks_wanted(a.table, 7), 0) << "the last holder writes in place";
  ASSERT_TRUE(world.grow(a, 7));
  world.expect_content(a);
  world.expect_content(b);
}

TEST(BlockManager, EqualBlocksComputedTwiceBecomeOne) {
  World world({8, 4, 0, true});
  World::Sequence a, b;
  a.tokens = b.tokens = {1, 2, 3, 4, 5, 6, 7, 8};
  a.table = world.manager.open();
  b.table = world.manager.open();
  ASSERT_TRUE(world.grow(a, 8));
  ASSERT_TRUE(world.grow(b, 8));
  EXPECT_EQ(world.manager.pool().counts().active, 2);
  EXPECT_TRUE(std::ranges::equal(world.manager.blocks(a.table), world.manager.blocks(b.table)));
}

TEST(BlockManager, SaltSeparatesPrefixes) {
  World world({8, 4, 0, true});
  World::Sequence a;
  a.tokens = {1, 2, 3, 4, 5};
  a.table = world.manager.open();
  ASSERT_TRUE(world.grow(a, 5));
  PrefixKey same, salted;
  salted.extra = 5;
  same.extend(a.tokens, 4);
  salted.extend(a.tokens, 4);
  EXPECT_EQ(world.manager.match(same, a.tokens, 5).tokens, 4);
  EXPECT_EQ(world.manager.match(salted, a.tokens, 5).tokens, 0);
  EXPECT_EQ(world.manager.match(same, a.tokens, 3).tokens, 0) << "the limit holds";
}

TEST(BlockManager, AnnouncedBlocksArePendingUntilCommittedOrClosed) {
  World world({8, 4, 0, true});
  World::Sequence a;
  a.tokens = {1, 2, 3, 4, 5, 6, 7, 8, 9};
  a.key.extend(a.tokens, 4);
  a.table = world.manager.open();
  world.manager.announce(a.table, a.key);
  EXPECT_TRUE(world.manager.match(a.key, a.tokens, 8).next_pending);
  ASSERT_TRUE(world.grow(a, 4));
  const PrefixMatch half = world.manager.match(a.key, a.tokens, 8);
  EXPECT_EQ(half.tokens, 4);
  EXPECT_TRUE(half.next_pending);
  EXPECT_FALSE(world.manager.match(a.key, a.tokens, 4).next_pending) << "nothing more wanted";
  world.manager.close(a.table);
  EXPECT_FALSE(world.manager.match(a.key, a.tokens, 8).next_pending);
}

TEST(BlockManager, AWindowReleasesWhatNobodySees) {
  World world({6, 4, 8, true});
  World::Sequence a;
  a.table = world.manager.open();
  for (int32_t i = 0; i < 100; ++i) {
    a.tokens.push_back(i);
    ASSERT_TRUE(world.grow(a, i + 1)) << "a window of 8 needs 3 blocks at most";
    EXPECT_LE(world.manager.held(a.table), 3);
    world.expect_content(a);
  }
  world.manager.close(a.table);
  const PrefixMatch match = world.manager.match(a.key, a.tokens, 99);
  EXPECT_EQ(match.tokens, 96) << "the window's blocks suffice to go on";
  EXPECT_TRUE(world.manager.check_integrity().ok());
}

TEST(BlockManager, AnExhaustedPoolChangesNothing) {
  World world({2, 4, 0, false});
  World::Sequence a;
  a.tokens.assign(12, 1);
  a.table = world.manager.open();
  EXPECT_FALSE(world.grow(a, 9));
  EXPECT_EQ(world.manager.held(a.table), 0);
  EXPECT_TRUE(world.grow(a, 8));
  EXPECT_TRUE(world.manager.check_integrity().ok());
}

}  // namespace
}  // namespace ramjet::runtime::kv
