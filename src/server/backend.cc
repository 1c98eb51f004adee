#include "server/backend.h"

#include "base/result.h"

namespace ramjet::server {

Result<uint64_t> Backend::encode(EncodeJob) {
  return unsupported("this model generates text; it gives neither vectors nor scores");
}

Status Backend::reset_prefix_cache() { return ok_status(); }
Status Backend::sleep(double) { return unsupported("this model cannot be put to sleep"); }
Status Backend::wake_up() { return ok_status(); }

}  // namespace ramjet::server
