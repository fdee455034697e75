// SPDX-License-Identifier: Apache-2.0
#include <archive.h>
#include <archive_entry.h>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <memory>
#include <optional>
#include <set>
#include <sys/stat.h>
#include <unistd.h>

#include "helper/unpack/backup.hpp"
#include "helper/unpack/extract.hpp"

namespace incus::unpack {

namespace {

/// Where an entry of a backup belongs.
struct Place {
  enum class Kind { other, index, volume, snapshot } kind = Kind::other;
  std::string snapshot, rest;
};

/// `path` in normal form.
Place place_of(const std::string &path, bool tree) {
  auto below = [&](const std::string &prefix, std::string &rest) {
    if (path == prefix) {
      rest.clear();
      return true;
    }
    if (path.compare(0, prefix.size() + 1, prefix + "/") != 0) return false;
    rest = path.substr(prefix.size() + 1);
    return true;
  };
  Place p;
  if (path == index_name) {
    p.kind = Place::Kind::index;
    return p;
  }
  if (below(tree ? "backup/volume" : "backup/container", p.rest)) {
    p.kind = Place::Kind::volume;
    return p;
  }
  if (!below(tree ? "backup/volume-snapshots" : "backup/snapshots", p.rest) || p.rest.empty()) return p;
  auto cut = p.rest.find('/');
  p.snapshot = p.rest.substr(0, cut);
  p.rest = cut == std::string::npos ? std::string() : p.rest.substr(cut + 1);
  p.kind = Place::Kind::snapshot;
  return p;
}

bool is_stream(const std::string &path) {
  return path.ends_with(".bin") && (path == "backup/container.bin" || path == "backup/volume.bin" || path.starts_with("backup/snapshots/") || path.starts_with("backup/volume-snapshots/")) &&
         path.find('/', path.find("snapshots/") == std::string::npos ? 7 : path.find("snapshots/") + 10) == std::string::npos;
}

/// One volume or snapshot while it is unpacked.
class Part {
public:
  Part(int parent, const std::string &name, bool tree, const Limits &limits, IdShift shift, std::string prefix)
      : tree_(tree), rules_(tree ? Shape::rootfs : Shape::backup, limits), prefix_(std::move(prefix)) {
    if (!name.empty()) {
      if (::mkdirat(parent, name.c_str(), 0700) < 0) fail_errno(errno, "cannot make the directory of snapshot " + quoted(name));
      fd_ = ::openat(parent, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    } else {
      fd_ = ::fcntl(parent, F_DUPFD_CLOEXEC, 3);
    }
    if (fd_ < 0) fail_errno(errno, "cannot open the target");
    writer_.emplace(fd_, tree ? "" : "rootfs/", std::move(shift));
  }
  ~Part() {
    writer_.reset();
    ::close(fd_);
  }
  Part(const Part &) = delete;

  const std::string &prefix() const { return prefix_; }

  void take(archive_entry *entry, const std::string &rest, Reader &reader, const std::function<void()> &step) {
    // The rules are those of an image, for what is below the part's own directory.
    if (const char *hard = archive_entry_hardlink(entry)) {
      auto link = normal_path(hard, "hard link target");
      if (link.compare(0, prefix_.size() + 1, prefix_ + "/") != 0) refuse("hard link " + quoted(prefix_ + "/" + rest) + " points to " + quoted(link) + ", outside " + quoted(prefix_));
      archive_entry_set_hardlink(entry, link.substr(prefix_.size() + 1).c_str());
    }
    if (rest.empty() && (archive_entry_hardlink(entry) || archive_entry_filetype(entry) != AE_IFDIR)) refuse(quoted(prefix_) + " is not a directory");
    archive_entry_set_pathname(entry, rest.empty() ? "." : rest.c_str());
    auto v = rules_.judge(entry);
    if (rules_.rootfs_image()) fail("not_supported", "the backup is one of a virtual machine, which cannot be unpacked yet");
    switch (v.use) {
    case Rules::Use::skip: break;
    case Rules::Use::metadata: writer_->write_text(v.path, reader.text(max_metadata), entry); break;
    case Rules::Use::templates: writer_->write(v.path, {}, entry, reader, true, step); break;
    case Rules::Use::rootfs: writer_->write(v.path, v.link, entry, reader, false, step); break;
    }
  }

  void finish() {
    rules_.finish();
    writer_->finish();
  }

private:
  bool tree_;
  Rules rules_;
  std::string prefix_;
  int fd_ = -1;
  std::optional<Writer> writer_;
};

/// Where pieces of content go, with holes for what is zeros.
void write_image(Reader &reader, int fd, std::int64_t size, const std::string &path, const std::function<void()> &step) {
  constexpr std::size_t page = 4096;
  static const char zeros[page] = {};
  const void *piece;
  std::size_t n;
  std::int64_t at;
  while (reader.data(&piece, &n, &at)) {
    if (step) step();
    auto *from = static_cast<const char *>(piece);
    if (at < 0 || at > size - static_cast<std::int64_t>(n)) refuse(quoted(path) + " is longer than it says");
    while (n) {
      auto k = std::min<std::size_t>(n, page - static_cast<std::size_t>(at) % page);
      if (std::memcmp(from, zeros, k) != 0) {
        // As much as follows without such.
        while (k < n && std::memcmp(from + k, zeros, std::min(page, n - k)) != 0) k += std::min(page, n - k);
        for (std::size_t done = 0; done < k;) {
          ssize_t w = ::pwrite(fd, from + done, k - done, at + static_cast<off_t>(done));
          if (w < 0 && errno == EINTR) continue;
          if (w < 0) fail_errno(errno, "cannot write " + quoted(path));
          done += static_cast<std::size_t>(w);
        }
      }
      from += k;
      n -= k;
      at += static_cast<std::int64_t>(k);
    }
  }
  if (::ftruncate(fd, size) < 0) fail_errno(errno, "cannot set the size of " + quoted(path));
}

/// Volumes that are one file each.
void extract_images(Blocks &from, Kind kind, const Limits &limits, int volume, int snapshots, const std::function<void()> &step) {
  const char *file = kind == Kind::iso ? "root.iso" : "root.img";
  const std::string main = "backup/volume.img", others = "backup/volume-snapshots/";
  Reader reader(from);
  std::set<std::string> seen;
  std::uint64_t entries = 0;
  while (archive_entry *entry = reader.next()) {
    if (step) step();
    if (++entries > limits.entries) refuse("the archive holds too much");
    auto path = normal_path(archive_entry_pathname(entry), "name");
    if (is_stream(path)) fail("not_supported", "the backup holds " + quoted(path) + ", a stream of another storage driver: make one without --optimized-storage");
    std::string name;
    if (path != main) {
      if (!path.starts_with(others) || !path.ends_with(".img")) continue;
      name = path.substr(others.size(), path.size() - others.size() - 4);
      if (name.empty() || name == "." || name == ".." || name.find_first_of("/~") != name.npos) refuse(quoted(path) + " cannot be a snapshot");
      if (snapshots < 0) refuse("the archive holds " + quoted(path) + ", which its index does not name");
    }
    if (archive_entry_hardlink(entry) || archive_entry_filetype(entry) != AE_IFREG) refuse(quoted(path) + " is not a regular file");
    if (!seen.insert(path).second) refuse(quoted(path) + " comes twice");
    int dir = volume;
    if (!name.empty()) {
      if (::mkdirat(snapshots, name.c_str(), 0700) < 0) fail_errno(errno, "cannot make the directory of snapshot " + quoted(name));
      dir = ::openat(snapshots, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
      if (dir < 0) fail_errno(errno, "cannot open the directory of snapshot " + quoted(name));
    }
    int fd = ::openat(dir, file, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) fail_errno(errno, "cannot make the content of " + quoted(path));
    auto size = archive_entry_size(entry);
    if (size < 0 || static_cast<std::uint64_t>(size) > limits.bytes) refuse(quoted(path) + " has no possible size");
    try {
      write_image(reader, fd, size, path, step);
    } catch (...) {
      ::close(fd);
      throw;
    }
    ::close(fd);
    if (!name.empty()) ::close(dir);
  }
  if (!seen.count(main)) refuse("the backup holds no " + quoted(main));
}

} // namespace

std::string index_of(Blocks &from, const std::string &name, const Limits &limits, const std::function<void()> &step) {
  Reader reader(from);
  std::uint64_t entries = 0;
  while (archive_entry *entry = reader.next()) {
    if (step) step();
    if (++entries > limits.entries) break;
    if (normal_path(archive_entry_pathname(entry), "name") != name) continue;
    if (archive_entry_hardlink(entry) || archive_entry_filetype(entry) != AE_IFREG) refuse(quoted(name) + " is not a regular file");
    return reader.text(max_index);
  }
  refuse(std::string("this is not a backup: ") + quoted(name) + " is missing");
}

void extract_backup(Blocks &from, Kind kind, const Limits &limits, int volume, int snapshots, const std::vector<BackupShifts> &shifts, const std::function<void()> &step) {
  if (kind == Kind::block || kind == Kind::iso) return extract_images(from, kind, limits, volume, snapshots, step);
  bool tree = kind == Kind::tree;
  Reader reader(from);
  std::optional<Part> part;
  std::set<std::string> seen;
  bool index = false;
  std::uint64_t others = 0;
  auto finish = [&] {
    if (part) part->finish();
    part.reset();
  };
  auto shift_of = [&](const std::string &name) {
    for (auto &s : shifts)
      if (s.part == name) return IdShift(s.ids);
    return IdShift();
  };
  while (archive_entry *entry = reader.next()) {
    if (step) step();
    auto path = normal_path(archive_entry_pathname(entry), "name");
    if (is_stream(path)) fail("not_supported", "the backup holds " + quoted(path) + ", a stream of another storage driver: make one without --optimized-storage");
    auto place = place_of(path, tree);
    if (place.kind == Place::Kind::index) {
      if (index) refuse(quoted(index_name) + " comes twice");
      index = true;
      continue;
    }
    if (place.kind == Place::Kind::other) {
      if (++others > 10'000) refuse("the archive holds much that belongs to no backup");
      continue;
    }
    bool own = place.kind == Place::Kind::volume;
    auto prefix = own ? std::string(tree ? "backup/volume" : "backup/container") : std::string(tree ? "backup/volume-snapshots/" : "backup/snapshots/") + place.snapshot;
    if (!part || part->prefix() != prefix) {
      finish();
      if (!seen.insert(prefix).second) refuse(quoted(prefix) + " comes twice");
      if (!own && snapshots < 0) refuse("the archive holds " + quoted(prefix) + ", which its index does not name");
      if (!own && (place.snapshot.empty() || place.snapshot == "." || place.snapshot == ".." || place.snapshot.find('~') != std::string::npos)) refuse(quoted(prefix) + " cannot name a snapshot");
      part.emplace(own ? volume : snapshots, place.snapshot, tree, limits, shift_of(place.snapshot), prefix);
    }
    part->take(entry, place.rest, reader, step);
  }
  finish();
  if (!index) refuse(std::string("this is not a backup: ") + quoted(index_name) + " is missing");
  auto main = std::string(tree ? "backup/volume" : "backup/container");
  if (!seen.count(main)) refuse("the backup holds no " + quoted(main));
}

} // namespace incus::unpack
