// SPDX-License-Identifier: Apache-2.0
#include "base/error.hpp"
#include "base/names.hpp"
#include "instance/manager.hpp"

namespace incus::instance {

namespace {
constexpr auto takeover_limit = std::chrono::seconds(10);
}

std::shared_ptr<void> Manager::hold_console(const std::string &project, const std::string &name, bool force, std::function<void()> end) {
  auto r = row(project, name);
  if (!is_live(r.id)) base::fail(ErrorCode::conflict, "cannot attach to the console of instance {}: Instance is not running", base::quoted(name));
  if (ctx_.runtime.power(key_of(r)) == Power::frozen)
    base::fail(ErrorCode::conflict, "cannot attach to the console of instance {}: Instance is frozen", base::quoted(name));
  std::unique_lock lock(mutex_);
  auto it = consoles_.find(r.id);
  if (it != consoles_.end()) {
    if (!force)
      base::fail(ErrorCode::conflict, "cannot attach to the console of instance {}: This console is already connected. Force is required to take it over.",
                 base::quoted(name));
    auto end_other = it->second;
    lock.unlock();
    end_other();
    lock.lock();
    if (!released_.wait_for(lock, takeover_limit, [&] { return !consoles_.count(r.id); }))
      base::fail(ErrorCode::busy, "cannot take over the console of instance {}: who is attached does not let go", base::quoted(name));
  }
  consoles_[r.id] = std::move(end);
  return {nullptr, [this, id = r.id](void *) {
            std::lock_guard inner(mutex_);
            consoles_.erase(id);
            released_.notify_all();
          }};
}

std::unique_ptr<Exec> Manager::console(const std::string &project, const std::string &name, ConsoleSpec spec) {
  auto r = row(project, name);
  must_run(r, "attach to the console of");
  spec.key = key_of(r);
  auto out = ctx_.runtime.console(std::move(spec));
  event("instance-console", project, name, {{"type", "console"}});
  return out;
}

} // namespace incus::instance
