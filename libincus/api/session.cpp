// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include "api/door.hpp"
#include "base/error.hpp"

namespace incus::api {

void Door::on_server_config(ConfigHook) {}
std::uint64_t Door::trust_generation() { return 0; }

void Door::on_exec(const std::string &, TestExecHandler) {
  base::fail(ErrorCode::not_supported, "exec handlers can only be registered with a test:// host; this one runs real commands");
}

Session::Session(std::string uri, std::unique_ptr<Door> door) : uri_(std::move(uri)), door_(std::move(door)), pid_(::getpid()) {}

Session::~Session() {
  try {
    close();
  } catch (...) {
    // The door is destroyed next; the next open reconciles what its close could not finish.
  }
  // A forked child has the memory of the door but none of its threads: it must not be destroyed there.
  if (::getpid() != pid_) (void)door_.release();
}

void Session::check() const {
  check_process();
  if (closed_.load(std::memory_order_acquire)) base::fail(ErrorCode::unavailable, "the host {} is closed: open it again", uri_);
}

void Session::check_process() const {
  if (!same_process())
    base::fail(ErrorCode::unavailable, "the host {} was opened by process {}, of which this is a forked child: open a host of its own here", uri_,
               pid_);
}

bool Session::same_process() const noexcept { return ::getpid() == pid_; }

Reply Session::perform(RowId id, Request request) {
  check();
  return door_->perform(row(id), std::move(request));
}

Door &Session::door() {
  check();
  return *door_;
}

void Session::close() {
  if (!same_process()) return;
  closed_.store(true, std::memory_order_release);
  door_->close();
}

} // namespace incus::api
