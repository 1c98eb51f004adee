// What the configuration fuzzer does with its bytes; tests replay the committed corpus with it. A
// member "tensors" of the configuration lists those that its checkpoint has.
#pragma once

#include <algorithm>
#include <string_view>

#include "base/check.h"
#include "base/json.h"
#include "ir/network.h"
#include "models/model.h"

namespace ramjet::models {

inline void fuzz_config(std::string_view bytes) {
  const auto json = parse_json(bytes, 16);
  if (!json.ok()) return;
  ModelInfo info;
  (void)apply_generation_config(bytes, info);
  const auto has_tensor = [&](std::string_view name) {
    const auto tensors = json->is_object() ? json->find("tensors") : json->end();
    return tensors != json->end() &&
           std::find(tensors->begin(), tensors->end(), name) != tensors->end();
  };
  const auto model = build_model(*json, {}, has_tensor);
  if (!model.ok()) {
    CHECK(!model.error().message.empty());
    CHECK(model.error().code == ErrorCode::kInvalidArgument ||
          model.error().code == ErrorCode::kUnsupported);
    return;
  }
  const Status verified = ir::verify(model->network->impl().graph);
  CHECK(verified.ok(), verified.error().message);
  CHECK(model->info.max_seq_len >= 1 && model->info.parameters >= 1);
}

}  // namespace ramjet::models
