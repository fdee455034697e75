// SPDX-License-Identifier: Apache-2.0
#include "embed/host_conditions.hpp"

#include <algorithm>
#include <unistd.h>

#include "sys/cgroup.hpp"

namespace incus::embed {

namespace {

using T = db::WarningType;

struct Controller {
  T type;
  const char *v1, *v2; ///< v2 null: part of the kernel's unified hierarchy itself
  const char *lost;
};
constexpr Controller controllers[] = {
    {T::no_blkio, "blkio", "io", "disk limits have no effect"},
    {T::no_cpu, "cpu", "cpu", "CPU time limits have no effect"},
    {T::no_cpuset, "cpuset", "cpuset", "instances cannot be pinned to CPUs"},
    {T::no_cpuacct, "cpuacct", "cpu", "CPU usage is not accounted"},
    {T::no_devices, "devices", nullptr, "device access is not controlled"},
    {T::no_freezer, "freezer", nullptr, "instances cannot be paused"},
    {T::no_hugetlb, "hugetlb", "hugetlb", "huge page limits have no effect"},
    {T::no_memory, "memory", "memory", "memory limits have no effect"},
    {T::no_pids, "pids", "pids", "process limits have no effect"},
};

bool there(const std::string &path) { return ::access(path.c_str(), F_OK) == 0; }

} // namespace

std::vector<Condition> host_conditions() {
  auto roots = sys::cgroup_roots();
  auto find = [&](const char *v1, const char *v2) -> const sys::CgroupRoot * {
    for (auto &r : roots) {
      if (r.v2 && !v2) return &r;
      auto *wanted = r.v2 ? v2 : v1;
      if (wanted && std::find(r.controllers.begin(), r.controllers.end(), wanted) != r.controllers.end()) return &r;
    }
    return nullptr;
  };
  std::vector<Condition> out;
  for (auto &c : controllers) out.push_back({c.type, find(c.v1, c.v2) ? "" : c.lost});
  auto *io = find("blkio", "io");
  bool weight = !io || io->v2 || there(io->path + "/blkio.weight") || there(io->path + "/blkio.bfq.weight");
  out.push_back({T::no_blkio_weight, weight ? "" : "disk priorities have no effect"});
  auto *memory = find("memory", "memory");
  bool swap = !memory || memory->v2 || there(memory->path + "/memory.memsw.limit_in_bytes");
  out.push_back({T::no_swap_accounting, swap ? "" : "swap limits have no effect"});
  auto apparmor = sys::read_small_file("/sys/module/apparmor/parameters/enabled");
  out.push_back({T::no_apparmor, apparmor && apparmor->starts_with("Y") ? "" : "the kernel has no AppArmor: containers are held by namespaces, seccomp and capabilities"});
  return out;
}

void tell_conditions(db::Connection &global, const std::vector<Condition> &conditions) {
  auto key = [](const Condition &c) { return db::WarningKey{static_cast<int>(c.type), "none", "", -1, -1}; };
  std::vector<Condition> changed;
  for (auto &c : conditions)
    if (db::warned(global, key(c)) == c.message.empty()) changed.push_back(c);
  if (changed.empty()) return;
  global.transaction([&] {
    for (auto &c : changed) c.message.empty() ? db::resolve_warning(global, key(c)) : db::raise_warning(global, key(c), c.message);
  });
}

} // namespace incus::embed
