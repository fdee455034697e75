// SPDX-License-Identifier: Apache-2.0
#include <boost/json.hpp>

#include "base/error.hpp"
#include "base/names.hpp"
#include "instance/manager.hpp"

namespace incus::instance {

namespace {
/// A copy is another machine: of what the engine keeps only what describes the disk comes along.
Config for_copy(const Config &config) {
  Config out;
  for (auto &[k, v] : config)
    if (!k.starts_with("volatile.") || k == "volatile.base_image" || k == "volatile.last_state.idmap") out[k] = v;
  return out;
}
} // namespace

void Manager::create_copy(db::InstanceRow &r, const InstanceCreate &request, const Report &report) {
  auto &s = request.source;
  auto cut = s.source.find('/');
  auto from_name = s.source.substr(0, cut);
  auto from_project = s.project.empty() ? r.project : s.project;
  std::optional<std::string> from_snapshot;
  if (cut != std::string::npos) from_snapshot = s.source.substr(cut + 1);

  // The source may run, but must not be renamed, restored or deleted meanwhile.
  Claim claim(*this, from_project, from_name, "copy");
  auto src = row(from_project, from_name);
  auto config = src.config;
  auto devices = src.devices;
  if (from_snapshot) {
    auto snap = db::snapshot(ctx_.global, src.id, *from_snapshot);
    if (!snap) base::fail(ErrorCode::not_found, "snapshot {} of instance {} not found", base::quoted(*from_snapshot), base::quoted(from_name));
    config = snap->config;
    devices = snap->devices;
  }
  auto own_config = r.config;
  auto own_devices = r.devices;
  r.config = for_copy(config);
  for (auto &[k, v] : own_config) r.config[k] = v;
  r.devices = devices;
  for (auto &[k, d] : own_devices) r.devices[k] = d;
  if (request.architecture.empty()) r.architecture = src.architecture;
  if (r.description.empty()) r.description = src.description;

  auto e = expand(r);
  check_expanded(r, e, true);
  auto root = root_of(r, e), from = root_of(src, expand(src));
  if (root.pool != from.pool)
    base::fail(ErrorCode::not_supported, "cannot copy instance {} from storage pool {} to {}: copies between pools are not supported yet; give the root disk pool={}",
               base::quoted(from_name), base::quoted(from.pool), base::quoted(root.pool), from.pool);
  if (root.driver->exists(root.volume))
    base::fail(ErrorCode::conflict, "cannot create instance {}: pool {} holds a volume of that name that no instance owns", base::quoted(r.name), base::quoted(root.pool));

  db::Intent intent(ctx_.journal, "instance.create",
                    {{"project", r.project}, {"name", r.name}, {"store", root.volume.name}, {"pool", root.pool}, {"id", 0}});
  auto progress = [&](std::uint64_t done, std::uint64_t total) { report("copy", done, total); };
  root.driver->create_copy(root.volume, from.volume, from_snapshot, progress);
  std::vector<db::SnapshotRow> snapshots;
  if (!from_snapshot && !s.instance_only && root.driver->snapshots()) {
    for (auto &snap : db::snapshots(ctx_.global, src.id)) {
      root.driver->snapshots()->copy(root.volume, from.volume, snap.name, progress);
      snap.config = for_copy(snap.config);
      snapshots.push_back(std::move(snap));
    }
  }
  link(root);
  store_new(r, root, snapshots, "copy");
  intent.done();
}

} // namespace incus::instance
