// What a serving benchmark sends: requests with arrival times, from random tokens, a trace of real
// arrivals, or a file of prompts. Everything random comes from the seed.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"

namespace ramjet {

struct LoadItem {
  double arrival_s = 0;
  std::string text;          // the prompt, if `ids` is empty
  std::vector<int32_t> ids;  // the prompt as tokens
  int output_tokens = 0;     // 0: as many as the model likes
};

struct DatasetSpec {
  std::string source = "random";  // random, trace:FILE (.csv or .jsonl), prompts:FILE
  int num_prompts = 100;
  int input_len = 512;     // random
  int output_len = 128;    // random and prompts
  double range_ratio = 0;  // random: lengths are uniform in [len * (1 - ratio), len]
  int vocab = 500;         // ids are drawn from [5, vocab)
  int max_len = 0;         // trace: prompt + output is cut to this; 0: as it is
  uint64_t seed = 0;
  double request_rate = 0;  // a second, Poisson; 0: all at once, or as the trace says
  double time_scale = 1;    // trace: 2 is twice as fast
};

/// Errors: kNotFound and kInvalidArgument, naming the file and the line.
Result<std::vector<LoadItem>> load_dataset(const DatasetSpec& spec);

}  // namespace ramjet
