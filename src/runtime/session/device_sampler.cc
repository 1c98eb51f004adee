#include "runtime/session/device_sampler.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>

namespace ramjet::runtime {
namespace {

namespace cu = device::cuda;

constexpr float kExcluded = -std::numeric_limits<float>::infinity();
constexpr size_t kMostEdits = 512;  // of a row; the program's profile has as many a sequence
constexpr size_t kSymbolWords = 32;

const engine::Program* find_program(const engine::EngineFile& file, std::string_view name) {
  for (const engine::Program& program : file.manifest().programs) {
    if (program.name == name) return &program;
  }
  return nullptr;
}

size_t largest(const engine::Program& program, std::string_view name) {
  for (const Symbol& symbol : program.symbols) {
    if (symbol.name == name) return static_cast<size_t>(symbol.max);
  }
  return 0;
}

/// Values of a program's symbols: `count` for `name`, the most otherwise.
std::vector<int64_t> symbols_of(const engine::Program& program, std::string_view name,
                                size_t count) {
  std::vector<int64_t> values;
  for (const Symbol& symbol : program.symbols) {
    values.push_back(symbol.name == name ? static_cast<int64_t>(count) : symbol.max);
  }
  return values;
}

constexpr std::string_view kSampleInputs[] = {"logits",       "sample_params", "sample_edits",
                                              "sample_masks", "sample_counts", "chosen"};
constexpr std::string_view kResolveInputs[] = {"token_ids", "chosen"};

bool has_inputs(const engine::Program& program, std::span<const std::string_view> names) {
  return std::ranges::equal(program.inputs, names, {}, &engine::Binding::name);
}

std::optional<Error> error_of(int32_t flags, int64_t output) {
  if (flags == 0) return std::nullopt;
  if ((flags & kSampleNotFinite) != 0) {
    return internal_error("the model's logits are not finite at output token {}", output);
  }
  return invalid_argument(
      "no token may follow output token {}: bias, allowed_ids, bad_words and min_tokens exclude "
      "all of them",
      output);
}

}  // namespace

Result<std::unique_ptr<DeviceSampler>> DeviceSampler::create(const Parts& parts,
                                                             const SessionInfo& info) {
  const engine::Program* const sample = find_program(*parts.file, "sample");
  const engine::Program* const resolve = find_program(*parts.file, "resolve");
  if (sample == nullptr || resolve == nullptr) return std::unique_ptr<DeviceSampler>();
  if (!has_inputs(*sample, kSampleInputs) || sample->outputs.size() != 2 ||
      !has_inputs(*resolve, kResolveInputs) || resolve->outputs.size() != 1 ||
      std::max(sample->symbols.size(), resolve->symbols.size()) > kSymbolWords) {
    return unsupported("{}: the program 'sample' has operands that this version does not know",
                       parts.file->path());
  }
  auto sampler = std::unique_ptr<DeviceSampler>(new DeviceSampler());
  sampler->info_ = info;
  RETURN_IF_ERROR(sampler->allocate(*sample));
  RETURN_IF_ERROR(sampler->make_programs(parts));
  return sampler;
}

Status DeviceSampler::allocate(const engine::Program& sample) {
  max_rows_ = largest(sample, "rows"), max_edits_ = largest(sample, "edits");
  params_at_ = 2 * kSymbolWords * sizeof(int32_t);
  edits_at_ = params_at_ + max_rows_ * kSampleWords * sizeof(int32_t);
  const size_t bytes = edits_at_ + max_edits_ * kEditWords * sizeof(int32_t);
  tops_at_ = max_rows_ * kSampleResultWords * sizeof(int32_t);
  const size_t result_bytes = tops_at_ + max_rows_ * 2 * kMaxTopLogprobs * sizeof(int32_t);
  ASSIGN_OR_RETURN(memory_, cu::DeviceBuffer::allocate(bytes));
  ASSIGN_OR_RETURN(chosen_, cu::DeviceBuffer::allocate(max_rows_ * sizeof(int32_t)));
  ASSIGN_OR_RETURN(results_, cu::DeviceBuffer::allocate(result_bytes));
  ASSIGN_OR_RETURN(slots_, SamplerSlots::allocate(max_rows_, info_.vocab_size));
  for (Flight& flight : flights_) {
    ASSIGN_OR_RETURN(flight.words, cu::PinnedBuffer::allocate(bytes));
    ASSIGN_OR_RETURN(flight.results, cu::PinnedBuffer::allocate(result_bytes));
    ASSIGN_OR_RETURN(flight.sent, cu::Event::create(false));
    ASSIGN_OR_RETURN(flight.done, cu::Event::create(false));
  }
  return ok_status();
}

Status DeviceSampler::make_programs(const Parts& parts) {
  const uint64_t words = memory_.get();
  const uint64_t inputs[] = {parts.logits,   words + params_at_, words + edits_at_,
                             slots_.masks(), slots_.counts(),    chosen_.get()};
  const uint64_t outputs[] = {results_.get(), results_.get() + tops_at_};
  DeviceOperands sample{inputs, outputs, {}, words, parts.flags};
  ASSIGN_OR_RETURN(
      sample_, DeviceProgram::create(parts.file, "sample", parts.weights, parts.modules, sample));
  const uint64_t ids[] = {parts.token_ids, chosen_.get()};
  DeviceOperands resolve{ids, std::span(ids).first(1), {}, words + kSymbolWords * 4, parts.flags};
  ASSIGN_OR_RETURN(resolve_, DeviceProgram::create(parts.file, "resolve", parts.weights,
                                                   parts.modules, resolve));
  return ok_status();
}

bool DeviceSampler::takes(const SamplingParams& params) const {
  const LogitControls& c = params.controls;
  const bool single = std::all_of(c.bad_words.begin(), c.bad_words.end(),
                                  [](const auto& word) { return word.size() == 1; });
  const size_t stops = params.stop.stop_ids.size() + info_.eos_ids.size();
  return c.mask == nullptr && single && params.logprobs <= kMaxTopLogprobs &&
         c.bias.size() + c.bad_words.size() + stops <= kMostEdits;
}

// Additions of distinct tokens, then exclusions.
void DeviceSampler::add_edits(const RowSampling& row) {
  const LogitControls& c = row.params->controls;
  row_edits_.assign(c.bias.begin(), c.bias.end());
  std::stable_sort(row_edits_.begin(), row_edits_.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  size_t count = 0;
  for (size_t i = 0; i < row_edits_.size(); ++i) {
    if (count > 0 && row_edits_[count - 1].first == row_edits_[i].first) {
      row_edits_[count - 1].second += row_edits_[i].second;
    } else {
      row_edits_[count++] = row_edits_[i];
    }
  }
  row_edits_.resize(count);
  for (const auto& word : c.bad_words) row_edits_.emplace_back(word[0], kExcluded);
  const StopConditions& stop = row.params->stop;
  if (static_cast<int64_t>(row.history.size()) - row.prompt_tokens < stop.min_tokens) {
    for (const int32_t id : stop.stop_ids) row_edits_.emplace_back(id, kExcluded);
    for (const int32_t id : info_.eos_ids) {
      if (!stop.ignore_eos) row_edits_.emplace_back(id, kExcluded);
    }
  }
  for (const auto& [id, value] : row_edits_) {
    if (id < 0 || id >= info_.vocab_size) continue;
    edits_.insert(edits_.end(), {id, std::bit_cast<int32_t>(value), -1});
  }
}

Status DeviceSampler::write_row(const RowSampling& row, size_t index) {
  const SamplingParams& params = *row.params;
  int32_t words[kSampleWords];
  const auto set = [&](SampleWord w, auto value) {
    if constexpr (std::is_same_v<decltype(value), float>) {
      words[static_cast<size_t>(w)] = std::bit_cast<int32_t>(value);
    } else {
      words[static_cast<size_t>(w)] = static_cast<int32_t>(value);
    }
  };
  set(SampleWord::kLogitsRow, index), set(SampleWord::kSlot, index);
  set(SampleWord::kTemperature, params.temperature), set(SampleWord::kTopK, params.top_k);
  set(SampleWord::kTopP, params.top_p), set(SampleWord::kMinP, params.min_p);
  set(SampleWord::kSeedLow, row.seed), set(SampleWord::kSeedHigh, row.seed >> 32);
  const auto position = static_cast<int64_t>(row.history.size()) - row.prompt_tokens;
  set(SampleWord::kIndex, row.index), set(SampleWord::kPosition, position);
  const LogitControls& controls = params.controls;
  set(SampleWord::kRepetition, controls.repetition_penalty);
  set(SampleWord::kPresence, controls.presence_penalty);
  set(SampleWord::kFrequency, controls.frequency_penalty);
  set(SampleWord::kCounts, SamplerSlots::has_counts(controls) ? row.slot : -1);
  set(SampleWord::kEditsBegin, edits_.size() / kEditWords);
  add_edits(row);
  set(SampleWord::kEditsEnd, edits_.size() / kEditWords);
  set(SampleWord::kMask, controls.allowed_ids.empty() ? -1 : row.slot);
  set(SampleWord::kLogprobs, params.logprobs);
  params_.insert(params_.end(), words, words + kSampleWords);
  if (edits_.size() <= max_edits_ * kEditWords) return ok_status();
  return make_error(ErrorCode::kResourceExhausted,
                    "the step changes more than {} logits: use fewer logit_bias entries",
                    max_edits_);
}

Status DeviceSampler::begin(const StepBatch& batch, std::span<const RowSampling> rows,
                            const cu::Stream& stream) {
  if (begun_ - collected_ >= flights_.size()) return internal_error("three steps are under way");
  if (rows.size() != batch.logit_rows.size() || rows.size() > max_rows_) {
    return internal_error("{} rows to sample of {} logits, at most {}", rows.size(),
                          batch.logit_rows.size(), max_rows_);
  }
  Flight& flight = flights_[begun_ % flights_.size()];
  params_.clear(), edits_.clear(), flight.outputs.clear(), flight.logprobs.clear();
  for (size_t i = 0; i < rows.size(); ++i) {
    RETURN_IF_ERROR(write_row(rows[i], i));
    if (rows[i].fresh) RETURN_IF_ERROR(slots_.fill(rows[i], stream));
    flight.outputs.push_back(static_cast<int64_t>(rows[i].history.size()) - rows[i].prompt_tokens);
    flight.logprobs.push_back(rows[i].params->logprobs);
  }
  flight.rows = rows.size();
  sample_symbols_ = symbols_of(sample_->program(), "rows", rows.size());
  resolve_symbols_ = symbols_of(resolve_->program(), "tokens", batch.token_ids.size());
  return upload(flight, stream);
}

Status DeviceSampler::upload(Flight& flight, const cu::Stream& stream) {
  RETURN_IF_ERROR(flight.sent.synchronize());
  const auto put = [&](size_t at, const auto& ints) {
    std::memcpy(flight.words.span().data() + at, ints.data(), ints.size() * sizeof(int32_t));
  };
  const std::vector<int32_t> sample(sample_symbols_.begin(), sample_symbols_.end());
  const std::vector<int32_t> resolve(resolve_symbols_.begin(), resolve_symbols_.end());
  put(0, sample), put(kSymbolWords * sizeof(int32_t), resolve);
  put(params_at_, params_), put(edits_at_, edits_);
  const auto words = flight.words.span();
  const size_t used = params_at_ + params_.size() * sizeof(int32_t);
  RETURN_IF_ERROR(memory_.upload(words.first(used), 0, stream));
  if (!edits_.empty()) {
    const auto edits = words.subspan(edits_at_, edits_.size() * sizeof(int32_t));
    RETURN_IF_ERROR(memory_.upload(edits, edits_at_, stream));
  }
  RETURN_IF_ERROR(flight.sent.record(stream));
  return resolve_->launch(resolve_symbols_, {}, stream);
}

Status DeviceSampler::finish(const cu::Stream& stream) {
  Flight& flight = flights_[begun_ % flights_.size()];
  if (flight.rows > 0) {
    RETURN_IF_ERROR(sample_->launch(sample_symbols_, {}, stream));
    const auto host = flight.results.span();
    const size_t bytes = flight.rows * kSampleResultWords * sizeof(int32_t);
    RETURN_IF_ERROR(results_.download(host.first(bytes), 0, stream));
    const int most = *std::max_element(flight.logprobs.begin(), flight.logprobs.end());
    const size_t tops = flight.rows * 2 * kMaxTopLogprobs * sizeof(int32_t);
    if (most > 0) {
      RETURN_IF_ERROR(results_.download(host.subspan(tops_at_, tops), tops_at_, stream));
    }
  }
  RETURN_IF_ERROR(flight.done.record(stream));
  ++begun_;
  return ok_status();
}

Status DeviceSampler::collect(std::span<SampledRow> rows) {
  if (collected_ == begun_) return internal_error("no step is under way");
  Flight& flight = flights_[collected_++ % flights_.size()];
  RETURN_IF_ERROR(flight.done.synchronize());
  if (rows.size() != flight.rows) {
    return internal_error("{} rows collected of {}", rows.size(), flight.rows);
  }
  const auto* const words = reinterpret_cast<const int32_t*>(flight.results.span().data());
  for (size_t i = 0; i < rows.size(); ++i) {
    const int32_t* const result = words + i * kSampleResultWords;
    const auto word = [&](SampleResult w) { return result[static_cast<size_t>(w)]; };
    SampledRow& row = rows[i];
    row.id = word(SampleResult::kId);
    row.error = error_of(word(SampleResult::kFlags), flight.outputs[i]);
    if (!row.error && (row.id < 0 || row.id >= info_.vocab_size)) {
      row.error = internal_error("the device chose token {} of {}", row.id, info_.vocab_size);
    }
    row.logprobs.top.clear();
    if (row.error || flight.logprobs[i] < 0) continue;
    row.logprobs.chosen = {row.id, std::bit_cast<float>(word(SampleResult::kLogprob)),
                           word(SampleResult::kRank)};
    const int32_t* const top = words + tops_at_ / sizeof(int32_t) + i * 2 * kMaxTopLogprobs;
    for (int k = 0; k < flight.logprobs[i] && top[k] >= 0; ++k) {
      row.logprobs.top.push_back({top[k], std::bit_cast<float>(top[kMaxTopLogprobs + k]), k + 1});
    }
  }
  return ok_status();
}

}  // namespace ramjet::runtime
