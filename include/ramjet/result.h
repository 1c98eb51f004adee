// Error and Result<T>: how every fallible Ramjet call reports failure. No exception leaves Ramjet.
//
// Thread-safety: values; share like any value. A message names the thing, the limit and the remedy.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace ramjet {

enum class ErrorCode : int {
  kInvalidArgument,    // the caller's input is wrong (HTTP 400, exit 2)
  kNotFound,           // a file, tensor, model or route does not exist (404)
  kCorrupt,            // foreign bytes do not parse or fail their checksum
  kUnsupported,        // valid, but this build or machine cannot do it (501)
  kResourceExhausted,  // memory, queue or disk is full (429)
  kDeadlineExceeded,   // a wait ended without its event
  kCancelled,          // the caller or its client went away
  kUnavailable,        // not ready, draining or a peer is lost (503)
  kInternal,           // a bug or a device fault (500)
};

/// Stable lower-case name, e.g. "invalid_argument".
std::string_view error_code_name(ErrorCode code);

struct Error {
  ErrorCode code = ErrorCode::kInternal;
  std::string message;

  /// The same error with `context + ": "` in front.
  Error with_context(std::string_view context) const {
    return Error{code, std::string(context) + ": " + message};
  }
};

/// Result<void>'s value.
struct Unit {};

/// Either a T or an Error. Test with ok(), then use value(); value() on an error aborts.
template <class T = Unit>
class [[nodiscard]] Result {
 public:
  using value_type = T;
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}
  Result(ErrorCode code, std::string message)
      : state_(std::in_place_index<1>, Error{code, std::move(message)}) {}

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }

  T& value() & { return require(), *std::get_if<0>(&state_); }
  const T& value() const& { return require(), *std::get_if<0>(&state_); }
  T&& value() && { return require(), std::move(*std::get_if<0>(&state_)); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

  const Error& error() const& { return *std::get_if<1>(&state_); }
  Error&& error() && { return std::move(*std::get_if<1>(&state_)); }

 private:
  void require() const;
  std::variant<T, Error> state_;
};

using Status = Result<Unit>;
inline Status ok_status() { return Unit{}; }

namespace detail {
[[noreturn]] void die_on_error(const Error& error);
}

template <class T>
void Result<T>::require() const {
  if (const Error* error = std::get_if<1>(&state_)) detail::die_on_error(*error);
}

}  // namespace ramjet
