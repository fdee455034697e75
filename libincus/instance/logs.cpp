// SPDX-License-Identifier: Apache-2.0
#include "instance/logs.hpp"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/error.hpp"
#include "base/names.hpp"
#include "sys/fault.hpp"
#include "sys/fs.hpp"

namespace incus::instance {

namespace {

constexpr const char *output_directory = "exec-output";

/// One path component that ends as a log or an output does; what an instance's directory holds besides is not for clients.
bool plain(const std::string &file) {
  return !file.empty() && file.size() <= 200 && file.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == std::string::npos &&
         file[0] != '.';
}
bool is_log(const std::string &file) {
  if (!plain(file)) return false;
  return file == "lxc.log" || file == "lxc.conf" || file == "qemu.log" || file == "qemu.conf" || file.starts_with("migration_") || file.starts_with("snapshot_");
}
bool is_output(const std::string &file) { return plain(file) && file.starts_with("exec_") && (file.ends_with(".stdout") || file.ends_with(".stderr")); }

[[noreturn]] void missing(const std::string &file) { base::fail(ErrorCode::not_found, "log file {} not found", base::quoted(file)); }

} // namespace

void Logs::check_log(const std::string &file) {
  if (!is_log(file)) base::fail(ErrorCode::invalid_argument, "Log file name {} not valid", base::quoted(file));
}
void Logs::check_output(const std::string &file) {
  if (!is_output(file)) base::fail(ErrorCode::invalid_argument, "Exec record-output file name {} not valid", base::quoted(file));
}

base::Fd Logs::directory(const std::string &store, bool output, bool make) const {
  auto all = sys::open_directory(directory_);
  if (!sys::exists_at(all.get(), store)) {
    if (!make) return {};
    sys::make_directory(all.get(), store, 0700);
  }
  auto own = sys::open_child(all.get(), store);
  if (!output) return own;
  if (make) return sys::make_directory(own.get(), output_directory, 0700);
  if (!sys::exists_at(own.get(), output_directory)) return {};
  return sys::open_child(own.get(), output_directory);
}

std::vector<std::string> Logs::list(const std::string &store, bool output) {
  std::vector<std::string> out;
  if (directory_.empty()) {
    std::lock_guard lock(mutex_);
    if (output)
      for (auto &[file, fd] : memory_[store]) out.push_back(file);
    return out;
  }
  auto dir = directory(store, output, false);
  if (!dir) return out;
  for (auto &file : sys::list_directory(dir.get()))
    if (output ? is_output(file) : is_log(file)) out.push_back(file);
  return out;
}

base::Fd Logs::open(const std::string &store, const std::string &file, bool output) {
  if (directory_.empty()) {
    std::lock_guard lock(mutex_);
    auto &all = memory_[store];
    auto it = all.find(file);
    if (!output || it == all.end()) missing(file);
    // A descriptor of its own, so that readers have positions of their own.
    base::Fd fd(::open(fmt::format("/proc/self/fd/{}", it->second.get()).c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd) base::fail_errno(errno, "cannot open recorded output");
    return fd;
  }
  auto dir = directory(store, output, false);
  if (!dir) missing(file);
  auto fd = sys::try_open_beneath(dir.get(), file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
  if (!fd && errno == ENOENT) missing(file);
  if (!fd) base::fail_errno(errno, fmt::format("cannot open log file {}", base::quoted(file)));
  struct stat st;
  if (::fstat(fd.get(), &st) != 0 || !S_ISREG(st.st_mode)) missing(file);
  return fd;
}

void Logs::remove(const std::string &store, const std::string &file, bool output) {
  open(store, file, output);
  if (directory_.empty()) {
    std::lock_guard lock(mutex_);
    memory_[store].erase(file);
    return;
  }
  auto dir = directory(store, output, false);
  sys::FaultScope fault("remove log file");
  if (!dir || (::unlinkat(dir.get(), file.c_str(), 0) != 0 && errno == ENOENT)) missing(file);
}

std::vector<std::string> Logs::logs(const std::string &store) { return list(store, false); }
std::vector<std::string> Logs::outputs(const std::string &store) { return list(store, true); }

base::Fd Logs::open_log(const std::string &store, const std::string &file) {
  check_log(file);
  return open(store, file, false);
}
base::Fd Logs::open_output(const std::string &store, const std::string &file) {
  check_output(file);
  return open(store, file, true);
}
void Logs::remove_log(const std::string &store, const std::string &file) {
  check_log(file);
  if (!file.ends_with(".log") || file == "lxc.log" || file == "qemu.log")
    base::fail(ErrorCode::invalid_argument, "cannot delete {}: only log files other than lxc.log and qemu.log can be deleted", base::quoted(file));
  remove(store, file, false);
}
void Logs::remove_output(const std::string &store, const std::string &file) {
  check_output(file);
  remove(store, file, true);
}

base::Fd Logs::new_output(const std::string &store) {
  base::Fd fd;
  if (directory_.empty()) {
    fd.reset(::memfd_create("incus-output", MFD_CLOEXEC));
  } else {
    sys::FaultScope fault("make output file");
    auto dir = directory(store, true, true);
    fd.reset(::openat(dir.get(), ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  }
  if (!fd) base::fail_errno(errno, "cannot make a file for the command's output");
  return fd;
}

void Logs::publish_output(const std::string &store, const std::string &file, const base::Fd &fd) {
  check_output(file);
  if (directory_.empty()) {
    std::lock_guard lock(mutex_);
    memory_[store][file] = fd.dup();
    return;
  }
  auto dir = directory(store, true, true);
  sys::FaultScope fault("name output file");
  if (::linkat(AT_FDCWD, fmt::format("/proc/self/fd/{}", fd.get()).c_str(), dir.get(), file.c_str(), AT_SYMLINK_FOLLOW) != 0)
    base::fail_errno(errno, fmt::format("cannot make output file {}", base::quoted(file)));
}

void Logs::rename(const std::string &from, const std::string &to) {
  std::lock_guard lock(mutex_);
  if (auto node = memory_.extract(from)) {
    memory_.erase(to);
    node.key() = to;
    memory_.insert(std::move(node));
  }
}

void Logs::forget(const std::string &store) {
  std::lock_guard lock(mutex_);
  memory_.erase(store);
}

} // namespace incus::instance
