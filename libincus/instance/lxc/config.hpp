// SPDX-License-Identifier: Apache-2.0
// What liblxc is told: pure functions from an instance's start specification and facts of the host.
#pragma once
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "instance/runtime.hpp"
#include "sys/cgroup.hpp"

namespace incus::instance::lxc {

/// What the configuration depends on besides the instance.
struct HostFacts {
  std::vector<sys::CgroupRoot> cgroups;
  bool apparmor = false;
  std::string lxcfs;                    ///< where lxcfs is mounted; empty: not
  std::vector<std::string> lxcfs_files; ///< below it, such as "proc/cpuinfo"
  std::vector<int> cpus;                ///< online
  std::uint64_t memory = 0;             ///< bytes
};
HostFacts host_facts();

/// Where things of one instance lie.
struct Places {
  std::string config, seccomp, console_log, log;
  std::string notify;                   ///< the socket's path on the host; empty: none
  std::string cgroup;                   ///< "incus-HOST/ID"
};

/// One value for one file of a control group.
struct CgroupValue {
  std::string controller, file, value;
  bool v2 = false;
  bool operator==(const CgroupValue &) const = default;
};
/// The limits.* keys as control group files. Values that are unset give the kernel's default when `defaults` is set.
std::vector<CgroupValue> cgroup_limits(const Config &config, const HostFacts &facts, std::int64_t seed, bool defaults);
/// "512MiB", "10GB", "50%" (of `whole`); throws invalid_argument.
std::uint64_t parse_size(const std::string &key, const std::string &text, std::uint64_t whole);
/// "0-3,8" or a count; throws invalid_argument.
std::vector<int> parse_cpus(const std::string &text, const std::vector<int> &online, std::int64_t seed);

using Lines = std::vector<std::pair<std::string, std::string>>;
/// The helper's part: what must be put together before liblxc starts, as protocol arguments after name and config file.
struct Rendered {
  Lines lines;
  std::vector<std::string> stage;
  std::string seccomp; ///< text of the policy file; empty: the configuration asks for no filter at all
};
Rendered render(const StartSpec &spec, const HostFacts &facts, const Places &places);
/// As the file's text; throws invalid_argument naming the key when a value holds CR, LF or NUL.
std::string to_text(const Lines &lines, const std::string &raw);
/// Rendered::seccomp.
std::string seccomp_policy(const Config &config);
/// The checks that need no liblxc; throws invalid_argument naming the line.
void check_raw(const std::string &raw);

/// Environment of a command: defaults, environment.* and what the request says, in this order.
std::vector<std::string> exec_environment(const Config &config, const ExecRequest &request);

} // namespace incus::instance::lxc
