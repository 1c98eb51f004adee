// The graph passes, one class and one file each. What each does is told in its file and shown by
// the texts under passes/tests/.
#pragma once

#include <memory>

#include "compiler/compiler.h"

namespace ramjet::compiler {

std::unique_ptr<Pass> make_canonicalise();
std::unique_ptr<Pass> make_shard();
std::unique_ptr<Pass> make_quantize();
std::unique_ptr<Pass> make_fuse_qkv();
std::unique_ptr<Pass> make_fuse_gated();
std::unique_ptr<Pass> make_fuse_matmul();
std::unique_ptr<Pass> make_fuse_norm();
std::unique_ptr<Pass> make_fuse_quantize();
std::unique_ptr<Pass> make_fuse_pointwise();
std::unique_ptr<Pass> make_tactics();
std::unique_ptr<Pass> make_weight_layout();

}  // namespace ramjet::compiler
