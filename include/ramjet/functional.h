// The functional API: free functions over Tensor handles that append ops to a network.
//
// A Tensor is a handle (network + value); cheap to copy, valid while its network lives. Misuse
// (mismatched shapes or dtypes) marks the network as failed with a message that names op and
// shapes; building it returns that error, so expressions need no checks in between.
// Not thread-safe per network. Model families are written with the same functions.
#pragma once

#include <ramjet/dtype.h>
#include <ramjet/result.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace ramjet {

class Network;

/// An extent: a number, or a symbol's name ("tokens").
using Extent = std::variant<int64_t, std::string>;

class Tensor {
 public:
  Tensor() = default;
  Tensor(Network* network, int32_t value) : network_(network), value_(value) {}
  Network* network() const { return network_; }
  int32_t value() const { return value_; }
  bool valid() const { return network_ != nullptr && value_ >= 0; }

 private:
  Network* network_ = nullptr;
  int32_t value_ = -1;
};

/// Range of a symbol for which the engine is built and, at opt, tuned.
struct Profile {
  int64_t min = 1;
  int64_t opt = 1;
  int64_t max = 1;
};

/// A network under construction.
class Network {
 public:
  explicit Network(std::string name = "main");
  ~Network();
  Network(const Network&) = delete;
  Network& operator=(const Network&) = delete;

  Tensor input(std::string_view name, DType dtype, const std::vector<Extent>& extents);
  /// A weight by name; bytes are given with set_weight or come from a checkpoint. `extents` may be
  /// left out once set_weight has told them.
  Tensor weight(std::string_view name);
  Tensor weight(std::string_view name, DType dtype, const std::vector<int64_t>& extents);
  /// Copies row-major bytes. Errors: kInvalidArgument if the size does not fit.
  Status set_weight(std::string_view name, DType dtype, const std::vector<int64_t>& extents,
                    std::span<const std::byte> bytes);
  void mark_output(std::string_view name, Tensor tensor);
  /// The range of a symbol. Building a network with a symbol that has none is an error.
  void set_profile(std::string_view symbol, Profile profile);
  /// Prefix for the names of the nodes added from here on ("layers.0.mlp").
  void set_scope(std::string scope);
  /// The first misuse, or ok.
  Status status() const;
  /// The text form of the graph.
  std::string text() const;

  struct Impl;
  Impl& impl() { return *impl_; }
  const Impl& impl() const { return *impl_; }

 private:
  std::unique_ptr<Impl> impl_;
};

/// a[.., M, K] x b[K, N] (or b[N, K] with transpose_b) -> [.., M, N]; f32 accumulation.
Tensor matmul(Tensor a, Tensor b, bool transpose_b = false);

Tensor operator+(Tensor a, Tensor b);
Tensor operator-(Tensor a, Tensor b);
Tensor operator*(Tensor a, Tensor b);
Tensor operator/(Tensor a, Tensor b);
Tensor operator+(Tensor a, float b);
Tensor operator-(Tensor a, float b);
Tensor operator*(Tensor a, float b);
Tensor operator/(Tensor a, float b);
Tensor operator+(float a, Tensor b);
Tensor operator-(float a, Tensor b);
Tensor operator*(float a, Tensor b);
Tensor operator/(float a, Tensor b);
Tensor operator-(Tensor a);
Tensor maximum(Tensor a, Tensor b);
Tensor minimum(Tensor a, Tensor b);
Tensor pow(Tensor a, Tensor b);
Tensor where(Tensor condition, Tensor a, Tensor b);  // condition != 0
Tensor relu(Tensor x);
Tensor silu(Tensor x);
Tensor gelu(Tensor x);       // erf form
Tensor gelu_tanh(Tensor x);  // tanh form
Tensor sigmoid(Tensor x);
Tensor tanh(Tensor x);
Tensor exp(Tensor x);
Tensor log(Tensor x);
Tensor sqrt(Tensor x);
Tensor rsqrt(Tensor x);
Tensor abs(Tensor x);
Tensor square(Tensor x);
Tensor cast(Tensor x, DType dtype);

Tensor rms_norm(Tensor x, Tensor weight, double eps, double weight_offset = 0);
Tensor layer_norm(Tensor x, Tensor weight, Tensor bias, double eps);
Tensor softmax(Tensor x, int axis = -1);
Tensor sum(Tensor x, int axis, bool keep_dim = false);
Tensor mean(Tensor x, int axis, bool keep_dim = false);
Tensor max(Tensor x, int axis, bool keep_dim = false);
Tensor reshape(Tensor x, const std::vector<Extent>& extents);
Tensor transpose(Tensor x, const std::vector<int>& permutation);
Tensor slice(Tensor x, int axis, int64_t start, int64_t length);
Tensor concat(const std::vector<Tensor>& parts, int axis);
Tensor gather_rows(Tensor x, Tensor rows);
Tensor embedding(Tensor ids, Tensor table, double scale = 1);
std::pair<Tensor, Tensor> topk(Tensor x, int k);
Tensor conv(Tensor x, Tensor weight, const std::vector<int64_t>& stride,
            const std::vector<int64_t>& padding);

}  // namespace ramjet
