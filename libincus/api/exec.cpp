// SPDX-License-Identifier: Apache-2.0
// Running commands: descriptors in, exit code out, output captured when nobody gave descriptors.
#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <thread>
#include <unistd.h>

#include "api/call.hpp"
#include "api/records.hpp"
#include "base/error.hpp"
#include "base/names.hpp"

namespace incus {
namespace api {
namespace {

/// The input as a sealed memory file: it never raises SIGPIPE, cannot deadlock against the output, and unlike a pipe of the host's
/// root it may be opened again inside a user namespace (`cat /dev/stdin`).
base::Fd input_file(const std::string &input) {
  base::Fd fd(::memfd_create("incus-stdin", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd) base::fail_errno(errno, "cannot make a memory file for the command's input");
  for (std::size_t done = 0; done < input.size();) {
    auto n = ::write(fd.get(), input.data() + done, input.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) base::fail_errno(n < 0 ? errno : EIO, fmt::format("cannot keep {} bytes of input for the command", input.size()));
    done += static_cast<std::size_t>(n);
  }
  ::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK);
  ::lseek(fd.get(), 0, SEEK_SET);
  return fd;
}

std::pair<base::Fd, base::Fd> make_pipe() {
  int p[2];
  if (::pipe2(p, O_CLOEXEC) < 0) base::fail_errno(errno, "cannot make a pipe for the command's output");
  std::pair<base::Fd, base::Fd> ends{base::Fd(p[0]), base::Fd(p[1])};
  ::fcntl(p[0], F_SETFL, O_NONBLOCK);
  return ends;
}

/// Waits for an operation in a thread of its own and makes a descriptor readable at its end.
class EndWatch {
public:
  explicit EndWatch(Operation op) : fd_(::eventfd(0, EFD_CLOEXEC)) {
    if (!fd_) base::fail_errno(errno, "cannot make an event descriptor");
    sigset_t all, old;
    sigfillset(&all);
    // The program's signals are for its own threads.
    pthread_sigmask(SIG_SETMASK, &all, &old);
    try {
      thread_ = std::thread([this, op = std::move(op)] {
        try {
          op.backend()->wait(std::nullopt);
        } catch (...) {
          // The caller asks the operation again and gets the same error.
        }
        std::uint64_t one = 1;
        while (::write(fd_.get(), &one, sizeof one) < 0 && errno == EINTR) {
        }
      });
    } catch (const std::exception &e) {
      pthread_sigmask(SIG_SETMASK, &old, nullptr);
      throw Error(ErrorCode::unavailable, "cannot start a thread to wait for the command", e);
    }
    pthread_sigmask(SIG_SETMASK, &old, nullptr);
  }
  ~EndWatch() {
    if (thread_.joinable()) thread_.join();
  }
  int fd() const { return fd_.get(); }

private:
  base::Fd fd_;
  std::thread thread_;
};

/// Reads what is there; false at the end of the stream.
bool drain(int fd, std::string &to) {
  char buf[65536];
  for (;;) {
    auto n = ::read(fd, buf, sizeof buf);
    if (n > 0)
      to.append(buf, static_cast<std::size_t>(n));
    else if (n == 0)
      return false;
    else if (errno == EAGAIN)
      return true;
    else if (errno != EINTR)
      base::fail_errno(errno, "cannot read the command's output");
  }
}

/// Collects both streams until they end, or the command has ended: what it left running in the background may keep them open for ever.
void collect(base::Fd &out, base::Fd &err, int ended, ExecResult &result) {
  while (out || err) {
    pollfd p[3] = {{out.get(), POLLIN, 0}, {err.get(), POLLIN, 0}, {ended, POLLIN, 0}};
    if (::poll(p, 3, -1) < 0) {
      if (errno == EINTR) continue;
      base::fail_errno(errno, "cannot wait for the command's output");
    }
    // Asked for the end before reading: everything the command wrote is in the pipes by then.
    bool last = p[2].revents != 0;
    if (out && !drain(out.get(), result.stdout_data)) out.reset();
    if (err && !drain(err.get(), result.stderr_data)) err.reset();
    if (last) return;
  }
}

void add_stream(Request &r, const char *role, base::Fd fd) {
  if (fd) r.streams.push_back({role, std::move(fd)});
}

Operation begin_exec(const SessionPtr &session, const std::string &project, const std::string &instance, json::value request, base::Fd in,
                     base::Fd out, base::Fd err) {
  auto r = with_body(at({instance}, project), std::move(request));
  add_stream(r, "stdin", std::move(in));
  add_stream(r, "stdout", std::move(out));
  add_stream(r, "stderr", std::move(err));
  return begin(session, RowId::instance_exec_post, std::move(r));
}

base::Fd dup_of(int fd, const char *role) {
  if (fd < 0) return {};
  int n = ::fcntl(fd, F_DUPFD_CLOEXEC, 3);
  if (n < 0 && errno == EBADF) base::fail(ErrorCode::invalid_argument, "invalid {} descriptor {}: it is not open", role, fd);
  if (n < 0) base::fail_errno(errno, fmt::format("cannot duplicate {} descriptor {}", role, fd));
  return base::Fd(n);
}

} // namespace

Operation begin_exec(const SessionPtr &session, const std::string &project, const std::string &instance, json::value request, const ExecIo &io) {
  return begin_exec(session, project, instance, std::move(request), dup_of(io.stdin_fd, "stdin"), dup_of(io.stdout_fd, "stdout"),
                    dup_of(io.stderr_fd, "stderr"));
}

ExecResult run_exec(const SessionPtr &session, const std::string &project, const std::string &instance, json::value request,
                    const std::string &input) {
  auto [out, out_write] = make_pipe();
  auto [err, err_write] = make_pipe();
  ExecSession running(begin_exec(session, project, instance, std::move(request), input.empty() ? base::Fd() : input_file(input), std::move(out_write),
                                 std::move(err_write)));
  ExecResult result;
  {
    EndWatch watch(running.operation());
    try {
      collect(out, err, watch.fd(), result);
    } catch (...) {
      running.close();
      throw;
    }
  }
  result.exit_code = running.wait();
  return result;
}

int exit_code(const OperationInfo &info) {
  auto m = parse_json(info.metadata.text.empty() ? "null" : info.metadata.text, "the operation's metadata");
  if (auto *o = m.if_object())
    if (auto *code = o->if_contains("return"); code && code->is_int64()) return static_cast<int>(code->get_int64());
  base::fail(ErrorCode::internal, "operation {} ended without an exit code", base::quoted(info.id));
}

} // namespace api

inline namespace v0 {

ExecSession::ExecSession(Operation op) : op_(std::move(op)) {}
ExecSession::~ExecSession() { close(); }
ExecSession::ExecSession(ExecSession &&o) noexcept : op_(o.op_), open_(std::exchange(o.open_, false)) { o.op_ = Operation(); }
ExecSession &ExecSession::operator=(ExecSession &&o) noexcept {
  if (this != &o) {
    close();
    op_ = o.op_;
    open_ = std::exchange(o.open_, false);
    o.op_ = Operation();
  }
  return *this;
}

int ExecSession::wait() { return api::exit_code(op_.wait()); }

std::optional<int> ExecSession::wait_for(std::chrono::milliseconds timeout) {
  if (!op_.backend() || op_.backend()->wait(timeout)) return wait();
  return std::nullopt;
}

void ExecSession::signal(int number) {
  if (number < 1 || number > 64) base::fail(ErrorCode::invalid_argument, "invalid signal number {}: must be 1 to 64", number);
  if (!op_.backend()) base::fail(ErrorCode::invalid_argument, "this exec session is empty");
  op_.backend()->control({{"command", "signal"}, {"signal", number}});
}

void ExecSession::resize(int width, int height) {
  if (width < 1 || height < 1 || width > 65535 || height > 65535)
    base::fail(ErrorCode::invalid_argument, "invalid terminal size {}x{}: both must be 1 to 65535", width, height);
  if (!op_.backend()) base::fail(ErrorCode::invalid_argument, "this exec session is empty");
  op_.backend()->control({{"command", "window-resize"}, {"args", {{"width", std::to_string(width)}, {"height", std::to_string(height)}}}});
}

void ExecSession::close() {
  if (!std::exchange(open_, false) || !op_.backend()) return;
  try {
    if (op_.done()) return;
    signal(SIGKILL);
  } catch (...) {
    // It may have ended meanwhile, or its host is closed; both end the command.
  }
  try {
    op_.cancel();
  } catch (...) {
    // As above; and not every operation can be cancelled.
  }
}

} // namespace v0
} // namespace incus
