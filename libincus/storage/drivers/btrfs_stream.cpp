// SPDX-License-Identifier: Apache-2.0
#include "storage/drivers/btrfs_stream.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>

#include "base/error.hpp"
#include "base/ids.hpp"
#include "base/names.hpp"
#include "storage/drivers/btrfs_assembly.hpp"
#include "sys/btrfs_stream.hpp"
#include "sys/fault.hpp"
#include "sys/fs.hpp"
#include "sys/subvolumes.hpp"

namespace incus::storage {

using base::Fd;
using sys::FaultScope;

namespace {

/// Sending blocks in the kernel, so it has a thread. No signal is for that; the one of a closed pipe stays with it.
class Sender {
public:
  Sender(int fd, int base) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) base::fail_errno(errno, "cannot make a pipe");
    in_ = Fd(ends[0]);
    ::fcntl(ends[1], F_SETPIPE_SZ, 1 << 20);
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    try {
      thread_ = std::thread([this, fd, base, out = ends[1]] {
        error_ = sys::send_subvolume(fd, base, out);
        ::close(out);
      });
    } catch (...) {
      ::close(ends[1]);
      pthread_sigmask(SIG_SETMASK, &before, nullptr);
      throw;
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }
  ~Sender() { end(); }
  Sender(const Sender &) = delete;

  std::size_t read(void *to, std::size_t n) {
    std::size_t got = 0;
    while (got < n) {
      ssize_t r = ::read(in_.get(), static_cast<char *>(to) + got, n - got);
      if (r < 0 && errno == EINTR) continue;
      if (r < 0) base::fail_errno(errno, "cannot read a stream of the file system");
      if (r == 0) break;
      got += static_cast<std::size_t>(r);
    }
    return got;
  }
  /// How it ended.
  int end() {
    in_.reset();
    if (thread_.joinable()) thread_.join();
    return error_;
  }

private:
  Fd in_;
  std::thread thread_;
  int error_ = 0;
};

constexpr int directory = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;

Fd nested_at(int top, const std::string &path) {
  Fd fd = top < 0 ? Fd() : sys::try_open_beneath(top, path, directory);
  if (fd && !sys::is_subvolume(fd.get())) fd.reset();
  return fd;
}

/// Those that lie in no other nested one.
std::vector<std::string> outermost(const std::vector<std::string> &paths) {
  std::vector<std::string> out;
  for (auto &p : paths)
    if (std::none_of(out.begin(), out.end(), [&](auto &o) { return p.starts_with(o + "/"); })) out.push_back(p);
  return out;
}

/// Whether `ours` was received as what `theirs` is.
bool is_same(int theirs, int ours) {
  if (theirs < 0 || ours < 0) return false;
  auto a = sys::subvolume_info(theirs), b = sys::subvolume_info(ours);
  return a.read_only && b.read_only && a.stream_id() == b.received;
}

enum class Sent { done, cannot };

/// One subvolume; `done` counts bytes of all.
Sent send_one(int from, int theirs, int ours, int into, const std::string &name, std::uint64_t &done, const Progress &progress) {
  sys::StreamOptions o;
  o.parent = into;
  o.name = name;
  o.any_attribute = true;
  bool incremental = is_same(theirs, ours);
  if (incremental) o.bases.push_back({sys::subvolume_info(theirs).stream_id(), ours, outermost(sys::nested_subvolumes(ours))});
  FaultScope fault("receive subvolume");
  o.made = [] { FaultScope half("fill received subvolume"); };
  Sender sender(from, incremental ? theirs : -1);
  auto before = done;
  try {
    std::uint64_t told = done;
    sys::receive_subvolume(
        [&](void *to, std::size_t n) {
          auto got = sender.read(to, n);
          done += got;
          if (progress && done - told >= 256 << 10) {
            told = done;
            progress(done, 0);
          }
          return got;
        },
        o);
    if (progress) progress(done, 0); // also one that is small can be cancelled
    return Sent::done;
  } catch (const sys::StreamFailure &f) {
    int e = sender.end();
    if (done == before && e != 0) return Sent::cannot; // not a byte came
    if (f.error != 0) throw Error(base::errno_code(f.error), f.what());
    if (e != 0) base::fail_errno(e, "cannot send a subvolume");
    base::fail(ErrorCode::internal, "{}", f.what());
  }
}

} // namespace

BtrfsStreams::Passing::Passing(BtrfsStreams &of) : of_(of), name_(base::random_hex(8)) {
  of_.sweep();
  FaultScope fault("make transfer directory");
  all_ = sys::make_directory(of_.me_.pool_directory().get(), transfers_name, 0700);
  dir_ = sys::make_directory(all_.get(), name_, 0700);
}

BtrfsStreams::Passing::~Passing() {
  try {
    dir_.reset();
    FaultScope fault("remove transfer directory");
    of_.me_.erase_entry(all_.get(), name_);
    ::unlinkat(of_.me_.pool_directory().get(), transfers_name, AT_REMOVEDIR); // unless it is another's too
  } catch (...) { // the next process does it
  }
}

void BtrfsStreams::sweep() {
  std::lock_guard lock(mutex_);
  if (swept_) return;
  Fd pool = me_.pool_directory();
  if (Fd all = sys::try_open_beneath(pool.get(), transfers_name, directory)) {
    FaultScope fault("remove left transfers");
    for (auto &name : sys::list_directory(all.get())) me_.erase_entry(all.get(), name);
    ::unlinkat(pool.get(), transfers_name, AT_REMOVEDIR);
  }
  swept_ = true;
}

std::optional<std::vector<BtrfsStreams::Received>> BtrfsStreams::receive(Driver &pool, const VolumeRef &source, const std::optional<std::string> &snapshot, const VolumeRef &vol,
                                                                         const std::optional<std::string> &since, int into, const Progress &progress) {
  auto *there = dynamic_cast<BtrfsVolumes *>(&pool);
  auto *streams = there ? dynamic_cast<BtrfsStreams *>(pool.replication()) : nullptr;
  if (!streams) return std::nullopt;
  Fd from = there->part(source, snapshot), theirs, ours;
  if (since) {
    try {
      theirs = there->part(source, *since);
      ours = me_.part(vol, *since);
    } catch (const Error &e) {
      if (e.code() != ErrorCode::not_found) throw;
    }
  }
  auto nested = sys::nested_subvolumes(from.get());
  // What may be written to meanwhile is sent as it is now.
  bool frozen = sys::is_read_only(from.get());
  std::vector<Received> parts{{"0", "", frozen}};
  for (auto &path : nested) {
    Fd fd = nested_at(from.get(), path);
    if (!fd) continue; // moved or removed meanwhile
    parts.push_back({std::to_string(parts.size()), path, sys::is_read_only(fd.get())});
    frozen = frozen && parts.back().read_only;
  }
  std::optional<Passing> copy;
  Fd copied;
  if (!frozen) {
    copy.emplace(*streams);
    sys::snapshot_subvolume(from.get(), copy->fd(), "copy", false);
    copied = sys::open_child(copy->fd(), "copy");
    for (auto &path : sys::nested_subvolumes(copied.get()))
      if (Fd fd = nested_at(copied.get(), path); fd && !sys::is_read_only(fd.get())) sys::set_read_only(fd.get(), true);
    sys::set_read_only(copied.get(), true);
  }
  std::uint64_t done = 0;
  for (auto &p : parts) {
    // One that is frozen itself keeps its name, by which later streams may build on it.
    Fd fd = p.path.empty() ? Fd(::fcntl((p.read_only ? from : copied).get(), F_DUPFD_CLOEXEC, 3)) : nested_at((p.read_only ? from : copied).get(), p.path);
    if (!fd) base::fail(ErrorCode::busy, "subvolume {} was moved while it was copied: try again", base::quoted(p.path));
    Fd a, b; // what it may build on: the same one in what both have
    if (!p.path.empty()) {
      a = nested_at(theirs.get(), p.path);
      b = nested_at(ours.get(), p.path);
    }
    auto how = send_one(fd.get(), (p.path.empty() ? theirs : a).get(), (p.path.empty() ? ours : b).get(), into, p.name, done, progress);
    if (how == Sent::cannot) return std::nullopt;
  }
  return parts;
}

/// As NAME in the directory of volumes.
bool BtrfsStreams::make_volume(Driver &pool, const VolumeRef &vol, const VolumeRef &source, const std::optional<std::string> &snapshot, const std::optional<std::string> &since,
                               const std::string &name, const Progress &progress) {
  Passing passing(*this);
  auto parts = receive(pool, source, snapshot, vol, since, passing.fd(), progress);
  if (!parts) return false;
  BtrfsAssembly whole(passing.fd(), "0", "whole");
  for (auto &p : *parts)
    if (!p.path.empty()) whole.place(p.name, p.path, p.read_only);
  if (vol.type == VolumeType::container) {
    if (::fchmod(whole.fd(), 0100) != 0) base::fail_errno(errno, "cannot set the mode of the volume's directory");
    whole.forget("backup.yaml"); // it describes the source
  }
  whole.finish(false);
  Fd parent = me_.volumes(vol.type);
  FaultScope fault("publish volume");
  sys::rename_at(passing.fd(), "whole", parent.get(), name);
  sys::sync_filesystem(parent.get());
  return true;
}

bool BtrfsStreams::create(const VolumeRef &vol, Driver &pool, const VolumeRef &source, const std::optional<std::string> &snapshot, const std::optional<std::string> &since,
                          const Progress &progress) {
  bool made = false;
  me_.about("copy to", vol, [&] {
    if (sys::exists_at(me_.volumes(vol.type).get(), vol.name)) base::fail(ErrorCode::already_exists, "it is on disk already");
    made = make_volume(pool, vol, source, snapshot, since, vol.name, progress);
  });
  return made;
}

bool BtrfsStreams::refresh_prepare(const VolumeRef &vol, Driver &pool, const VolumeRef &source, const std::optional<std::string> &snapshot,
                                   const std::optional<std::string> &since, const Progress &progress) {
  bool made = false;
  me_.about("refresh", vol, [&] {
    me_.forget_prepared(vol);
    made = make_volume(pool, vol, source, snapshot, since, vol.name + "~restore", progress);
  });
  return made;
}

bool BtrfsStreams::create_snapshot(const VolumeRef &vol, const std::string &snapshot, Driver &pool, const VolumeRef &source, const std::optional<std::string> &since,
                                   const Progress &progress) {
  bool made = false;
  me_.about("copy a snapshot to", vol, [&] {
    Passing passing(*this);
    auto parts = receive(pool, source, snapshot, vol, since, passing.fd(), progress);
    if (!parts) return;
    me_.new_snapshot(vol, snapshot, [&](int of) {
      // It stays what was received, so that the next stream may build on it.
      BtrfsAssembly whole(passing.fd(), "0");
      for (auto &p : *parts)
        if (!p.path.empty()) whole.place(p.name, p.path, p.read_only);
      auto fresh = snapshot + "~new";
      me_.erase_entry(of, fresh);
      FaultScope fault("publish snapshot");
      sys::rename_at(passing.fd(), "0", of, fresh); // into another directory only what can be written to moves
      whole.finish(true);
      sys::rename_at(of, fresh, of, snapshot);
      sys::sync_filesystem(of);
    });
    made = true;
  });
  return made;
}

} // namespace incus::storage
