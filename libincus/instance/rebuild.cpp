// SPDX-License-Identifier: Apache-2.0
// A fresh root for an instance. It is made beside the old one under a name that no instance can have; the commit of the new configuration decides
// which of the two stays.
#include <boost/json.hpp>

#include "base/error.hpp"
#include "base/ids.hpp"
#include "base/names.hpp"
#include "instance/manager.hpp"
#include "sys/idmap.hpp"

namespace incus::instance {

namespace json = boost::json;

namespace {
std::string text(const json::object &o, const char *key) { return std::string(o.at(key).as_string()); }
constexpr auto container = storage::VolumeType::container;
} // namespace

void Manager::check_rebuild(const std::string &project, const std::string &name, const InstanceSource &s) {
  auto r = row(project, name);
  if (s.type != "image" && s.type != "none") base::fail(ErrorCode::invalid_argument, "unknown source type {}: must be image or none", base::quoted(s.type));
  if (is_live(r.id)) base::fail(ErrorCode::conflict, "cannot rebuild instance {}: Instance must be stopped to be rebuilt", base::quoted(name));
  if (!db::snapshots(ctx_.global, r.id).empty()) base::fail(ErrorCode::conflict, "cannot rebuild instance {}: it has snapshots; delete them first", base::quoted(name));
  if (s.type == "image" && s.server.empty()) image_of(project, s);
}

db::ImageRow Manager::image_of(const std::string &project, const InstanceSource &s) {
  if (s.alias.empty() && s.fingerprint.empty() && s.properties.empty())
    base::fail(ErrorCode::invalid_argument, "an image source needs an alias, a fingerprint or properties");
  auto image = s.alias.empty() && s.fingerprint.empty() ? ctx_.images.find(project, s.properties) : ctx_.images.resolve(project, s.alias.empty() ? s.fingerprint : s.alias);
  if (image.type != "container")
    base::fail(ErrorCode::not_supported, "image {} is for virtual machines, which are not supported yet", base::quoted(image.fingerprint.substr(0, 12)));
  if (!image::architecture_runs(image::host_architecture(), image.architecture))
    base::fail(ErrorCode::invalid_argument, "image {} is for architecture {}, this host ({}) cannot run it", base::quoted(image.fingerprint.substr(0, 12)),
               image.architecture, image::host_architecture());
  return image;
}

void Manager::rebuild(const std::string &project, const std::string &name, const InstanceSource &s, const Report &report) {
  Claim claim(*this, project, name, "rebuild");
  check_rebuild(project, name, s);
  auto r = row(project, name);
  auto fresh = r;
  std::erase_if(fresh.config, [](auto &kv) { return kv.first.starts_with("image.") || kv.first == "volatile.base_image" || kv.first == "volatile.idmap.current"; });
  std::optional<db::ImageRow> image;
  if (s.type == "image") {
    image = image_of(project, s);
    fresh.architecture = image->architecture;
    for (auto &[k, v] : image->properties) fresh.config["image." + k] = v;
    fresh.config["volatile.base_image"] = image->fingerprint;
  }
  auto token = base::uuid();
  fresh.config["volatile.uuid.generation"] = token;
  fresh.config["volatile.apply_template"] = "create";
  fresh.config["volatile.last_state.idmap"] = sys::format_idmap({});
  auto e = expand(fresh);
  check_expanded(fresh, e, false);
  auto root = root_of(fresh, e);
  image::Store::InUse in_use;
  if (image) in_use = ctx_.images.ensure_volume(*image, root.pool, [&](std::uint64_t done, std::uint64_t total) { report("unpack", done, total); });
  // Names of instances hold no '.'.
  storage::VolumeRef beside{container, root.volume.name + ".rebuild"};
  Files::Hold no_sessions(files_, r.id);
  db::Intent intent(ctx_.journal, "instance.rebuild", {{"id", r.id}, {"store", root.volume.name}, {"beside", beside.name}, {"pool", root.pool}, {"token", token}});
  if (image)
    root.driver->create_from_image(beside, {storage::VolumeType::image, image->fingerprint},
                                   [&](std::uint64_t done, std::uint64_t total) { report("copy", done, total); });
  else
    root.driver->create_empty(beside);
  ctx_.global.transaction([&] { db::update_instance(ctx_.global, fresh); });
  recover_rebuild(intent.data());
  intent.done();
  if (image) ctx_.images.touch(image->id);
  event("instance-rebuilt", project, name);
}

void Manager::recover_rebuild(const json::object &d) {
  if (db::pools(ctx_.global, text(d, "pool")).empty()) return;
  auto driver = ctx_.pools.driver(text(d, "pool"));
  storage::VolumeRef store{container, text(d, "store")}, beside{container, text(d, "beside")};
  auto r = db::instance(ctx_.global, d.at("id").as_int64());
  auto generation = r ? r->config.find("volatile.uuid.generation") : Config::iterator();
  if (!r || generation == r->config.end() || generation->second != text(d, "token")) {
    driver->remove_volume(beside);
    return;
  }
  if (!driver->exists(beside)) return; // done already
  driver->remove_volume(store);
  driver->rename(beside, store.name);
}

} // namespace incus::instance
