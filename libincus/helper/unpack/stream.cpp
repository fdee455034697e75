// SPDX-License-Identifier: Apache-2.0
#include "helper/unpack/stream.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <sys/stat.h>
#include <unistd.h>

#include "helper/unpack/common.hpp"

namespace incus::unpack {

FileStream::FileStream(int fd) : fd_(fd) {
  struct stat st;
  if (::fstat(fd, &st) < 0) fail_errno(errno, "cannot read the image file");
  if (!S_ISREG(st.st_mode)) fail("invalid_argument", "the image is not a regular file");
  size_ = static_cast<std::uint64_t>(st.st_size);
}

std::size_t FileStream::read(char *to, std::size_t n) {
  for (;;) {
    ssize_t got = ::pread(fd_, to, n, static_cast<off_t>(at_.load(std::memory_order_relaxed)));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail_errno(errno, "cannot read the image file");
    at_.fetch_add(static_cast<std::uint64_t>(got), std::memory_order_relaxed);
    return static_cast<std::size_t>(got);
  }
}

std::size_t MemoryStream::read(char *to, std::size_t n) {
  n = std::min(n, left_);
  if (n) std::memcpy(to, data_, n);
  data_ += n;
  left_ -= n;
  return n;
}

std::size_t DirectBlocks::next(const void **block) {
  *block = buffer_.data();
  return from_.read(buffer_.data(), buffer_.size());
}

ReadAhead::ReadAhead(Stream &from) : from_(from), empty_(depth), thread_([this] { run(); }) {}

ReadAhead::~ReadAhead() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  freed_.notify_one();
  thread_.join();
}

void ReadAhead::run() {
  for (;;) {
    Block b;
    {
      std::unique_lock lock(mutex_);
      freed_.wait(lock, [&] { return stop_ || !empty_.empty(); });
      if (stop_) return;
      b = std::move(empty_.front());
      empty_.pop_front();
    }
    std::exception_ptr error;
    b.size = 0;
    try {
      b.size = from_.read(b.data.get(), block_size);
    } catch (...) {
      error = std::current_exception();
    }
    std::lock_guard lock(mutex_);
    bool last = b.size == 0;
    if (last) {
      ended_ = true;
      error_ = error;
    } else {
      full_.push_back(std::move(b));
    }
    filled_.notify_one();
    if (last) return;
  }
}

std::size_t ReadAhead::next(const void **block) {
  std::unique_lock lock(mutex_);
  if (have_current_) {
    empty_.push_back(std::move(current_));
    have_current_ = false;
    freed_.notify_one();
  }
  filled_.wait(lock, [&] { return ended_ || !full_.empty(); });
  if (!full_.empty()) {
    current_ = std::move(full_.front());
    full_.pop_front();
    have_current_ = true;
    *block = current_.data.get();
    return current_.size;
  }
  if (error_) std::rethrow_exception(error_);
  *block = nullptr;
  return 0;
}

} // namespace incus::unpack
