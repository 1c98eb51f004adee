// Boost.Asio with C++20 coroutines. Only src/server's .cc files and connection.h include this: it
// costs seconds a translation unit.
//
// Boost before 1.77 knows clang's coroutines only under their experimental name; the two macros
// tell it that the compiler has the standard ones.
#pragma once

#include <boost/version.hpp>
#include <functional>
#include <utility>  // Boost 1.74's awaitable.hpp needs std::exchange and does not include it
#if BOOST_VERSION < 107700
#define BOOST_ASIO_HAS_CO_AWAIT 1
#define BOOST_ASIO_HAS_STD_COROUTINE 1
#endif
#include <boost/asio/awaitable.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace ramjet::server {

namespace net = boost::asio;
using error_code = boost::system::error_code;

/// A completion token that reports failure through `ec` instead of an exception.
inline auto awaiting(error_code& ec) { return net::redirect_error(net::use_awaitable, ec); }

}  // namespace ramjet::server
