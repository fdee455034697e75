// SPDX-License-Identifier: Apache-2.0
#include "base/fd.hpp"

#include <cerrno>
#include <fcntl.h>

#include "base/error.hpp"

namespace incus::base {

Fd dup_fd(int fd) {
  int n = ::fcntl(fd, F_DUPFD_CLOEXEC, 3);
  if (n < 0) fail_errno(errno, fmt::format("cannot duplicate descriptor {}", fd));
  return Fd(n);
}

Fd Fd::dup() const { return dup_fd(fd_); }

} // namespace incus::base
