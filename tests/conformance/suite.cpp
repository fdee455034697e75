// SPDX-License-Identifier: Apache-2.0
#include "suite.hpp"

#include <condition_variable>
#include <cstdlib>
#include <iostream>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <sys/mount.h>
#include <sys/stat.h>

#include "exceptions.hpp"
#include "guest.hpp"
#include "server.hpp"

namespace suite {

namespace {

struct State {
  std::string uri, driver, scratch;
  std::vector<std::unique_ptr<Server>> servers;
  std::map<std::string, OpenOptions> options; ///< of URIs that need more than themselves
  std::map<std::string, std::string> sockets; ///< of daemons that are reached otherwise
  std::vector<std::string> differences;
  std::optional<Host> host;
  int directories = 0;
};
State &state() {
  static State s;
  return s;
}

std::string new_directory() {
  auto &s = state();
  auto d = s.scratch + "/host" + std::to_string(s.directories++);
  std::filesystem::create_directories(d);
  ::chmod(d.c_str(), 0711);
  return d;
}

/// What a clean-up could not do is a failure of the test that left it.
template <class F> void tidy(F f) {
  try {
    f();
  } catch (const Error &e) {
    FAIL_CHECK("cannot clean up: " << e.what());
  }
}

} // namespace

bool real() { return state().uri != "test://"; }
bool remote() { return state().uri.starts_with("unix:") || state().uri.starts_with("https:") || official(); }
bool official() { return state().uri.starts_with("official:"); }
bool may_differ(const Attempt &a) {
  auto reason = reason_to_differ(a.text);
  if (reason.empty()) return false;
  state().differences.push_back(std::string(error_code_name(a.code)) + ", " + a.text + " (" + reason + ")");
  return true;
}
const std::string &scratch() { return state().scratch; }
Host &host() { return *state().host; }

Host reopen(const std::string &uri) {
  OpenOptions o;
  if (auto it = state().options.find(uri); it != state().options.end()) o = it->second;
  if (!remote()) o.storage_driver = state().driver;
  if (std::getenv("INCUS_TEST_LOG")) o.log = [](LogLevel, const std::string &line) { std::cerr << "  log: " << line << "\n"; };
  auto h = Host::open(uri, o);
  if (!real()) h.on_exec("", guest::command);
  return h;
}

Host fresh() {
  auto &s = state();
  if (!remote()) return reopen(real() ? "embed://" + new_directory() : s.uri);
  s.servers.push_back(std::make_unique<Server>(official() ? Daemon::official : Daemon::ours, new_directory()));
  if (!s.uri.starts_with("https:")) return reopen(s.servers.back()->unix_uri());
  OpenOptions o;
  auto uri = s.servers.back()->serve_https(o);
  s.options[uri] = o;
  s.sockets[uri] = s.servers.back()->unix_uri();
  return reopen(uri);
}

std::filesystem::path pool_directory(Host &host, const std::string &pool) {
  std::filesystem::path source = host.storage_pool(pool).info().config.at("source");
  return std::filesystem::is_directory(source) ? source : source.parent_path().parent_path() / "storage-pools" / pool; // of a loop file
}

std::string check(Host &host) {
  auto it = state().sockets.find(host.uri());
  return it == state().sockets.end() ? host.request("GET", "/internal/check") : Host::open(it->second).request("GET", "/internal/check");
}

std::vector<std::string> not_run() {
  std::vector<std::string> out;
  for (std::string door : {"memory", "remote", "https", "official"}) {
    if (door == "memory" ? real() : door == "remote" ? !remote() : door == "https" ? !state().uri.starts_with("https:") : !official()) continue;
    for (auto &e : exceptions(door)) {
      std::cout << "not run at this door: " << e.test_case << " (" << e.reason << ")\n";
      out.push_back(e.test_case);
    }
  }
  return out;
}

void open(const std::string &uri, const std::string &driver) {
  auto &s = state();
  const char *tmp = std::getenv("TMPDIR");
  std::string dir = std::string(tmp && *tmp ? tmp : "/var/tmp") + "/incus-conformance.XXXXXX";
  if (!::mkdtemp(dir.data())) throw std::runtime_error("cannot make " + dir);
  ::chmod(dir.c_str(), 0711); // an unprivileged guest must reach its root below it
  s.scratch = dir;
  s.uri = uri;
  s.driver = driver;
  s.host = uri.ends_with(":auto") ? fresh() : reopen(uri);
  ImageImport how;
  how.alias = "busy";
  s.host->import_image(guest_image(), how).wait();
}

void close() {
  auto &s = state();
  guest::release();
  s.host.reset();
  s.servers.clear();
  for (auto &d : s.differences) std::cout << "differs: " << d << "\n";
  // Pools stay mounted for the instances that outlive a host.
  for (auto &state : std::filesystem::directory_iterator(s.scratch))
    if (std::filesystem::is_directory(state.path() / "storage-pools"))
      for (auto &pool : std::filesystem::directory_iterator(state.path() / "storage-pools")) ::umount2(pool.path().c_str(), MNT_DETACH | UMOUNT_NOFOLLOW);
  std::filesystem::remove_all(s.scratch);
}

World::World() : host(suite::host()) {}

World::~World() {
  for (auto &i : host.instances()) {
    auto c = host.instance(i.name);
    tidy([&] {
      if (i.expanded_config.count("security.protection.delete")) c.patch({{"security.protection.delete", "false"}});
      if (i.status != "Stopped") c.stop(true).wait();
    });
    if (!i.ephemeral || i.status == "Stopped") tidy([&] { c.remove().wait(); });
  }
  tidy([&] {
    for (auto &p : host.profiles()) {
      if (p.name != "default")
        host.profile(p.name).remove();
      else if (!p.config.empty() || p.devices.size() > 1 || p.description.find("test") != std::string::npos)
        host.profile("default").update({{}, "Default Incus profile", {{"root", p.devices["root"]}}});
    }
    for (auto &i : host.images()) {
      bool keep = false;
      for (auto &a : i.aliases) {
        keep = keep || a.name == "busy";
        if (a.name != "busy") host.delete_image_alias(a.name);
      }
      if (!keep) host.image(i.fingerprint).remove().wait();
    }
    for (auto &p : host.storage_pools())
      if (p.name != "default") host.storage_pool(p.name).remove();
  });
  CHECK(host.instance_names().empty());
}

Instance World::make(const std::string &name, InstanceCreate request) {
  request.name = name;
  request.source.type = "image";
  request.source.alias = "busy";
  host.create_instance(request).wait();
  return host.instance(name);
}

Instance World::run(const std::string &name, InstanceCreate request) { return host.launch(name, "busy", std::move(request)); }

std::string next_action(EventListener &events, std::string *source) {
  auto e = events.next(20s);
  if (!e) return "";
  CHECK(e->type == "lifecycle");
  auto m = boost::json::parse(e->metadata.text).as_object();
  if (source) *source = m.at("source").as_string();
  return std::string(m.at("action").as_string());
}

bool saw(EventListener &events, const std::string &action) {
  for (;;) {
    auto a = next_action(events);
    if (a.empty() || a == action) return !a.empty();
  }
}

boost::json::value ask(Host &host, const std::string &path) { return ask(host, "GET", path); }
boost::json::value ask(Host &host, const std::string &method, const std::string &path, const std::string &body) {
  return boost::json::parse(host.request(method, path, body));
}

namespace {
std::optional<Operation> begin(Host &host, const std::string &method, const std::string &path, const std::string &body) {
  RawCall c;
  c.method = method;
  c.path = path;
  c.body = body;
  return host.call(c).operation;
}
} // namespace

void run(Host &host, const std::string &method, const std::string &path, const std::string &body) {
  if (auto operation = begin(host, method, path, body)) operation->wait();
}

OperationInfo finish(Host &host, const std::string &method, const std::string &path, const std::string &body) {
  auto operation = begin(host, method, path, body);
  REQUIRE(operation);
  return operation->wait();
}

std::string text(const boost::json::value &value) { return std::string(value.as_string()); }

} // namespace suite
