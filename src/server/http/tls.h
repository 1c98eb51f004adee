// TLS for the server's side of a connection, as a filter of bytes: no socket is seen here.
//
// TlsContext is immutable after load(), so thread-safe, and shared by the sessions. A TlsSession is
// used by one thread at a time. TLS 1.2 and 1.3; ALPN chooses http/1.1.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"

struct ssl_ctx_st;
struct ssl_st;

namespace ramjet::server {

class TlsContext {
 public:
  /// PEM files: the certificate with its chain, and its key. Errors name the file.
  static Result<std::shared_ptr<TlsContext>> load(const std::string& certificate,
                                                  const std::string& key);
  ~TlsContext();
  TlsContext(const TlsContext&) = delete;
  TlsContext& operator=(const TlsContext&) = delete;

 private:
  friend class TlsSession;
  explicit TlsContext(ssl_ctx_st* context) : context_(context) {}
  ssl_ctx_st* context_;
};

class TlsSession {
 public:
  explicit TlsSession(const TlsContext& context);
  ~TlsSession();
  TlsSession(const TlsSession&) = delete;
  TlsSession& operator=(const TlsSession&) = delete;

  /// Takes bytes of the peer; appends what they say to `plain` and what the peer is to be sent to
  /// `wire`. False: the peer has ended the session, or does not speak TLS.
  bool receive(std::string_view bytes, std::string& plain, std::string& wire);
  /// Appends `plain`, encrypted, to `wire`. False before the handshake is done or after an error.
  bool send(std::string_view plain, std::string& wire);
  /// Appends the end of the session.
  void close(std::string& wire);

 private:
  void collect(std::string& wire);
  ssl_st* ssl_;
};

}  // namespace ramjet::server
