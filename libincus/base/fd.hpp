// SPDX-License-Identifier: Apache-2.0
// Owned file descriptors.
#pragma once
#include <unistd.h>
#include <utility>

namespace incus::base {

class Fd {
public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd &&o) noexcept : fd_(std::exchange(o.fd_, -1)) {}
  Fd &operator=(Fd &&o) noexcept {
    if (this != &o) {
      reset();
      fd_ = std::exchange(o.fd_, -1);
    }
    return *this;
  }
  ~Fd() { reset(); }
  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  int release() { return std::exchange(fd_, -1); }
  void reset(int fd = -1) {
    if (fd_ >= 0) ::close(fd_);
    fd_ = fd;
  }
  /// A close-on-exec duplicate; throws incus::Error.
  Fd dup() const;

private:
  int fd_ = -1;
};

/// Close-on-exec duplicate of a descriptor that the caller keeps; throws incus::Error.
Fd dup_fd(int fd);

} // namespace incus::base
