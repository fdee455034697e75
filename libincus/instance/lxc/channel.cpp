// SPDX-License-Identifier: Apache-2.0
#include "instance/lxc/channel.hpp"

#include <csignal>
#include <fcntl.h>
#include <poll.h>
#include <sys/syscall.h>

#include "base/error.hpp"
#include "base/names.hpp"
#include "helper/lxc_protocol.hpp"
#include "helper/protocol.hpp"
#include "sys/fault.hpp"

namespace incus::instance::lxc {

namespace proto = helper::lxc;
using std::chrono::milliseconds;

void Channel::start_locked() {
  if (options_.helper.empty() || ::access(options_.helper.c_str(), X_OK) != 0)
    base::fail(ErrorCode::not_supported, "cannot run containers: the helper {} is missing; install libincus completely", base::quoted(options_.helper));
  auto [ours, theirs] = sys::seqpacket_pair();
  base::Fd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  if (!null) base::fail_errno(errno, "cannot open /dev/null");
  std::vector<int> fds{null.get(), null.get(), null.get(), theirs.get()};
  if (options_.lock_fd >= 0) fds.push_back(options_.lock_fd);
  {
    sys::FaultScope fault("spawn container helper");
    // Where newuidmap is not: liblxc would use it and so depend on /etc/subuid. apparmor_parser is in sbin.
    child_ = sys::spawn({options_.helper}, fds, {"PATH=/usr/sbin:/sbin"});
    sys::fault_set_helper(child_.pid);
  }
  theirs.reset();
  socket_ = std::move(ours);
  generation_++;

  auto [reply, end] = sys::seqpacket_pair();
  base::Fd self(static_cast<int>(::syscall(SYS_pidfd_open, ::getpid(), 0)));
  helper::Message m{proto::hello,
                    {options_.host_id, options_.directory, options_.auto_destroy ? "1" : "0", options_.remove_directory ? "1" : "0"},
                    {end.get()}};
  if (self) m.fds.push_back(self.get());
  int err = helper::send_message(socket_.get(), m);
  end.reset();
  std::optional<Reply> hello;
  if (!err) try {
      hello = receive(reply, milliseconds(10000));
    } catch (const Error &) {
    }
  if (err || !hello || hello->op != proto::ok) {
    sys::kill_pidfd(child_.pidfd.get(), SIGKILL);
    socket_.reset();
    base::fail(ErrorCode::unavailable, "the container helper {} did not start; is it of this version?", base::quoted(options_.helper));
  }
}

void Channel::start() {
  std::lock_guard lock(mutex_);
  if (!socket_) start_locked();
}

void Channel::put(const helper::Message &m, std::uint64_t &generation) {
  std::lock_guard lock(mutex_);
  if (closed_) base::fail(ErrorCode::unavailable, "the host is closed");
  // The helper of an earlier attempt is dead or dying, whoever still holds its end of the socket.
  if (generation == generation_) socket_.reset();
  for (int attempt = 0;; attempt++) {
    bool fresh = !socket_;
    if (fresh) start_locked();
    int err = helper::send_message(socket_.get(), m);
    generation = generation_;
    if (err == 0) return;
    if (err == EMSGSIZE) base::fail(ErrorCode::too_large, "the request to the container helper is too large");
    socket_.reset();
    if (fresh || attempt) base::fail_errno(err, "cannot reach the container helper");
    // It died since; what it ran shows at the instances.
  }
}

base::Fd Channel::send(std::uint32_t op, std::vector<std::string> args, const std::vector<int> &fds) {
  helper::Message m{op, std::move(args), {-1}};
  m.fds.insert(m.fds.end(), fds.begin(), fds.end());
  std::uint64_t generation = 0;
  for (int attempt = 0; attempt < 5; attempt++) {
    auto [ours, theirs] = sys::seqpacket_pair();
    m.fds.front() = theirs.get();
    put(m, generation);
    theirs.reset();
    if (!sys::wait_exit(ours.get(), milliseconds(30000)))
      base::fail(ErrorCode::unavailable, "the container helper gives no sign of life");
    helper::Message answer;
    // An end of file: it was killed before it read the request. A killed helper's socket takes messages until the last of its workers,
    // which were born with it, is gone.
    if (helper::receive_message(ours.get(), answer) == 0 && answer.op == proto::taken) return std::move(ours);
  }
  base::fail(ErrorCode::unavailable, "the container helper was killed before it read the request, five times");
}

void Channel::post(std::uint32_t op) {
  auto [ours, theirs] = sys::seqpacket_pair();
  std::uint64_t generation = 0;
  put({op, {}, {theirs.get()}}, generation);
}

std::optional<Reply> Channel::receive(const base::Fd &socket, std::optional<milliseconds> timeout) {
  // A socket is polled as a pidfd is.
  if (!sys::wait_exit(socket.get(), timeout)) return std::nullopt;
  helper::Message m;
  int e = helper::receive_message(socket.get(), m);
  if (e) base::fail(ErrorCode::unavailable, "the container helper ended in the middle of its work; try again");
  Reply r{m.op, std::move(m.args), {}};
  for (int fd : m.fds) r.fds.emplace_back(fd);
  return r;
}

Reply Channel::call(std::uint32_t op, std::vector<std::string> args, milliseconds timeout, const char *what) {
  auto socket = send(op, std::move(args));
  auto reply = receive(socket, timeout);
  if (!reply) base::fail(ErrorCode::timeout, "{}: the container helper gave no answer in {} s", what, timeout.count() / 1000);
  if (reply->op == proto::failed) base::fail(ErrorCode::internal, "{}: {}", what, reply->args.empty() ? "no reason given" : reply->args[0]);
  return std::move(*reply);
}

void Channel::close(milliseconds wait) noexcept {
  if (::getpid() != pid_) return;
  std::lock_guard lock(mutex_);
  closed_ = true;
  socket_.reset();
  if (!child_.pidfd) return;
  try {
    if (!sys::wait_exit(child_.pidfd.get(), wait)) {
      ::kill(-child_.pid, SIGKILL);
      sys::wait_exit(child_.pidfd.get(), milliseconds(2000));
    }
  } catch (const std::exception &) {
  }
  child_.pidfd.reset();
}

} // namespace incus::instance::lxc
