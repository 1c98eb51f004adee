// Result plumbing: the propagation macros and short constructors for errors.
#pragma once

#include <fmt/core.h>
#include <ramjet/result.h>

#define RAMJET_CONCAT_(a, b) a##b
#define RAMJET_CONCAT(a, b) RAMJET_CONCAT_(a, b)

/// Returns the error from the enclosing function if `expr` (a Result) failed.
#define RETURN_IF_ERROR(expr)                                                    \
  do {                                                                           \
    if (auto result_ = (expr); !result_.ok()) return std::move(result_).error(); \
  } while (false)

/// `ASSIGN_OR_RETURN(auto x, f());` declares x from f()'s value or returns its error.
#define ASSIGN_OR_RETURN(decl, expr) \
  ASSIGN_OR_RETURN_(RAMJET_CONCAT(assign_result_, __LINE__), decl, expr)
#define ASSIGN_OR_RETURN_(tmp, decl, expr)      \
  auto tmp = (expr);                            \
  if (!tmp.ok()) return std::move(tmp).error(); \
  decl = std::move(tmp).value()

namespace ramjet {

template <class... Args>
Error make_error(ErrorCode code, fmt::format_string<Args...> format, Args&&... args) {
  return Error{code, fmt::format(format, std::forward<Args>(args)...)};
}
template <class... Args>
Error invalid_argument(fmt::format_string<Args...> format, Args&&... args) {
  return make_error(ErrorCode::kInvalidArgument, format, std::forward<Args>(args)...);
}
template <class... Args>
Error not_found(fmt::format_string<Args...> format, Args&&... args) {
  return make_error(ErrorCode::kNotFound, format, std::forward<Args>(args)...);
}
template <class... Args>
Error corrupt(fmt::format_string<Args...> format, Args&&... args) {
  return make_error(ErrorCode::kCorrupt, format, std::forward<Args>(args)...);
}
template <class... Args>
Error unsupported(fmt::format_string<Args...> format, Args&&... args) {
  return make_error(ErrorCode::kUnsupported, format, std::forward<Args>(args)...);
}
template <class... Args>
Error internal_error(fmt::format_string<Args...> format, Args&&... args) {
  return make_error(ErrorCode::kInternal, format, std::forward<Args>(args)...);
}

}  // namespace ramjet
