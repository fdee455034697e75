// SPDX-License-Identifier: Apache-2.0
#include "image/helper.hpp"

#include <cerrno>
#include <charconv>
#include <csignal>
#include <fcntl.h>
#include <poll.h>

#include "base/error.hpp"
#include "base/names.hpp"
#include "helper/unpack/common.hpp"
#include "sys/fault.hpp"

namespace incus::image {

namespace {
std::uint64_t number(const std::string &s) {
  std::uint64_t n = 0;
  std::from_chars(s.data(), s.data() + s.size(), n);
  return n;
}
} // namespace

Job::Job(const std::string &helper, std::uint32_t op, std::vector<std::string> args, std::vector<int> fds) : name_(helper) {
  int pipe[2];
  if (::pipe2(pipe, O_CLOEXEC | O_NONBLOCK) < 0) base::fail_errno(errno, "cannot make a pipe");
  life_ = base::Fd(pipe[0]);
  base::Fd held(pipe[1]);
  auto [ours, theirs] = sys::seqpacket_pair();
  {
    sys::FaultScope fault("spawn image helper");
    child_ = sys::spawn({helper}, {theirs.get(), held.get(), held.get()});
  }
  sock_ = std::move(ours);
  theirs.reset();
  held.reset();
  helper::Message m;
  m.op = op;
  m.args = std::move(args);
  m.fds = std::move(fds);
  if (int e = helper::send_message(sock_.get(), m)) base::fail_errno(e, fmt::format("cannot reach the image helper {}", base::quoted(name_)));
}

Job::~Job() {
  if (!child_.pidfd) return;
  if (!done_) sys::kill_pidfd(child_.pidfd.get(), SIGKILL);
  sock_.reset();
  gone();
}

/// Waits for the end of the pipe that the helper and all its children hold, collecting what they said.
void Job::gone() {
  char piece[1024];
  for (int i = 0; life_ && i < 300; i++) { // a process in uninterruptible sleep is not waited for beyond 30 s
    pollfd p{life_.get(), POLLIN, 0};
    if (::poll(&p, 1, 100) <= 0) continue;
    ssize_t n = ::read(life_.get(), piece, sizeof piece);
    if (n == 0) life_.reset();
    if (n > 0 && words_.size() < 4096) words_.append(piece, static_cast<std::size_t>(n));
  }
}

/// One message; false when the helper is done.
bool Job::take(const Progress &progress) {
  helper::Message m;
  int e = helper::receive_message(sock_.get(), m);
  for (int fd : m.fds) ::close(fd);
  auto arg = [&](std::size_t i) { return i < m.args.size() ? m.args[i] : std::string(); };
  if (e != 0) {
    sys::kill_pidfd(child_.pidfd.get(), SIGKILL);
    gone();
    std::string why = words_.empty() ? (e > 0 ? base::errno_text(e) : std::string("it ended without an answer")) : base::quoted(words_);
    base::fail(ErrorCode::internal, "the image helper {} failed: {}", base::quoted(name_), why);
  }
  switch (static_cast<unpack::Op>(m.op)) {
  case unpack::Op::progress:
    if (progress) progress(number(arg(0)), number(arg(1)));
    return true;
  case unpack::Op::data:
    data_ += arg(0);
    if (data_.size() > (8 << 20)) base::fail(ErrorCode::internal, "the image helper sent too much");
    return true;
  case unpack::Op::done:
    done_ = true;
    result_ = m.args;
    return false;
  case unpack::Op::error: throw Error(error_code_from(500, arg(0)), arg(1));
  default: base::fail(ErrorCode::internal, "the image helper sent an unknown message {}", m.op);
  }
}

void Job::poll(const Progress &progress) {
  for (;;) {
    pollfd p{sock_.get(), POLLIN, 0};
    if (done_ || ::poll(&p, 1, 0) <= 0) return;
    take(progress);
  }
}

std::vector<std::string> Job::finish(const Progress &progress) {
  while (!done_ && take(progress)) {
  }
  gone();
  if (life_) base::fail(ErrorCode::internal, "the image helper {} does not end", base::quoted(name_));
  return result_;
}

} // namespace incus::image
