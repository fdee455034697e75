// SPDX-License-Identifier: Apache-2.0
#include <boost/json.hpp>
#include <cstdio>
#include <fstream>
#include <sys/utsname.h>
#include <unistd.h>

#include "api/records_trust.hpp"
#include "base/error.hpp"
#include "base/names.hpp"
#include "embed/certificates.hpp"
#include "embed/config_keys.hpp"
#include "embed/engine.hpp"

namespace incus::embed {

namespace json = boost::json;

namespace {

struct System {
  utsname kernel{};
  std::string os_name, os_version;
  int major = 0, minor = 0;
};

/// What does not change while the process lives.
const System &system_facts() {
  static const System facts = [] {
    System s;
    ::uname(&s.kernel);
    std::sscanf(s.kernel.release, "%d.%d", &s.major, &s.minor);
    std::ifstream file("/etc/os-release");
    for (std::string line; std::getline(file, line);) {
      auto *to = line.starts_with("NAME=") ? &s.os_name : line.starts_with("VERSION_ID=") ? &s.os_version : nullptr;
      if (!to) continue;
      *to = line.substr(line.find('=') + 1);
      if (to->size() > 1 && to->front() == '"' && to->back() == '"') *to = to->substr(1, to->size() - 2);
    }
    return s;
  }();
  return facts;
}

json::object kernel_features() {
  auto &s = system_facts();
  auto since = [&](int major, int minor) { return s.major > major || (s.major == major && s.minor >= minor) ? "true" : "false"; };
  return {{"idmapped_mounts", since(5, 12)},  {"netnsid_getifaddrs", since(5, 0)},       {"seccomp_listener", since(5, 0)}, {"seccomp_listener_continue", since(5, 5)},
          {"uevent_injection", since(4, 18)}, {"unpriv_binfmt", since(6, 7)}, {"unpriv_fscaps", since(4, 14)}};
}

/// What of liblxc instances here can use: clients and tests decide by these what to try.
json::object lxc_features() {
  json::object out;
  for (auto *yes : {"cgroup2", "devpts_fd", "idmapped_mounts_v2", "mount_injection_file", "pidfd", "seccomp_allow_deny_syntax"}) out[yes] = "true";
  for (auto *no : {"core_scheduling", "network_gateway_device_route", "network_ipvlan", "network_l2proxy", "network_phys_macvlan_mtu", "network_veth_router",
                   "seccomp_notify", "seccomp_proxy_send_notify_fd"})
    out[no] = "false";
  return out;
}

bool for_everybody(const std::string &key) { return key.starts_with("user.ui."); }

} // namespace

Config Engine::server_config() {
  Config out;
  std::scoped_lock lock(global_->mutex());
  global_->query("SELECT key, value FROM config", {}, [&](const db::Row &r) {
    if (schema::find(server_keys(), r.text(0))) out[r.text(0)] = r.text(1);
  });
  local_->query("SELECT key, value FROM config", {}, [&](const db::Row &r) {
    if (schema::find(local_server_keys(), r.text(0))) out[r.text(0)] = r.text(1);
  });
  return out;
}

json::object Engine::environment(const api::Request &q, const Config &config) {
  auto &s = system_facts();
  char host[256] = "";
  ::gethostname(host, sizeof host - 1);
  json::object e;
  auto https = config.find("core.https_address");
  e["addresses"] = api::to_json(https == config.end() ? std::vector<std::string>{} : listen_addresses(https->second));
  e["architectures"] = json::array{image::host_architecture()};
  auto [certificate, fingerprint] = server_certificate();
  e["certificate"] = certificate;
  e["certificate_fingerprint"] = fingerprint;
  e["driver"] = mock_ ? "mock" : "lxc";
  e["driver_version"] = "";
  e["firewall"] = "nftables";
  e["kernel"] = s.kernel.sysname;
  e["kernel_architecture"] = s.kernel.machine;
  e["kernel_features"] = kernel_features();
  e["kernel_version"] = s.kernel.release;
  e["lxc_features"] = lxc_features();
  e["os_name"] = s.os_name;
  e["os_version"] = s.os_version;
  e["project"] = q.may_use(q.project()) ? q.project() : "default";
  e["server"] = "incus";
  e["server_clustered"] = false;
  e["server_event_mode"] = "full-mesh";
  e["server_name"] = host;
  e["server_pid"] = ::getpid();
  e["server_version"] = INCUS_VERSION;
  std::set<std::string> used;
  for (auto &p : db::pools(*global_)) used.insert(p.driver);
  std::string names, versions;
  for (auto &d : used) {
    names += (names.empty() ? "" : " | ") + d;
    versions += versions.empty() ? "1" : " | 1";
  }
  e["storage"] = names;
  json::array drivers;
  for (auto &d : pools_->driver_names()) drivers.push_back({{"Name", d}, {"Version", "1"}, {"Remote", false}});
  e["storage_supported_drivers"] = std::move(drivers);
  e["storage_version"] = versions;
  return e;
}

api::Reply Engine::server_get(api::Request &q) {
  auto config = server_config();
  ServerInfo s;
  s.api_status = "stable";
  s.api_version = "1.0";
  for (auto *e : api::extensions()) s.api_extensions.push_back(e);
  s.auth = q.from_trusted() ? "trusted" : "untrusted";
  s.auth_methods = {"tls"};
  for (auto &[k, v] : config)
    if (q.from_admin() || for_everybody(k)) s.config[k] = v;
  if (q.caller) {
    s.auth_user_name = q.caller->name;
    s.auth_user_method = q.caller->kind == api::Caller::Kind::local ? "unix" : "tls";
  }
  auto reply = api::to_json(s);
  auto &o = reply.as_object();
  if (!q.from_trusted()) {
    for (auto *hidden : {"auth_user_name", "auth_user_method", "environment"}) o.erase(hidden);
    return {std::move(reply), {}, {}};
  }
  o["environment"] = environment(q, config);
  return {std::move(reply), etag_of(api::to_json(s.config)), {}};
}

namespace {
void store_config(db::Connection &c, std::span<const schema::Key> keys, const Config &before, const Config &after) {
  for (auto &[k, v] : before)
    if (!after.count(k) && schema::find(keys, k)) c.exec("DELETE FROM config WHERE key = ?", {k});
  for (auto &[k, v] : after)
    if (schema::find(keys, k) && (!before.count(k) || before.at(k) != v)) db::set_config(c, k, v);
}
} // namespace

/// Two stores and the listeners of whoever serves the host must agree: changes are made one at a time, listeners first (they may refuse), and
/// what was done is undone when a later part fails.
api::Reply Engine::change_server(api::Request &q, bool patch) {
  auto to = api::from_json<api::ServerUpdate>(q.body);
  std::lock_guard one(config_mutex_);
  auto before = server_config();
  check_match(q.if_match, etag_of(api::to_json(before)), "the server's configuration");
  auto after = patch ? before : Config{};
  for (auto &[k, v] : to.config) after[k] = v;
  validate_server_config(after);
  std::erase_if(after, [](auto &kv) { return kv.second.empty(); });
  if (config_hook_) config_hook_(before, after);
  bool local_done = false;
  try {
    local_->transaction([&] { store_config(*local_, local_server_keys(), before, after); });
    local_done = true;
    global_->transaction([&] { store_config(*global_, server_keys(), before, after); });
  } catch (const std::exception &e) {
    log_.error("server configuration: {}; going back to what it was", e.what());
    if (local_done) local_->transaction([&] { store_config(*local_, local_server_keys(), after, before); });
    if (config_hook_) config_hook_(after, before);
    throw;
  }
  auto changed = [&](const char *key) { return before.contains(key) != after.contains(key) || (before.contains(key) && before.at(key) != after.at(key)); };
  bool daemon;
  {
    std::lock_guard lock(background_mutex_);
    daemon = minutes_.joinable();
  }
  if (daemon && (changed("images.auto_update_interval") || changed("images.remote_cache_expiry"))) expire_images();
  trust_generation_++;
  events_.lifecycle("config-updated", "/1.0", "default");
  return {};
}

api::Reply Engine::server_put(api::Request &q) { return change_server(q, false); }
api::Reply Engine::server_patch(api::Request &q) { return change_server(q, true); }

void Engine::on_server_config(ConfigHook hook) {
  std::lock_guard lock(config_mutex_);
  config_hook_ = std::move(hook);
}

/// A token's secret is for administrators; the rest is seen by who may use its project, and by who shows the operation's own secret.
bool Engine::may_see_operation(const api::Request &q, TaskOperation &op) {
  if (q.from_admin()) return true;
  if (q.from_trusted()) return op.kind() != "token" && q.may_use(op.project());
  auto shown = q.query.find("secret");
  auto text = op.info().metadata.text;
  if (shown == q.query.end() || shown->second.empty() || text.empty()) return false;
  auto metadata = api::parse_json(text, "metadata");
  auto *secret = metadata.is_object() ? metadata.get_object().if_contains("secret") : nullptr;
  return secret && secret->is_string() && etag_of(json::value(secret->get_string())) == etag_of(json::value(shown->second));
}

std::shared_ptr<TaskOperation> Engine::visible_operation(const api::Request &q) {
  auto op = operations_->find(q.path[0]);
  // As if it were not there.
  if (!may_see_operation(q, *op)) base::fail(ErrorCode::not_found, "operation {} not found", base::quoted(q.path[0]));
  return op;
}

api::Reply Engine::check_get(api::Request &) {
  std::vector<std::string> problems;
  pools_->check(problems);
  images_->check(problems);
  instances_->check(problems);
  backups_->check(problems);
  return {json::object{{"problems", api::to_json(problems)}}, {}, {}};
}

} // namespace incus::embed
