// SPDX-License-Identifier: Apache-2.0
// Every configuration key this library knows, as a document: from the rows that validate them.
#include <boost/json.hpp>

#include "device/device.hpp"
#include "embed/config_keys.hpp"
#include "embed/engine.hpp"
#include "instance/keys.hpp"
#include "storage/config.hpp"
#include "storage/driver.hpp"

namespace incus::embed {

namespace json = boost::json;

namespace {

struct Group {
  std::string_view prefix, name;
};

/// The group of a key: by its beginning, or the last one.
template <std::size_t N> std::string_view group_of(const Group (&groups)[N], std::string_view key) {
  for (auto &g : groups)
    if (key.starts_with(g.prefix)) return g.name;
  return "miscellaneous";
}

constexpr Group instance_groups[] = {{"boot.", "boot"},           {"cloud-init.", "cloud-init"}, {"user.meta-data", "cloud-init"}, {"user.network-config", "cloud-init"}, {"user.user-data", "cloud-init"}, {"user.vendor-data", "cloud-init"},
                                     {"migration.", "migration"},
                                     {"nvidia.", "nvidia"},       {"raw.", "raw"},               {"limits.", "resource-limits"}, {"security.", "security"},
                                     {"snapshots.", "snapshots"}, {"volatile.", "volatile"},     {"environment.", "miscellaneous"}};
constexpr Group server_groups[] = {{"acme.", "acme"}, {"cluster.", "cluster"}, {"core.", "core"}, {"images.", "images"}, {"loki.", "loki"}, {"oidc.", "oidc"}, {"openfga.", "openfga"}};
constexpr Group project_groups[] = {{"features.", "features"}, {"limits.", "limits"}, {"restricted", "restricted"}, {"", "specific"}};

json::object describe(const schema::Key &k, bool live) {
  std::string_view doc = k.doc ? k.doc : "";
  // The first sentence is the short form; more than one is the long one.
  auto end = doc.find(". ");
  std::string_view brief = doc.substr(0, end);
  if (brief.ends_with('.')) brief.remove_suffix(1);
  json::object o{{"type", k.type}, {"shortdesc", brief}, {"longdesc", end == doc.npos ? std::string_view() : doc}};
  if (live) o["liveupdate"] = k.live ? "yes" : "no";
  if (k.fallback && *k.fallback) o["defaultdesc"] = k.fallback;
  return o;
}

void add(json::object &entity, std::string_view group, const schema::Key &k, bool live) {
  auto &keys = entity.emplace(group, json::object{{"keys", json::array()}}).first->value().as_object()["keys"].as_array();
  keys.push_back(json::object{{k.name, describe(k, live)}});
}

} // namespace

api::Reply Engine::configuration_get(api::Request &) {
  json::object instance, devices, pool, configs;
  for (auto &k : instance::instance_keys()) add(instance, group_of(instance_groups, k.name), k, true);
  for (auto *type : device::types())
    for (auto &k : type->keys) add(devices, type->type, k, true);
  for (auto &k : storage::pool_keys()) add(pool, "common", k, false);
  for (auto *d : storage::drivers())
    for (auto &k : d->keys) add(pool, d->name, k, false);
  configs["instance"] = std::move(instance);
  configs["devices"] = std::move(devices);
  configs["storage_pool"] = std::move(pool);
  json::object server, project;
  for (auto &k : server_keys()) add(server, group_of(server_groups, k.name), k, false);
  for (auto &k : local_server_keys()) add(server, group_of(server_groups, k.name), k, false);
  for (auto &k : project_keys()) add(project, group_of(project_groups, k.name), k, false);
  configs["server"] = std::move(server);
  configs["project"] = std::move(project);
  return {json::object{{"configs", std::move(configs)}}, {}, {}};
}

} // namespace incus::embed
