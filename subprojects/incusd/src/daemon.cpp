// SPDX-License-Identifier: Apache-2.0
// The daemon: a host that is opened, served, and closed when a signal or a client says so.
#include "daemon.hpp"

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fmt/format.h>
#include <incus/server.hpp>
#include <malloc.h>
#include <optional>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/signalfd.h>
#include <sys/un.h>
#include <thread>
#include <unistd.h>

namespace incusd {

namespace {

using incus::LogLevel;
using Log = std::function<void(LogLevel, const std::string &)>;

/// Signals come by a descriptor; every thread made later inherits that they are blocked.
int signal_descriptor() {
  sigset_t wanted;
  sigemptyset(&wanted);
  for (int s : {SIGPWR, SIGTERM, SIGINT, SIGQUIT, SIGHUP}) sigaddset(&wanted, s);
  ::pthread_sigmask(SIG_BLOCK, &wanted, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  return ::signalfd(-1, &wanted, SFD_CLOEXEC | SFD_NONBLOCK);
}

/// Whether anybody answers at a unix socket.
bool is_served(const std::string &path) {
  sockaddr_un a{};
  a.sun_family = AF_UNIX;
  if (path.size() >= sizeof a.sun_path) return true; // not to be known: as it is told
  std::memcpy(a.sun_path, path.c_str(), path.size());
  int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  bool served = fd >= 0 && ::connect(fd, reinterpret_cast<const sockaddr *>(&a), sizeof a) == 0;
  if (fd >= 0) ::close(fd);
  return served;
}

/// A daemon before this one may have told its clients that it ends and still be closing: it holds the directory, but its socket is gone.
incus::Host open_host(const std::string &directory, const std::string &socket, const incus::OpenOptions &options) {
  auto until = std::chrono::steady_clock::now() + std::chrono::seconds(5);
  for (;;) {
    try {
      return incus::Host::open("embed:" + directory, options);
    } catch (const incus::Error &e) {
      if (e.code() != incus::ErrorCode::unavailable || is_served(socket) || std::chrono::steady_clock::now() > until) throw;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

class Daemon {
public:
  Daemon(const Options &o, Log log) : options_(o), log_(std::move(log)), wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}
  ~Daemon() { ::close(wake_); }

  int run() {
    int signals = signal_descriptor();
    incus::OpenOptions open;
    open.log = log_;
    auto host = open_host(directory(), socket_path(), open);
    host_ = &host;
    incus::ServerOptions serve;
    serve.log = log_;
    incus::Server server(host, serve);
    server.on_shutdown(
        [&](bool force) {
          stopping_ = true;
          stop_everything(server, force);
        },
        [&] {
          finished_ = true;
          wake();
        });
    auto sockets = inherited_sockets();
    for (int fd : sockets) server.listen_fd(fd);
    if (sockets.empty()) server.listen_unix(socket_path(), options_.group);
    log_(LogLevel::info, fmt::format("Daemon is up, serving {}", directory()));
    notify("READY=1\nSTATUS=serving " + directory());
    // Clients wait for what starts with the machine; the socket is there already.
    std::thread starter([&] {
      try {
        server.start_instances();
      } catch (const std::exception &e) {
        log_(LogLevel::error, std::string("starting instances: ") + e.what());
      }
      server.ready();
    });
    int why = wait(signals, server);
    notify("STOPPING=1");
    server.going_down();
    if (why == SIGPWR && !finished_) stop_everything(server, false);
    if (why == SIGTERM) server.drain(patience());
    server.stop(std::chrono::seconds(why == 0 ? 5 : 1));
    if (!sockets.empty() && options_.transient) ::unlink(socket_path().c_str());
    host.close();
    // Closing ended what was still being started and the delays between; nobody waits for the rest.
    starter.join();
    log_(LogLevel::info, "Daemon stopped");
    ::close(signals);
    return 0;
  }

private:
  void wake() {
    std::uint64_t one = 1;
    [[maybe_unused]] auto n = ::write(wake_, &one, sizeof one);
  }

  void stop_everything(incus::Server &server, bool force) {
    server.going_down();
    log_(LogLevel::info, force ? "Stopping all instances by force" : "Stopping all instances");
    if (!force) server.drain(patience());
    server.stop_instances(force ? std::optional<std::chrono::milliseconds>(0) : std::nullopt);
  }

  /// The signal to end by; 0 after a request of a client, or when there is nothing left to serve.
  int wait(int signals, incus::Server &server) {
    auto quiet_since = std::chrono::steady_clock::now();
    for (;;) {
      pollfd p[2] = {{signals, POLLIN, 0}, {wake_, POLLIN, 0}};
      ::poll(p, 2, options_.transient ? 1000 : -1);
      if (finished_) return 0;
      signalfd_siginfo s{};
      while (::read(signals, &s, sizeof s) == static_cast<ssize_t>(sizeof s)) {
        int number = static_cast<int>(s.ssi_signo);
        if (number == SIGHUP) continue;
        log_(LogLevel::info, fmt::format("Received signal {}", number));
        if (!stopping_) return number;
        log_(LogLevel::warning, "Ignoring the signal: a shutdown is in progress");
      }
      if (!options_.transient || stopping_) continue;
      auto now = std::chrono::steady_clock::now();
      if (server.connections() > 0 || anything_runs()) quiet_since = now;
      if (now - quiet_since > std::chrono::seconds(5)) return 0;
    }
  }

  bool anything_runs();

  /// core.shutdown_timeout: how long operations may go on when the daemon ends.
  std::chrono::minutes patience() {
    std::string minutes;
    try {
      auto config = host_->info().config;
      if (auto it = config.find("core.shutdown_timeout"); it != config.end()) minutes = it->second;
    } catch (const std::exception &e) {
      log_(LogLevel::warning, std::string("core.shutdown_timeout: ") + e.what());
    }
    return std::chrono::minutes(minutes.empty() ? 5 : std::min(std::atol(minutes.c_str()), 100000L));
  }

  const Options &options_;
  Log log_;
  int wake_;
  std::atomic<bool> stopping_{false}, finished_{false};
  incus::Host *host_ = nullptr;
};

bool Daemon::anything_runs() {
  // Kept simple: a stopped instance does not hold the daemon.
  if (!host_) return false;
  try {
    for (auto &i : host_->instances())
      if (i.status != "Stopped") return true;
    for (auto &o : host_->operations())
      if (o.status_code == 103) return true;
  } catch (const std::exception &e) {
    // Who cannot see leaves everything as it is.
    log_(LogLevel::warning, std::string("looking for what runs: ") + e.what());
    return true;
  }
  return false;
}

} // namespace

int run(const Options &options) {
  // A heap per core and more would cost memory for nothing: most of the work waits.
  ::mallopt(M_ARENA_MAX, 2);
  ::umask(0077);
  auto log = open_log(options);
  return Daemon(options, log).run();
}

} // namespace incusd
