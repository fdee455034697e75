// SPDX-License-Identifier: Apache-2.0
#include "embed/file_headers.hpp"

#include <charconv>

#include "base/error.hpp"
#include "base/names.hpp"

namespace incus::embed {

namespace {

std::optional<std::uint32_t> id(const std::map<std::string, std::string> &headers, const char *name) {
  auto it = headers.find(name);
  if (it == headers.end() || it->second.empty() || it->second == "-1") return {};
  std::uint32_t v = 0;
  auto end = it->second.data() + it->second.size();
  auto r = std::from_chars(it->second.data(), end, v);
  // The highest number stands for "keep it" in system calls.
  if (r.ec != std::errc() || r.ptr != end || v == UINT32_MAX)
    base::fail(ErrorCode::invalid_argument, "invalid header {}: {}: must be a number from 0 to 4294967294", name, base::quoted(it->second));
  return v;
}

} // namespace

FileHeaders parse_file_headers(const std::map<std::string, std::string> &headers) {
  FileHeaders h;
  h.uid = id(headers, "x-incus-uid");
  h.gid = id(headers, "x-incus-gid");
  if (auto it = headers.find("x-incus-mode"); it != headers.end() && !it->second.empty() && it->second != "-1") {
    auto text = std::string_view(it->second);
    if (text.starts_with("0o")) text.remove_prefix(2);
    std::uint32_t mode = 0;
    auto r = std::from_chars(text.data(), text.data() + text.size(), mode, 8);
    if (r.ec != std::errc() || r.ptr != text.data() + text.size() || mode > 07777)
      base::fail(ErrorCode::invalid_argument, "invalid header x-incus-mode: {}: must be an octal number up to 7777, such as 0644", base::quoted(it->second));
#ifdef INCUS_PLANTED_BUG
    h.mode = mode;
#else
    h.mode = mode & 0777;
#endif
  }
  if (auto it = headers.find("x-incus-type"); it != headers.end() && !it->second.empty()) {
    h.type = it->second;
    if (h.type != "file" && h.type != "directory" && h.type != "symlink")
      base::fail(ErrorCode::invalid_argument, "invalid header x-incus-type: {}: must be file, directory or symlink", base::quoted(h.type));
  }
  if (auto it = headers.find("x-incus-write"); it != headers.end() && !it->second.empty()) {
    if (it->second != "overwrite" && it->second != "append")
      base::fail(ErrorCode::invalid_argument, "invalid header x-incus-write: {}: must be overwrite or append", base::quoted(it->second));
    h.append = it->second == "append";
  }
  return h;
}

} // namespace incus::embed
