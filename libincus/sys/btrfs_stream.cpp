// SPDX-License-Identifier: Apache-2.0
#include "sys/btrfs_stream.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <endian.h>
#include <fcntl.h>
#include <linux/btrfs.h>
#include <linux/btrfs_tree.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <optional>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <utility>

namespace incus::sys {

namespace {

constexpr char magic[13] = "btrfs-stream"; // with its NUL
constexpr std::uint32_t largest_command = 64 << 10;

enum class Command : std::uint16_t {
  subvolume = 1, snapshot, make_file, make_directory, make_node, make_fifo, make_socket, symlink, rename, link, unlink, rmdir, set_xattr, remove_xattr, write, clone,
  truncate, chmod, chown, utimes, end, update_extent
};
enum Attribute : std::uint16_t {
  uuid = 1, ctransid = 2, inode = 3, size = 4, mode = 5, uid = 6, gid = 7, device = 8, ctime = 9, mtime = 10, atime = 11, xattr_name = 13, xattr_data = 14, path = 15,
  path_to = 16, path_link = 17, file_offset = 18, data = 19, clone_uuid = 20, clone_ctransid = 21, clone_path = 22, clone_offset = 23, clone_length = 24,
  attributes = 25
};

[[noreturn]] void damaged(const std::string &why) { throw StreamFailure(0, "the stream of a subvolume is damaged: " + why); }
[[noreturn]] void hostile(const std::string &why) { throw StreamFailure(0, "the stream of a subvolume is refused: " + why); }
[[noreturn]] void failed(const std::string &what) {
  int e = errno;
  throw StreamFailure(e, "cannot " + what + ": " + std::strerror(e));
}

/// For messages: what would not be a line is left out.
std::string shown(std::string_view text) {
  std::string out = "\"";
  for (char c : text.substr(0, 200)) out += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? '?' : c;
  return out + '"';
}

/// The polynomial of Castagnoli, without the inversions that others do.
std::uint32_t checksum(std::uint32_t crc, const unsigned char *at, std::size_t n) {
  static const auto table = [] {
    std::array<std::array<std::uint32_t, 256>, 8> t{};
    for (std::uint32_t i = 0; i < 256; i++) {
      std::uint32_t c = i;
      for (int k = 0; k < 8; k++) c = c & 1 ? c >> 1 ^ 0x82f63b78u : c >> 1;
      t[0][i] = c;
    }
    for (std::uint32_t i = 0; i < 256; i++)
      for (std::size_t k = 1; k < 8; k++) t[k][i] = t[k - 1][i] >> 8 ^ t[0][t[k - 1][i] & 0xff];
    return t;
  }();
  for (; n >= 8; at += 8, n -= 8) {
    std::uint64_t w;
    std::memcpy(&w, at, 8);
    w = le64toh(w) ^ crc;
    crc = 0;
    for (std::size_t k = 0; k < 8; k++) crc ^= table[7 - k][w >> (8 * k) & 0xff];
  }
  while (n--) crc = crc >> 8 ^ table[0][(crc ^ *at++) & 0xff];
  return crc;
}

template <class T> T little(const void *at) {
  T v;
  std::memcpy(&v, at, sizeof v);
  if constexpr (sizeof v == 2) return le16toh(v);
  if constexpr (sizeof v == 4) return le32toh(v);
  return static_cast<T>(le64toh(v));
}

class Handle {
public:
  Handle() = default;
  explicit Handle(int fd) : fd_(fd) {}
  Handle(Handle &&other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Handle &operator=(Handle &&other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Handle() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }
  explicit operator bool() const { return fd_ >= 0; }

private:
  int fd_ = -1;
};

Handle open_below(int top, const std::string &path, int flags) {
  open_how how{};
  how.flags = static_cast<std::uint64_t>(flags) | O_CLOEXEC | O_NOFOLLOW;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV;
  for (int tries = 0;; tries++) {
    int fd = static_cast<int>(::syscall(SYS_openat2, top, path.empty() ? "." : path.c_str(), &how, sizeof how));
    if (fd >= 0 || errno != EAGAIN || tries == 100) return Handle(fd);
  }
}

/// One command with its attributes.
class Record {
public:
  bool read(const StreamSource &from) {
    unsigned char head[10];
    auto got = from(head, sizeof head);
    if (got == 0) return false;
    if (got != sizeof head) damaged("it ends in the middle");
    auto length = little<std::uint32_t>(head);
    command = little<std::uint16_t>(head + 4);
    if (length > largest_command) damaged("a command is too long");
    body_.resize(length);
    if (from(body_.data(), length) != length) damaged("it ends in the middle");
    auto sum = little<std::uint32_t>(head + 6);
    std::memset(head + 6, 0, 4);
    if (checksum(checksum(0, head, sizeof head), body_.data(), length) != sum) damaged("a checksum is wrong");
    at_.fill({});
    for (std::size_t at = 0; at < length;) {
      if (length - at < 4) damaged("an attribute is cut off");
      auto type = little<std::uint16_t>(&body_[at]), n = little<std::uint16_t>(&body_[at + 2]);
      at += 4;
      if (n > length - at) damaged("an attribute is cut off");
      if (type == 0 || type >= attributes) damaged("an attribute is not known");
      if (at_[type]) damaged("an attribute comes twice");
      at_[type] = std::string_view(reinterpret_cast<const char *>(body_.data()) + at, n);
      at += n;
    }
    return true;
  }

  std::string_view bytes(Attribute a) const {
    if (!at_[a]) damaged("an attribute is missing");
    return *at_[a];
  }
  std::uint64_t number(Attribute a) const {
    auto b = bytes(a);
    if (b.size() != 8) damaged("an attribute has a wrong size");
    return little<std::uint64_t>(b.data());
  }
  SubvolumeId id(Attribute a) const {
    auto b = bytes(a);
    SubvolumeId out;
    if (b.size() != out.size()) damaged("an attribute has a wrong size");
    std::memcpy(out.data(), b.data(), out.size());
    return out;
  }
  timespec time(Attribute a) const {
    auto b = bytes(a);
    if (b.size() != 12) damaged("an attribute has a wrong size");
    timespec t{};
    t.tv_sec = static_cast<time_t>(little<std::uint64_t>(b.data()));
    t.tv_nsec = little<std::uint32_t>(b.data() + 8);
    if (t.tv_nsec > 999'999'999) damaged("a time is none");
    return t;
  }
  std::string text(Attribute a) const {
    std::string s(bytes(a));
    if (s.find('\0') != s.npos) hostile("a text holds a NUL byte");
    return s;
  }
  /// Of something in the subvolume; empty: its top.
  std::string place(Attribute a) const {
    auto p = text(a);
    if (p.size() >= 4096) hostile("a path is too long");
    for (std::size_t at = 0; at < p.size();) {
      auto end = std::min(p.find('/', at), p.size());
      auto part = std::string_view(p).substr(at, end - at);
      if (part.empty() || part == "." || part == ".." || end + 1 == p.size()) hostile("path " + shown(p) + " is none of something in it");
      at = end + 1;
    }
    return p;
  }

  std::uint16_t command = 0;

private:
  std::vector<unsigned char> body_;
  std::array<std::optional<std::string_view>, attributes> at_;
};

class Receiver {
public:
  explicit Receiver(const StreamOptions &options) : o_(options) {}

  SubvolumeId run(const StreamSource &from) {
    char head[sizeof magic + 4];
    auto got = from(head, sizeof head);
    if (got != sizeof head || std::memcmp(head, magic, sizeof magic) != 0) damaged("it does not begin as one");
    if (auto version = little<std::uint32_t>(head + sizeof magic); version != 1) hostile("it is of version " + std::to_string(version) + ", only 1 is read");
    Record r;
    if (!r.read(from)) damaged("it is empty");
    begin(r);
    for (;;) {
      if (!r.read(from)) damaged("it ends in the middle");
      if (static_cast<Command>(r.command) == Command::end) break;
      take(r);
    }
    file_ = {};
    char more;
    if (from(&more, 1) != 0) damaged("something comes after its end");
    finish();
    return id_;
  }

private:
  /// A name in its directory.
  struct Spot {
    int dir;
    std::string name;
  };
  Spot spot(const std::string &p) {
    if (p.empty()) hostile("it changes its own top as if it were in something");
    auto slash = p.rfind('/');
    if (slash == p.npos) return {top_.get(), p};
    auto dir = p.substr(0, slash);
    if (!dir_ || dir != dir_path_) {
      dir_ = open_below(top_.get(), dir, O_PATH | O_DIRECTORY);
      if (!dir_) cannot("reach", dir);
      dir_path_ = dir;
    }
    return {dir_.get(), p.substr(slash + 1)};
  }
  void forget() {
    dir_ = {};
    file_ = {};
  }
  [[noreturn]] void cannot(const char *what, const std::string &p) {
    // Such things only a stream does that was not made by the kernel.
    if (errno == ELOOP || errno == EXDEV || errno == ENOENT || errno == ENOTDIR || errno == EEXIST || errno == ENOTEMPTY || errno == EISDIR)
      damaged("it would " + std::string(what) + " " + shown(p) + ", which cannot be: " + std::strerror(errno));
    failed(std::string(what) + " " + shown(p) + " of a subvolume that is received");
  }
  struct stat look(const std::string &p) {
    struct stat st {};
    if (p.empty() ? ::fstat(top_.get(), &st) != 0 : [&] { auto s = spot(p); return ::fstatat(s.dir, s.name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0; }()) cannot("look at", p);
    return st;
  }
  /// For reading or writing of what is a file or directory: opening anything else could do something.
  Handle open_plain(const std::string &p, int flags) {
    if (p.empty()) return open_below(top_.get(), "", O_RDONLY | O_DIRECTORY);
    auto st = look(p);
    if (!S_ISREG(st.st_mode) && !(S_ISDIR(st.st_mode) && (flags & O_ACCMODE) == O_RDONLY)) damaged(shown(p) + " is no file");
    auto s = spot(p);
    return open_below(s.dir, s.name, flags);
  }

  const StreamBase *base(const SubvolumeId &id) const {
    for (auto &b : o_.bases)
      if (b.id == id) return &b;
    return nullptr;
  }

  void begin(const Record &r) {
    r.text(path); // what it was called
    id_ = r.id(uuid);
    transid_ = r.number(ctransid);
    btrfs_ioctl_vol_args_v2 args{};
    std::vector<std::string> places;
    if (o_.name.size() > BTRFS_SUBVOL_NAME_MAX) failed("name a subvolume");
    std::memcpy(args.name, o_.name.c_str(), o_.name.size() + 1);
    if (static_cast<Command>(r.command) == Command::subvolume) {
      if (::ioctl(o_.parent, BTRFS_IOC_SUBVOL_CREATE_V2, &args) != 0) failed("make subvolume " + shown(o_.name));
    } else if (static_cast<Command>(r.command) == Command::snapshot) {
      auto *b = base(r.id(clone_uuid));
      if (!b) hostile("it builds on subvolume " + to_text(r.id(clone_uuid)) + ", which did not come before it");
      args.fd = b->fd;
      places = b->nested;
      if (::ioctl(o_.parent, BTRFS_IOC_SNAP_CREATE_V2, &args) != 0) failed("make subvolume " + shown(o_.name) + " from the one before");
    } else {
      damaged("it does not begin with a subvolume");
    }
    if (o_.made) o_.made();
    top_ = open_below(o_.parent, o_.name, O_RDONLY | O_DIRECTORY);
    if (!top_) failed("open subvolume " + shown(o_.name));
    for (auto &place : places) remove_place(place);
  }

  /// Where a nested subvolume was in the one before, its snapshot has an empty directory. What that lies in keeps its times: the stream knows of no change.
  void remove_place(const std::string &place) {
    auto slash = place.rfind('/');
    Handle dir = open_below(top_.get(), slash == place.npos ? "" : place.substr(0, slash), O_RDONLY | O_DIRECTORY);
    struct stat st {};
    if (!dir || ::fstat(dir.get(), &st) != 0) failed("reach the place of subvolume " + shown(place));
    if (::unlinkat(dir.get(), place.substr(slash == place.npos ? 0 : slash + 1).c_str(), AT_REMOVEDIR) != 0) {
      if (errno == ENOENT) return;
      failed("remove the place of subvolume " + shown(place));
    }
    timespec t[2] = {st.st_atim, st.st_mtim};
    if (::futimens(dir.get(), t) != 0) failed("set the times of the place of subvolume " + shown(place));
  }

  void take(const Record &r) {
    switch (static_cast<Command>(r.command)) {
    case Command::make_file: return make(r, S_IFREG | 0600);
    case Command::make_directory: return make(r, S_IFDIR | 0700);
    case Command::make_node: return make(r, static_cast<mode_t>(r.number(mode)) & S_IFMT);
    case Command::make_fifo: return make(r, S_IFIFO | 0600);
    case Command::make_socket: return make(r, S_IFSOCK | 0600);
    case Command::symlink: return make(r, S_IFLNK);
    case Command::rename: return rename(r);
    case Command::link: return link(r);
    case Command::unlink:
    case Command::rmdir: return remove(r, static_cast<Command>(r.command) == Command::rmdir ? AT_REMOVEDIR : 0);
    case Command::set_xattr:
    case Command::remove_xattr: return attribute(r, static_cast<Command>(r.command) == Command::set_xattr);
    case Command::write: return write(r);
    case Command::clone: return clone(r);
    case Command::truncate: return truncate(r);
    case Command::chmod: return chmod(r);
    case Command::chown: return chown(r);
    case Command::utimes: return times(r);
    case Command::update_extent: hostile("it has no data");
    default: hostile("it holds command " + std::to_string(r.command) + ", which streams of version 1 have not");
    }
  }

  void make(const Record &r, mode_t kind) {
    auto p = r.place(path);
    auto s = spot(p);
    int failed_with = 0;
    if (S_ISDIR(kind))
      failed_with = ::mkdirat(s.dir, s.name.c_str(), kind & 07777);
    else if (S_ISLNK(kind))
      failed_with = ::symlinkat(r.text(path_link).c_str(), s.dir, s.name.c_str());
    else if (S_ISREG(kind) || S_ISFIFO(kind) || S_ISSOCK(kind))
      failed_with = ::mknodat(s.dir, s.name.c_str(), kind, 0);
    else if (S_ISCHR(kind) || S_ISBLK(kind)) {
      auto d = r.number(device); // as the kernel packs it
      failed_with = ::mknodat(s.dir, s.name.c_str(), kind | 0600, makedev(static_cast<unsigned>((d & 0xfff00) >> 8), static_cast<unsigned>((d & 0xff) | ((d >> 12) & 0xfff00))));
    } else
      damaged("a node is of no kind");
    if (failed_with != 0) cannot("make", p);
  }

  void rename(const Record &r) {
    auto from = r.place(path), to = r.place(path_to);
    forget();
    auto a = spot(from);
    Handle keep = std::move(dir_); // spot() of the second would close it
    if (::renameat(a.dir, a.name.c_str(), spot(to).dir, spot(to).name.c_str()) != 0) cannot("rename", from);
    forget();
  }

  void link(const Record &r) {
    auto fresh = r.place(path), there = r.place(path_link);
    auto a = spot(there);
    Handle keep = std::move(dir_);
    auto b = spot(fresh);
    if (::linkat(a.dir, a.name.c_str(), b.dir, b.name.c_str(), 0) != 0) cannot("link", fresh);
  }

  void remove(const Record &r, int flags) {
    auto p = r.place(path);
    file_ = {};
    auto s = spot(p);
    if (::unlinkat(s.dir, s.name.c_str(), flags) != 0) cannot("remove", p);
    if (flags) forget();
  }

  /// Those that root of a user namespace could set too.
  static bool common(const std::string &name) {
    return name.starts_with("user.") || name == "security.capability" || name == "system.posix_acl_access" || name == "system.posix_acl_default";
  }

  void attribute(const Record &r, bool set) {
    auto p = r.place(path);
    auto name = r.text(xattr_name);
    if (!o_.any_attribute && !common(name)) return;
    auto value = set ? r.bytes(xattr_data) : std::string_view();
    auto st = look(p);
    int result = 0;
    if (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode)) {
      Handle h = open_plain(p, O_RDONLY);
      if (!h) cannot("open", p);
      result = set ? ::fsetxattr(h.get(), name.c_str(), value.data(), value.size(), 0) : ::fremovexattr(h.get(), name.c_str());
    } else {
      // Such a thing cannot be opened, and calls that take a directory for it are of the newest kernels.
      auto s = spot(p);
      auto full = "/proc/self/fd/" + std::to_string(s.dir) + "/" + s.name;
      result = set ? ::lsetxattr(full.c_str(), name.c_str(), value.data(), value.size(), 0) : ::lremovexattr(full.c_str(), name.c_str());
      if (result != 0 && errno == ENOENT && !o_.any_attribute) return; // a sandbox without /proc: of links and nodes a guest's root has none that count
    }
    if (result != 0 && !(errno == ENODATA && !set)) cannot("set an attribute of", p);
  }

  void to_write(const std::string &p) {
    if (file_ && p == file_path_) return;
    file_ = open_plain(p, O_RDWR);
    if (!file_) cannot("open", p);
    file_path_ = p;
  }

  void write(const Record &r) {
    auto p = r.place(path);
    auto bytes = r.bytes(data);
    auto at = r.number(file_offset);
    if (at > INT64_MAX - bytes.size()) damaged("an offset is none");
    to_write(p);
    while (!bytes.empty()) {
      ssize_t n = ::pwrite(file_.get(), bytes.data(), bytes.size(), static_cast<off_t>(at));
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) cannot("write to", p);
      bytes.remove_prefix(static_cast<std::size_t>(n));
      at += static_cast<std::uint64_t>(n);
    }
  }

  void clone(const Record &r) {
    auto p = r.place(path), of = r.place(clone_path);
    auto from = r.id(clone_uuid);
    Handle source;
    if (from == id_) {
      source = open_plain(of, O_RDONLY);
    } else {
      auto *b = base(from);
      if (!b) hostile("it takes data from subvolume " + to_text(from) + ", which did not come before it");
      Handle at = open_below(b->fd, of, O_PATH);
      struct stat st {};
      if (at && (::fstat(at.get(), &st) != 0 || !S_ISREG(st.st_mode))) damaged(shown(of) + " is no file");
      if (at) source = open_below(b->fd, of, O_RDONLY);
    }
    if (!source) cannot("open", of);
    to_write(p);
    file_clone_range range{};
    range.src_fd = source.get();
    range.src_offset = r.number(clone_offset);
    range.src_length = r.number(clone_length);
    range.dest_offset = r.number(file_offset);
    if (::ioctl(file_.get(), FICLONERANGE, &range) == 0) return;
    if (errno == EINVAL) damaged("it takes data from where there is none");
    cannot("fill", p);
  }

  void truncate(const Record &r) {
    auto p = r.place(path);
    auto n = r.number(size);
    if (n > INT64_MAX) damaged("a size is none");
    to_write(p);
    if (::ftruncate(file_.get(), static_cast<off_t>(n)) != 0) cannot("set the size of", p);
  }

  void chmod(const Record &r) {
    auto p = r.place(path);
    auto m = static_cast<mode_t>(r.number(mode)) & 07777;
    if (p.empty()) {
      if (::fchmod(top_.get(), m) != 0) cannot("set the mode of", p);
      return;
    }
    if (S_ISLNK(look(p).st_mode)) damaged("it sets the mode of a link");
    auto s = spot(p);
    if (::fchmodat(s.dir, s.name.c_str(), m, 0) != 0) cannot("set the mode of", p);
  }

  void chown(const Record &r) {
    auto p = r.place(path);
    auto u = static_cast<uid_t>(r.number(uid));
    auto g = static_cast<gid_t>(r.number(gid));
    if (p.empty()) {
      if (::fchown(top_.get(), u, g) != 0) cannot("set the owner of", p);
      return;
    }
    auto s = spot(p);
    if (::fchownat(s.dir, s.name.c_str(), u, g, AT_SYMLINK_NOFOLLOW) != 0) cannot("set the owner of", p);
  }

  void times(const Record &r) {
    auto p = r.place(path);
    timespec t[2] = {r.time(atime), r.time(mtime)};
    if (p.empty()) {
      if (::futimens(top_.get(), t) != 0) cannot("set the times of", p);
      return;
    }
    auto s = spot(p);
    if (::utimensat(s.dir, s.name.c_str(), t, AT_SYMLINK_NOFOLLOW) != 0) cannot("set the times of", p);
  }

  void finish() {
    btrfs_ioctl_received_subvol_args args{};
    std::memcpy(args.uuid, id_.data(), id_.size());
    args.stransid = transid_;
    if (::ioctl(top_.get(), BTRFS_IOC_SET_RECEIVED_SUBVOL, &args) != 0) failed("finish subvolume " + shown(o_.name));
    std::uint64_t flags = 0;
    if (::ioctl(top_.get(), BTRFS_IOC_SUBVOL_GETFLAGS, &flags) != 0) failed("finish subvolume " + shown(o_.name));
    flags |= BTRFS_SUBVOL_RDONLY;
    if (::ioctl(top_.get(), BTRFS_IOC_SUBVOL_SETFLAGS, &flags) != 0) failed("finish subvolume " + shown(o_.name));
  }

  const StreamOptions &o_;
  SubvolumeId id_{};
  std::uint64_t transid_ = 0;
  Handle top_, dir_, file_;
  std::string dir_path_, file_path_;
};

} // namespace

SubvolumeInfo subvolume_info(int fd) {
  btrfs_ioctl_get_subvol_info_args a{};
  if (::ioctl(fd, BTRFS_IOC_GET_SUBVOL_INFO, &a) < 0) failed("look at a subvolume");
  SubvolumeInfo out;
  out.tree = a.treeid;
  std::memcpy(out.id.data(), a.uuid, out.id.size());
  std::memcpy(out.received.data(), a.received_uuid, out.received.size());
  out.read_only = a.flags & BTRFS_ROOT_SUBVOL_RDONLY;
  return out;
}

std::string to_text(const SubvolumeId &id) {
  constexpr char digits[] = "0123456789abcdef";
  std::string out;
  for (std::size_t i = 0; i < id.size(); i++) {
    if (i == 4 || i == 6 || i == 8 || i == 10) out += '-';
    out += digits[id[i] >> 4];
    out += digits[id[i] & 15];
  }
  return out;
}

int send_subvolume(int fd, int parent, int out) noexcept {
  btrfs_ioctl_send_args args{};
  args.send_fd = out;
  __u64 tree = 0;
  if (parent >= 0) {
    btrfs_ioctl_get_subvol_info_args a{};
    if (::ioctl(parent, BTRFS_IOC_GET_SUBVOL_INFO, &a) < 0) return errno;
    args.parent_root = tree = a.treeid;
    args.clone_sources = &tree;
    args.clone_sources_count = 1;
  }
  return ::ioctl(fd, BTRFS_IOC_SEND, &args) == 0 ? 0 : errno;
}

SubvolumeId receive_subvolume(const StreamSource &from, const StreamOptions &options) { return Receiver(options).run(from); }

} // namespace incus::sys
