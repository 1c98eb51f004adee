#include "server/key_gate.h"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

namespace ramjet::server {
namespace {

TEST(KeyGate, CountsWhatIsInProgress) {
  KeyGate gate(2, {.concurrency = 2});
  KeyRefusal refusal;
  auto first = gate.enter(0, 0, refusal);
  auto second = gate.enter(0, 0, refusal);
  ASSERT_TRUE(first && second);
  EXPECT_EQ(gate.enter(0, 0, refusal), nullptr);
  EXPECT_NE(refusal.message.find("2 requests in progress"), std::string::npos);
  EXPECT_NE(gate.enter(1, 0, refusal), nullptr);
  first->leave();  // the ticket lives on, as with who still logs
  auto third = gate.enter(0, 0, refusal);
  EXPECT_NE(third, nullptr);
  first.reset();
  EXPECT_EQ(gate.enter(0, 0, refusal), nullptr) << "it left twice";
}

TEST(KeyGate, LimitsTheRateWithBursts) {
  KeyGate gate(1, {.requests_per_minute = 30});  // five at once, then one in two seconds
  KeyRefusal refusal;
  for (int i = 0; i < 5; ++i) EXPECT_NE(gate.enter(0, 100, refusal), nullptr) << i;
  EXPECT_EQ(gate.enter(0, 100, refusal), nullptr);
  EXPECT_EQ(refusal.retry_after_s, 2);
  EXPECT_EQ(gate.enter(0, 101, refusal), nullptr);
  EXPECT_EQ(refusal.retry_after_s, 1);
  EXPECT_NE(gate.enter(0, 102, refusal), nullptr);
  EXPECT_EQ(gate.enter(0, 102, refusal), nullptr);
  for (int i = 0; i < 5; ++i) EXPECT_NE(gate.enter(0, 1000, refusal), nullptr) << i;
  EXPECT_EQ(gate.enter(0, 1000, refusal), nullptr) << "the bucket is no larger for a long pause";
}

TEST(KeyGate, ABusyKeyWaitsBehindANewcomer) {
  KeyGate gate(2, {});
  KeyRefusal refusal;
  std::vector<std::shared_ptr<KeyTicket>> busy;
  std::vector<uint64_t> turns;
  for (int i = 0; i < 10; ++i) {
    busy.push_back(gate.enter(0, 0, refusal));
    turns.push_back(busy.back()->take_turn(100));
  }
  for (size_t i = 1; i < turns.size(); ++i) EXPECT_EQ(turns[i], turns[i - 1] + 100);
  for (size_t i = 0; i < 4; ++i) busy[i].reset();  // served
  auto other = gate.enter(1, 0, refusal);
  const uint64_t turn = other->take_turn(100);
  EXPECT_EQ(turn, turns[3]) << "not from the start: who pauses saves nothing up";
  EXPECT_LT(turn, turns[4]);
  EXPECT_EQ(gate.enter(1, 0, refusal)->take_turn(100), turn + 100) << "then they take turns";
}

}  // namespace
}  // namespace ramjet::server
