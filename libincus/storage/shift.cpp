// SPDX-License-Identifier: Apache-2.0
#include "storage/shift.hpp"

#include <cerrno>
#include <chrono>
#include <cstring>
#include <dirent.h>
#include <fcntl.h>
#include <mutex>
#include <optional>
#include <set>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <thread>
#include <vector>

#include "base/error.hpp"
#include "base/names.hpp"
#include "sys/fault.hpp"
#include "sys/fs.hpp"
#include "sys/idmap.hpp"
#include "sys/tree.hpp"

namespace incus::storage {

using base::fail_errno;
using base::Fd;
using base::quoted;
using sys::FaultScope;

namespace {

constexpr const char *marker_file = "shift", *log_file = "shift.log";
constexpr const char *capability = "security.capability", *acl = "system.posix_acl_access", *default_acl = "system.posix_acl_default";

/// A file whose change takes several steps, as it was before.
struct Special {
  std::string path;
  std::uint64_t inode = 0;
  std::uint32_t mode = 0, uid = 0, gid = 0;
  std::string capability, acl, default_acl;
};

std::uint32_t u32(const std::string &s, std::size_t at) {
  std::uint32_t v = 0;
  std::memcpy(&v, s.data() + at, 4);
  return v;
}
void put_u32(std::string &s, std::size_t at, std::uint32_t v) { std::memcpy(s.data() + at, &v, 4); }

std::string encode(const Special &s) {
  std::string body;
  auto number = [&](std::uint64_t v) { body.append(reinterpret_cast<const char *>(&v), sizeof v); };
  number(s.inode);
  number(s.mode);
  number(s.uid);
  number(s.gid);
  for (auto *t : {&s.path, &s.capability, &s.acl, &s.default_acl}) {
    number(t->size());
    body += *t;
  }
  std::uint64_t size = body.size();
  return std::string(reinterpret_cast<const char *>(&size), sizeof size) + body;
}

/// A record cut off at the end is one whose file was not touched yet.
std::vector<Special> decode(const std::string &log) {
  std::vector<Special> out;
  std::size_t at = 0;
  bool ok = true;
  auto number = [&]() -> std::uint64_t {
    std::uint64_t v = 0;
    if (log.size() - at < sizeof v) ok = false;
    if (!ok) return 0;
    std::memcpy(&v, log.data() + at, sizeof v);
    at += sizeof v;
    return v;
  };
  while (ok && at < log.size()) {
    std::uint64_t size = number();
    if (!ok || log.size() - at < size) break;
    Special s;
    s.inode = number();
    s.mode = static_cast<std::uint32_t>(number());
    s.uid = static_cast<std::uint32_t>(number());
    s.gid = static_cast<std::uint32_t>(number());
    for (auto *t : {&s.path, &s.capability, &s.acl, &s.default_acl}) {
      std::uint64_t n = number();
      if (!ok || log.size() - at < n) return out;
      t->assign(log, at, n);
      at += n;
    }
    if (ok) out.push_back(std::move(s));
  }
  return out;
}

class Shifter {
public:
  Shifter(int volume, int root, const IdMap &from, const IdMap &to) : volume_(volume), root_(root), from_(from), to_(to) {}

  void run(bool resume) {
    if (resume) replay();
    log_ = sys::open_beneath(volume_, log_file, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, 0600);
    if (resume) {
      struct stat st;
      if (::fstatat(volume_, marker_file, &st, AT_SYMLINK_NOFOLLOW) != 0) fail_errno(errno, "cannot look at the shift's marker");
      began_ = st.st_ctim;
      ::clock_gettime(CLOCK_REALTIME, &now_);
    } else {
      // So that what is changed from now on has a later time than the marker, and what is not an earlier one.
      std::this_thread::sleep_for(std::chrono::milliseconds(25));
    }
    walk_.run([this](sys::TreeNode &node) { visit(node); });
    sys::sync_filesystem(volume_);
  }

private:
  std::uint32_t mapped(std::uint32_t id, bool uid) const {
    auto guest = sys::to_guest(from_, id, uid);
    auto host = guest < 0 ? -1 : sys::to_host(to_, static_cast<std::uint32_t>(guest), uid);
    return host < 0 ? id : static_cast<std::uint32_t>(host);
  }

  bool done(const struct stat &st) const {
    if (!began_) return false;
    auto before = [](const timespec &x, const timespec &y) { return x.tv_sec != y.tv_sec ? x.tv_sec < y.tv_sec : x.tv_nsec < y.tv_nsec; };
    if (!before(*began_, st.st_ctim)) return false;
    // A time to come is one of a clock that was set back, and tells nothing.
    if (before(now_, st.st_ctim)) return to_.empty() ? sys::to_guest(from_, st.st_uid, true) < 0 : sys::to_guest(to_, st.st_uid, true) >= 0;
    return to_.empty() || sys::to_guest(to_, st.st_uid, true) >= 0 || sys::to_guest(to_, st.st_gid, false) >= 0;
  }

  /// One inode once, whatever its number of names; those of the log are done.
  bool first_time(std::uint64_t inode) {
    std::lock_guard lock(mutex_);
    return seen_.insert(inode).second;
  }

  void visit(sys::TreeNode &node) {
    Fd dir = sys::open_node(root_, node);
    if (!dir && errno == EXDEV) return; // a mount point
    if (!dir) fail_errno(errno, fmt::format("cannot open directory {}", base::quoted(sys::tree_path(node))));
    sys::fault_point("shift directory");
    struct stat st;
    if (::fstat(dir.get(), &st) != 0) fail_errno(errno, fmt::format("cannot look at {}", base::quoted(sys::tree_path(node))));
    if ((!began_ || first_time(st.st_ino)) && !done(st)) change_open(dir.get(), st, sys::tree_path(node));
    sys::for_each_entry(dir.get(), [&](const char *name, unsigned char, std::uint64_t) {
      struct stat s;
      if (::fstatat(dir.get(), name, &s, AT_SYMLINK_NOFOLLOW) != 0) fail_errno(errno, fmt::format("cannot look at {}", base::quoted(sys::tree_path(node, name))));
      if (S_ISDIR(s.st_mode)) walk_.add(node, name);
      else change(dir.get(), name, s, node);
    });
  }

  void change(int dir, const char *name, const struct stat &st, const sys::TreeNode &node) {
    if (st.st_nlink > 1 || began_) {
      if (!first_time(st.st_ino)) return;
    }
    if (done(st)) return;
    if (!S_ISLNK(st.st_mode)) {
      // Only what has attributes or bits that need more than one step.
      std::string path = fmt::format("/proc/self/fd/{}/{}", dir, name);
      if ((st.st_mode & 06000) || ::llistxattr(path.c_str(), nullptr, 0) > 0) {
        Fd file = sys::open_beneath(dir, name, O_PATH | O_NOFOLLOW);
        return change_open(file.get(), st, sys::tree_path(node, name));
      }
    }
    std::uint32_t uid = mapped(st.st_uid, true), gid = mapped(st.st_gid, false);
    if (uid == st.st_uid && gid == st.st_gid) return;
    if (::fchownat(dir, name, uid, gid, AT_SYMLINK_NOFOLLOW) != 0)
      fail_errno(errno, fmt::format("cannot change the owner of {}", base::quoted(sys::tree_path(node, name))));
  }

  /// Reaches an inode by a descriptor that may be O_PATH: one that was opened could be a device.
  static std::string by_descriptor(int fd) { return fmt::format("/proc/self/fd/{}", fd); }

  static std::string attribute(const std::string &path, const char *name) {
    char buf[4096];
    ssize_t n = ::getxattr(path.c_str(), name, buf, sizeof buf);
    if (n >= 0) return {buf, static_cast<std::size_t>(n)};
    if (errno != ENODATA && errno != EOPNOTSUPP) fail_errno(errno, fmt::format("cannot read attribute {}", name));
    return {};
  }

  void change_open(int fd, const struct stat &st, const std::string &path) {
    Special s{path, st.st_ino, st.st_mode, st.st_uid, st.st_gid, {}, {}, {}};
    std::string at = by_descriptor(fd);
    if (::listxattr(at.c_str(), nullptr, 0) > 0) {
      if (S_ISREG(st.st_mode)) s.capability = attribute(at, capability);
      s.acl = attribute(at, acl);
      if (S_ISDIR(st.st_mode)) s.default_acl = attribute(at, default_acl);
    }
    bool bits = !S_ISDIR(st.st_mode) && (st.st_mode & 06000);
    if (bits || !s.capability.empty() || !s.acl.empty() || !s.default_acl.empty()) {
      std::string record = encode(s);
      std::lock_guard lock(log_mutex_);
      errno = 0;
      if (::write(log_.get(), record.data(), record.size()) != static_cast<ssize_t>(record.size()))
        fail_errno(errno ? errno : ENOSPC, "cannot write the shift's log");
      if (::fdatasync(log_.get()) != 0) fail_errno(errno, "cannot write the shift's log");
      sys::fault_point("shift special file");
    }
    apply(fd, s);
  }

  void apply(int fd, const Special &s) {
    std::string at = by_descriptor(fd);
    auto check = [&](int r, const char *what) {
      if (r != 0) fail_errno(errno, fmt::format("cannot change {} of {}", what, base::quoted(s.path)));
    };
    check(::fchownat(fd, "", mapped(s.uid, true), mapped(s.gid, false), AT_EMPTY_PATH), "the owner");
    sys::fault_point("shift special file's attributes");
    auto set = [&](const char *name, const std::string &value) {
      if (!value.empty()) check(::setxattr(at.c_str(), name, value.data(), value.size(), 0), name);
    };
    set(acl, mapped_acl(s.acl));
    set(default_acl, mapped_acl(s.default_acl));
    set(capability, mapped_capability(s.capability));
    if (!S_ISDIR(s.mode)) check(::chmod(at.c_str(), s.mode & 07777), "the mode");
  }

  std::string mapped_acl(std::string value) const {
    // A 32-bit version, then entries: 16 bits tag, 16 bits permissions, 32 bits id.
    for (std::size_t at = 4; at + 8 <= value.size(); at += 8) {
      std::uint16_t tag = 0;
      std::memcpy(&tag, value.data() + at, 2);
      if (tag == 0x02 || tag == 0x08) put_u32(value, at + 4, mapped(u32(value, at + 4), tag == 0x02));
    }
    return value;
  }

  std::string mapped_capability(std::string value) const {
    constexpr std::uint32_t revision_mask = 0xff000000, revision_2 = 0x02000000, revision_3 = 0x03000000;
    if (value.size() != 20 && value.size() != 24) return value;
    std::uint32_t magic = u32(value, 0), root = value.size() == 24 ? u32(value, 20) : 0, target = mapped(root, true);
    if (target == root) return value;
    value.resize(target ? 24 : 20);
    put_u32(value, 0, (magic & ~revision_mask) | (target ? revision_3 : revision_2));
    if (target) put_u32(value, 20, target);
    return value;
  }

  void replay() {
    auto log = sys::read_file_if_exists(volume_, log_file, 256u << 20);
    if (!log) return;
    for (auto &s : decode(*log)) {
      Fd fd = open_path(s.path, S_ISDIR(s.mode));
      struct stat st;
      if (!fd || ::fstat(fd.get(), &st) != 0) fail_errno(errno, fmt::format("cannot open {}", base::quoted(s.path)));
      if (st.st_ino == s.inode) apply(fd.get(), s);
      seen_.insert(s.inode);
    }
  }

  /// Paths of the log may be longer than the kernel takes at once.
  Fd open_path(const std::string &path, bool directory) const {
    std::deque<sys::TreeNode> nodes(1);
    std::size_t begin = 0;
    std::string last;
    while (path != "." && begin <= path.size()) {
      std::size_t end = std::min(path.find('/', begin), path.size());
      std::string part = path.substr(begin, end - begin);
      begin = end + 1;
      if (begin > path.size() && !directory) {
        last = part;
        break;
      }
      auto *parent = &nodes.back();
      auto &n = nodes.emplace_back();
      n.parent = parent;
      n.name = part;
    }
    Fd dir = sys::open_node(root_, nodes.back());
    if (!dir || directory) return dir;
    return sys::try_open_beneath(dir.get(), last, O_PATH | O_NOFOLLOW);
  }

  int volume_, root_;
  const IdMap &from_, &to_;
  Fd log_;
  std::optional<timespec> began_; ///< of the shift that this one goes on with
  timespec now_{};
  std::mutex mutex_, log_mutex_;
  std::set<std::uint64_t> seen_;
  sys::TreeWalk walk_; // last: its threads use the rest
};

/// From and to of the shift that is under way.
std::optional<std::pair<IdMap, IdMap>> under_way(int volume) {
  auto text = sys::read_file_if_exists(volume, marker_file);
  if (!text) return std::nullopt;
  auto line = text->find('\n');
  return std::make_pair(sys::parse_idmap(text->substr(0, line)), sys::parse_idmap(line == std::string::npos ? "" : text->substr(line + 1)));
}

void run(int volume, const std::string &root_name, const IdMap &from, const IdMap &to, bool resume) {
  Fd root = sys::open_child(volume, root_name);
  Shifter(volume, root.get(), from, to).run(resume);
  auto owner = [&](bool uid) { return static_cast<std::uint32_t>(std::max<std::int64_t>(0, sys::to_host(to, 0, uid))); };
  if (::fchown(volume, owner(true), owner(false)) != 0) fail_errno(errno, "cannot change the owner of the volume's directory");
  FaultScope fault("record shift");
  sys::atomic_write(volume, shift_map_file, to.empty() ? "" : sys::format_idmap(to), 0600);
}

void clean(int volume) {
  FaultScope fault("remove shift marker");
  sys::remove_tree(volume, log_file);
  sys::remove_tree(volume, marker_file);
  sys::sync_directory(volume);
}

IdMap current(int volume) { return sys::parse_idmap(sys::read_file_if_exists(volume, shift_map_file).value_or("")); }

} // namespace

bool is_shifted(int volume_dir) { return !current(volume_dir).empty() || sys::exists_at(volume_dir, marker_file); }

void shift_tree(int volume, const std::string &root, IdMap from, const IdMap &to) {
  if (auto unfinished = under_way(volume)) {
    if (current(volume) != unfinished->second) run(volume, root, unfinished->first, unfinished->second, true);
    clean(volume);
  } else {
    sys::remove_tree(volume, log_file); // its marker went first, if at all
  }
  if (sys::exists_at(volume, shift_map_file)) {
    from = current(volume);
  } else if (from != to) {
    FaultScope fault("record map");
    sys::atomic_write(volume, shift_map_file, from.empty() ? "" : sys::format_idmap(from), 0600);
  }
  if (from == to) return;
  {
    FaultScope fault("write shift marker");
    sys::atomic_write(volume, marker_file, sys::format_idmap(from) + "\n" + sys::format_idmap(to), 0600);
  }
  run(volume, root, from, to, false);
  clean(volume);
}

} // namespace incus::storage
