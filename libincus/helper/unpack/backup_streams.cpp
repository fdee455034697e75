// SPDX-License-Identifier: Apache-2.0
// Optimised backups: streams of a file system as files of an archive.
#include <archive_entry.h>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <map>
#include <optional>
#include <pthread.h>
#include <set>
#include <signal.h>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>

#include "helper/unpack/backup.hpp"
#include "helper/unpack/pack.hpp"
#include "helper/unpack/sandbox.hpp"
#include "sys/btrfs_stream.hpp"

namespace incus::unpack {

namespace {

/// The content of the entry that a reader is at, as bytes one after the other.
class Content {
public:
  Content(Reader &reader, const std::string &name, const std::function<void()> &step) : reader_(reader), name_(name), step_(step) {}
  std::size_t read(void *to, std::size_t n) {
    std::size_t got = 0;
    while (got < n) {
      if (left_ == 0) {
        const void *piece;
        std::int64_t at;
        if (!reader_.data(&piece, &left_, &at)) break;
        if (step_) step_();
        if (at != at_) refuse(quoted(name_) + " has holes");
        piece_ = static_cast<const char *>(piece);
        at_ += static_cast<std::int64_t>(left_);
        continue;
      }
      auto k = std::min(left_, n - got);
      std::memcpy(static_cast<char *>(to) + got, piece_, k);
      piece_ += k;
      left_ -= k;
      got += k;
    }
    return got;
  }

private:
  Reader &reader_;
  std::string name_;
  const std::function<void()> &step_;
  const char *piece_ = nullptr;
  std::size_t left_ = 0;
  std::int64_t at_ = 0;
};

} // namespace

void receive_streams(Blocks &from, const std::vector<std::string> &files, const Limits &limits, int target, const std::function<void()> &step) {
  std::map<std::string, std::size_t> wanted;
  for (std::size_t i = 0; i < files.size(); i++) wanted[files[i]] = i;
  Reader reader(from);
  sys::StreamOptions options;
  options.parent = target;
  std::set<std::string> seen;
  std::uint64_t entries = 0;
  try {
    while (archive_entry *entry = reader.next()) {
      if (step) step();
      if (++entries > limits.entries) refuse("the archive holds too much");
      auto path = normal_path(archive_entry_pathname(entry), "name");
      auto it = wanted.find(path);
      if (it == wanted.end()) {
        if (path.ends_with(".bin")) refuse("the archive holds " + quoted(path) + ", which its header does not name");
        continue;
      }
      if (archive_entry_hardlink(entry) || archive_entry_filetype(entry) != AE_IFREG) refuse(quoted(path) + " is not a regular file");
      if (!seen.insert(path).second) refuse(quoted(path) + " comes twice");
      options.name = std::to_string(it->second);
      Content content(reader, path, step);
      auto id = sys::receive_subvolume([&](void *to, std::size_t n) { return content.read(to, n); }, options);
      for (auto &b : options.bases)
        if (b.id == id) refuse(quoted(path) + " is a subvolume that came before");
      int made = open_below(target, options.name);
      if (made < 0) fail_errno(errno, "cannot open what was received of " + quoted(path));
      options.bases.push_back({id, made});
    }
  } catch (const sys::StreamFailure &f) {
    if (f.error == ENOSPC || f.error == EDQUOT) fail("no_space", f.what());
    fail(f.error ? "internal" : "corrupt", f.what());
  }
  for (auto &b : options.bases) ::close(b.fd);
  for (auto &f : files)
    if (!seen.count(f)) refuse("the backup holds no " + quoted(f));
}

void spool_stream(int subvolume, int base, int spool) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) < 0) fail_errno(errno, "cannot make a pipe");
  ::fcntl(ends[1], F_SETPIPE_SZ, 1 << 20);
  ::signal(SIGPIPE, SIG_IGN);
  int error = 0;
  std::thread sender([&, out = ends[1]] {
    error = sys::send_subvolume(subvolume, base, out);
    ::close(out);
  });
  std::string problem;
  int failed = 0;
  std::vector<char> buffer(256 << 10);
  if (::lseek(spool, 0, SEEK_SET) < 0 || ::ftruncate(spool, 0) < 0) failed = errno;
  while (!failed) {
    ssize_t n = ::read(ends[0], buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) failed = errno;
    if (n <= 0) break;
    for (ssize_t at = 0; at < n && !failed;) {
      ssize_t w = ::write(spool, buffer.data() + at, static_cast<std::size_t>(n - at));
      if (w < 0 && errno != EINTR) failed = errno;
      if (w > 0) at += w;
    }
  }
  ::close(ends[0]);
  sender.join();
  if (failed) fail_errno(failed, "cannot keep a stream of the storage pool for the backup");
  if (error) fail_errno(error, "cannot make a stream of a volume");
}

} // namespace incus::unpack
