// SPDX-License-Identifier: Apache-2.0
// Extended attributes and POSIX ACLs between archive entries and the kernel's own form.
#include <algorithm>
#include <archive_entry.h>
#include <cstring>
#include <endian.h>
#include <optional>

#include "helper/unpack/attributes.hpp"

namespace incus::unpack {

namespace {

// The kernel's layout of system.posix_acl_*: a version, then sorted entries (linux/posix_acl_xattr.h).
constexpr std::uint32_t acl_version = 2;
constexpr std::uint16_t tag_user_obj = 1, tag_user = 2, tag_group_obj = 4, tag_group = 8, tag_mask = 16, tag_other = 32;

void put16(std::string &out, std::uint16_t v) {
  v = htole16(v);
  out.append(reinterpret_cast<const char *>(&v), 2);
}
void put32(std::string &out, std::uint32_t v) {
  v = htole32(v);
  out.append(reinterpret_cast<const char *>(&v), 4);
}

/// The number an entry names; nothing when there is only a name.
std::optional<std::uint32_t> number_of(int id, const char *name) {
  if (id >= 0) return static_cast<std::uint32_t>(id);
  std::uint64_t n = 0;
  if (!name || !*name) return {};
  for (const char *c = name; *c; c++) {
    if (*c < '0' || *c > '9' || n > UINT32_MAX) return {};
    n = n * 10 + static_cast<unsigned>(*c - '0');
  }
  if (n > UINT32_MAX) return {};
  return static_cast<std::uint32_t>(n);
}

Acl read_acl(archive_entry *entry, int want) {
  Acl out;
  if (archive_entry_acl_reset(entry, want) <= 0) return out;
  int type, perms, tag, id;
  const char *name;
  while (archive_entry_acl_next(entry, want, &type, &perms, &tag, &id, &name) == 0) {
    AclEntry e{0, static_cast<std::uint16_t>(perms & 7), UINT32_MAX, {}};
    switch (tag) {
    case ARCHIVE_ENTRY_ACL_USER_OBJ: e.tag = tag_user_obj; break;
    case ARCHIVE_ENTRY_ACL_GROUP_OBJ: e.tag = tag_group_obj; break;
    case ARCHIVE_ENTRY_ACL_OTHER: e.tag = tag_other; break;
    case ARCHIVE_ENTRY_ACL_MASK: e.tag = tag_mask; break;
    case ARCHIVE_ENTRY_ACL_USER: e.tag = tag_user; break;
    case ARCHIVE_ENTRY_ACL_GROUP: e.tag = tag_group; break;
    default: continue;
    }
    if (e.tag == tag_user || e.tag == tag_group) {
      auto number = number_of(id, name);
      if (number)
        e.id = *number;
      else
        e.name = name && *name ? name : "?";
    }
    out.push_back(std::move(e));
  }
  return out;
}

std::string kernel_acl(Acl all) {
  std::sort(all.begin(), all.end(), [](auto &a, auto &b) { return a.tag != b.tag ? a.tag < b.tag : a.id < b.id; });
  std::string out;
  put32(out, acl_version);
  for (auto &e : all) {
    put16(out, e.tag);
    put16(out, e.perm);
    put32(out, e.id);
  }
  return out;
}

} // namespace

Attributes attributes_of(archive_entry *entry, const std::string &path, std::vector<NamedAcl> &named) {
  Attributes out;
  const char *name;
  const void *value;
  std::size_t size;
  if (archive_entry_xattr_reset(entry) > 0)
    while (archive_entry_xattr_next(entry, &name, &value, &size) == ARCHIVE_OK)
      if (kept_attribute(name)) out.emplace_back(name, std::string(static_cast<const char *>(value), size));
  if (archive_entry_acl_types(entry) & ARCHIVE_ENTRY_ACL_TYPE_POSIX1E) {
    for (bool initial : {false, true}) {
      Acl acl = read_acl(entry, initial ? ARCHIVE_ENTRY_ACL_TYPE_DEFAULT : ARCHIVE_ENTRY_ACL_TYPE_ACCESS);
      if (acl.empty() || (initial && archive_entry_filetype(entry) != AE_IFDIR)) continue;
      const char *key = initial ? "system.posix_acl_default" : "system.posix_acl_access";
      if (std::any_of(acl.begin(), acl.end(), [](auto &e) { return !e.name.empty(); }))
        named.push_back({path, key, std::move(acl)});
      else
        out.emplace_back(key, kernel_acl(std::move(acl)));
    }
  }
  return out;
}

std::string resolve(const NamedAcl &acl, const std::map<std::string, std::uint32_t> &users, const std::map<std::string, std::uint32_t> &groups) {
  Acl all = acl.entries;
  for (auto &e : all) {
    if (e.name.empty()) continue;
    auto &table = e.tag == tag_user ? users : groups;
    auto it = table.find(e.name);
    if (it == table.end())
      refuse("the ACL of " + quoted(acl.path) + " names the " + (e.tag == tag_user ? "user " : "group ") + quoted(e.name) +
             ", which the image's own etc/passwd and etc/group do not have");
    e.id = it->second;
  }
  return kernel_acl(std::move(all));
}

std::map<std::string, std::uint32_t> id_table(std::string_view text) {
  std::map<std::string, std::uint32_t> out;
  while (!text.empty()) {
    auto end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    auto a = line.find(':'), b = a == line.npos ? a : line.find(':', a + 1);
    if (b == line.npos) continue;
    auto c = std::min(line.find(':', b + 1), line.size());
    auto number = number_of(-1, std::string(line.substr(b + 1, c - b - 1)).c_str());
    if (number) out.try_emplace(std::string(line.substr(0, a)), *number);
  }
  return out;
}

bool kept_attribute(std::string_view name) {
  return name == "security.capability" || name.starts_with("user.") || name == "system.posix_acl_access" || name == "system.posix_acl_default";
}

bool add_acl(archive_entry *entry, std::string_view value, bool initial) {
  if (value.size() < 4 || (value.size() - 4) % 8) return false;
  std::uint32_t version;
  std::memcpy(&version, value.data(), 4);
  if (le32toh(version) != acl_version) return false;
  int type = initial ? ARCHIVE_ENTRY_ACL_TYPE_DEFAULT : ARCHIVE_ENTRY_ACL_TYPE_ACCESS;
  for (std::size_t at = 4; at < value.size(); at += 8) {
    std::uint16_t tag, perm;
    std::uint32_t id;
    std::memcpy(&tag, value.data() + at, 2);
    std::memcpy(&perm, value.data() + at + 2, 2);
    std::memcpy(&id, value.data() + at + 4, 4);
    int to;
    bool named = false;
    switch (le16toh(tag)) {
    case tag_user_obj: to = ARCHIVE_ENTRY_ACL_USER_OBJ; break;
    case tag_group_obj: to = ARCHIVE_ENTRY_ACL_GROUP_OBJ; break;
    case tag_mask: to = ARCHIVE_ENTRY_ACL_MASK; break;
    case tag_other: to = ARCHIVE_ENTRY_ACL_OTHER; break;
    case tag_user: to = ARCHIVE_ENTRY_ACL_USER; named = true; break;
    case tag_group: to = ARCHIVE_ENTRY_ACL_GROUP; named = true; break;
    default: return false;
    }
    // Numbers stand in the place of names too, as tar --numeric-owner writes them.
    std::string name = named ? std::to_string(le32toh(id)) : std::string();
    if (archive_entry_acl_add_entry(entry, type, le16toh(perm) & 7, to, named ? static_cast<int>(le32toh(id)) : -1, name.c_str()) != ARCHIVE_OK)
      return false;
  }
  return true;
}

} // namespace incus::unpack
