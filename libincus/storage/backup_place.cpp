// SPDX-License-Identifier: Apache-2.0
#include "storage/backup_place.hpp"

#include <cerrno>
#include <fcntl.h>
#include <unistd.h>

#include "base/error.hpp"
#include "base/names.hpp"
#include "sys/fault.hpp"
#include "sys/fs.hpp"

namespace incus::storage {

using base::Fd;
using sys::FaultScope;

namespace {
Fd top(const std::string &state) { return sys::open_directory(state + "/backups"); }
std::string parent_of(const std::string &path) { return path.substr(0, path.rfind('/')); }
std::string last_of(const std::string &path) { return path.substr(path.rfind('/') + 1); }

/// The directories that lead to it, as far as they are empty; those of all backups of a kind stay.
void prune(int all, std::string path) {
  for (; path.find('/') != std::string::npos; path = parent_of(path))
    if (::unlinkat(all, path.c_str(), AT_REMOVEDIR) != 0 && errno != ENOENT) return;
}
} // namespace

Fd BackupPlace::directory() const {
  if (state_.empty()) return {};
  return sys::try_open_beneath(top(state_).get(), owner_, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
}

Fd BackupPlace::make(const std::string &name) const {
  if (state_.empty()) base::fail(ErrorCode::not_supported, "backups cannot be made: this is a test host in memory");
  FaultScope fault("make backup file");
  Fd all = top(state_), dir = sys::mkdir_p(all.get(), owner_, 0700);
  Fd fd(::openat(dir.get(), name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!fd) base::fail_errno(errno, fmt::format("cannot make the file of backup {}", base::quoted(name)));
  return fd;
}

Fd BackupPlace::open(const std::string &name) const {
  Fd dir = directory(), fd;
  if (dir) fd = sys::try_open_beneath(dir.get(), name, O_RDONLY | O_NOFOLLOW);
  if (!fd) base::fail(ErrorCode::not_found, "the file of backup {} is not on disk", base::quoted(name));
  return fd;
}

std::vector<std::string> BackupPlace::list() const {
  Fd dir = directory();
  return dir ? sys::list_directory(dir.get()) : std::vector<std::string>{};
}

void BackupPlace::rename(const std::string &name, const std::string &to) const {
  Fd dir = directory();
  if (!dir || !sys::exists_at(dir.get(), name)) return;
  FaultScope fault("rename backup");
  sys::rename_at(dir.get(), name, dir.get(), to);
  sys::sync_directory(dir.get());
}

void BackupPlace::remove(const std::string &name) const {
  Fd dir = directory();
  if (!dir) return;
  FaultScope fault("remove backup");
  sys::remove_tree(dir.get(), name);
  sys::sync_directory(dir.get());
  prune(top(state_).get(), owner_);
}

void BackupPlace::remove_all() const {
  if (!directory()) return;
  FaultScope fault("remove backups");
  Fd all = top(state_), up = sys::open_beneath(all.get(), parent_of(owner_), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  sys::remove_tree(up.get(), last_of(owner_));
  prune(all.get(), parent_of(owner_));
}

void BackupPlace::move_to(const BackupPlace &to) const {
  if (!directory()) return;
  FaultScope fault("move backups");
  Fd all = top(state_), from = sys::open_beneath(all.get(), parent_of(owner_), O_RDONLY | O_DIRECTORY | O_NOFOLLOW), dir = sys::mkdir_p(all.get(), parent_of(to.owner_), 0700);
  sys::rename_at(from.get(), last_of(owner_), dir.get(), last_of(to.owner_));
  prune(all.get(), parent_of(owner_));
}

} // namespace incus::storage
