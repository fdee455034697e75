// SPDX-License-Identifier: Apache-2.0
// What happens to images by the clock, in a daemon: cached ones that nobody used for a while go, and those that are to be kept up to date are fetched again.
#include <charconv>

#include "base/error.hpp"
#include "base/time.hpp"
#include "db/projects.hpp"
#include "embed/config_keys.hpp"
#include "embed/engine.hpp"
#include "image/image.hpp"

namespace incus::embed {

/// Of the project if it says so, else of the server, else what holds when nobody says anything.
std::string Engine::project_setting(const std::string &project, const char *key) {
  if (!project.empty()) {
    auto config = db::project(*global_, project).config;
    if (auto it = config.find(key); it != config.end() && !it->second.empty()) return it->second;
  }
  auto set = db::get_config(*global_, key);
  return set.empty() ? schema::find(server_keys(), key)->fallback : set;
}

std::int64_t Engine::project_number(const std::string &project, const char *key) {
  auto text = project_setting(project, key);
  std::int64_t n = 0;
  std::from_chars(text.data(), text.data() + text.size(), n);
  return n;
}

std::shared_ptr<TaskOperation> Engine::expire_images() {
  OperationSpec s;
  s.description = "Cleaning up expired images";
  s.project = "";
  return operations_->start(std::move(s), [this](TaskOperation &) {
    constexpr auto day = std::chrono::hours(24);
    auto now = base::now();
    for (auto &p : db::projects(*global_)) {
      auto days = project_number(p.name, "images.remote_cache_expiry");
      // A time that was never is not waited for.
      if (days <= 0 || days > now.time_since_epoch() / day) continue;
      if (db::project_of(*global_, p.name, "features.images") != p.name) continue;
      auto unused_since = now - days * day;
      for (auto &i : db::images(*global_, p.name)) {
        if (!i.cached || (i.last_used_at == Time() ? i.uploaded_at : i.last_used_at) > unused_since) continue;
        try {
          if (!images_->expire(p.name, i.fingerprint, unused_since)) continue;
          log_.info("cached image {} of project {} was not used for {} days and is deleted", i.fingerprint, p.name, days);
          events_.lifecycle("image-deleted", "/1.0/images/" + i.fingerprint + (p.name == "default" ? "" : "?project=" + p.name), p.name);
        } catch (const Error &e) {
          log_.error("cached image {} of project {} cannot be deleted: {}", i.fingerprint, p.name, e.what());
        }
      }
    }
  });
}

/// `hour`: how many have passed since the start; those projects are served whose interval has.
void Engine::update_images(TaskOperation &op, std::int64_t hour) {
  for (auto &p : db::projects(*global_)) {
    auto interval = project_number(p.name, "images.auto_update_interval");
    if (interval <= 0 || hour % interval != 0) continue;
    if (db::project_of(*global_, p.name, "features.images") != p.name) continue;
    for (auto &row : db::images(*global_, p.name)) {
      if (!row.auto_update || !row.origin) continue;
      op.check_cancelled();
      try {
        if (refresh_image(op, p.name, {}, image::to_info(row))) log_.info("image {} of project {} was updated", row.fingerprint, p.name);
      } catch (const Error &e) {
        op.check_cancelled();
        log_.warning("image {} of project {} stays as it is, {} cannot be asked for a newer one: {}", row.fingerprint, p.name, row.origin->server, e.what());
      }
    }
  }
}

/// Every minute, and at once at the start of the daemon: then what has run out goes before it is fetched again.
void Engine::run_image_tasks(Time now) {
  using namespace std::chrono;
  if (begun_ == Time()) begun_ = now;
  if (now - expired_ >= hours(24)) {
    expired_ = now;
    expire_images()->wait({});
  }
  auto hour = duration_cast<hours>(now - begun_).count();
  // A download may take longer than an hour.
  if (hour <= hour_ || (updating_ && !updating_->wait(milliseconds(0)))) return;
  hour_ = hour;
  OperationSpec s;
  s.description = "Updating images";
  s.project = "";
  s.may_cancel = true;
  updating_ = operations_->start(std::move(s), [this, hour](TaskOperation &op) { update_images(op, hour); });
}

} // namespace incus::embed
