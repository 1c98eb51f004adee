#include "runtime/session/step_buffers.h"

#include <algorithm>
#include <cstring>

namespace ramjet::runtime {
namespace {

namespace cu = device::cuda;

constexpr size_t kAlignment = 256;

size_t padded(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

}  // namespace

Result<StepBuffers> StepBuffers::create(const engine::Program& program,
                                        const StepInterface& interface) {
  StepBuffers buffers;
  buffers.program_ = &program;
  buffers.inputs_ = interface.inputs;
  buffers.block_tokens_ = interface.info.block_tokens;
  buffers.max_blocks_ = interface.info.max_blocks;
  std::vector<int64_t> most;
  for (const Symbol& symbol : program.symbols) most.push_back(symbol.max);
  size_t bytes = padded(most.size() * sizeof(int32_t));
  size_t table_bytes = 0;
  for (size_t i = 0; i < program.inputs.size(); ++i) {
    const auto elements = static_cast<size_t>(program.inputs[i].type.shape(most).elements());
    buffers.offsets_.push_back(bytes);
    if (buffers.inputs_[i] == StepInput::kBlockTable) {
      table_bytes = std::max(table_bytes, elements * sizeof(int32_t));
    } else {
      bytes += padded(elements * sizeof(int32_t));
    }
  }
  buffers.word_bytes_ = bytes;
  table_bytes = std::max(table_bytes, kAlignment);
  ASSIGN_OR_RETURN(buffers.memory_, cu::DeviceBuffer::allocate(bytes));
  ASSIGN_OR_RETURN(buffers.table_, cu::DeviceBuffer::allocate(table_bytes));
  for (Staging& staging : buffers.staging_) {
    ASSIGN_OR_RETURN(staging.words, cu::PinnedBuffer::allocate(bytes));
    ASSIGN_OR_RETURN(staging.table, cu::PinnedBuffer::allocate(table_bytes));
    ASSIGN_OR_RETURN(staging.sent, cu::Event::create(false));
    std::ranges::fill(staging.words.span(), std::byte{0});
  }
  for (size_t i = 0; i < program.inputs.size(); ++i) {
    buffers.addresses_.push_back(buffers.inputs_[i] == StepInput::kBlockTable
                                     ? buffers.table_.get()
                                     : buffers.memory_.get() + buffers.offsets_[i]);
  }
  return buffers;
}

void StepBuffers::solve(const StepBatch& batch, std::vector<int64_t>* symbols) const {
  symbols->clear();
  for (const Symbol& symbol : program_->symbols) {
    int64_t value = symbol.opt;  // no input tells it: nothing depends on it
    if (symbol.name == "tokens") value = static_cast<int64_t>(batch.token_ids.size());
    if (symbol.name == "sequences") value = static_cast<int64_t>(batch.kv_len.size());
    if (symbol.name == "logit_rows") value = static_cast<int64_t>(batch.logit_rows.size());
    symbols->push_back(value);
  }
}

Status StepBuffers::upload(const StepBatch& batch, std::span<const int64_t> symbols,
                           const cu::Stream& stream) {
  Staging& staging = staging_[turn_++ % staging_.size()];
  RETURN_IF_ERROR(staging.sent.synchronize());
  auto* const words = reinterpret_cast<int32_t*>(staging.words.span().data());
  for (size_t i = 0; i < symbols.size(); ++i) words[i] = static_cast<int32_t>(symbols[i]);
  for (size_t i = 0; i < inputs_.size(); ++i) {
    if (inputs_[i] == StepInput::kBlockTable) continue;
    const std::span<const int32_t> ids = step_ids(batch, inputs_[i]);
    if (!ids.empty()) {
      std::memcpy(staging.words.span().data() + offsets_[i], ids.data(), ids.size_bytes());
    }
  }
  RETURN_IF_ERROR(memory_.upload(staging.words.span().first(word_bytes_), 0, stream));
  RETURN_IF_ERROR(upload_table(batch, staging, stream));
  return staging.sent.record(stream);
}

// A long context has a wide table of which most steps use little.
Status StepBuffers::upload_table(const StepBatch& batch, Staging& staging,
                                 const cu::Stream& stream) {
  int64_t longest = 0;
  for (const int32_t len : batch.kv_len) longest = std::max<int64_t>(longest, len);
  const int64_t used = std::min(max_blocks_, (longest + block_tokens_ - 1) / block_tokens_);
  if (used == 0 || batch.block_table.empty()) return ok_status();
  const size_t row_bytes = static_cast<size_t>(used) * sizeof(int32_t);
  std::byte* to = staging.table.span().data();
  const size_t rows = batch.kv_len.size();
  for (size_t row = 0; row < rows; ++row, to += row_bytes) {
    std::memcpy(to, &batch.block_table[row * static_cast<size_t>(max_blocks_)], row_bytes);
  }
  return table_.upload_rows(staging.table.span().first(rows * row_bytes), row_bytes,
                            static_cast<size_t>(max_blocks_) * sizeof(int32_t), stream);
}

}  // namespace ramjet::runtime
