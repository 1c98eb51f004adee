#include "checkpoint/ggml_blocks.h"

#include <cmath>
#include <cstring>

#include "base/check.h"
#include "tensor/half.h"

namespace ramjet::checkpoint {
namespace {

using gguf::Encoding;
constexpr int kSmall = 32;  // elements of a block without sub-blocks

float half_at(const uint8_t* bytes) {
  uint16_t bits;
  std::memcpy(&bits, bytes, sizeof(bits));
  return f16_to_f32(bits);
}

/// Element i of a small block: nibbles of 16 bytes, the low ones first.
int nibble(const uint8_t* bytes, int i) {
  return i < kSmall / 2 ? bytes[i] & 0xf : bytes[i - kSmall / 2] >> 4;
}

void q4_0(const uint8_t* block, float* out) {
  const float d = half_at(block);
  for (int i = 0; i < kSmall; ++i) out[i] = d * static_cast<float>(nibble(block + 2, i) - 8);
}

void q4_1(const uint8_t* block, float* out) {
  const float d = half_at(block), least = half_at(block + 2);
  for (int i = 0; i < kSmall; ++i) {
    const float scaled = d * static_cast<float>(nibble(block + 4, i));
    out[i] = scaled + least;
  }
}

int five_bits(const uint8_t* high, const uint8_t* low, int i) {
  return nibble(low, i) | ((high[i / 8] >> (i % 8)) & 1) << 4;
}

void q5_0(const uint8_t* block, float* out) {
  const float d = half_at(block);
  for (int i = 0; i < kSmall; ++i) {
    out[i] = d * static_cast<float>(five_bits(block + 2, block + 6, i) - 16);
  }
}

void q5_1(const uint8_t* block, float* out) {
  const float d = half_at(block), least = half_at(block + 2);
  for (int i = 0; i < kSmall; ++i) {
    const float scaled = d * static_cast<float>(five_bits(block + 4, block + 8, i));
    out[i] = scaled + least;
  }
}

void q8_0(const uint8_t* block, float* out) {
  const float d = half_at(block);
  for (int i = 0; i < kSmall; ++i) {
    out[i] = d * static_cast<float>(static_cast<int8_t>(block[2 + i]));
  }
}

/// Scale and least value of one of the eight sub-blocks: six bits each in twelve bytes.
struct SubBlock {
  float scale;
  float least;
};
SubBlock sub_block(const uint8_t* block, int i) {
  const uint8_t* bits = block + 4;
  const int scale = i < 4 ? bits[i] & 63 : (bits[i + 4] & 0xf) | (bits[i - 4] >> 6) << 4;
  const int least = i < 4 ? bits[i + 4] & 63 : bits[i + 4] >> 4 | (bits[i] >> 6) << 4;
  return {half_at(block) * static_cast<float>(scale),
          half_at(block + 2) * static_cast<float>(least)};
}

void q4_k(const uint8_t* block, float* out) {
  for (int sub = 0; sub < 8; ++sub) {
    const auto [scale, least] = sub_block(block, sub);
    const uint8_t* bytes = block + 16 + sub / 2 * 32;
    for (int i = 0; i < 32; ++i) {
      const float scaled = scale * static_cast<float>((bytes[i] >> (sub % 2 * 4)) & 0xf);
      out[sub * 32 + i] = scaled - least;
    }
  }
}

void q5_k(const uint8_t* block, float* out) {
  const uint8_t* high = block + 16;
  for (int sub = 0; sub < 8; ++sub) {
    const auto [scale, least] = sub_block(block, sub);
    const uint8_t* bytes = block + 48 + sub / 2 * 32;
    for (int i = 0; i < 32; ++i) {
      const int value = ((bytes[i] >> (sub % 2 * 4)) & 0xf) | ((high[i] >> sub) & 1) << 4;
      const float scaled = scale * static_cast<float>(value);
      out[sub * 32 + i] = scaled - least;
    }
  }
}

void q6_k(const uint8_t* block, float* out) {
  const float d = half_at(block + 208);
  for (int sub = 0; sub < 8; ++sub) {
    const int half = sub / 4, part = sub % 4;
    const uint8_t* low = block + half * 64 + part % 2 * 32;
    const uint8_t* high = block + 128 + half * 32;
    for (int i = 0; i < 32; ++i) {
      const auto scale = static_cast<int8_t>(block[192 + sub * 2 + i / 16]);
      const int value = ((low[i] >> (part / 2 * 4)) & 0xf) | ((high[i] >> (part * 2)) & 3) << 4;
      const float scaled = d * static_cast<float>(scale);
      out[sub * 32 + i] = scaled * static_cast<float>(value - 32);
    }
  }
}

void q2_k(const uint8_t* block, float* out) {
  const float d = half_at(block + 80), least = half_at(block + 82);
  for (int sub = 0; sub < 16; ++sub) {  // of 16 elements, in two bits of 16 bytes
    const float scale = d * static_cast<float>(block[sub] & 0xf);
    const float minus = least * static_cast<float>(block[sub] >> 4);
    const uint8_t* bytes = block + 16 + sub / 8 * 32 + sub % 2 * 16;
    for (int i = 0; i < 16; ++i) {
      const float scaled = scale * static_cast<float>((bytes[i] >> (sub % 8 / 2 * 2)) & 3);
      out[sub * 16 + i] = scaled - minus;
    }
  }
}

void q3_k(const uint8_t* block, float* out) {
  const uint8_t* scales = block + 96;
  const float d = half_at(block + 108);
  for (int sub = 0; sub < 16; ++sub) {
    const int low = sub < 8 ? scales[sub] & 0xf : scales[sub - 8] >> 4;
    const int high = (scales[8 + sub % 4] >> (sub / 4 * 2)) & 3;
    const float scale = d * static_cast<float>((low | high << 4) - 32);
    const uint8_t* bytes = block + 32 + sub / 8 * 32 + sub % 2 * 16;
    const uint8_t* third = block + sub % 2 * 16;  // its bit is clear where four are taken
    for (int i = 0; i < 16; ++i) {
      const int value = (bytes[i] >> (sub % 8 / 2 * 2)) & 3;
      const int minus = (third[i] >> (sub / 2)) & 1 ? 0 : 4;
      out[sub * 16 + i] = scale * static_cast<float>(value - minus);
    }
  }
}

/// The sixteen levels of the IQ4 types.
constexpr int8_t kIq4Levels[] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                 1,    13,   25,  38,  53,  69,  89,  113};
/// Twice the values of E2M1.
constexpr int8_t kMxfp4Levels[] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

void iq4_nl(const uint8_t* block, float* out) {
  const float d = half_at(block);
  for (int i = 0; i < kSmall; ++i) {
    out[i] = d * static_cast<float>(kIq4Levels[nibble(block + 2, i)]);
  }
}

void iq4_xs(const uint8_t* block, float* out) {
  const float d = half_at(block);
  const int high = block[2] | block[3] << 8;
  for (int sub = 0; sub < 8; ++sub) {
    const int low = (block[4 + sub / 2] >> (sub % 2 * 4)) & 0xf;
    const float scale = d * static_cast<float>((low | ((high >> (sub * 2)) & 3) << 4) - 32);
    for (int i = 0; i < kSmall; ++i) {
      out[sub * kSmall + i] =
          scale * static_cast<float>(kIq4Levels[nibble(block + 8 + sub * 16, i)]);
    }
  }
}

void mxfp4(const uint8_t* block, float* out) {
  // Half of the power of two that the byte says, as the levels are doubled.
  const float scale = std::ldexp(1.0f, block[0] - 128);
  for (int i = 0; i < kSmall; ++i) {
    out[i] = scale * static_cast<float>(kMxfp4Levels[nibble(block + 1, i)]);
  }
}

void plain(Encoding encoding, const uint8_t* bytes, int64_t elements, float* out) {
  if (encoding == Encoding::kF32) {
    std::memcpy(out, bytes, static_cast<size_t>(elements) * sizeof(float));
    return;
  }
  for (int64_t i = 0; i < elements; ++i) {
    uint16_t bits;
    std::memcpy(&bits, bytes + i * 2, sizeof(bits));
    out[i] = encoding == Encoding::kF16 ? f16_to_f32(bits) : bf16_to_f32(bits);
  }
}

struct Decoder {
  Encoding encoding;
  void (*decode)(const uint8_t* block, float* out);
};
constexpr Decoder kDecoders[] = {
    {Encoding::kQ4_0, q4_0},   {Encoding::kQ4_1, q4_1},    {Encoding::kQ5_0, q5_0},
    {Encoding::kQ5_1, q5_1},   {Encoding::kQ8_0, q8_0},    {Encoding::kQ4_K, q4_k},
    {Encoding::kQ5_K, q5_k},   {Encoding::kQ6_K, q6_k},    {Encoding::kQ2_K, q2_k},
    {Encoding::kQ3_K, q3_k},   {Encoding::kIq4Nl, iq4_nl}, {Encoding::kIq4Xs, iq4_xs},
    {Encoding::kMxfp4, mxfp4},
};

const Decoder* find_decoder(Encoding encoding) {
  for (const Decoder& decoder : kDecoders) {
    if (decoder.encoding == encoding) return &decoder;
  }
  return nullptr;
}

bool is_plain(Encoding encoding) {
  return encoding == Encoding::kF32 || encoding == Encoding::kF16 || encoding == Encoding::kBf16;
}

}  // namespace

bool is_dequantizable(Encoding encoding) {
  return is_plain(encoding) || find_decoder(encoding) != nullptr;
}

void dequantize(Encoding encoding, const std::byte* blocks, int64_t elements, float* out) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(blocks);
  if (is_plain(encoding)) return plain(encoding, bytes, elements, out);
  const Decoder* decoder = find_decoder(encoding);
  const gguf::TensorType* type = gguf::find_tensor_type(static_cast<uint32_t>(encoding));
  CHECK(decoder != nullptr && elements % type->block_elements == 0);
  for (int64_t i = 0; i < elements; i += type->block_elements, bytes += type->block_bytes) {
    decoder->decode(bytes, out + i);
  }
}

}  // namespace ramjet::checkpoint
