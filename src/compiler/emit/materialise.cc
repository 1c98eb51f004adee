#include "compiler/emit/materialise.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "compiler/emit/convert.h"
#include "engine/dummy_weights.h"

namespace ramjet::compiler {
namespace {

using Combine = ir::WeightRecipe::Combine;
using Part = ir::WeightRecipe::Part;
constexpr int64_t kTileRows = 16;

/// One source as rows of the combined matrix. A vector is a column of one-element rows here, so
/// that stacks and tiles of biases and scales follow the same rule as those of matrices.
struct Source {
  WeightBytes bytes;
  DType dtype = DType::kF32;
  int64_t rows = 0;
  int64_t cols = 1;
  bool transposed = false;  // bytes are [cols, rows]
};

std::unique_ptr<std::byte[]> allocate(int64_t bytes) {
  return std::unique_ptr<std::byte[]>(
      new std::byte[static_cast<size_t>(std::max<int64_t>(bytes, 1))]);
}

Result<Source> fetch(const std::string& name, const WeightSource& from) {
  ASSIGN_OR_RETURN(const TensorView view, from.view(name));
  Source source{.dtype = view.dtype};
  source.bytes.bytes = {static_cast<const std::byte*>(view.data),
                        static_cast<size_t>(view.bytes())};
  source.rows = view.shape.rank() == 0 ? 1 : view.shape[0];
  source.cols = source.rows == 0 ? 0 : view.shape.elements() / source.rows;
  return source;
}

class Materialiser {
 public:
  Materialiser(const ir::Value& weight, const WeightSource* from)
      : weight_(weight), recipe_(weight.recipe), from_(from) {
    const int rank = weight.type.rank();
    rows_ = rank == 0 ? 1 : weight.type.dims[0].offset;
    for (int i = 1; i < rank; ++i) cols_ *= weight.type.dims[static_cast<size_t>(i)].offset;
    quantized_ = recipe_.quant != WeightQuant::kNone;
  }

  Result<WeightBytes> run() {
    if (from_ == nullptr) return dummy();
    if (!quantized_ && !is_convertible(weight_.type.dtype)) return verbatim();
    RETURN_IF_ERROR(load_sources());
    const bool direct = sources_.size() == 1 && !recipe_.transpose && !quantized_ &&
                        sources_[0].dtype == weight_.type.dtype;
    WeightBytes row_major;
    if (direct) {
      row_major = std::move(sources_[0].bytes);
    } else {
      const int64_t row_bytes = (scales() ? 1 : cols_) * dtype_bytes(weight_.type.dtype);
      row_major.owned = allocate(rows_ * row_bytes);
      row_major.bytes = {row_major.owned.get(), static_cast<size_t>(rows_ * row_bytes)};
      for (int64_t row = 0; row < rows_; ++row) {
        RETURN_IF_ERROR(write_row(row, row_major.owned.get() + row * row_bytes));
      }
      sources_.clear();
    }
    return pack(std::move(row_major));
  }

 private:
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
    const size_t count = recipe_.sources.size();
    int64_t total = 0;
    for (size_t i = 0; i < count; ++i) {
      ASSIGN_OR_RETURN(Source source, fetch(recipe_.sources[i], *from_));
      source.transposed = recipe_.transpose;
      if (source.transposed) std::swap(source.rows, source.cols);
      if (!is_convertible(source.dtype)) {
        return wrong(i, fmt::format("is {}, which no conversion reads", dtype_name(source.dtype)));
      }
      // The scales of a quantized weight have its rows; the columns are the source's own.
      if (!scales() && source.cols != cols_) {
        return wrong(i, fmt::format("has {} columns{}", source.cols,
                                    source.transposed ? " (transposed)" : ""));
      }
      total += source.rows;
      sources_.push_back(std::move(source));
    }
    if (total == rows_) return check_tiles();
    return wrong(0,
                 fmt::format("{} {} rows", count > 1 ? "and those beside it have" : "has", total));
  }

  Status check_tiles() const {
    if (recipe_.combine != Combine::kInterleave || sources_[0].rows == sources_[1].rows) {
      return ok_status();
    }
    return wrong(1, fmt::format("has {} rows and is interleaved with {}", sources_[1].rows,
                                sources_[0].rows));
  }

  /// Source and row within it of a row of the result.
  std::pair<const Source*, int64_t> locate(int64_t row) const {
    if (recipe_.combine == Combine::kInterleave) {
      const int64_t half = sources_[0].rows;
      const int64_t tile = row / (2 * kTileRows);
      const int64_t width = std::min(kTileRows, half - tile * kTileRows);
      const int64_t within = row - tile * 2 * kTileRows;
      return {&sources_[within < width ? 0 : 1], tile * kTileRows + within % width};
    }
    size_t index = 0;
    while (row >= sources_[index].rows) row -= sources_[index++].rows;
    return {&sources_[index], row};
  }

  Status write_row(int64_t row, std::byte* out) {
    const auto [source, at] = locate(row);
    const int64_t element = dtype_bytes(source->dtype);
    const std::byte* start =
        source->bytes.bytes.data() + (source->transposed ? at : at * source->cols) * element;
    const int64_t stride = source->transposed ? source->rows : 1;
    if (!quantized_) {
      convert_row({start, source->dtype, stride}, cols_, weight_.type.dtype, out);
      return ok_status();
    }
    scratch_.resize(static_cast<size_t>(source->cols));
    convert_row({start, source->dtype, stride}, source->cols, DType::kF32,
                reinterpret_cast<std::byte*>(scratch_.data()));
    const float scale = int8_scale(scratch_);
    if (!std::isfinite(scale)) {
      return wrong(static_cast<size_t>(source - sources_.data()), "holds infinities or NaN");
    }
    if (scales()) {
      std::memcpy(out, &scale, sizeof(scale));
    } else {
      quantize_row(scratch_, scale, reinterpret_cast<int8_t*>(out));
    }
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
  std::vector<Source> sources_;
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
