#include "server/http/tls.h"

#include <openssl/err.h>
#include <openssl/ssl.h>

#include <algorithm>
#include <climits>

#include "base/check.h"

namespace ramjet::server {
namespace {

constexpr size_t kChunk = 16 << 10;

std::string last_error() {
  char text[256] = "unknown";
  const unsigned long code = ::ERR_peek_last_error();
  if (code != 0) ::ERR_error_string_n(code, text, sizeof(text));
  ::ERR_clear_error();
  return text;
}

int choose_protocol(SSL*, const unsigned char** out, unsigned char* size,
                    const unsigned char* offered, unsigned int offered_size, void*) {
  static constexpr unsigned char kOurs[] = {8, 'h', 't', 't', 'p', '/', '1', '.', '1'};
  unsigned char* chosen = nullptr;
  const int found =
      ::SSL_select_next_proto(&chosen, size, kOurs, sizeof(kOurs), offered, offered_size);
  if (found != OPENSSL_NPN_NEGOTIATED) return SSL_TLSEXT_ERR_NOACK;
  *out = chosen;
  return SSL_TLSEXT_ERR_OK;
}

}  // namespace

Result<std::shared_ptr<TlsContext>> TlsContext::load(const std::string& certificate,
                                                     const std::string& key) {
  ::ERR_clear_error();
  SSL_CTX* raw = ::SSL_CTX_new(::TLS_server_method());
  if (raw == nullptr) return internal_error("no TLS context: {}", last_error());
  std::shared_ptr<TlsContext> context(new TlsContext(raw));  // with its sessions
  ::SSL_CTX_set_min_proto_version(raw, TLS1_2_VERSION);
  ::SSL_CTX_set_options(raw, SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE);
  ::SSL_CTX_set_mode(raw, SSL_MODE_RELEASE_BUFFERS);
  ::SSL_CTX_set_alpn_select_cb(raw, choose_protocol, nullptr);
  if (::SSL_CTX_use_certificate_chain_file(raw, certificate.c_str()) != 1) {
    return invalid_argument("{}: no PEM certificate could be read: {}", certificate, last_error());
  }
  if (::SSL_CTX_use_PrivateKey_file(raw, key.c_str(), SSL_FILETYPE_PEM) != 1) {
    return invalid_argument("{}: no PEM key of that certificate could be read: {}", key,
                            last_error());
  }
  if (::SSL_CTX_check_private_key(raw) != 1) {
    return invalid_argument("{}: it is not the key of {}: {}", key, certificate, last_error());
  }
  return context;
}

TlsContext::~TlsContext() { ::SSL_CTX_free(context_); }

TlsSession::TlsSession(const TlsContext& context) : ssl_(::SSL_new(context.context_)) {
  CHECK(ssl_ != nullptr, "no memory for a TLS session");
  ::SSL_set_bio(ssl_, ::BIO_new(::BIO_s_mem()), ::BIO_new(::BIO_s_mem()));
  ::SSL_set_accept_state(ssl_);
}

TlsSession::~TlsSession() { ::SSL_free(ssl_); }

void TlsSession::collect(std::string& wire) {
  BIO* out = ::SSL_get_wbio(ssl_);
  while (const size_t pending = ::BIO_ctrl_pending(out)) {
    const size_t at = wire.size();
    wire.resize(at + pending);
    const int got = ::BIO_read(out, wire.data() + at, static_cast<int>(pending));
    wire.resize(at + static_cast<size_t>(std::max(0, got)));
    if (got <= 0) return;
  }
}

bool TlsSession::receive(std::string_view bytes, std::string& plain, std::string& wire) {
  DCHECK(bytes.size() <= INT_MAX);
  ::ERR_clear_error();
  ::BIO_write(::SSL_get_rbio(ssl_), bytes.data(), static_cast<int>(bytes.size()));
  int got = 1;
  while (got > 0) {  // SSL_read shakes hands by itself
    const size_t at = plain.size();
    plain.resize(at + kChunk);
    got = ::SSL_read(ssl_, plain.data() + at, static_cast<int>(kChunk));
    plain.resize(at + static_cast<size_t>(std::max(0, got)));
  }
  const int why = ::SSL_get_error(ssl_, got);
  collect(wire);
  ::ERR_clear_error();
  return why == SSL_ERROR_WANT_READ;
}

bool TlsSession::send(std::string_view plain, std::string& wire) {
  ::ERR_clear_error();
  while (!plain.empty()) {  // into memory: each call takes a record or more
    const size_t part = std::min<size_t>(plain.size(), INT_MAX);
    const int sent = ::SSL_write(ssl_, plain.data(), static_cast<int>(part));
    if (sent <= 0) return false;
    plain.remove_prefix(static_cast<size_t>(sent));
  }
  collect(wire);
  return true;
}

void TlsSession::close(std::string& wire) {
  ::ERR_clear_error();
  ::SSL_shutdown(ssl_);
  ::ERR_clear_error();
  collect(wire);
}

}  // namespace ramjet::server
