// SPDX-License-Identifier: Apache-2.0
#include "embed/metrics.hpp"

#include <boost/json.hpp>
#include <sys/mman.h>
#include <unistd.h>

#include "base/error.hpp"
#include "db/warnings.hpp"
#include "embed/engine.hpp"

namespace incus::embed {

namespace {

api::Reply plain(const std::string &text) {
  base::Fd fd(::memfd_create("metrics", MFD_CLOEXEC));
  if (!fd) base::fail_errno(errno, "cannot make room for metrics");
  for (std::size_t at = 0; at < text.size();) {
    ssize_t n = ::write(fd.get(), text.data() + at, text.size() - at);
    if (n < 0) base::fail_errno(errno, "cannot write metrics");
    at += static_cast<std::size_t>(n);
  }
  ::lseek(fd.get(), 0, SEEK_SET);
  api::Reply r;
  r.bodies.push_back({"metrics", std::move(fd), static_cast<std::int64_t>(text.size()), "text/plain"});
  return r;
}

/// Names of the store as the runtime knows them.
std::string store_name(const std::string &project, const std::string &name) { return project == "default" ? name : project + "_" + name; }

} // namespace

std::shared_ptr<const Samples> Engine::project_samples(const std::string &project) {
  auto out = std::make_shared<Samples>();
  std::vector<db::InstanceRow> rows;
  {
    std::lock_guard lock(global_->mutex());
    rows = db::instances(*global_, project);
  }
  auto devices = sys::block_devices(sys::read_small_file("/proc/partitions").value_or(""));
  auto groups = directory_ ? sys::cgroup_roots() : std::vector<sys::CgroupRoot>();
  std::string mounts;
  for (auto &row : rows) {
    instance::Key key{row.id, store_name(project, row.name)};
    try {
      if (!runtime_->running(key)) continue;
      auto state = runtime_->state(key);
      sys::Usage usage;
      if (directory_) usage = sys::read_usage(sys::CgroupTree(groups, "incus-" + directory_->host_id() + "/" + std::to_string(row.id)).child("payload"), devices);
      std::vector<HostFilesystem> filesystems;
      if (directory_)
        for (auto &[name, d] : instances_->expand(row).devices) {
          auto get = [&device = d](const char *k) {
            auto it = device.find(k);
            return it == device.end() ? std::string() : it->second;
          };
          if (get("type") != "disk" || !get("pool").empty() || !get("source").starts_with('/') || get("path").empty()) continue;
          if (mounts.empty()) mounts = sys::read_small_file("/proc/self/mountinfo", 16 << 20).value_or(" ");
          filesystems.push_back(host_filesystem(get("source"), get("path"), mounts));
        }
      instance_samples({{"name", row.name}, {"project", project}, {"type", "container"}}, state, usage, filesystems, *out);
    } catch (const Error &e) {
      // It stopped meanwhile.
      log_.debug("metrics of {}: {}", row.name, e.what());
    }
  }
  return out;
}

api::Reply Engine::metrics_get(api::Request &q) {
  auto wanted = q.query.find("project");
  std::vector<std::string> projects;
  if (wanted != q.query.end() && !wanted->second.empty()) {
    db::project_id(*global_, wanted->second);
    projects = {wanted->second};
  } else {
    projects = db::project_names(*global_);
  }
  // A restricted certificate sees its own projects; one of type metrics, and who was let in without any, sees all.
  if (q.caller && q.caller->kind == api::Caller::Kind::trusted && q.caller->restricted)
    std::erase_if(projects, [&](auto &p) { return !q.caller->may_use(p); });

  std::vector<std::shared_ptr<const Samples>> held;
  {
    std::lock_guard lock(metrics_->mutex);
    auto now = std::chrono::steady_clock::now();
    std::erase_if(metrics_->projects, [&](auto &e) { return e.second.until <= now; });
    for (auto &p : projects) {
      auto &entry = metrics_->projects[p];
      if (!entry.samples) entry = {std::chrono::steady_clock::now() + MetricsCache::lifetime, project_samples(p)};
      held.push_back(entry.samples);
    }
  }
  Samples own;
  own.push_back({Family::operations, {}, static_cast<double>(operations_->list().size())});
  own.push_back({Family::warnings, {}, static_cast<double>(db::warnings(*global_).size())});
  own.push_back({Family::uptime, {}, std::chrono::duration<double>(std::chrono::steady_clock::now() - metrics_->started).count()});
  std::vector<const Samples *> all;
  for (auto &h : held) all.push_back(h.get());
  all.push_back(&own);
  return plain(metrics_text(all));
}

} // namespace incus::embed
