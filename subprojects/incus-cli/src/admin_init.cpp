// SPDX-License-Identifier: Apache-2.0
// The first set-up of a server: by questions, by itself, or from a document.
#include "object.hpp"

namespace cli {

namespace {

/// As the official client asks: "(yes/no) [default=no]: ".
bool question(const std::string &text, bool initial) {
  return ask_yes(fmt::format("{} (yes/no) [default={}]: ", text, initial ? "yes" : "no"), initial);
}
std::string value_of(const std::string &text, const std::string &initial) {
  return ask(initial.empty() ? text + ": " : fmt::format("{} [default={}]: ", text, initial), initial);
}

std::string with_port(const std::string &address, std::int64_t port) {
  auto host = address == "all" ? std::string("[::]") : address;
  if (host.find(':') != std::string::npos && host[0] != '[') host = "[" + host + "]";
  return fmt::format("{}:{}", host, port);
}

/// A list of one.
json::array only(json::value value) {
  json::array list;
  list.push_back(std::move(value));
  return list;
}

json::value pool_and_profile(const std::string &name, const std::string &driver, const json::object &config) {
  json::object document;
  document["storage_pools"] = only(json::object{{"name", name}, {"driver", driver}, {"config", config}});
  json::object root{{"type", "disk"}, {"path", "/"}, {"pool", name}};
  document["profiles"] = only(json::object{{"name", "default"}, {"devices", {{"root", root}}}});
  return document;
}

json::value automatic(Context &c, Server &server) {
  auto driver = c.text("storage-backend"), pool = c.text("storage-pool"), device = c.text("storage-create-device");
  auto size = c.number("storage-create-loop");
  bool storage_flags = !driver.empty() || !pool.empty() || !device.empty() || c.given("storage-create-loop");
  if (driver.empty() || driver == "dir") {
    if (!pool.empty() || !device.empty() || c.given("storage-create-loop"))
      fail("None of --storage-pool, --storage-create-device or --storage-create-loop may be used with the 'dir' backend");
  } else if (!device.empty() && c.given("storage-create-loop")) {
    fail("Only one of --storage-create-device or --storage-create-loop can be specified");
  }
  if (c.text("network-address").empty() && c.given("network-port")) fail("--network-port can't be used without --network-address");
  json::value document = json::object();
  auto pools = server.get(url({"storage-pools"}));
  bool have = pools.is_array() && !pools.get_array().empty();
  if (have && storage_flags) fail("Storage has already been configured");
  if (!have) {
    json::object config;
    if (!device.empty())
      config["source"] = device;
    else if (size > 0)
      config["size"] = fmt::format("{}GiB", size);
    else if (!pool.empty())
      config["source"] = pool;
    bool named = !pool.empty() && (!device.empty() || c.given("storage-create-loop"));
    document = pool_and_profile(named ? pool : "default", driver.empty() ? "dir" : driver, config);
  }
  if (auto address = c.text("network-address"); !address.empty())
    document.as_object()["config"] = {{"core.https_address", with_port(address, c.given("network-port") ? c.number("network-port") : 8443)}};
  return document;
}

json::value interactive(Server &server) {
  json::value document = json::object();
  auto pools = server.get(url({"storage-pools"}));
  bool have = pools.is_array() && !pools.get_array().empty();
  if (question("Do you want to configure a new storage pool?", !have)) {
    auto name = value_of("Name of the new storage pool", "default");
    Strings drivers;
    auto &environment = at(server.info(), "environment");
    for (auto &d : array_at(environment, "storage_supported_drivers")) drivers.push_back(str(d, "Name"));
    std::string driver =
        drivers.size() == 1 ? drivers[0] : value_of(fmt::format("Name of the storage backend to use ({})", join(drivers, ", ")), "dir");
    json::object config;
    if (auto source = value_of("Existing empty directory to use (leave empty for one of the server's own)", ""); !source.empty())
      config["source"] = source;
    document = pool_and_profile(name, driver, config);
  }
  if (question("Would you like the server to be available over the network?", false)) {
    auto address = value_of("Address to bind to (not including port)", "all");
    auto port = value_of("Port to bind to", "8443");
    document.as_object()["config"] = {{"core.https_address", with_port(address, std::atoll(port.c_str()))}};
  }
  if (question("Would you like a YAML \"init\" preseed to be printed?", false)) print(to_yaml(document) + "\n");
  return document;
}

bool exists(Server &server, const std::string &path) {
  try {
    server.get(path);
    return true;
  } catch (const incus::Error &e) {
    if (e.code() != incus::ErrorCode::not_found) throw;
    return false;
  }
}

/// Makes the object, or lays what is given over what is there.
void create_or_change(Server &server, const char *kind, const char *what, const json::value &given, std::string_view put) {
  auto name = str(given, "name");
  if (name.empty()) fail("The preseed names no {} in one of its entries", what);
  auto path = url({kind, name});
  try {
    if (!exists(server, path)) {
      server.send("POST", url({kind}), given);
      return;
    }
    Object o{&server, path, put, put, name};
    change_object(o, [&](json::value &now, const json::value &) {
      for (auto *map : {"config", "devices"})
        for (auto &e : object_at(given, map)) make_object(now, map)[e.key()] = e.value();
      if (auto d = str(given, "description"); !d.empty()) now.as_object()["description"] = d;
    });
  } catch (const incus::Error &e) {
    fail("Failed to set up {} \"{}\": {}", what, name, e.what());
  }
}

void apply(Server &server, const json::value &document) {
  if (at(document, "cluster").is_object() && truth(at(document, "cluster"), "enabled")) fail("This server can't be made a cluster member");
  if (!array_at(document, "networks").empty()) fail("Networks can't be created by this program yet: remove `networks` from the preseed");
  if (!array_at(document, "storage_volumes").empty())
    fail("Storage volumes can't be created by this program yet: remove `storage_volumes` from the preseed");
  if (!object_at(document, "config").empty()) {
    Object o{&server, "/1.0", "ServerPut", "ServerPut", "the server"};
    change_object(o, [&](json::value &now, const json::value &) {
      for (auto &e : object_at(document, "config")) make_object(now, "config")[e.key()] = e.value();
    });
  }
  for (auto &p : array_at(document, "storage_pools")) create_or_change(server, "storage-pools", "storage pool", p, "StoragePoolPut");
  for (auto &p : array_at(document, "projects")) create_or_change(server, "projects", "project", p, "ProjectPut");
  for (auto &p : array_at(document, "profiles")) {
    auto before = server.project();
    if (auto project = str(p, "project"); !project.empty()) server.use_project(project);
    create_or_change(server, "profiles", "profile", p, "ProfilePut");
    server.use_project(before);
  }
}

int dump(Server &server) {
  json::object o;
  o["config"] = at(server.info(), "config");
  auto list = [&](const char *kind, std::string_view type) {
    json::array out;
    auto all = server.get(url({kind}) + "?recursion=1");
    for (auto &v : all.as_array()) out.push_back(shaped(v, type));
    return out;
  };
  json::array networks;
  auto all = server.get(url({"networks"}) + "?recursion=1");
  for (auto &n : all.as_array())
    if (truth(n, "managed")) networks.push_back(shaped(n, "PreseedNetwork"));
  o["networks"] = networks;
  o["storage_pools"] = list("storage-pools", "StoragePoolsPost");
  o["profiles"] = list("profiles", "PreseedProfile");
  for (auto &p : o["profiles"].as_array()) p.as_object()["project"] = ""; // the default one is meant
  o["projects"] = list("projects", "ProjectsPost");
  print(to_yaml(shaped(o, "Preseed"), "Preseed") + "\n");
  return 0;
}

int run(Context &c) {
  if (c.flag("auto") && c.flag("preseed")) fail("Can't use --auto and --preseed together");
  if (c.flag("minimal") && c.flag("preseed")) fail("Can't use --minimal and --preseed together");
  if (c.flag("minimal") && c.flag("auto")) fail("Can't use --minimal and --auto together");
  static const char *const details[] = {"network-address",       "network-port",        "storage-backend",
                                        "storage-create-device", "storage-create-loop", "storage-pool"};
  bool any = std::any_of(std::begin(details), std::end(details), [&](auto *f) { return c.given(f); });
  if (!c.flag("auto") && any) fail("Configuration flags require --auto");
  if (c.flag("dump") && (any || c.flag("auto") || c.flag("minimal") || c.flag("preseed"))) fail("Can't use --dump with other flags");
  auto &server = c.server("local");
  try {
    server.info();
  } catch (const incus::Error &e) {
    fail("Failed to connect to local daemon: {}", e.what());
  }
  if (c.flag("dump")) return dump(server);
  json::value document;
  if (c.flag("preseed")) {
    auto text = piped_input();
    document = from_yaml(text.value_or(""), "Preseed");
  } else {
    document = c.flag("auto") || c.flag("minimal") ? automatic(c, server) : interactive(server);
  }
  apply(server, document);
  return 0;
}

} // namespace

Command admin_init_command() {
  Command c;
  c.names = "init";
  c.brief = "Configure the daemon";
  c.run = run;
  c.flags = {{Flag::toggle, "auto", 0, "", "Automatic (non-interactive) mode"},
             {Flag::toggle, "minimal", 0, "", "Minimal configuration (non-interactive)"},
             {Flag::toggle, "preseed", 0, "", "Pre-seed mode, expects YAML config from stdin"},
             {Flag::toggle, "dump", 0, "", "Dump YAML config to stdout"},
             {Flag::text, "network-address", 0, "", "Address to bind to (default: none)"},
             {Flag::number, "network-port", 0, "-1", "Port to bind to (default: 8443)"},
             {Flag::text, "storage-backend", 0, "", "Storage backend to use (default: dir)"},
             {Flag::text, "storage-create-device", 0, "", "Setup device based storage using DEVICE"},
             {Flag::number, "storage-create-loop", 0, "-1", "Setup loop based storage with SIZE in GiB"},
             {Flag::text, "storage-pool", 0, "", "Storage pool to use or create"}};
  c.examples = "incus admin init --minimal\nincus admin init --auto --network-address all\nincus admin init --preseed < init.yaml";
  return c;
}

} // namespace cli
