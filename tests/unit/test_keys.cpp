// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>
#include <set>

#include "base/error.hpp"
#include "instance/keys.hpp"

using namespace incus;
using instance::validate_instance_config;

namespace {

std::string refusal(const Config &c, bool profile = false) {
  try {
    validate_instance_config(c, profile ? "profile \"p\"" : "instance \"c1\"", profile);
  } catch (const Error &e) {
    CHECK(e.code() == ErrorCode::invalid_argument);
    return e.what();
  }
  return "";
}

struct Case {
  const char *key, *good, *bad;
};
constexpr Case cases[] = {
    {"boot.autorestart", "true", "often"},
    {"boot.autostart", "true", "soon"},
    {"boot.autostart.delay", "5", "-5"},
    {"boot.autostart.priority", "-1", "high"},
    {"boot.stop.priority", "10", "1.5"},
    {"boot.host_shutdown_timeout", "30", "30s"},
    {"boot.host_shutdown_action", "force-stop", "stateful-stop"},
    {"cloud-init.network-config", "version: 2\n", nullptr},
    {"cloud-init.user-data", "#cloud-config\n", nullptr},
    {"cloud-init.vendor-data", "#cloud-config\n", nullptr},
    {"environment.PATH", "/bin:/sbin", "a\nlxc.include = /etc/passwd"},
    {"image.os", "Debian", nullptr},
    {"limits.cpu", "2", "0"},
    {"limits.cpu", "0-3,7", "3-0"},
    {"limits.cpu", "1-1", "1-"},
    {"limits.cpu", "0,2", "0,,2"},
    {"limits.cpu.allowance", "50%", "0%"},
    {"limits.cpu.allowance", "25ms/100ms", "25/100"},
    {"limits.cpu.allowance", "200ms/100ms", "0ms/100ms"},
    {"limits.cpu.allowance", "100%", "101%"},
    {"limits.cpu.priority", "10", "11"},
    {"limits.kernel.nofile", "1024", "many"},
    {"limits.kernel.nofile", "1024:2048", "2048:1024"},
    {"limits.kernel.memlock", "unlimited", "unlimited:5"},
    {"limits.kernel.core", "0:unlimited", "0:"},
    {"limits.memory", "512MiB", "512 MiB"},
    {"limits.memory", "50%", "0"},
    {"limits.memory.enforce", "soft", "maybe"},
    {"limits.memory.swap", "false", "perhaps"},
    {"limits.memory.swap", "1GiB", "1Gi"},
    {"limits.processes", "100", "0"},
    {"linux.sysctl.net.ipv4.ip_forward", "1", "1\n2"},
    {"raw.idmap", "both 1000 1000\nuid 50-60 500-510", "both 1000"},
    {"raw.idmap", "gid 5 5\n", "user 5 5"},
    {"raw.idmap", "gid 5 5", "both 50-60 500-511"},
    {"raw.lxc", "lxc.aa = b\nlxc.c = d", nullptr},
    {"security.idmap.base", "100000", "4294967296"},
    {"security.idmap.isolated", "true", "2"},
    {"security.idmap.size", "65536", "x"},
    {"security.nesting", "true", "x"},
    {"security.privileged", "false", "x"},
    {"security.protection.delete", "true", "x"},
    {"security.protection.shift", "true", "x"},
    {"security.syscalls.allow", "read\nwrite", "read;write"},
    {"security.syscalls.deny", "keyctl errno 38\nmount", "[all]"},
    {"security.syscalls.deny_compat", "true", "x"},
    {"security.syscalls.deny_default", "false", "x"},
    {"snapshots.pattern", "auto-%d", "a/%d"},
    {"snapshots.expiry", "1d 12H", "soon"},
    {"snapshots.schedule", "@daily, @startup", "sometimes"},
    {"snapshots.schedule", "0 6 * * *", "61 6 * * *"},
    {"snapshots.schedule.stopped", "true", "maybe"},
    {"snapshots.pattern", "fixed", "{{ creation_date }}"},
    {"snapshots.pattern", "%d", "%d-%d"},
    {"user.anything", "a\nb", nullptr},
    {"volatile.uuid", "0f0e0d0c-0b0a-4908-8706-050403020100", "x"},
    {"volatile.uuid.generation", "0f0e0d0c-0b0a-4908-8706-050403020100", "x"},
    {"volatile.idmap.base", "1000000", "x"},
    {"volatile.eth0.hwaddr", "10:66:6a:00:00:01", "10:66"},
    {"volatile.eth0.host_name", "veth01234567", "../etc"},
};

} // namespace

TEST_CASE("every key takes good values and refuses bad ones by name, value and rule") {
  std::set<std::string> seen;
  for (auto &c : cases) {
    auto *row = schema::find(instance::instance_keys(), c.key);
    CHECK_MESSAGE(row != nullptr, c.key);
    if (!row) continue;
    seen.insert(row->name);
    CHECK_MESSAGE(refusal({{c.key, c.good}}) == "", c.key << "=" << c.good);
    CHECK_MESSAGE(refusal({{c.key, ""}}) == "", c.key);
    if (!c.bad) continue;
    auto why = refusal({{c.key, c.bad}});
    CHECK_MESSAGE(why != "", c.key << "=" << c.bad);
    CHECK_MESSAGE(why.find(c.key) != std::string::npos, why);
    CHECK_MESSAGE(why.find("\"c1\"") != std::string::npos, why);
  }
  // The limits.kernel rows share one check; one of them stands for all.
  for (auto &k : instance::instance_keys()) {
    CHECK_MESSAGE(std::string_view(k.doc) != "", k.name);
    if (!std::string_view(k.name).starts_with("limits.kernel.") && std::string_view(k.name) != "volatile.*") CHECK_MESSAGE(seen.count(k.name), k.name);
  }
}

TEST_CASE("no value that is written into one line of configuration can hold a second one") {
  for (auto &k : instance::instance_keys()) {
    std::string name = k.name;
    if (name.ends_with('*')) name.replace(name.size() - 1, 1, "x");
    for (std::string bad : {std::string("a\nb"), std::string("a\rb"), std::string("1\n"), std::string("1\0", 2)}) {
      if (k.multi_line && bad.find('\0') == std::string::npos) continue;
      CHECK_MESSAGE(refusal({{name, bad}}) != "", name);
    }
    CHECK_MESSAGE(refusal({{name + "\nx", "1"}}) != "", name);
  }
}

TEST_CASE("unknown keys and names in wildcards") {
  CHECK(refusal({{"limits.memroy", "1"}}) == "unknown configuration key \"limits.memroy\" of instance \"c1\"; did you mean \"limits.memory\"?");
  for (auto *k : {"nvidia.runtime", "security.secureboot", "migration.stateful", "raw.qemu", "limits.kernel.rss", "environment.", "user."}) CHECK_MESSAGE(refusal({{k, "1"}}) != "", k);
  for (auto *k : {"environment.A=B", "environment.A B", "environment.A\tB"}) CHECK_MESSAGE(refusal({{k, "1"}}) != "", k);
  for (auto *k : {"linux.sysctl.../../etc", "linux.sysctl./etc", "linux.sysctl.a b", "linux.sysctl.a=b"}) CHECK_MESSAGE(refusal({{k, "1"}}) != "", k);
}

TEST_CASE("profiles have no volatile keys") {
  CHECK(refusal({{"volatile.uuid", "0f0e0d0c-0b0a-4908-8706-050403020100"}}, true) ==
        "invalid configuration key \"volatile.uuid\" of profile \"p\": volatile keys belong to one instance and cannot stand in a profile");
  CHECK(refusal({{"limits.cpu", "2"}}, true) == "");
  CHECK(schema::find(instance::profile_keys(), "volatile.x") == nullptr);
  CHECK(schema::find(instance::profile_keys(), "user.x") != nullptr);
}

TEST_CASE("an allow list of system calls excludes deny lists") {
  Config c{{"security.syscalls.allow", "read"}};
  CHECK(refusal(c) == "");
  c["security.syscalls.deny_default"] = "false";
  CHECK(refusal(c) == "");
  for (auto *k : {"security.syscalls.deny", "security.syscalls.deny_compat", "security.syscalls.deny_default"}) {
    auto d = c;
    d[k] = k == std::string("security.syscalls.deny") ? "mount" : "true";
    CHECK_MESSAGE(refusal(d).find(k) != std::string::npos, k);
  }
}

TEST_CASE("changed keys") {
  CHECK(instance::changed_keys({}, {}).empty());
  CHECK(instance::changed_keys({{"a", "1"}, {"b", "2"}, {"c", ""}}, {{"b", "3"}, {"d", "4"}, {"e", ""}}) == std::vector<std::string>{"a", "b", "d"});
  CHECK(instance::changed_keys({{"a", "1"}}, {{"a", "1"}}).empty());
  CHECK(instance::changed_keys({{"a", ""}}, {{"a", "1"}}) == std::vector<std::string>{"a"});
}
