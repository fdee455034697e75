// SPDX-License-Identifier: Apache-2.0
// Which extended attributes belong to an image, and ACLs in an archive's and in the kernel's form.
#pragma once
#include <archive.h>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "helper/unpack/common.hpp"

struct archive_entry;

namespace incus::unpack {

/// Extended attributes as they will be set, POSIX ACLs among them in the kernel's form.
using Attributes = std::vector<std::pair<std::string, std::string>>;

struct AclEntry {
  std::uint16_t tag, perm;
  std::uint32_t id;
  std::string name; ///< when the archive has no number
};
using Acl = std::vector<AclEntry>;
/// An ACL that waits for the image's own etc/passwd and etc/group (tar writes names even when it is told to write numbers).
struct NamedAcl {
  std::string path, key;
  Acl entries;
};

/// xattrs and ACLs of an entry, as the kernel takes them; ACLs with names go to `named`.
Attributes attributes_of(archive_entry *entry, const std::string &path, std::vector<NamedAcl> &named);
/// The kernel's form; refuses names that are in neither table.
std::string resolve(const NamedAcl &acl, const std::map<std::string, std::uint32_t> &users, const std::map<std::string, std::uint32_t> &groups);
/// Name and third field of the lines of a passwd or group file.
std::map<std::string, std::uint32_t> id_table(std::string_view text);

/// user.*, file capabilities and ACLs are the guest's. trusted.* (overlayfs keeps its marks there) and the labels of the host's security
/// modules are the host's: an image must not bring them.
bool kept_attribute(std::string_view name);
/// Adds an ACL in the kernel's form to an entry; false when it is not one.
bool add_acl(archive_entry *entry, std::string_view value, bool initial);

} // namespace incus::unpack
