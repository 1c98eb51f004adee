// What the GPU side of this machine offers, found by loading the vendor's libraries by name.
// Nothing is linked, no context is made, and the libraries are closed again. Stateless.
#pragma once

#include <nlohmann/json_fwd.hpp>

namespace ramjet {

/// [{index, name, arch, memory_bytes}]; empty without a driver or a device.
nlohmann::ordered_json probe_gpus();
/// [{name, purpose, found, version, path}] of libcuda (first), libnvrtc, libnccl, libcublasLt.
nlohmann::ordered_json probe_libraries();

}  // namespace ramjet
