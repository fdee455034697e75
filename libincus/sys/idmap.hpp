// SPDX-License-Identifier: Apache-2.0
// Maps of user namespaces: which one an instance gets, and their text forms.
//
// The host's root may use the ranges that /etc/subuid and /etc/subgid give to "root" (or 0); the largest one of each counts. Without any,
// it is 1000000:1000000000. From these:
//  - security.privileged=true: the empty map (no user namespace); raw.idmap is of no use then.
//  - default: guest 0 is the range's first id, and the whole range is mapped. All such instances share it.
//  - security.idmap.isolated=true: a slice of security.idmap.size ids (65536 unless set) that no other isolated instance uses, searched
//    from 65536 above the range's beginning on (the first 65536 are those of the shared map that guests really use), or beginning at the host
//    id security.idmap.base, which must lie in the range, as must the whole slice. Both keys are without effect on other instances, as in Incus.
//  - raw.idmap: lines "uid|gid|both HOST GUEST", each an id or a range A-B of equal length on both sides. Such guest ids are punched out
//    of the map and go to the named host ids. Host ids must be 1..4294967294 and outside the part of root's range that the map uses, and no
//    host or guest id may be named twice.
#pragma once
#include <span>
#include <string>
#include <string_view>

#include <incus/types.hpp>

#include "sys/id_range.hpp"

namespace incus::sys {

/// What /etc/subuid and /etc/subgid allow to root.
struct IdRanges {
  std::uint32_t uid_base = 1000000, uid_count = 1000000000;
  std::uint32_t gid_base = 1000000, gid_count = 1000000000;
  bool operator==(const IdRanges &) const = default;
};
/// From the contents of the two files. Lines that cannot be read are passed over.
IdRanges parse_subids(std::string_view subuid, std::string_view subgid);
/// Reads the host's files.
IdRanges host_id_ranges();

/// The map of an instance with this expanded config. `isolated_in_use`: the maps of all other isolated instances. Throws
/// invalid_argument naming key, value and rule; no_space when no slice is free.
IdMap choose_idmap(const Config &expanded, std::span<const IdMap> isolated_in_use, const IdRanges &ranges);
IdMap choose_idmap(const Config &expanded, std::span<const IdMap> isolated_in_use);
/// Whether the slices of root's range of two maps have ids in common; lines of raw.idmap do not count.
bool slices_meet(const IdMap &a, const IdMap &b) noexcept;
/// The rule a raw.idmap value breaks by itself, or an empty text: for config key rows.
std::string check_raw_idmap(std::string_view value);

/// JSON as in volatile.idmap.next: [{"Isuid":true,"Isgid":false,"Hostid":1000000,"Nsid":0,"Maprange":65536}, ...]; "[]" for the empty map.
std::string format_idmap(const IdMap &map);
/// Throws corrupt. Empty text gives the empty map.
IdMap parse_idmap(std::string_view json);
/// That of a configuration's key; one that is not there gives the empty map.
IdMap idmap_of(const std::map<std::string, std::string> &config, const std::string &key);

/// The host id of a guest's id, -1 when it is not mapped. The empty map is the identity.
std::int64_t to_host(const IdMap &map, std::uint32_t guest, bool uid) noexcept;
/// The guest's id of a host id, -1 when it is not mapped. The empty map is the identity.
std::int64_t to_guest(const IdMap &map, std::uint32_t host, bool uid) noexcept;

} // namespace incus::sys
