// SPDX-License-Identifier: Apache-2.0
#include "storage/drivers/btrfs_assembly.hpp"

#include <cerrno>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.hpp"
#include "base/names.hpp"
#include "sys/fault.hpp"
#include "sys/fs.hpp"
#include "sys/subvolumes.hpp"

namespace incus::storage {

using base::Fd;
using sys::FaultScope;

namespace {
/// The directory was received with its times.
void keep_times(int dir, const struct stat &was) {
  timespec t[2] = {was.st_atim, was.st_mtim};
  if (::futimens(dir, t) != 0) base::fail_errno(errno, "cannot set the times of a directory");
}
} // namespace

BtrfsAssembly::BtrfsAssembly(int in, const std::string &top) : in_(in), top_(sys::open_child(in, top)) { sys::set_read_only(top_.get(), false); }

BtrfsAssembly::BtrfsAssembly(int in, const std::string &top, const std::string &name) : in_(in) {
  sys::snapshot_subvolume(sys::open_child(in, top).get(), in, name, false);
  top_ = sys::open_child(in, name);
}

void BtrfsAssembly::place(const std::string &part, const std::string &path, bool read_only) {
  auto slash = path.rfind('/');
  auto name = slash == std::string::npos ? path : path.substr(slash + 1);
  Fd parent = sys::open_beneath(top_.get(), slash == std::string::npos ? "." : path.substr(0, slash), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  struct stat was {};
  if (::fstat(parent.get(), &was) != 0) base::fail_errno(errno, "cannot look at a directory");
  if (::unlinkat(parent.get(), name.c_str(), AT_REMOVEDIR) != 0 && errno != ENOENT) base::fail_errno(errno, fmt::format("cannot put subvolume {} in its place", base::quoted(path)));
  if (!read_only) {
    sys::snapshot_subvolume(sys::open_child(in_, part).get(), parent.get(), name, false);
    return keep_times(parent.get(), was);
  }
  // Only what can be written to moves into another directory.
  protect_.push_back(sys::open_child(in_, part));
  sys::set_read_only(protect_.back().get(), false);
  FaultScope fault("place subvolume");
  sys::rename_at(in_, part, parent.get(), name);
  keep_times(parent.get(), was);
}

void BtrfsAssembly::forget(const char *name) {
  FaultScope fault("remove record");
  if (::unlinkat(top_.get(), name, 0) != 0 && errno != ENOENT) base::fail_errno(errno, fmt::format("cannot remove {}", name));
}

void BtrfsAssembly::finish(bool read_only) {
  for (auto it = protect_.rbegin(); it != protect_.rend(); ++it) sys::set_read_only(it->get(), true);
  if (read_only) sys::set_read_only(top_.get(), true);
}

} // namespace incus::storage
