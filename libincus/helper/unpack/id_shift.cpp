// SPDX-License-Identifier: Apache-2.0
#include "helper/unpack/id_shift.hpp"

#include <cstdio>
#include <cstring>
#include <endian.h>

#include "helper/unpack/common.hpp"

namespace incus::unpack {

namespace {
constexpr std::uint32_t nobody = 65534;

std::uint32_t get32(const std::string &s, std::size_t at) {
  std::uint32_t v;
  std::memcpy(&v, s.data() + at, 4);
  return le32toh(v);
}
void put32(std::string &s, std::size_t at, std::uint32_t v) {
  v = htole32(v);
  std::memcpy(s.data() + at, &v, 4);
}
} // namespace

IdShift::IdShift(const std::vector<std::string> &ranges) {
  for (auto &text : ranges) {
    Range r{};
    if (std::sscanf(text.c_str(), "%c %u %u %u", &r.kind, &r.host, &r.guest, &r.count) != 4 || (r.kind != 'u' && r.kind != 'g'))
      fail("internal", "a malformed range of ids: " + quoted(text));
    ranges_.push_back(r);
  }
}

std::uint32_t IdShift::map(char kind, std::uint32_t host) const {
  if (ranges_.empty()) return host;
  for (auto &r : ranges_)
    if (r.kind == kind && host >= r.host && host - r.host < r.count) return r.guest + (host - r.host);
  return nobody;
}

void IdShift::attribute(std::string_view name, std::string &value) const {
  if (ranges_.empty()) return;
  if (name.starts_with("system.posix_acl_")) {
    // A version, then entries of tag, permissions (16 bits each) and id.
    for (std::size_t at = 4; at + 8 <= value.size(); at += 8) {
      std::uint16_t tag;
      std::memcpy(&tag, value.data() + at, 2);
      tag = le16toh(tag);
      if (tag == 2) put32(value, at + 4, user(get32(value, at + 4)));
      if (tag == 8) put32(value, at + 4, group(get32(value, at + 4)));
    }
  } else if (name == "security.capability" && value.size() == 24) {
    // Version 3 names the root it is for; the guest's own root is what version 2 means.
    std::uint32_t magic = get32(value, 0);
    if ((magic & 0xff000000) != 0x03000000 || user(get32(value, 20)) != 0) return;
    value.resize(20);
    put32(value, 0, (magic & 0x00ffffff) | 0x02000000);
  }
}

} // namespace incus::unpack
