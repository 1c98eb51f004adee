#include "kernels/registry.h"

#include <gtest/gtest.h>

#include <set>

#include "kernels/cpu/cpu_tactics.h"
#include "kernels/reference/reference.h"

namespace ramjet::kernels {
namespace {

TEST(Registry, TargetsRoundTripAndAreOrdered) {
  for (Isa isa : {Isa::kScalar, Isa::kAvx2, Isa::kAvx512, Isa::kAmx}) {
    const auto parsed = Target::parse(Target{isa}.name());
    ASSERT_TRUE(parsed.ok());
    EXPECT_EQ(parsed->isa, isa);
  }
  EXPECT_FALSE(Target::parse("cpu-neon").ok());
  EXPECT_FALSE(Target::parse("avx2").ok());
  EXPECT_TRUE(Target{Isa::kAvx2}.runs_on(Target{Isa::kAmx}));
  EXPECT_FALSE(Target{Isa::kAmx}.runs_on(Target{Isa::kAvx512}));
}

TEST(Registry, TacticNamesAreUniqueVersionedAndFound) {
  std::set<std::string_view> names;
  for (const auto& table : {cpu::tactics(), reference::tactics()}) {
    for (const Tactic& tactic : table) {
      EXPECT_TRUE(names.insert(tactic.name).second) << tactic.name;
      EXPECT_EQ(find_tactic(tactic.name), &tactic);
      EXPECT_NE(tactic.name.find(".v"), std::string_view::npos) << tactic.name;
      EXPECT_NE(find_layout(tactic.weight_layout), nullptr) << tactic.name;
      EXPECT_NE(tactic.run, nullptr);
    }
  }
  EXPECT_EQ(find_tactic("cpu.none.v1"), nullptr);
  EXPECT_EQ(find_layout("none"), nullptr);
}

TEST(Registry, EveryOpWithACpuMeaningHasAnOracle) {
  for (int op = 0; op <= static_cast<int>(OpKind::kQkvRopeAppend); ++op) {
    EXPECT_NE(reference_tactic(static_cast<OpKind>(op)), nullptr)
        << op_name(static_cast<OpKind>(op));
  }
}

}  // namespace
}  // namespace ramjet::kernels
