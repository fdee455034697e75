// SPDX-License-Identifier: Apache-2.0
#include "instance/files.hpp"

#include <csignal>
#include <fcntl.h>

#include "base/error.hpp"
#include "base/names.hpp"
#include "helper/files/verbs.hpp"
#include "instance/manager.hpp"
#include "sys/fault.hpp"
#include "sys/idmap.hpp"
#include "sys/process.hpp"

namespace incus::instance {

using std::chrono::milliseconds;

namespace {

constexpr auto enter_limit = std::chrono::seconds(30);
constexpr auto held_limit = std::chrono::seconds(60);

std::vector<std::string> lines(const storage::IdMap &map) {
  std::vector<std::string> out;
  for (auto &r : map) {
    if (r.uid) out.push_back(fmt::format("u {} {} {}", r.host, r.guest, r.count));
    if (r.gid) out.push_back(fmt::format("g {} {} {}", r.host, r.guest, r.count));
  }
  return out;
}

class HelperServer final : public FileServer {
public:
  HelperServer(const std::string &helper, int lock_fd, const FilesPlace &place) {
    auto [ours, theirs] = sys::seqpacket_pair();
    base::Fd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
    if (!null) base::fail_errno(errno, "cannot open /dev/null");
    std::vector<int> fds{theirs.get(), null.get(), null.get()};
    if (lock_fd >= 0) fds.push_back(lock_fd);
    {
      sys::FaultScope fault("spawn files helper");
      child_ = sys::spawn({helper}, fds);
    }
    socket_ = std::move(ours);
    theirs.reset();
    try {
      enter(place);
    } catch (...) {
      end();
      throw;
    }
  }
  ~HelperServer() override { end(); }

  bool send(const helper::Message &m) override {
    int e = helper::send_message(socket_.get(), m);
    if (e == EPIPE || e == ECONNRESET || e == ENOTCONN) return false;
    if (e != 0) base::fail_errno(e, "cannot reach the file helper");
    return true;
  }

  bool ended() override { return sys::wait_exit(child_.pidfd.get(), milliseconds(0)); }

private:
  void enter(const FilesPlace &place) {
    helper::Message m;
    m.op = static_cast<std::uint32_t>(files::Op::enter);
    if (place.running) {
      m.args = {"guest"};
      m.fds = {place.init.get()};
    } else if (place.rootfs.kind == storage::RootfsPlan::Kind::overlay) {
      m.args = {"overlay", place.rootfs.lower, place.rootfs.upper, place.rootfs.work};
    } else {
      m.args = {"directory", place.rootfs.path};
      for (auto &line : lines(place.ids)) m.args.push_back(line);
    }
    auto what = fmt::format("cannot reach the files of instance {}", base::quoted(place.key.name));
    if (int e = helper::send_message(socket_.get(), m)) base::fail_errno(e, what);
    if (!sys::wait_exit(socket_.get(), enter_limit)) base::fail(ErrorCode::timeout, "{}: its root was not entered in {} s", what, enter_limit.count());
    helper::Message r;
    int e = helper::receive_message(socket_.get(), r);
    if (e > 0) base::fail_errno(e, what);
    if (e < 0) base::fail(ErrorCode::unavailable, "{}: the file helper ended", what);
    if (static_cast<files::Answer>(r.op) == files::Answer::ok) return;
    if (place.running && sys::wait_exit(place.init.get(), milliseconds(0))) base::fail(ErrorCode::conflict, "{}: it stopped just now; try again", what);
    base::fail(ErrorCode::internal, "{}: {}", what, r.args.size() > 1 ? r.args[1] : "no reason was given");
  }

  void end() noexcept {
    if (!child_.pidfd) return;
    sys::kill_pidfd(child_.pidfd.get(), SIGKILL);
    try {
      sys::wait_exit(child_.pidfd.get(), milliseconds(10'000)); // its mounts go with it
    } catch (const std::exception &) {
    }
  }

  sys::Child child_;
  base::Fd socket_;
};

} // namespace

FileServerMaker file_helpers(std::string helper, int lock_fd) {
  return [helper = std::move(helper), lock_fd](const FilesPlace &place) -> std::unique_ptr<FileServer> {
    return std::make_unique<HelperServer>(helper, lock_fd, place);
  };
}

std::shared_ptr<Files::Slot> Files::slot(std::int64_t id) {
  std::lock_guard lock(mutex_);
  auto &s = slots_[id];
  if (!s) s = std::make_shared<Slot>();
  return s;
}

void Files::send(std::int64_t id, const std::string &name, const std::function<FilesPlace()> &place, const helper::Message &m) {
  auto s = slot(id);
  std::unique_lock lock(s->mutex, held_limit);
  if (!lock) base::fail(ErrorCode::busy, "instance {} is busy: its root is being changed; try again when that is done", base::quoted(name));
  {
    std::lock_guard all(mutex_);
    if (closed_) base::fail(ErrorCode::unavailable, "the host is closing");
  }
  std::erase_if(s->leaving, [](auto &old) { return old->ended(); });
  if (s->server && s->server->send(m)) return;
  if (s->server) s->leaving.push_back(std::move(s->server));
  s->server = maker_(place());
  if (!s->server->send(m)) base::fail(ErrorCode::unavailable, "the file helper of instance {} ended at once", base::quoted(name));
}

void Files::end(std::int64_t id) { Hold hold(*this, id); }

Files::Hold::Hold(Files &files, std::int64_t id) : slot_(files.slot(id)), lock_(slot_->mutex) {
  slot_->server.reset();
  slot_->leaving.clear();
}

void Files::close() {
  std::map<std::int64_t, std::shared_ptr<Slot>> all;
  {
    std::lock_guard lock(mutex_);
    closed_ = true;
    all.swap(slots_);
  }
  for (auto &[id, s] : all) {
    std::lock_guard lock(s->mutex);
    s->server.reset();
    s->leaving.clear();
  }
}

void Manager::send_files(const std::string &project, const std::string &name, const helper::Message &m) {
  auto id = row(project, name).id;
  files_.send(id, name, [&] { return files_place(id, name); }, m);
}

FilesPlace Manager::files_place(std::int64_t id, const std::string &name) {
  // Read again: what it was before the lock may have changed.
  auto r = db::instance(ctx_.global, id);
  if (!r) base::fail(ErrorCode::not_found, "instance {} not found", base::quoted(name));
  FilesPlace p;
  p.key = key_of(*r);
  auto root = root_of(*r, expand(*r));
  p.driver = root.driver;
  p.volume = root.volume;
  p.running = is_live(id);
  if (p.running) {
    p.init = ctx_.runtime.init(p.key);
    return p;
  }
  p.rootfs = root.driver->rootfs(root.volume);
  if (ctx_.directory.empty()) return p;
  p.ids = sys::idmap_of(r->config, "volatile.last_state.idmap");
  // A change of owners that was cut off is finished first.
  root.driver->shift(root.volume, p.ids, p.ids);
  return p;
}

} // namespace incus::instance
