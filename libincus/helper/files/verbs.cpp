// SPDX-License-Identifier: Apache-2.0
#include "helper/files/verbs.hpp"

#include <algorithm>
#include <cstdlib>
#include <fcntl.h>
#include <sys/sendfile.h>
#include <utility>
#include <vector>

namespace incus::files {

namespace {

constexpr std::size_t piece = 1 << 20;

class Request {
public:
  Request(Vfs &vfs, const helper::Message &m) : vfs_(vfs), m_(m) {}
  ~Request() {
    for (int fd : m_.fds) ::close(fd);
  }
  Request(const Request &) = delete;
  Request &operator=(const Request &) = delete;

  void run() {
    switch (static_cast<Op>(m_.op)) {
    case Op::read: return read();
    case Op::write: return write();
    case Op::remove: return done(remove(arg(0), arg(1) == "tree", 0), "remove");
    default: return done(EINVAL, "answer an unknown request");
    }
  }

private:
  std::string arg(std::size_t i) const { return i < m_.args.size() ? m_.args[i] : std::string(); }
  bool send(Answer a, std::vector<std::string> args) {
    helper::Message r;
    r.op = static_cast<std::uint32_t>(a);
    r.args = std::move(args);
    return helper::send_message(m_.fds[0], r) == 0;
  }
  void done(int err, const char *what) {
    if (err)
      send(Answer::error, {std::to_string(err), what});
    else
      send(Answer::ok, {});
  }
  bool describe(const Stat &st, const std::string &target = {}) {
    return send(Answer::ok, {std::to_string(st.mode), std::to_string(st.uid), std::to_string(st.gid), std::to_string(st.size), std::to_string(st.mtime), target});
  }

  void read() {
    Stat st;
    auto path = arg(0);
    bool data = arg(1) == "data";
    if (int e = vfs_.stat(path, false, st)) return done(e, "look at");
    std::string target;
    if (st.is_link())
      if (int e = vfs_.read_link(path, target)) return done(e, "read the link");
    if (!data || st.is_link()) return (void)describe(st, target);
    if (st.is_directory()) return list(path, st);
    std::unique_ptr<File> file;
    bool made = false;
    OpenHow how;
    how.read = true;
    if (int e = vfs_.open(path, how, file, made)) return done(e, "open");
    if (int e = file->stat(st)) return done(e, "look at");
    if (m_.fds.size() > 1 && describe(st)) pump(*file, m_.fds[1], st.size);
  }

  void list(const std::string &path, const Stat &st) {
    std::unique_ptr<Directory> d;
    if (int e = vfs_.open_directory(path, d)) return done(e, "open");
    std::vector<std::string> names;
    std::string name;
    std::size_t bytes = 0, count = 0;
    Stat entry;
    while (d->next(name, entry)) {
      if (++count > max_names) return done(E2BIG, "list");
      bytes += name.size() + 8;
      names.push_back(std::move(name));
      if (bytes < helper::max_message / 2) continue;
      if (!send(Answer::names, std::exchange(names, {}))) return;
      bytes = 0;
    }
    if (!names.empty() && !send(Answer::names, std::move(names))) return;
    describe(st);
  }

  /// What was promised and not more, also when the file grows meanwhile.
  static void pump(File &file, int to, std::uint64_t size) {
    std::vector<char> buffer;
    std::uint64_t at = 0;
    bool direct = file.descriptor() >= 0;
    // A file of /proc says that it is empty and is not: read to its end, within reason.
    if (size == 0) size = 64 << 20;
    while (at < size) {
      if (direct) {
        off_t offset = static_cast<off_t>(at);
        auto n = ::sendfile(to, file.descriptor(), &offset, static_cast<std::size_t>(std::min<std::uint64_t>(size - at, 16 << 20)));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && (errno == EINVAL || errno == ENOSYS)) {
          direct = false;
          continue;
        }
        if (n <= 0) return;
        at += static_cast<std::uint64_t>(n);
        continue;
      }
      buffer.resize(piece);
      std::size_t got = 0;
      if (file.read(at, buffer.data(), static_cast<std::size_t>(std::min<std::uint64_t>(size - at, piece)), got) || got == 0) return;
      for (std::size_t sent = 0; sent < got;) {
        auto n = ::write(to, buffer.data() + sent, got - sent);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return;
        sent += static_cast<std::size_t>(n);
      }
      at += got;
    }
  }

  void write() {
    auto path = arg(0), type = arg(1);
    Change owner;
    if (!arg(2).empty()) owner.uid = static_cast<std::uint32_t>(std::strtoul(arg(2).c_str(), nullptr, 10));
    if (!arg(3).empty()) owner.gid = static_cast<std::uint32_t>(std::strtoul(arg(3).c_str(), nullptr, 10));
    if (!arg(4).empty()) owner.permissions = static_cast<std::uint32_t>(std::strtoul(arg(4).c_str(), nullptr, 10)) & 07777;
    if (type == "directory") return make_directory(path, owner);
    if (type == "symlink") return make_link(path, arg(6), owner);
    write_file(path, owner);
  }

  void make_directory(const std::string &path, Change owner) {
    Stat st;
    // As with the official server: what is there stays as it is.
    if (vfs_.stat(path, true, st) == 0) return done(st.is_directory() ? 0 : EEXIST, "make the directory");
    if (!owner.permissions) owner.permissions = 0755;
    int e = vfs_.make_directory(path, *owner.permissions);
    if (!e) e = vfs_.change(path, false, owner);
    done(e, "make the directory");
  }

  void make_link(const std::string &path, const std::string &target, Change owner) {
    std::string current;
    if (vfs_.read_link(path, current) == 0 && current == target) return done(0, "");
    owner.permissions.reset();
    int e = vfs_.make_link(target, path);
    if (!e && (owner.uid || owner.gid)) e = vfs_.change(path, false, owner);
    done(e, "make the link");
  }

  void write_file(const std::string &path, const Change &owner) {
    OpenHow how;
    how.read = false;
    how.write = true;
    how.append = arg(5) == "append";
    how.create = how.truncate = !how.append;
    std::unique_ptr<File> file;
    bool made = false;
    if (int e = vfs_.open(path, how, file, made)) return done(e, "open");
    std::uint64_t at = 0, total = 0;
    if (how.append) {
      Stat st;
      if (int e = file->stat(st)) return done(e, "look at");
      at = st.size;
    }
    if (m_.fds.size() > 1) {
      std::vector<char> buffer(piece);
      for (;;) {
        auto n = ::read(m_.fds[1], buffer.data(), buffer.size());
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return done(errno, "read what is to be written to");
        if (n == 0) break;
        if (int e = file->write(at, buffer.data(), static_cast<std::size_t>(n))) return done(e, "write");
        at += static_cast<std::uint64_t>(n);
        total += static_cast<std::uint64_t>(n);
      }
    }
    if (auto length = arg(7); !length.empty() && std::strtoull(length.c_str(), nullptr, 10) != total) return done(ECONNABORTED, "write all of");
    // Mode and owner only say how a new file is to be.
    if (made)
      if (int e = file->change(owner)) return done(e, "set the owner or mode of");
    done(0, "");
  }

  int remove(const std::string &path, bool tree, int depth) {
    Stat st;
    if (int e = vfs_.stat(path, false, st)) return e;
    if (!st.is_directory()) return vfs_.remove_file(path);
    if (!tree) return vfs_.remove_directory(path);
    if (depth > 200) return ELOOP;
    for (int round = 0; round < 5; round++) { // the guest may add files meanwhile
      std::unique_ptr<Directory> d;
      if (int e = vfs_.open_directory(path, d)) return e;
      std::string name;
      while (d->next(name, st))
        if (int e = remove(path + "/" + name, true, depth + 1); e && e != ENOENT) return e;
      int e = vfs_.remove_directory(path);
      if (e != ENOTEMPTY) return e;
    }
    return ENOTEMPTY;
  }

  Vfs &vfs_;
  const helper::Message &m_;
};

} // namespace

void serve_verb(Vfs &vfs, const helper::Message &request) {
  if (request.fds.empty()) return;
  Request(vfs, request).run();
}

} // namespace incus::files
