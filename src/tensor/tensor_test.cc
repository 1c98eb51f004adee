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

TEST(E4m3, RoundsToNearestEvenAndSaturates) {
  for (int bits = 0; bits < 256; ++bits) {  // every value survives
    const float value = e4m3_to_f32(static_cast<e4m3_t>(bits));
    if (std::isnan(value)) continue;
    EXPECT_EQ(f32_to_e4m3(value), bits) << value;
    if (bits % 128 >= 126) continue;
    const float next = e4m3_to_f32(static_cast<e4m3_t>(bits + 1));
    const int even = bits % 2 == 0 ? bits : bits + 1;
    EXPECT_EQ(f32_to_e4m3((value + next) / 2), even) << value;
  }
  EXPECT_EQ(e4m3_to_f32(0x7e), 448.0f);
  EXPECT_EQ(e4m3_to_f32(0x01), 0x1p-9f);
  EXPECT_EQ(f32_to_e4m3(1e9f), 0x7e);
  EXPECT_EQ(f32_to_e4m3(-INFINITY), 0xfe);
  EXPECT_TRUE(std::isnan(e4m3_to_f32(f32_to_e4m3(NAN))));
}

}  // namespace
}  // namespace ramjet
