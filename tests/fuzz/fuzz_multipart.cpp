// SPDX-License-Identifier: Apache-2.0
// A multipart body in pieces is what it is in one: the first byte says how it is cut.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "base/error.hpp"
#include "rest/multipart.hpp"

using namespace incus;

namespace {
std::string seen(std::string_view body, std::size_t step) {
  std::string out;
  bool open = false;
  try {
    rest::Multipart m("XX", {[&](const rest::Multipart::Part &p) {
                               if (open) std::abort();
                               open = true;
                               out += "<" + p.name + "|" + p.filename + ">";
                             },
                             [&](std::string_view d) {
                               if (!open) std::abort();
                               out += d;
                             },
                             [&] {
                               open = false;
                               out += ";";
                             }});
    for (std::size_t i = 0; i < body.size(); i += step) m.feed(body.substr(i, step));
    m.finish();
  } catch (const Error &e) {
    if (e.code() != ErrorCode::invalid_argument && e.code() != ErrorCode::too_large) std::abort();
    // How much came out before the mistake depends on the pieces.
    return "mistake";
  }
  return out;
}
} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size) {
  if (size == 0 || size > 4096) return 0;
  std::string_view body(reinterpret_cast<const char *>(data) + 1, size - 1);
  if (seen(body, std::max<std::size_t>(1, body.size())) != seen(body, 1 + data[0] % 40)) std::abort();
  try {
    rest::Multipart::boundary(std::string(body));
  } catch (const Error &) {
  }
  return 0;
}
