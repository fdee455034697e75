// SPDX-License-Identifier: Apache-2.0
// Control groups, versions 1, 2 and both at once. Free of dependencies and exceptions, because the container helper is built
// with it too: functions return an errno value or what they read.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace incus::sys {

/// One mounted hierarchy and the directory in it below which this system's groups are made.
struct CgroupRoot {
  std::string path;                     ///< mount point and base, no '/' at the end
  bool v2 = false;
  std::vector<std::string> controllers; ///< v1: those of the mount; v2: those that may be used there
};

/// From the text of /proc/self/mountinfo and of /proc/1/cgroup; v2 controllers are left empty.
std::vector<CgroupRoot> parse_cgroup_roots(std::string_view mountinfo, std::string_view proc_cgroup);
/// As liblxc sees them: groups are made below those of process 1.
std::vector<CgroupRoot> cgroup_roots();

/// The groups of one name in every hierarchy, such as "incus-HOST/7".
class CgroupTree {
public:
  CgroupTree(std::vector<CgroupRoot> roots, std::string name) : roots_(std::move(roots)), name_(std::move(name)) {}
  const std::vector<CgroupRoot> &roots() const { return roots_; }
  const std::string &name() const { return name_; }
  CgroupTree child(std::string_view sub) const { return {roots_, name_ + "/" + std::string(sub)}; }

  bool exists() const;
  /// Names of the directories in it, over all hierarchies.
  std::vector<std::string> children() const;
  /// Removes it and all below, in all hierarchies; waits up to `ms` while groups are busy. Gone already is success.
  int remove(int ms) const;
  /// Only the directory itself and only when it is empty.
  void remove_if_empty() const;
  /// Processes in it and below.
  std::vector<int> processes() const;
  /// SIGKILLs every process in it and below until none is left or `ms` ran out (ETIMEDOUT). Thaws before.
  int kill_all(int ms) const;
  /// Returns when every process has stopped.
  int freeze(int ms) const;
  int thaw() const;
  bool frozen() const;

  /// The directory in the hierarchy that has a controller; empty when there is none.
  std::string directory(std::string_view controller, bool *v2 = nullptr) const;
  std::optional<std::string> read(std::string_view controller, std::string_view file) const;
  int write(std::string_view controller, std::string_view file, std::string_view value) const;

private:
  std::vector<CgroupRoot> roots_;
  std::string name_;
};

/// Small helpers on text files of the kernel.
std::optional<std::string> read_small_file(const std::string &path, std::size_t limit = 1 << 20);
int write_small_file(const std::string &path, std::string_view value);

} // namespace incus::sys
