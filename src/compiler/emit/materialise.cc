#include "compiler/emit/materialise.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>

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
  std::optional<WeightScale> scale;  // of eight-bit floats
  DType dtype = DType::kF32;
  int64_t rows = 0;
  int64_t cols = 1;
  bool transposed = false;  // bytes are [cols, rows]
  ir::RowSelection picked;  // of the rows

  int64_t count() const { return picked.all() ? rows : picked.count; }
  bool within() const {
    return picked.all() || (picked.at(picked.count - 1) < rows && picked.first < rows);
  }

  bool eight_bits() const { return dtype == DType::kF8E4M3 || dtype == DType::kF8E5M2; }
  /// e4m3 with one scale for a whole row: what an fp8 matmul reads as it is.
  bool row_scaled() const {
    return dtype == DType::kF8E4M3 && !transposed && (!scale || scale->block_cols >= cols);
  }
  float row_scale(int64_t row) const { return scale ? scale_at(row, 0) : 1.0f; }
  float scale_at(int64_t row, int64_t col) const {
    const TensorView& values = scale->values;
    const int64_t blocks = (cols + scale->block_cols - 1) / scale->block_cols;
    const int64_t at = row / scale->block_rows * blocks + col / scale->block_cols;
    float value = 0;
    convert_row({static_cast<const std::byte*>(values.data) + at * dtype_bytes(values.dtype),
                 values.dtype, 1},
                1, DType::kF32, reinterpret_cast<std::byte*>(&value));
    return value;
  }
};

std::unique_ptr<std::byte[]> allocate(int64_t bytes) {
  return std::unique_ptr<std::byte[]>(
      new std::byte[static_cast<size_t>(std::max<int64_t>(bytes, 1))]);
}

/// A row of scales for each row of blocks, and finite.
Status check_scale(const std::string& name, const Source& source) {
  if (!source.scale) return ok_status();
  const auto& [values, rows, cols] = *source.scale;
  const auto blocks = [](int64_t extent, int64_t block) { return (extent + block - 1) / block; };
  if (rows < 1 || cols < 1 || !is_convertible(values.dtype) ||
      values.shape.elements() != blocks(source.rows, rows) * blocks(source.cols, cols)) {
    return invalid_argument("tensor '{}' [{}, {}] has {} {} scales for blocks of {} x {}", name,
                            source.rows, source.cols, values.shape.elements(),
                            dtype_name(values.dtype), rows, cols);
  }
  for (int64_t row = 0; row < source.rows; row += rows) {
    for (int64_t col = 0; col < source.cols; col += cols) {
      if (std::isfinite(source.scale_at(row, col))) continue;
      return invalid_argument("tensor '{}' has a scale that is no number", name);
    }
  }
  return ok_status();
}

Result<Source> fetch(const std::string& name, const WeightSource& from) {
  ASSIGN_OR_RETURN(HeldTensor held, from.hold(name));
  const TensorView& view = held.view;
  Source source{.dtype = view.dtype};
  source.bytes.holder = std::move(held.holder);
  source.bytes.bytes = {static_cast<const std::byte*>(view.data),
                        static_cast<size_t>(view.bytes())};
  source.rows = view.shape.rank() == 0 ? 1 : view.shape[0];
  source.cols = source.rows == 0 ? 0 : view.shape.elements() / source.rows;
  if (source.eight_bits()) {
    ASSIGN_OR_RETURN(source.scale, from.scale(name));
    RETURN_IF_ERROR(check_scale(name, source));
  }
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
                        recipe_.rows.empty() && sources_[0].dtype == weight_.type.dtype;
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
    WeightBytes result{allocate(bytes), {}, nullptr};
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
      if (!recipe_.rows.empty()) source.picked = recipe_.rows[i];
      if (!is_readable(source.dtype) || (source.transposed && source.scale)) {
        return wrong(i, fmt::format("is {}, which no conversion reads", dtype_name(source.dtype)));
      }
      // The scales of a quantized weight have its rows; the columns are the source's own.
      if (!scales() && source.cols != cols_) {
        return wrong(i, fmt::format("has {} columns{}", source.cols,
                                    source.transposed ? " (transposed)" : ""));
      }
      if (!source.within()) return wrong(i, fmt::format("has {} rows", source.rows));
      total += source.count();
      sources_.push_back(std::move(source));
    }
    if (total == rows_) return check_tiles();
    return wrong(0,
                 fmt::format("{} {} rows", count > 1 ? "and those beside it have" : "has", total));
  }

  Status check_tiles() const {
    if (recipe_.combine != Combine::kInterleave || sources_[0].count() == sources_[1].count()) {
      return ok_status();
    }
    return wrong(1, fmt::format("has {} rows and is interleaved with {}", sources_[1].count(),
                                sources_[0].count()));
  }

  /// Source and row within it of a row of the result.
  std::pair<const Source*, int64_t> locate(int64_t row) const {
    if (recipe_.combine == Combine::kInterleave) {
      const int64_t half = sources_[0].count();
      const int64_t tile = row / (2 * kTileRows);
      const int64_t width = std::min(kTileRows, half - tile * kTileRows);
      const int64_t within = row - tile * 2 * kTileRows;
      return {&sources_[within < width ? 0 : 1], tile * kTileRows + within % width};
    }
    size_t index = 0;
    while (row >= sources_[index].count()) row -= sources_[index++].count();
    return {&sources_[index], row};
  }

  Status write_row(int64_t row, std::byte* out) {
    const auto [source, within] = locate(row);
    const int64_t at = source->picked.at(within);
    const int64_t element = dtype_bytes(source->dtype);
    const std::byte* start =
        source->bytes.bytes.data() + (source->transposed ? at : at * source->cols) * element;
    const int64_t stride = source->transposed ? source->rows : 1;
    if (!quantized_ && !source->scale) {
      convert_row({start, source->dtype, stride}, cols_, weight_.type.dtype, out);
      return ok_status();
    }
    const bool fp8 = recipe_.quant == WeightQuant::kFp8Channel;
    if (fp8 && source->row_scaled()) return keep_row(*source, at, start, out);
    scratch_.resize(static_cast<size_t>(source->cols));
    convert_row({start, source->dtype, stride}, source->cols, DType::kF32,
                reinterpret_cast<std::byte*>(scratch_.data()));
    if (source->scale) rescale(*source, at);
    if (!quantized_) {
      convert_row({reinterpret_cast<const std::byte*>(scratch_.data()), DType::kF32, 1}, cols_,
                  weight_.type.dtype, out);
      return ok_status();
    }
    const float scale = row_magnitude(scratch_) / (fp8 ? 448.0f : 127.0f);
    if (!std::isfinite(scale)) {
      return wrong(static_cast<size_t>(source - sources_.data()), "holds infinities or NaN");
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
  Status keep_row(const Source& source, int64_t at, const std::byte* row, std::byte* out) const {
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

  void rescale(const Source& source, int64_t at) {
    for (int64_t col = 0; col < source.cols; col += source.scale->block_cols) {
      const float scale = source.scale_at(at, col);
      const int64_t end = std::min(source.cols, col + source.scale->block_cols);
      for (int64_t i = col; i < end; ++i) scratch_[static_cast<size_t>(i)] *= scale;
    }
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
