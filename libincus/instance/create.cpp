// SPDX-License-Identifier: Apache-2.0
#include <boost/json.hpp>
#include <cerrno>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.hpp"
#include "base/ids.hpp"
#include "base/names.hpp"
#include "base/time.hpp"
#include "device/device.hpp"
#include "instance/keys.hpp"
#include "instance/manager.hpp"
#include "schema/schema.hpp"
#include "storage/backup_place.hpp"
#include "sys/fault.hpp"
#include "sys/idmap.hpp"

namespace incus::instance {

namespace json = boost::json;

namespace {
json::object where(const db::InstanceRow &row, const std::string &pool) {
  return {{"project", row.project}, {"name", row.name}, {"store", storage::store_name(row.project, row.name)}, {"pool", pool}, {"id", row.id}};
}
std::string text(const json::object &o, const char *key) { return std::string(o.at(key).as_string()); }
} // namespace

void Manager::check_create(const std::string &project, InstanceCreate &r) {
  db::project_id(ctx_.global, project);
  if (r.name.empty()) {
    do r.name = base::random_name();
    while (db::instance(ctx_.global, project, r.name));
  }
  base::InstanceName::parse(r.name);
  if (!r.type.empty() && r.type != "container")
    base::fail(ErrorCode::not_supported, "instance type {} is not supported: only \"container\" is, so far", base::quoted(r.type));
  if (r.stateful || !r.restore.empty()) base::fail(ErrorCode::not_supported, "stateful creation is not supported for containers");
  auto &s = r.source;
  if (s.type.empty()) base::fail(ErrorCode::invalid_argument, "the source of instance {} has no type: it must be image, none or copy", base::quoted(r.name));
  if (s.type != "image" && s.type != "none" && s.type != "copy")
    base::fail(ErrorCode::invalid_argument, "unknown source type {}: must be image, none or copy", base::quoted(s.type));
  if (s.type == "image" && s.alias.empty() && s.fingerprint.empty() && s.properties.empty())
    base::fail(ErrorCode::invalid_argument, "an image source needs an alias, a fingerprint or properties");
  if (!s.server.empty() && (s.type != "image" || (s.alias.empty() && s.fingerprint.empty())))
    base::fail(ErrorCode::invalid_argument, "a source on the server {} must be an image, named by its alias or fingerprint", base::quoted(s.server));
  if (s.type == "copy") {
    if (s.source.empty()) base::fail(ErrorCode::invalid_argument, "a copy needs the name of its source");
    auto from = s.source.substr(0, s.source.find('/'));
    auto src = row(s.project.empty() ? project : s.project, from);
    if (auto cut = s.source.find('/'); cut != std::string::npos && !db::snapshot(ctx_.global, src.id, s.source.substr(cut + 1)))
      base::fail(ErrorCode::not_found, "snapshot {} of instance {} not found", base::quoted(s.source.substr(cut + 1)), base::quoted(from));
    if (!r.profiles) r.profiles = src.profiles;
  } else if (s.type == "image" && s.server.empty()) {
    auto image = s.alias.empty() && s.fingerprint.empty() ? ctx_.images.find(project, s.properties) : ctx_.images.resolve(project, s.alias.empty() ? s.fingerprint : s.alias);
    // One of another project may name profiles of that project alone.
    if (!r.profiles && (!image.profiles.empty() || image.project == project)) r.profiles = image.profiles;
  }
  if (!r.profiles) r.profiles = {"default"};
  std::set<std::string> seen;
  for (auto &p : *r.profiles) {
    if (!seen.insert(p).second) base::fail(ErrorCode::invalid_argument, "profile {} is named twice", base::quoted(p));
    if (!db::profile(ctx_.global, project, p)) base::fail(ErrorCode::not_found, "profile {} not found", base::quoted(p));
  }
  if (!r.instance_type.empty())
    for (auto &[k, v] : limits_of_size(r.instance_type)) r.config.emplace(k, v);
  drop_host_names(r.config, {});
  // What it started with last, and the owners of its files, only the engine knows.
  std::erase_if(r.config, [](auto &kv) { return kv.first.starts_with("volatile.last_state.") || kv.first.starts_with("volatile.idmap."); });
  validate_instance_config(r.config, "instance " + base::quoted(r.name), false);
  if (db::instance(ctx_.global, project, r.name)) base::fail(ErrorCode::already_exists, "instance {} already exists", base::quoted(r.name));
}

db::InstanceRow Manager::row_from(const std::string &project, const InstanceCreate &r) {
  db::InstanceRow row;
  row.project = project;
  row.name = r.name;
  row.description = r.description;
  row.ephemeral = r.ephemeral;
  row.created_at = base::now();
  row.config = r.config;
  row.devices = r.devices;
  row.profiles = *r.profiles;
  row.architecture = r.architecture.empty() ? image::host_architecture() : image::canonical_architecture(r.architecture);
  if (row.architecture.empty()) base::fail(ErrorCode::invalid_argument, "unknown architecture {}", base::quoted(r.architecture));
  return row;
}

void Manager::create(const std::string &project, InstanceCreate request, const Report &report) {
  check_create(project, request);
  Claim claim(*this, project, request.name, "create");
  // Between the check and the claim another one may have been made.
  if (db::instance(ctx_.global, project, request.name)) base::fail(ErrorCode::already_exists, "instance {} already exists", base::quoted(request.name));
  ctx_.pools.ensure_default();
  auto row = row_from(project, request);
  if (request.source.type == "image")
    create_from_image(row, request, report);
  else if (request.source.type == "copy")
    create_copy(row, request, report);
  else
    create_empty(row);
  event("instance-created", project, row.name);
  if (request.start) start_claimed(project, row.name);
}

void Manager::store_new(db::InstanceRow &row, const Root &root, const NewVolume &volume, const char *trigger) {
  row.config["volatile.uuid"] = base::uuid();
  row.config["volatile.uuid.generation"] = row.config["volatile.uuid"];
  row.config["volatile.cloud-init.instance-id"] = base::uuid();
  row.config["volatile.apply_template"] = trigger;
  row.config["volatile.idmap.base"] = "0";
  row.config.emplace("volatile.last_state.idmap", sys::format_idmap({}));
  // An address that is chosen now stays for life.
  auto e = expand(row);
  if (!schema::truthy(schema::value(instance_keys(), e.config, "security.idmap.isolated")))
    row.config["volatile.idmap.next"] = sys::format_idmap(sys::choose_idmap(e.config, {}));
  device::prepare_all(row.name, e.devices, row.config);
  tell_size(row.name, {}, e.devices);
  ctx_.global.transaction([&] {
    auto fresh = row;
    fresh.id = db::insert_instance(ctx_.global, fresh);
    db::VolumeFull v;
    static_cast<db::VolumeRow &>(v) = {row.project, row.name, root.pool, volume.like.first, "", 0, row.created_at};
    v.config = volume.like.second;
    db::insert_volume(ctx_.global, v);
    for (auto s : volume.snapshots) {
      s.instance_id = fresh.id;
      db::insert_snapshot(ctx_.global, s);
      for (auto &like : volume.snapshots_like)
        if (like.name == s.name) db::set_snapshot_volume(ctx_.global, fresh.id, s.name, like);
    }
    row.id = fresh.id;
  });
}

void Manager::create_from_image(db::InstanceRow &row, const InstanceCreate &r, const Report &report) {
  auto &s = r.source;
  auto image = image_of(row.project, s);
  if (!r.architecture.empty() && row.architecture != image.architecture)
    base::fail(ErrorCode::invalid_argument, "architecture {} was asked for, but image {} is for {}", row.architecture, image.fingerprint.substr(0, 12), image.architecture);
  row.architecture = image.architecture;
  for (auto &[k, v] : image.properties) row.config.emplace("image." + k, v);
  row.config["volatile.base_image"] = image.fingerprint;
  auto e = expand(row);
  check_expanded(row, e, true);
  auto root = root_of(row, e);
  auto in_use = ctx_.images.ensure_volume(image, root.pool, [&](std::uint64_t done, std::uint64_t total) { report("unpack", done, total); });
  if (root.driver->exists(root.volume))
    base::fail(ErrorCode::conflict, "cannot create instance {}: pool {} holds a volume of that name that no instance owns", base::quoted(row.name), base::quoted(root.pool));
  db::Intent intent(ctx_.journal, "instance.create", where(row, root.pool));
  root.driver->create_from_image(root.volume, {storage::VolumeType::image, image.fingerprint},
                                 [&](std::uint64_t done, std::uint64_t total) { report("copy", done, total); });
  link(root);
  store_new(row, root, {});
  intent.done();
  ctx_.images.touch(image.id);
}

void Manager::create_empty(db::InstanceRow &row) {
  auto e = expand(row);
  check_expanded(row, e, true);
  auto root = root_of(row, e);
  if (root.driver->exists(root.volume))
    base::fail(ErrorCode::conflict, "cannot create instance {}: pool {} holds a volume of that name that no instance owns", base::quoted(row.name), base::quoted(root.pool));
  db::Intent intent(ctx_.journal, "instance.create", where(row, root.pool));
  root.driver->create_empty(root.volume);
  link(root);
  store_new(row, root, {});
  intent.done();
}

void Manager::recover_create(const json::object &d) {
  if (db::instance(ctx_.global, text(d, "project"), text(d, "name"))) return;
  remove_traces(text(d, "store"), 0, text(d, "pool"));
}

void Manager::remove(const std::string &project, const std::string &name) {
  Claim claim(*this, project, name, "delete");
  auto r = row(project, name);
  if (is_live(r.id)) base::fail(ErrorCode::conflict, "cannot delete instance {}: Instance is running; stop it first", base::quoted(name));
  if (schema::truthy(schema::value(instance_keys(), expand(r).config, "security.protection.delete")))
    base::fail(ErrorCode::conflict, "cannot delete instance {}: security.protection.delete is set; unset it first", base::quoted(name));
  remove_claimed(r);
}

void Manager::remove_claimed(const db::InstanceRow &r) {
  std::string pool;
  for (auto &v : db::volumes(ctx_.global))
    if (v.type == 0 && v.project == r.project && v.name == r.name) pool = v.pool;
  if (!pool.empty()) ctx_.pools.driver(pool)->open(); // one whose disk is gone keeps its rows
  Files::Hold no_sessions(files_, r.id);
  db::Intent intent(ctx_.journal, "instance.remove", where(r, pool));
  ctx_.global.transaction([&] {
    db::delete_instance(ctx_.global, r.id);
    db::delete_volume(ctx_.global, pool, r.project, r.name, 0);
  });
  event("instance-deleted", r.project, r.name);
  remove_traces(storage::store_name(r.project, r.name), r.id, pool);
  intent.done();
}

void Manager::recover_remove(const json::object &d) {
  // A row of that name: nothing was removed yet, or a new one has come since.
  if (db::instance(ctx_.global, text(d, "project"), text(d, "name"))) return;
  remove_traces(text(d, "store"), d.at("id").as_int64(), text(d, "pool"));
}

void Manager::remove_traces(const std::string &store, std::int64_t id, const std::string &pool) {
  unlink(store);
  if (!pool.empty() && !db::pools(ctx_.global, pool).empty()) ctx_.pools.driver(pool)->remove_volume({storage::VolumeType::container, store});
  if (id) ctx_.runtime.forget({id, store});
  {
    std::lock_guard lock(mutex_);
    restarts_.erase(id);
  }
  storage::BackupPlace::of_instance(ctx_.directory, store).remove_all();
  logs_.forget(store);
}

namespace {
void make_link(const std::string &target, const std::string &path) {
  sys::FaultScope fault("symlink instance");
  if (::symlink(target.c_str(), path.c_str()) == 0) return;
  if (errno != EEXIST) base::fail_errno(errno, "cannot make " + path);
  // One that an earlier process left; it may point elsewhere.
  if (::unlink(path.c_str()) != 0 || ::symlink(target.c_str(), path.c_str()) != 0) base::fail_errno(errno, "cannot replace " + path);
}
} // namespace

void Manager::link(const Root &root) {
  if (ctx_.directory.empty()) return;
  auto pool = ctx_.pools.directory(root.pool);
  make_link(pool + "/containers/" + root.volume.name, ctx_.directory + "/containers/" + root.volume.name);
  make_link(pool + "/containers-snapshots/" + root.volume.name, ctx_.directory + "/containers-snapshots/" + root.volume.name);
}

void Manager::unlink(const std::string &store) {
  if (ctx_.directory.empty()) return;
  sys::FaultScope fault("unlink instance");
  for (auto *d : {"/containers/", "/containers-snapshots/"}) {
    auto path = ctx_.directory + d + store;
    if (::unlink(path.c_str()) != 0 && errno != ENOENT) base::fail_errno(errno, "cannot remove " + path);
  }
}

void Manager::rename(const std::string &project, const std::string &name, const std::string &new_name) {
  base::InstanceName::parse(new_name);
  if (new_name == name) return;
  Claim claim(*this, project, name, "rename"), other(*this, project, new_name, "rename");
  auto r = row(project, name);
  must_not_run(r, "rename");
  if (db::instance(ctx_.global, project, new_name)) base::fail(ErrorCode::already_exists, "instance {} already exists", base::quoted(new_name));
  auto root = root_of(r, expand(r));
  auto data = where(r, root.pool);
  data["new_name"] = new_name;
  data["new_store"] = storage::store_name(project, new_name);
  if (root.driver->exists({storage::VolumeType::container, text(data, "new_store")}))
    base::fail(ErrorCode::conflict, "cannot rename instance {}: pool {} holds a volume called {} that no instance owns", base::quoted(name), base::quoted(root.pool),
               base::quoted(text(data, "new_store")));
  Files::Hold no_sessions(files_, r.id);
  db::Intent intent(ctx_.journal, "instance.rename", data);
  move_traces(data, true);
  ctx_.global.transaction([&] {
    db::rename_instance(ctx_.global, r.id, new_name);
    db::rename_volume(ctx_.global, project, name, 0, new_name);
    std::map<std::string, std::string> changes{{"volatile.cloud-init.instance-id", base::uuid()}};
    // What waits for the next start (templates of its creation or copy) is more than a new name's.
    if (!r.config.count("volatile.apply_template")) changes["volatile.apply_template"] = "rename";
    db::set_instance_config(ctx_.global, r.id, changes);
  });
  intent.done();
  event("instance-renamed", project, new_name, {{"old_name", name}});
}

void Manager::move_traces(const json::object &d, bool forward) {
  auto from = text(d, forward ? "store" : "new_store"), to = text(d, forward ? "new_store" : "store");
  auto id = d.at("id").as_int64();
  Root root{text(d, "pool"), ctx_.pools.driver(text(d, "pool")), {storage::VolumeType::container, to}};
  root.driver->rename({storage::VolumeType::container, from}, to);
  unlink(from);
  link(root);
  ctx_.runtime.rename({id, from}, {id, to});
  storage::BackupPlace::of_instance(ctx_.directory, from).move_to(storage::BackupPlace::of_instance(ctx_.directory, to));
  logs_.rename(from, to);
}

void Manager::recover_rename(const json::object &d) {
  auto r = db::instance(ctx_.global, d.at("id").as_int64());
  if (!r) return;
  move_traces(d, r->name == text(d, "new_name"));
}

} // namespace incus::instance
