#include "compiler/emit/materialise.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>

#include "compiler/emit/convert.h"
#include "compiler/emit/stored_matrix.h"
#include "engine/dummy_weights.h"

namespace ramjet::compiler {
namespace {

using Combine = ir::WeightRecipe::Combine;
using Part = ir::WeightRecipe::Part;
constexpr int64_t kTileRows = 16;

std::unique_ptr<std::byte[]> allocate(int64_t bytes) {
  return std::unique_ptr<std::byte[]>(
      new std::byte[static_cast<size_t>(std::max<int64_t>(bytes, 1))]);
}

class Materialiser {
 public:
  Materialiser(const ir::Value& weight, const WeightSource* from)
      : weight_(weight), recipe_(weight.recipe), from_(from) {
    const int rank = weight.type.rank(), first = recipe_.experts == 0 ? 0 : 1;
    rows_ = rank == first ? 1 : weight.type.dims[static_cast<size_t>(first)].offset;
    for (int i = first + 1; i < rank; ++i) {
      cols_ *= weight.type.dims[static_cast<size_t>(i)].offset;
    }
    quantized_ = recipe_.quant != WeightQuant::kNone;
  }

  Result<WeightBytes> run() {
    if (from_ == nullptr) return dummy();
    if (!quantized_ && !is_convertible(weight_.type.dtype)) return verbatim();
    RETURN_IF_ERROR(load_sources());
    const bool direct = recipe_.experts == 0 && sources_.size() == 1 && !recipe_.transpose &&
                        !quantized_ && recipe_.rows.empty() && !sources_[0].scaled() &&
                        sources_[0].dtype == weight_.type.dtype;
    WeightBytes row_major;
    if (direct) {
      row_major.bytes = sources_[0].bytes;
      row_major.holder = std::move(sources_[0].holder);
    } else {
      const int64_t row_bytes = (scales() ? 1 : cols_) * dtype_bytes(weight_.type.dtype);
      const int64_t rows = matrices() * rows_;
      row_major.owned = allocate(rows * row_bytes);
      row_major.bytes = {row_major.owned.get(), static_cast<size_t>(rows * row_bytes)};
      for (int64_t row = 0; row < rows; ++row) {
        RETURN_IF_ERROR(write_row(row, row_major.owned.get() + row * row_bytes));
      }
      sources_.clear();
    }
    return pack(std::move(row_major));
  }

 private:
  /// One an expert, alike in form and one after the other.
  int64_t matrices() const { return std::max<int64_t>(recipe_.experts, 1); }
  bool scales() const { return recipe_.part == Part::kScales; }
  Error wrong(size_t index, std::string_view what) const {
    return invalid_argument("weight '{}': tensor '{}' {}, wanted {}", weight_.name,
                            recipe_.sources[index], what, type_text(weight_.type, {}));
  }

  /// The whole weight from one seed; what it is combined from does not matter.
  Result<WeightBytes> dummy() const {
    const auto extents = matrix_extents(weight_.type);
    const int64_t bytes = extents.rows * extents.cols * dtype_bytes(weight_.type.dtype);
    WeightBytes result{allocate(bytes), {}};
    const std::span<std::byte> out(result.owned.get(), static_cast<size_t>(bytes));
    engine::fill_dummy(out, weight_.type.dtype, engine::dummy_seed(weight_.name),
                       engine::dummy_kind(weight_.name, weight_.type.rank()));
    result.bytes = out;
    return pack(std::move(result));
  }

  /// Integers and the like: as the checkpoint has them.
  Result<WeightBytes> verbatim() {
    const auto extents = matrix_extents(weight_.type);
    const int64_t bytes = extents.rows * extents.cols * dtype_bytes(weight_.type.dtype);
    ASSIGN_OR_RETURN(const TensorView view, from_->view(recipe_.sources[0]));
    if (view.dtype != weight_.type.dtype || view.bytes() != bytes) {
      return wrong(0, fmt::format("is {}{}", dtype_name(view.dtype), view.shape.text()));
    }
    WeightBytes result;
    result.bytes = {static_cast<const std::byte*>(view.data), static_cast<size_t>(bytes)};
    return result;
  }

  Status load_sources() {
    const size_t count = recipe_.sources.size(), experts = static_cast<size_t>(matrices());
    // Tensors of all experts, or one after the other those of each.
    const size_t parts = recipe_.combine == Combine::kInterleave ? 2 : 1;
    const bool stacked = recipe_.experts != 0 && count == parts && !one_expert_alone();
    parts_ = recipe_.experts == 0 ? count : parts;
    for (size_t expert = 0; expert < experts; ++expert) {
      int64_t rows = 0;
      for (size_t part = 0; part < parts_; ++part) {
        const size_t i = stacked || experts == 1 ? part : expert * parts_ + part;
        const ExpertSlice slice = {stacked ? recipe_.experts : 0, static_cast<int64_t>(expert)};
        RETURN_IF_ERROR(load_source(i, slice));
        rows += sources_.back().count();
      }
      if (rows != rows_) {
        return wrong(
            0, fmt::format("{} {} rows", parts_ > 1 ? "and those beside it have" : "has", rows));
      }
    }
    return check_tiles();
  }

  /// A single expert's tensors may come without the leading extent.
  bool one_expert_alone() const {
    if (recipe_.experts != 1) return false;
    const auto view = from_->view(recipe_.sources[0]);
    return view.ok() && view->shape.rank() < weight_.type.rank();
  }

  Status load_source(size_t i, ExpertSlice slice) {
    ASSIGN_OR_RETURN(StoredMatrix source, fetch_stored(recipe_.sources[i], *from_, slice));
    source.transposed = recipe_.transpose;
    if (source.transposed) std::swap(source.rows, source.cols);
    const bool readable = source.exponents != nullptr || is_readable(source.dtype);
    if (!readable || (source.transposed && source.scaled())) {
      return wrong(i, fmt::format("is {}, which no conversion reads", dtype_name(source.dtype)));
    }
    // The scales of a quantized weight have its rows; the columns are the source's own.
    if (!scales() && source.cols != cols_) {
      return wrong(i, fmt::format("has {} columns{}", source.cols,
                                  source.transposed ? " (transposed)" : ""));
    }
    if (!recipe_.rows.empty()) source.picked = recipe_.rows[i];
    if (!source.within()) return wrong(i, fmt::format("has {} rows", source.rows));
    sources_.push_back(std::move(source));
    return ok_status();
  }

  Status check_tiles() const {
    if (recipe_.combine != Combine::kInterleave || sources_[0].count() == sources_[1].count()) {
      return ok_status();
    }
    return wrong(1, fmt::format("has {} rows and is interleaved with {}", sources_[1].rows,
                                sources_[0].rows));
  }

  /// Source and row within it of a row of the result.
  std::pair<const StoredMatrix*, int64_t> locate(int64_t row) const {
    size_t index = static_cast<size_t>(row / rows_) * parts_;
    row %= rows_;
    if (recipe_.combine == Combine::kInterleave) {
      const int64_t half = sources_[index].count();
      const int64_t tile = row / (2 * kTileRows);
      const int64_t width = std::min(kTileRows, half - tile * kTileRows);
      const int64_t within = row - tile * 2 * kTileRows;
      return {&sources_[index + (within < width ? 0 : 1)], tile * kTileRows + within % width};
    }
    while (row >= sources_[index].count()) row -= sources_[index++].count();
    return {&sources_[index], row};
  }

  Status write_row(int64_t row, std::byte* out) {
    const auto [source, at] = locate(row);
    if (!quantized_ && !source->scaled()) {
      convert_row({source->row_bytes(at), source->dtype, source->stride()}, cols_,
                  weight_.type.dtype, out);
      return ok_status();
    }
    const bool fp8 = recipe_.quant == WeightQuant::kFp8Channel;
    if (fp8 && source->row_scaled()) return keep_row(*source, at, source->row_bytes(at), out);
    scratch_.resize(static_cast<size_t>(source->cols));
    source->read_row(at, scratch_.data());
    if (!quantized_) {
      convert_row({reinterpret_cast<const std::byte*>(scratch_.data()), DType::kF32, 1}, cols_,
                  weight_.type.dtype, out);
      return ok_status();
    }
    const float scale = row_magnitude(scratch_) / (fp8 ? 448.0f : 127.0f);
    if (!std::isfinite(scale)) {
      const size_t index = static_cast<size_t>(source - sources_.data());
      return wrong(std::min(index, recipe_.sources.size() - 1), "holds infinities or NaN");
    }
    if (scales()) {
      std::memcpy(out, &scale, sizeof(scale));
    } else if (fp8) {
      quantize_row_e4m3(scratch_, scale, reinterpret_cast<uint8_t*>(out));
    } else {
      quantize_row(scratch_, scale, reinterpret_cast<int8_t*>(out));
    }
    return ok_status();
  }

  /// A row that the checkpoint has in the form wanted: nothing is rounded again.
  Status keep_row(const StoredMatrix& source, int64_t at, const std::byte* row,
                  std::byte* out) const {
    if (scales()) {
      const float scale = source.row_scale(at);
      std::memcpy(out, &scale, sizeof(scale));
      return ok_status();
    }
    bool nan = false;
    for (int64_t i = 0; i < source.cols; ++i) nan |= (row[i] & std::byte{0x7f}) == std::byte{0x7f};
    if (nan) return wrong(static_cast<size_t>(&source - sources_.data()), "holds NaN");
    std::memcpy(out, row, static_cast<size_t>(source.cols));
    return ok_status();
  }

  Result<WeightBytes> pack(WeightBytes row_major) const {
    if (recipe_.layout == "row_major") return row_major;
    const kernels::WeightLayout* layout = kernels::find_layout(recipe_.layout);
    if (layout == nullptr) return unsupported("this build has no layout '{}'", recipe_.layout);
    const auto extents = matrix_extents(weight_.type);
    const int64_t bytes = layout->packed_bytes(extents.rows, extents.cols, weight_.type.dtype);
    WeightBytes packed;
    packed.owned = allocate(bytes);
    const std::span<std::byte> out(packed.owned.get(), static_cast<size_t>(bytes));
    layout->pack(row_major.bytes, extents.rows, extents.cols, weight_.type.dtype, out);
    packed.bytes = out;
    return packed;
  }

  const ir::Value& weight_;
  const ir::WeightRecipe& recipe_;
  const WeightSource* from_;
  int64_t rows_ = 1;
  int64_t cols_ = 1;
  bool quantized_ = false;
  size_t parts_ = 1;                   // sources of one matrix
  std::vector<StoredMatrix> sources_;  // of all
  std::vector<float> scratch_;
};

}  // namespace

MatrixExtents matrix_extents(const TensorType& type) {
  MatrixExtents extents;
  for (size_t i = 0; i < type.dims.size(); ++i) {
    (i + 1 < type.dims.size() ? extents.rows : extents.cols) *= type.dims[i].offset;
  }
  return extents;
}

Result<uint64_t> packed_bytes(const ir::Value& weight) {
  const kernels::WeightLayout* layout = kernels::find_layout(weight.recipe.layout);
  if (layout == nullptr) {
    return unsupported("weight '{}': this build has no layout '{}'", weight.name,
                       weight.recipe.layout);
  }
  const auto extents = matrix_extents(weight.type);
  return static_cast<uint64_t>(layout->packed_bytes(extents.rows, extents.cols, weight.type.dtype));
}

Result<WeightBytes> materialise(const ir::Value& weight, const WeightSource* source) {
  return Materialiser(weight, source).run();
}

}  // namespace ramjet::compiler
