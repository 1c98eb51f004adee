// What planners share: extents as the device computes them, names of types, modules. Pure
// functions.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/device_plan.h"
#include "kernels/registry.h"

namespace ramjet::kernels::cuda {

/// The product of dims [first, last), if at most one of them has a symbol.
std::optional<Dim> product(const TensorType& type, int first, int last);
inline std::optional<Dim> rows_of(const TensorType& type) {
  return product(type, 0, type.rank() - 1);
}
/// The last extent if it is fixed and positive, else 0.
int64_t width_of(const TensorType& type);
Dim scaled(Dim dim, int64_t factor);

std::string_view element_type(DType dtype);
/// "1.500000000e+00f", which is valid where "1f" would not be.
std::string device_float(double value);
/// Elements of one access: at most `most`, dividing `width`.
int64_t pack_of(int64_t width, int64_t most);
bool is_real(DType dtype);
/// What the op means must be what the reference computes.
bool has_reference_meaning(const OpDesc& desc);

/// Defines NAME_FACTOR and NAME_OFFSET, and is the argument that they are applied to. A fixed
/// extent reads nothing: any pointer will do.
LaunchArg define_extent(DeviceModule& module, std::string_view name, const Dim& dim);
void define(DeviceModule& module, std::string_view name, std::string_view value);
void define(DeviceModule& module, std::string_view name, int64_t value);
void define_type(DeviceModule& module, std::string_view name, DType dtype);

/// A plan of one launch of one module.
DeviceLaunch& single_launch(DevicePlan& plan, DeviceModule module, std::string entry,
                            const DeviceFacts& facts);

}  // namespace ramjet::kernels::cuda
