// SPDX-License-Identifier: Apache-2.0
#include "helper/unpack/common.hpp"

#include <cerrno>
#include <cstring>

namespace incus::unpack {

void refuse(std::string text) { throw Failure{"corrupt", std::move(text)}; }

void fail(const char *code, std::string text) { throw Failure{code, std::move(text)}; }

void fail_errno(int err, std::string text) {
  const char *code = "internal";
  switch (err) {
  case ENOSPC:
  case EDQUOT: code = "no_space"; break;
  case EACCES:
  case EPERM:
  case EROFS: code = "permission_denied"; break;
  case ENOTSUP: code = "not_supported"; break;
  case ENAMETOOLONG:
  case ELOOP:
  case EXDEV:
  case ENOTDIR:
  case EISDIR:
  case ENOENT:
  case ENOTEMPTY:
  case EFBIG:
  case EINVAL: code = "corrupt"; break; // what the archive asked for cannot be
  }
  throw Failure{code, text + ": " + ::strerror(err)};
}

std::string quoted(std::string_view text) {
  static const char hex[] = "0123456789abcdef";
  std::string out = "\"";
  for (std::size_t i = 0; i < text.size(); i++) {
    if (i == 200) {
      out += "...";
      break;
    }
    unsigned char c = static_cast<unsigned char>(text[i]);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += static_cast<char>(c);
    } else if (c < 0x20 || c == 0x7f) {
      out += "\\x";
      out += hex[c >> 4];
      out += hex[c & 15];
    } else {
      out += static_cast<char>(c);
    }
  }
  return out + '"';
}

} // namespace incus::unpack
