// SPDX-License-Identifier: Apache-2.0
// create, launch and rebuild.
#include <fstream>

#include "create.hpp"
#include "output.hpp"
#include "server.hpp"

namespace cli {

std::map<std::string, std::map<std::string, std::string>> device_overrides(const Strings &words) {
  std::map<std::string, std::map<std::string, std::string>> out;
  for (auto &w : words) {
    auto comma = w.find(','), equals = comma == std::string::npos ? comma : w.find('=', comma);
    if (equals == std::string::npos) fail("Bad device override syntax, expecting <device>,<key>=<value>: {}", w);
    out[w.substr(0, comma)][w.substr(comma + 1, equals - comma - 1)] = w.substr(equals + 1);
  }
  return out;
}

std::string image_fingerprint(Server &server, const std::string &name) {
  try {
    return str(server.get(url({"images", "aliases", name})), "target");
  } catch (const incus::Error &e) {
    if (e.code() != incus::ErrorCode::not_found) throw;
  }
  return str(server.get(url({"images", name})), "fingerprint");
}

Strings network_addresses(Server &server) {
  Strings out;
  auto &address = server.address();
  if (address.rfind("https://", 0) == 0) out.push_back(address);
  for (auto &a : array_at(at(server.info(), "environment"), "addresses")) {
    auto other = "https://" + std::string(a.as_string());
    if (other != address) out.push_back(std::move(other));
  }
  if (out.empty()) fail("The source server isn't listening on the network");
  return out;
}

incus::OperationInfo ask_over(Context &c, Server &server, const std::string &path, json::object &request, const Strings &addresses, const std::string &format) {
  for (std::size_t i = 0;; i++) {
    if (i < addresses.size()) request["source"].as_object()["server"] = addresses[i];
    try {
      auto op = server.start("POST", path, request);
      if (!op) fail("The server started no operation");
      return wait_for(c, *op, format);
    } catch (const incus::Error &e) {
      // An address may be one of a network that the other server does not see.
      std::string_view why = e.what();
      bool unreached = e.code() == incus::ErrorCode::unavailable || e.code() == incus::ErrorCode::timeout || why.find("cannot connect to") != why.npos ||
                       why.find("connection refused") != why.npos || why.find("no route to host") != why.npos;
      if (!unreached || i + 1 >= addresses.size()) throw;
    }
  }
}

json::value image_source(Context &c, const std::string &image_remote, const std::string &remote, std::string image, std::string *type, Strings *addresses) {
  if (image.empty()) image = "default";
  json::object source;
  source["type"] = "image";
  auto &from = c.settings.remote(image_remote);
  if (image_remote == remote) {
    auto &server = c.server(remote);
    auto fingerprint = image_fingerprint(server, image);
    source["fingerprint"] = fingerprint;
    if (type) *type = str(server.get(url({"images", fingerprint})), "type");
    return source;
  }
  if (from.protocol == "incus" && !from.is_public) {
    // The other server shows the image to this one by a secret.
    auto &server = c.server(image_remote);
    auto fingerprint = image_fingerprint(server, image);
    auto info = server.get(url({"images", fingerprint}));
    if (type) *type = str(info, "type");
    // By its alias a public image can be kept up to date; the secret of another one is for this one image.
    if (truth(info, "public") && fingerprint.rfind(image, 0) != 0)
      source["alias"] = image;
    else
      source["fingerprint"] = fingerprint;
    if (!truth(info, "public")) {
      if (auto op = server.start("POST", url({"images", fingerprint, "secret"}))) source["secret"] = str(metadata_of(op->info()), "secret");
    }
    auto &environment = at(server.info(), "environment");
    source["certificate"] = str(environment, "certificate");
    if (!server.project().empty() && server.project() != "default") source["project"] = server.project();
    auto reached = network_addresses(server);
    source["server"] = reached.front();
    if (addresses) *addresses = std::move(reached);
  } else {
    source["alias"] = image;
    source["server"] = from.address;
  }
  source["protocol"] = from.protocol;
  source["mode"] = "pull";
  return source;
}

namespace {

std::vector<Flag> create_flags() {
  return {{Flag::list, "config", 'c', "", "Config key/value to apply to the new instance"},
          {Flag::list, "profile", 'p', "", "Profile to apply to the new instance"},
          {Flag::list, "device", 'd', "", "New key/value to apply to a specific device"},
          {Flag::toggle, "ephemeral", 'e', "", "Ephemeral instance"},
          {Flag::text, "environment-file", 0, "", "Include environment variables from file"},
          {Flag::text, "network", 'n', "", "Network name"},
          {Flag::text, "storage", 's', "", "Storage pool name"},
          {Flag::text, "type", 't', "", "Instance type"},
          {Flag::text, "target", 0, "", "Cluster member name"},
          {Flag::toggle, "no-profiles", 0, "", "Create the instance with no profiles applied"},
          {Flag::toggle, "empty", 0, "", "Create an empty instance"},
          {Flag::toggle, "vm", 0, "", "Create a virtual machine"},
          {Flag::text, "description", 0, "", "Instance description"}};
}

void read_environment(const std::string &path, json::object &config) {
  std::ifstream in(path);
  if (!in) fail("Can't read from environment file: {}", path);
  for (std::string line; std::getline(in, line);) {
    if (line.empty() || line[0] == '#') continue;
    auto [key, value] = key_value(line);
    config["environment." + key] = value;
  }
}

json::object nic_of(Server &server, const std::string &name) {
  json::value network;
  try {
    network = server.get(url({"networks", name}));
  } catch (const incus::Error &e) {
    fail("Failed loading network \"{}\": {}", name, e.what());
  }
  json::object nic{{"name", "eth0"}, {"type", "nic"}};
  if (truth(network, "managed")) {
    nic["network"] = name;
  } else {
    nic["nictype"] = str(network, "type") == "bridge" ? "bridged" : "macvlan";
    nic["parent"] = name;
  }
  return nic;
}

/// Overrides of devices that profiles bring start from what the profiles say.
void override_devices(Context &c, Server &server, const json::value &profiles, json::object &devices) {
  std::optional<json::object> inherited;
  for (auto &[name, keys] : device_overrides(c.list("device"))) {
    if (!devices.if_contains(name)) {
      if (!inherited) {
        inherited.emplace();
        Strings names = profiles.is_array() && !profiles.get_array().empty() ? Strings() : Strings{"default"};
        if (names.empty())
          for (auto &p : profiles.get_array()) names.emplace_back(p.as_string());
        for (auto &p : names) {
          try {
            auto profile = server.get(url({"profiles", p}));
            for (auto &d : object_at(profile, "devices")) (*inherited)[d.key()] = d.value();
          } catch (const incus::Error &e) {
            fail("Failed loading profile \"{}\" for device override: {}", p, e.what());
          }
        }
      }
      auto *d = inherited->if_contains(name);
      if (!d) fail("Cannot override config for device \"{}\": Device not found in profile devices", name);
      devices[name] = *d;
    }
    for (auto &[key, value] : keys) devices[name].as_object()[key] = value;
  }
}

json::object wanted(Context &c, Server &server, const std::string &name, bool launch) {
  json::value given;
  if (auto text = piped_input(); text && !text->empty()) given = from_yaml(*text, "InstancePut");
  json::object config = object_at(given, "config"), devices = object_at(given, "devices");
  if (!c.text("network").empty()) devices["eth0"] = nic_of(server, c.text("network"));
  if (!c.text("environment-file").empty()) read_environment(c.text("environment-file"), config);
  for (auto &entry : c.list("config")) {
    auto equals = entry.find('=');
    if (equals == std::string::npos) fail("Bad key=value pair: \"{}\"", entry);
    config[entry.substr(0, equals)] = entry.substr(equals + 1);
  }
  if (auto pool = c.text("storage"); !pool.empty()) {
    try {
      server.get(url({"storage-pools", pool}));
    } catch (const incus::Error &e) {
      fail("Failed loading storage pool \"{}\": {}", pool, e.what());
    }
    devices["root"] = {{"type", "disk"}, {"path", "/"}, {"pool", pool}};
  }
  json::value profiles;
  if (c.given("profile")) {
    profiles = json::value_from(c.list("profile"));
  } else if (c.flag("no-profiles")) {
    profiles = json::array();
  } else if (!array_at(given, "profiles").empty()) {
    profiles = array_at(given, "profiles");
  }
  override_devices(c, server, profiles, devices);
  json::object r;
  r["name"] = name;
  r["type"] = c.flag("vm") ? "virtual-machine" : "container";
  if (!c.text("type").empty()) r["instance_type"] = c.text("type");
  r["config"] = std::move(config);
  r["devices"] = std::move(devices);
  r["ephemeral"] = c.flag("ephemeral");
  r["description"] = c.text("description").empty() ? str(given, "description") : c.text("description");
  if (!profiles.is_null()) r["profiles"] = profiles;
  r["start"] = launch;
  return r;
}

void check_network(Server &server, const std::string &name) {
  try {
    auto made = server.get(url({"instances", name}));
    for (auto &d : object_at(made, "expanded_devices"))
      if (str(d.value(), "type") == "nic") return;
  } catch (const incus::Error &) {
    return; // ephemeral, and gone already
  }
  print_error("\nThe instance you are starting doesn't have any network attached to it.\n"
              "  To create a new network, use: incus network create\n"
              "  To attach a network to an instance, use: incus network attach\n\n");
}

int make(Context &c, bool launch) {
  bool empty = c.flag("empty");
  if (empty && c.args.size() > 1) fail("--empty cannot be combined with an image name");
  auto [image_remote, image] = c.split(c.arg(0));
  auto [remote, name] = c.split(empty ? c.arg(0) : c.arg(1));
  auto &server = c.server(remote);
  if (!c.quiet()) {
    if (name.empty())
      say("{} the instance\n", launch ? "Launching" : "Creating");
    else
      say("{} {}\n", launch ? "Launching" : "Creating", name);
  }
  auto request = wanted(c, server, name, launch);
  Strings addresses;
  if (empty) {
    request["source"] = {{"type", "none"}};
  } else {
    std::string type;
    request["source"] = image_source(c, image_remote, remote, image, &type, &addresses);
    if (!type.empty()) {
      if (c.flag("vm") && type != "virtual-machine") fail("Asked for a VM but image is of type container");
      request["type"] = type;
    }
  }
  auto path = url({"instances"});
  if (!c.text("target").empty()) path += "?target=" + escape(c.text("target"));
  auto done = ask_over(c, server, path, request, addresses, empty ? "" : "Retrieving image: {}");
  if (name.empty()) {
    name = resource_name(done, "instances");
    if (name.empty()) fail("Didn't get name of new instance from the server");
    say("Instance name is: {}\n", name);
  }
  check_network(server, name);
  if (launch && !c.text("console").empty()) return attach_console(c, server, name, c.text("console"));
  return 0;
}

int create(Context &c) {
  if (c.args.empty() && !c.flag("empty")) {
    print(help_text(c.command, c.path, false));
    return 0;
  }
  return make(c, false);
}
int launch(Context &c) { return make(c, true); }

int rebuild(Context &c) {
  bool empty = c.flag("empty");
  if (!empty && c.args.size() < 2) fail("Missing instance name");
  if (empty && c.args.size() > 1) fail("--empty cannot be combined with an image name");
  auto [image_remote, image] = c.split(c.arg(0));
  auto [remote, name] = c.split(empty ? c.arg(0) : c.arg(1));
  auto &server = c.server(remote);
  auto current = server.get(url({"instances", name}));
  if (str(current, "status") == "Running" && c.flag("force")) {
    json::object stop{{"action", "stop"}, {"timeout", -1}, {"force", true}};
    server.finish("PUT", url({"instances", name, "state"}), stop);
  }
  json::object request;
  Strings addresses;
  request["source"] = empty ? json::value{{"type", "none"}} : image_source(c, image_remote, remote, image, nullptr, &addresses);
  ask_over(c, server, url({"instances", name, "rebuild"}), request, addresses, "Rebuild image: {}");
  if (str(current, "status") == "Running" && c.flag("force")) {
    json::object start{{"action", "start"}, {"timeout", -1}};
    server.finish("PUT", url({"instances", name, "state"}), start);
  }
  return 0;
}

} // namespace

Command create_command() {
  Command c;
  c.names = "create init";
  c.usage = "[<remote>:]<image> [<remote>:][<name>]";
  c.brief = "Create instances from images";
  c.most = 2;
  c.run = create;
  c.flags = create_flags();
  c.examples = R"(incus create debian c1
incus create debian c1 < config.yaml
    Create it with the configuration of config.yaml
incus create --empty c2 -c limits.memory=1GiB
incus create debian c3 -d root,size=5GiB -s fast)";
  return c;
}

Command launch_command() {
  Command c = create_command();
  c.names = "launch";
  c.brief = "Create and start instances from images";
  c.least = 1;
  c.run = launch;
  c.flags.push_back({Flag::text, "console", 0, "", "Immediately attach to the console", "console"});
  c.examples = R"(incus launch debian c1
incus launch debian c1 < config.yaml
    Create and start it with the configuration of config.yaml
incus launch debian c2 -e -c limits.cpu=2 -c limits.memory=512MiB -p default -p web)";
  return c;
}

Command rebuild_command() {
  Command c;
  c.names = "rebuild";
  c.usage = "[<remote>:]<image> [<remote>:]<instance>";
  c.brief = "Rebuild instances";
  c.details = "Puts the root disk back to a fresh copy of an image; name, configuration and devices stay.";
  c.least = 1;
  c.most = 2;
  c.run = rebuild;
  c.flags = {{Flag::toggle, "empty", 0, "", "Rebuild as an empty instance"},
             {Flag::toggle, "force", 'f', "", "If an instance is running, stop it and then rebuild it"}};
  c.examples = "incus rebuild debian c1 --force";
  return c;
}

} // namespace cli
