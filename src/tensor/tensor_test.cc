#include <gtest/gtest.h>

#include <cmath>

#include "tensor/half.h"
#include "tensor/shape.h"

namespace ramjet {
namespace {

TEST(Half, EveryF16RoundTripsAndNearestEvenHolds) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const float f = f16_to_f32(static_cast<f16_t>(bits));
    if (std::isnan(f)) continue;
    ASSERT_EQ(f32_to_f16(f), bits);
    const float next = f16_to_f32(static_cast<f16_t>(bits + 1));
    if (!std::isfinite(f) || !std::isfinite(next) || (bits & 0x7fff) == 0x7fff) continue;
    const float tie = f + (next - f) / 2;
    if (std::signbit(f) == std::signbit(next)) ASSERT_EQ(f32_to_f16(tie) & 1, 0) << bits;
  }
  EXPECT_EQ(f32_to_f16(65520.0f), 0x7c00);
  EXPECT_EQ(f32_to_f16(65519.0f), 0x7bff);
}

TEST(Half, Bf16RoundsToNearestEven) {
  EXPECT_EQ(f32_to_bf16(1.0f), 0x3f80);
  EXPECT_EQ(f32_to_bf16(1.00390625f), 0x3f80);  // a tie, to even
  EXPECT_EQ(f32_to_bf16(1.01171875f), 0x3f82);  // a tie, to even upwards
  EXPECT_TRUE(std::isnan(bf16_to_f32(f32_to_bf16(NAN))));
}

TEST(Shape, RowsAndText) {
  EXPECT_EQ((Shape{2, 3, 4}).rows(), 6);
  EXPECT_EQ((Shape{0, 4}).rows(), 0);
  EXPECT_EQ((Shape{2, 3}).text(), "[2, 3]");
}

}  // namespace
}  // namespace ramjet
