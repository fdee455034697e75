// SPDX-License-Identifier: Apache-2.0
// The headers of a file that is written: no crash, and what they let through keeps the rules. Input: lines NAME:VALUE.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "base/error.hpp"
#include "embed/file_headers.hpp"
#include "helper/files/vfs.hpp"

namespace {
void must(bool ok) {
  if (!ok) std::abort();
}
} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size) {
  std::string text(reinterpret_cast<const char *>(data), size);
  // A path is cleaned to one that climbs nowhere.
  auto path = incus::files::clean_path(text);
  must(path[0] == '/' && (path + "/").find("/../") == path.npos && (path + "/").find("/./") == path.npos && path.find("//") == path.npos);
  std::map<std::string, std::string> headers;
  for (std::size_t at = 0; at < text.size();) {
    auto end = std::min(text.find('\n', at), text.size());
    auto line = text.substr(at, end - at);
    at = end + 1;
    auto colon = line.find(':');
    if (colon != line.npos) headers[line.substr(0, colon)] = line.substr(colon + 1);
  }
  try {
    auto h = incus::embed::parse_file_headers(headers);
    must(h.type == "file" || h.type == "directory" || h.type == "symlink");
    must(!h.mode || *h.mode <= 0777);
    must(!h.uid || *h.uid != UINT32_MAX);
    must(!h.gid || *h.gid != UINT32_MAX);
  } catch (const incus::Error &e) {
    must(e.code() == incus::ErrorCode::invalid_argument);
  }
  return 0;
}
