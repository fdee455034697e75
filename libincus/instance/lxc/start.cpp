// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/error.hpp"
#include "base/names.hpp"
#include "base/revert.hpp"
#include "base/time.hpp"
#include "helper/lxc_protocol.hpp"
#include "instance/lxc/impl.hpp"
#include "sys/fault.hpp"
#include "sys/fs.hpp"

namespace incus::instance::lxc {

void LxcRuntime::warm_up() noexcept {
  try {
    channel_.post(helper::lxc::warm);
  } catch (const std::exception &) {
    // The request that follows says what is wrong.
  }
}

void LxcRuntime::prepare(const StartSpec &spec, const Places &at, const Rendered &rendered) {
  std::string raw;
  if (auto it = spec.config.find("raw.lxc"); it != spec.config.end()) raw = it->second;
  auto text = to_text(rendered.lines, raw);
  sys::FaultScope fault("write container configuration");
  sys::mkdir_p(AT_FDCWD, run_dir(spec.key), 0700);
  sys::mkdir_p(AT_FDCWD, log_dir(spec.key), 0700);
  sys::mkdir_p(AT_FDCWD, options_.directory + "/security/seccomp", 0700);
  // Logs tell of this start; the one before is kept for looking into.
  ::rename(at.log.c_str(), (at.log + ".old").c_str());
  ::unlink(at.console_log.c_str());
  ::unlink((at.console_log + ".1").c_str());
  ::unlink((run_dir(spec.key) + "/booted").c_str());
  // The same for every start as a rule; a new file costs more than a look.
  if (rendered.seccomp.empty())
    ::unlink(at.seccomp.c_str());
  else if (sys::read_small_file(at.seccomp) != rendered.seccomp)
    write_run_file(at.seccomp, rendered.seccomp, 0600);
  write_run_file(at.config, text, 0640);
  for (auto *now : {"/disks", "/interfaces"}) ::unlink((run_dir(spec.key) + now).c_str());
  auto write_or_remove = [&](const char *name, const std::string &content) {
    auto path = run_dir(spec.key) + name;
    if (content.empty())
      ::unlink(path.c_str());
    else
      write_run_file(path, content, 0600);
  };
  write_or_remove("/disks.start", disk_lines(spec.items.mounts));
  write_or_remove("/interfaces.start", nic_lines(spec.items.nics));
}

base::Fd LxcRuntime::bind_notify(const StartSpec &spec) {
  base::Fd fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  base::Fd dir(::open(run_dir(spec.key).c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!fd || !dir) base::fail_errno(errno, "cannot make the readiness socket");
  sys::FaultScope fault("bind readiness socket");
  ::unlinkat(dir.get(), "notify", 0);
  // By descriptor: the whole path may be longer than a socket's address.
  sockaddr_un a{};
  a.sun_family = AF_UNIX;
  fmt::format_to_n(a.sun_path, sizeof a.sun_path - 1, "/proc/self/fd/{}/notify", dir.get());
  if (::bind(fd.get(), reinterpret_cast<sockaddr *>(&a), sizeof a) < 0) base::fail_errno(errno, "cannot bind the readiness socket");
  uid_t uid = 0;
  gid_t gid = 0;
  for (auto &r : spec.idmap) {
    if (r.uid && r.guest == 0) uid = r.host;
    if (r.gid && r.guest == 0) gid = r.host;
  }
  if (::fchownat(dir.get(), "notify", uid, gid, AT_SYMLINK_NOFOLLOW) < 0 || ::fchmodat(dir.get(), "notify", 0600, 0) < 0)
    base::fail_errno(errno, "cannot give the readiness socket to the guest");
  return fd;
}

std::string LxcRuntime::log_errors(const Key &key) const {
  auto text = sys::read_small_file(log_dir(key) + "/lxc.log", 1 << 20);
  if (!text) return "";
  // "lxc NAME TIME ERROR    file - ../src/file.c:function:line - message": the first are the cause, later ones only repeat it.
  std::string out;
  int count = 0;
  std::string_view rest = *text;
  while (!rest.empty() && count < 3) {
    auto line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(rest.size(), line.size() + 1));
    auto at = line.find(" ERROR ");
    if (at == line.npos) continue;
    auto a = line.find(" - ", at), b = a == line.npos ? a : line.find(" - ", a + 3);
    if (b == line.npos) continue;
    auto said = line.substr(b + 3);
    // What the monitor says of its own end is no reason.
    if (said.starts_with("An error occurred in another process") || said.starts_with("Received container state") || said.starts_with("Failed to spawn")) continue;
    out += (out.empty() ? "" : "; ") + std::string(said);
    count++;
  }
  return out;
}

EntryPtr LxcRuntime::add(const Key &key, Reply &reply, Time started_at, std::vector<std::string> interfaces) {
  auto e = std::make_shared<Entry>();
  e->key = key;
  e->interfaces = std::move(interfaces);
  e->monitor_pid = std::stoi(reply.args.at(2));
  e->monitor = std::move(reply.fds.at(1));
  auto life = std::make_shared<Life>();
  life->pid = std::stoi(reply.args.at(1));
  life->init = std::move(reply.fds.at(0));
  life->net = std::move(reply.fds.at(2));
  e->life = life;
  e->started_at = started_at;
  {
    std::lock_guard lock(mutex_);
    if (closed_) base::fail(ErrorCode::unavailable, "the host is closed");
    entries_[key.id] = e;
  }
  return e;
}

Started LxcRuntime::start(const StartSpec &spec) {
  if (find(spec.key)) base::fail(ErrorCode::conflict, "cannot start instance {}: it is running", base::quoted(spec.key.name));
  auto &root = spec.rootfs.kind == storage::RootfsPlan::Kind::overlay ? spec.rootfs.upper : spec.rootfs.path;
  if (::access(root.c_str(), F_OK) != 0)
    base::fail_errno(errno, fmt::format("cannot start instance {}: its root file system {} cannot be reached", base::quoted(spec.key.name), base::quoted(root)));
  auto at = places(spec.key);
  auto rendered = render(spec, facts(), at);
  std::vector<std::string> interfaces;
  for (auto &n : spec.items.nics)
    if (!n.host_name.empty()) interfaces.push_back(n.host_name);

  base::Revert undo;
  undo.add([&] { remove_remains(spec.key, interfaces); });
  prepare(spec, at, rendered);
  auto notify = bind_notify(spec);

  std::vector<std::string> args{lxc_name(spec.key), at.config};
  args.insert(args.end(), rendered.stage.begin(), rendered.stage.end());
  std::optional<Reply> reply;
  {
    sys::FaultScope fault("start container");
    auto socket = channel_.send(helper::lxc::start, std::move(args));
    reply = Channel::receive(socket, std::chrono::minutes(2));
  }
  if (!reply) base::fail(ErrorCode::timeout, "cannot start instance {}: it did not come up in two minutes", base::quoted(spec.key.name));
  if (reply->op != helper::lxc::ok) {
    auto log = log_errors(spec.key);
    base::fail(ErrorCode::internal, "cannot start instance {}: {}{}{}", base::quoted(spec.key.name),
               reply->args.empty() ? "no reason given" : reply->args[0], log.empty() ? "" : ": ", log);
  }
  auto e = add(spec.key, *reply, base::now(), interfaces);
  undo.add([&] {
    std::scoped_lock lock(mutex_, e->mutex);
    e->stopped = true; // the watcher leaves it alone
    if (auto it = entries_.find(spec.key.id); it != entries_.end() && it->second == e) entries_.erase(it);
  });
  watch(e, Watched::notify, std::move(notify));
  watch(e, Watched::init, e->now()->init.dup());
  watch(e, Watched::monitor, e->monitor.dup());
  undo.success();
  return {e->now()->pid, e->monitor_pid, e->started_at};
}

} // namespace incus::instance::lxc
