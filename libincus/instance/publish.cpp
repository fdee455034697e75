// SPDX-License-Identifier: Apache-2.0
// The root of an instance or snapshot for who makes an image of it.
#include <boost/json.hpp>

#include "base/error.hpp"
#include "base/ids.hpp"
#include "base/names.hpp"
#include "instance/manager.hpp"
#include "sys/idmap.hpp"

namespace incus::instance {

namespace json = boost::json;

namespace {
constexpr const char *idmap_key = "volatile.last_state.idmap";
} // namespace

void Manager::with_root(const std::string &project, const std::string &name, const std::string &snapshot, const std::function<void(const RootView &)> &use) {
  Claim claim(*this, project, name, "publish");
  auto r = row(project, name);
  auto root = root_of(r, expand(r));
  if (ctx_.directory.empty())
    base::fail(ErrorCode::not_supported, "cannot make an image of instance {}: this is a test host in memory", base::quoted(name));
  auto directory = ctx_.pools.directory(root.pool);
  RootView v;
  v.instance = r;
  if (snapshot.empty()) {
    must_not_run(r, "publish");
    Files::Hold no_sessions(files_, r.id);
    v.volume = directory + "/containers/" + root.volume.name;
    v.ids = sys::idmap_of(r.config, idmap_key);
    root.driver->shift(root.volume, v.ids, v.ids); // one that was cut off is finished first
    v.rootfs = root.driver->rootfs(root.volume);
    return use(v);
  }
  auto s = db::snapshot(ctx_.global, r.id, snapshot);
  if (!s) base::fail(ErrorCode::not_found, "snapshot {} of instance {} not found", base::quoted(snapshot), base::quoted(name));
  // A snapshot has no root that could be shown: a copy of it has. No project is called "", so no instance's volume is either.
  storage::VolumeRef copy{storage::VolumeType::container, "_publish-" + base::random_hex(8)};
  db::Intent intent(ctx_.journal, "instance.publish", {{"pool", root.pool}, {"volume", copy.name}});
  root.driver->create_copy(copy, root.volume, snapshot, {});
  v.volume = directory + "/containers/" + copy.name;
  v.instance.architecture = s->architecture;
  v.instance.config = s->config;
  v.ids = sys::idmap_of(s->config, idmap_key);
  std::exception_ptr failed;
  try {
    v.rootfs = root.driver->rootfs(copy);
    use(v);
  } catch (...) {
    failed = std::current_exception();
  }
  root.driver->remove_volume(copy);
  intent.done();
  if (failed) std::rethrow_exception(failed);
}

void Manager::recover_publish(const json::object &d) {
  std::string pool(d.at("pool").as_string());
  if (db::pools(ctx_.global, pool).empty()) return;
  ctx_.pools.driver(pool)->remove_volume({storage::VolumeType::container, std::string(d.at("volume").as_string())});
}

} // namespace incus::instance
