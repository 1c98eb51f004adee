// Which descriptors the fast kernels outside matmul take. Pure functions.
#pragma once

#include "kernels/kernel.h"

namespace ramjet::kernels::cpu {

bool pointwise_ok(const OpDesc& desc);
bool norm_ok(const OpDesc& desc);
bool add_norm_ok(const OpDesc& desc);
bool quantize_ok(const OpDesc& desc);
bool embedding_ok(const OpDesc& desc);
bool softmax_ok(const OpDesc& desc);  // over the last axis
bool reduce_ok(const OpDesc& desc);   // over the last axis
bool rope_table_ok(const OpDesc& desc);
bool rope_ok(const OpDesc& desc);
bool kv_append_ok(const OpDesc& desc);
bool attention_ok(const OpDesc& desc);
bool amx_attention_ok(const OpDesc& desc);  // bf16 queries, dims of whole tiles
bool qkv_ok(const OpDesc& desc);
/// Partial results of a long context that several threads share.
int64_t attention_workspace(const OpDesc& desc);

}  // namespace ramjet::kernels::cpu
