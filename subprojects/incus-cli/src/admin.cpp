// SPDX-License-Identifier: Apache-2.0
#include <future>
#include <unistd.h>

#include "object.hpp"

namespace cli {

namespace {

incus::Host open_local() {
  auto *instead = getenv("INCUS_CLI_URI");
  return incus::Host::open(instead && *instead ? std::string(instead) : "unix://" + local_socket());
}

int waitready(Context &c) {
  auto limit = c.number("timeout");
  auto until = std::chrono::steady_clock::now() + std::chrono::seconds(limit);
  std::string last = "not asked yet";
  for (;;) {
    try {
      auto host = open_local();
      host.request("GET", "/internal/ready");
      return 0;
    } catch (const incus::Error &e) {
      last = e.what();
      if (c.debug()) print_error(fmt::format("DEBUG  {}\n", last));
    }
    if (limit > 0 && std::chrono::steady_clock::now() > until) fail("Daemon still not running after {}s timeout ({})", limit, last);
    usleep(100000);
  }
}

int shutdown(Context &c) {
  auto limit = c.number("timeout");
  auto path = fmt::format("/internal/shutdown?force={}", c.flag("force"));
  // Answered when everything has stopped; the daemon may also close the connection first.
  auto asked = std::async(std::launch::async, [path] {
    auto host = open_local();
    host.request("PUT", path);
  });
  if (limit > 0 && asked.wait_for(std::chrono::seconds(limit)) != std::future_status::ready) {
    print_error(fmt::format("Error: Daemon still running after {}s timeout\n", limit));
    _exit(1); // the question cannot be taken back
  }
  asked.get();
  return 0;
}

int recover(Context &c) {
  auto &server = c.server("local");
  json::array pools;
  auto known = server.get(url({"storage-pools"}) + "?recursion=1");
  for (auto &p : known.as_array())
    pools.emplace_back(
        json::object{{"name", str(p, "name")}, {"driver", str(p, "driver")}, {"config", at(p, "config")}, {"description", str(p, "description")}});
  print("This server currently has the following storage pools:\n");
  for (auto &p : pools) say(" - {} (backend=\"{}\", source=\"{}\")\n", str(p, "name"), str(p, "driver"), str(at(p, "config"), "source"));
  json::array unknown_pools;
  while (ask_yes("Would you like to recover another storage pool? (yes/no) [default=no]: ", false)) {
    json::object p, config;
    auto need = [](const char *question) {
      for (int i = 0; i < 3; i++)
        if (auto a = ask(question, ""); !a.empty()) return a;
      fail("No answer to: {}", question);
    };
    p["name"] = need("Name of the storage pool: ");
    p["driver"] = need("Name of the storage backend: ");
    config["source"] = need("Source of the storage pool (block device, volume group, dataset, path, ... as applicable): ");
    for (;;) {
      auto pair = ask("Additional storage pool configuration property (KEY=VALUE, empty when done): ", "");
      if (pair.empty()) break;
      auto [k, v] = key_value(pair, "Config option should be in the format KEY=VALUE");
      config[k] = v;
    }
    p["config"] = config;
    unknown_pools.push_back(p);
    pools.push_back(p);
  }
  if (!ask_yes("Would you like to continue with scanning for lost volumes? (yes/no) [default=yes]: ", true)) return 0;
  print("Scanning for unknown volumes...\n");
  auto found = server.send("POST", "/internal/recover/validate", json::object{{"pools", pools}});
  auto &unknown = array_at(found, "UnknownVolumes");
  auto &missing = array_at(found, "DependencyErrors");
  if (unknown.empty() && missing.empty() && unknown_pools.empty()) {
    print("No unknown storage pools or volumes found. Nothing to do.\n");
    return 0;
  }
  if (!unknown_pools.empty()) print("The following unknown storage pools have been found:\n");
  for (auto &p : unknown_pools) say(" - Storage pool \"{}\" of type \"{}\"\n", str(p, "name"), str(p, "driver"));
  if (!unknown.empty()) print("The following unknown volumes have been found:\n");
  for (auto &v : unknown)
    say(" - {} \"{}\" on pool \"{}\" in project \"{}\" (includes {} snapshots)\n", upper(str(v, "type").substr(0, 1)) + str(v, "type").substr(str(v, "type").empty() ? 0 : 1), str(v, "name"),
        str(v, "pool"), str(v, "project"), num(v, "snapshotCount"));
  if (!missing.empty()) {
    print("You are currently missing the following:\n");
    for (auto &m : missing) say(" - {}\n", m.is_string() ? std::string(m.get_string()) : json::serialize(m));
    fail("What is missing must be there before these volumes can be taken back");
  }
  if (!ask_yes("Would you like those to be recovered? (yes/no) [default=no]: ", false)) return 0;
  print("Starting recovery...\n");
  server.send("POST", "/internal/recover/import", json::object{{"pools", pools}});
  return 0;
}

} // namespace

Command admin_command() {
  Command c;
  c.names = "admin";
  c.brief = "Manage incus daemon";
  const Flag timeout{Flag::number, "timeout", 't', "", "Number of seconds to wait before giving up"};
  c.children = {
      admin_init_command(),
      {"recover", "", "Recover missing instances and volumes from existing and unknown storage pools", 0, 0, recover},
      {"shutdown",
       "",
       "Tell the daemon to shutdown all instances and exit",
       0,
       0,
       shutdown,
       {timeout, {Flag::toggle, "force", 'f', "", "Force shutdown instead of waiting for running operations to finish"}}},
      admin_sql_command(),
      {"waitready", "", "Wait for the daemon to be ready to process requests", 0, 0, waitready, {timeout}},
  };
  return c;
}

} // namespace cli
