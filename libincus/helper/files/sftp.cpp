// SPDX-License-Identifier: Apache-2.0
#include "helper/files/sftp.hpp"

#include <cerrno>
#include <ctime>
#include <sys/socket.h>
#include <unistd.h>

namespace incus::files {

namespace {

wire::Status status_of(int err) {
  switch (err) {
  case 0: return wire::ok;
  case ENOENT:
  case ENOTDIR: return wire::no_such_file;
  case EACCES:
  case EPERM: return wire::permission_denied;
  case EBADMSG: return wire::bad_message;
  case ENOSYS: return wire::unsupported;
  default: return wire::failure;
  }
}

Change read_change(wire::Reader &in) {
  Change c;
  auto flags = in.u32();
  if (flags & wire::has_size) c.size = in.u64();
  if (flags & wire::has_ids) {
    c.uid = in.u32();
    c.gid = in.u32();
  }
  if (flags & wire::has_permissions) c.permissions = in.u32() & 07777;
  if (flags & wire::has_times) {
    c.atime = in.u32();
    c.mtime = in.u32();
  }
  if (flags & wire::has_extended) {
    auto n = in.u32();
    for (std::uint32_t i = 0; i < n && in.good(); i++) {
      in.bytes();
      in.bytes();
    }
  }
  return c;
}

void write_attrs(wire::Writer &w, const Stat &st) {
  w.u32(wire::has_size | wire::has_ids | wire::has_permissions | wire::has_times);
  w.u64(st.size);
  w.u32(st.uid);
  w.u32(st.gid);
  w.u32(st.mode);
  w.u32(static_cast<std::uint32_t>(st.atime));
  w.u32(static_cast<std::uint32_t>(st.mtime));
}

/// As "ls -l" shows it; people's clients print it.
std::string long_name(const std::string &name, const Stat &st) {
  char type = S_ISDIR(st.mode) ? 'd' : S_ISLNK(st.mode) ? 'l' : S_ISREG(st.mode) ? '-' : S_ISFIFO(st.mode) ? 'p' : S_ISSOCK(st.mode) ? 's' : S_ISBLK(st.mode) ? 'b' : 'c';
  std::string out(1, type);
  for (int bit = 8; bit >= 0; bit--) out += st.mode >> bit & 1 ? "xwr"[bit % 3] : '-';
  if (st.mode & S_ISUID) out[3] = st.mode & S_IXUSR ? 's' : 'S';
  if (st.mode & S_ISGID) out[6] = st.mode & S_IXGRP ? 's' : 'S';
  if (st.mode & S_ISVTX) out[9] = st.mode & S_IXOTH ? 't' : 'T';
  std::time_t t = st.mtime;
  std::tm tm{};
  ::gmtime_r(&t, &tm);
  char when[32] = "";
  std::strftime(when, sizeof when, "%b %e %Y", &tm);
  return out + " " + std::to_string(st.links) + " " + std::to_string(st.uid) + " " + std::to_string(st.gid) + " " + std::to_string(st.size) + " " + when + " " +
         name;
}

} // namespace

std::string clean_path(const std::string &path) {
  std::string out;
  for (std::size_t at = 0; at < path.size();) {
    auto end = path.find('/', at);
    if (end == path.npos) end = path.size();
    auto part = std::string_view(path).substr(at, end - at);
    at = end + 1;
    if (part.empty() || part == ".") continue;
    if (part == "..")
      out.resize(out.empty() ? 0 : out.rfind('/'));
    else
      out.append("/").append(part);
  }
  return out.empty() ? "/" : out;
}

namespace {
/// Clients may name paths relative to where a session begins, which is the guest's root.
std::string place(wire::Reader &in) {
  auto p = in.text();
  return p.starts_with('/') ? p : "/" + p;
}
} // namespace

void Sftp::status(std::string &out, std::uint32_t id, int err) {
  wire::Writer w(out, wire::status, id);
  w.u32(err < 0 ? wire::eof : status_of(err));
  w.text(err < 0 ? "end of file" : err == 0 ? "" : ::strerror(err));
  w.text("en");
}

void Sftp::reply_attrs(std::string &out, std::uint32_t id, int err, const Stat &st) {
  if (err) return status(out, id, err);
  wire::Writer w(out, wire::attrs, id);
  write_attrs(w, st);
}

void Sftp::reply_name(std::string &out, std::uint32_t id, const std::string &name) {
  wire::Writer w(out, wire::name, id);
  w.u32(1);
  w.text(name);
  w.text(name);
  w.u32(0);
}

Sftp::Handle *Sftp::find(const std::string &name) {
  auto it = handles_.find(name);
  return it == handles_.end() ? nullptr : &it->second;
}

bool Sftp::answer(std::string_view packet, std::string &out) {
  wire::Reader in(packet);
  auto type = static_cast<wire::Type>(in.u8());
  if (type == wire::init) {
    if (started_) return false;
    auto theirs = in.u32();
    if (!in.good() || theirs < 3) return false;
    started_ = true;
    wire::Writer w(out, wire::version, 3); // the version stands where other packets have their id
    for (auto [name, value] : {std::pair{"posix-rename@openssh.com", "1"}, {"statvfs@openssh.com", "2"}, {"fstatvfs@openssh.com", "2"},
                               {"hardlink@openssh.com", "1"}, {"fsync@openssh.com", "1"}, {"lsetstat@openssh.com", "1"}}) {
      w.text(name);
      w.text(value);
    }
    return true;
  }
  auto id = in.u32();
  if (!in.good() || !started_) return false;
  auto before = out.size();
  switch (type) {
  case wire::open: open(in, out, id); break;
  case wire::opendir: open_directory(in, out, id); break;
  case wire::read: read(in, out, id); break;
  case wire::write: write(in, out, id); break;
  case wire::readdir: read_directory(in, out, id); break;
  case wire::extended: extended(in, out, id); break;
  default:
    if (!by_path(type, in, out, id) && !by_handle(type, in, out, id)) {
      status(out, id, ENOSYS);
      return true;
    }
  }
  if (in.good()) return true;
  // Nothing was done: every handler looks first.
  out.resize(before);
  status(out, id, EBADMSG);
  return true;
}

void Sftp::add(Handle h, std::string &out, std::uint32_t id) {
  auto name = std::to_string(next_++);
  handles_.emplace(name, std::move(h));
  wire::Writer w(out, wire::handle, id);
  w.text(name);
}

void Sftp::open(wire::Reader &in, std::string &out, std::uint32_t id) {
  auto path = place(in);
  auto flags = in.u32();
  auto attrs = read_change(in);
  if (!in.good()) return;
  if (handles_.size() >= max_handles) return status(out, id, EMFILE);
  OpenHow how;
  how.read = flags & wire::f_read;
  how.write = flags & wire::f_write;
  how.append = flags & wire::f_append;
  how.create = flags & wire::f_creat;
  how.truncate = flags & wire::f_trunc;
  how.exclusive = flags & wire::f_excl;
  if (attrs.permissions) how.permissions = *attrs.permissions;
  if (!how.write) how.truncate = how.append = how.create = false;
  Handle h;
  h.append = how.append;
  bool made = false;
  int e = vfs_.open(path, how, h.file, made);
  // As open() takes a directory for reading: clients open first and ask then what it is.
  if (e == EISDIR && !how.write) e = vfs_.open_directory(path, h.directory);
  if (e) return status(out, id, e);
  add(std::move(h), out, id);
}

void Sftp::open_directory(wire::Reader &in, std::string &out, std::uint32_t id) {
  auto path = place(in);
  if (!in.good()) return;
  if (handles_.size() >= max_handles) return status(out, id, EMFILE);
  Handle h;
  if (int e = vfs_.open_directory(path, h.directory)) return status(out, id, e);
  add(std::move(h), out, id);
}

void Sftp::read(wire::Reader &in, std::string &out, std::uint32_t id) {
  auto name = in.text();
  auto offset = in.u64();
  std::size_t size = in.u32();
  if (!in.good()) return;
  auto *h = find(name);
  if (h && h->directory) return status(out, id, EISDIR);
  if (!h || !h->file) return status(out, id, EBADF);
  if (size > wire::max_data) size = wire::max_data;
  if (buffer_.size() < size) buffer_.resize(size);
  std::size_t done = 0;
  if (int e = h->file->read(offset, buffer_.data(), size, done)) return status(out, id, e);
  if (done == 0 && size > 0) return status(out, id, -1);
  wire::Writer w(out, wire::data, id);
  w.text(std::string_view(buffer_).substr(0, done));
}

void Sftp::write(wire::Reader &in, std::string &out, std::uint32_t id) {
  auto name = in.text();
  auto offset = in.u64();
  auto data = in.bytes();
  if (!in.good()) return;
  auto *h = find(name);
  if (!h || !h->file) return status(out, id, EBADF);
  if (h->append) {
    Stat st;
    if (int e = h->file->stat(st)) return status(out, id, e);
    offset = st.size;
  }
  status(out, id, h->file->write(offset, data.data(), data.size()));
}

void Sftp::read_directory(wire::Reader &in, std::string &out, std::uint32_t id) {
  auto name = in.text();
  if (!in.good()) return;
  auto *h = find(name);
  if (!h || !h->directory) return status(out, id, EBADF);
  struct Entry {
    std::string name;
    Stat st;
  };
  // Few enough that even the longest names stay well below the packet's limit.
  std::string entry;
  Stat st;
  std::size_t count = 0;
  [[maybe_unused]] auto start = out.size();
  {
    wire::Writer w(out, wire::name, id);
    auto at = out.size();
    w.u32(0);
    while (count < 128 && h->directory->next(entry, st)) {
      w.text(entry);
      w.text(long_name(entry, st));
      write_attrs(w, st);
      count++;
    }
    out[at + 3] = static_cast<char>(count);
  }
  if (count == 0) {
#ifndef INCUS_PLANTED_BUG
    out.resize(start);
#endif
    status(out, id, -1);
  }
}

bool Sftp::by_path(wire::Type type, wire::Reader &in, std::string &out, std::uint32_t id) {
  Stat st;
  switch (type) {
  case wire::lstat:
  case wire::stat: {
    auto p = place(in);
    if (in.good()) reply_attrs(out, id, vfs_.stat(p, type == wire::stat, st), st);
    return true;
  }
  case wire::setstat: {
    auto p = place(in);
    auto c = read_change(in);
    if (in.good()) status(out, id, vfs_.change(p, true, c));
    return true;
  }
  case wire::remove:
  case wire::rmdir: {
    auto p = place(in);
    if (in.good()) status(out, id, type == wire::remove ? vfs_.remove_file(p) : vfs_.remove_directory(p));
    return true;
  }
  case wire::mkdir: {
    auto p = place(in);
    auto c = read_change(in);
    if (in.good()) status(out, id, vfs_.make_directory(p, c.permissions.value_or(0755)));
    return true;
  }
  case wire::realpath: {
    auto p = place(in);
    if (in.good()) reply_name(out, id, clean_path(p));
    return true;
  }
  case wire::rename: {
    auto from = place(in), to = place(in);
    if (in.good()) status(out, id, vfs_.rename(from, to, false));
    return true;
  }
  case wire::readlink: {
    auto p = place(in);
    if (!in.good()) return true;
    std::string target;
    if (int e = vfs_.read_link(p, target))
      status(out, id, e);
    else
      reply_name(out, id, target);
    return true;
  }
  case wire::symlink: {
    // The draft has the link first, every implementation the target.
    auto target = in.text();
    auto p = place(in);
    if (in.good()) status(out, id, vfs_.make_link(target, p));
    return true;
  }
  default: return false;
  }
}

bool Sftp::by_handle(wire::Type type, wire::Reader &in, std::string &out, std::uint32_t id) {
  if (type != wire::close && type != wire::fstat && type != wire::fsetstat) return false;
  auto name = in.text();
  Change c;
  if (type == wire::fsetstat) c = read_change(in);
  if (!in.good()) return true;
  auto *h = find(name);
  if (type == wire::close) {
    status(out, id, h ? 0 : EBADF);
    if (h) handles_.erase(name);
    return true;
  }
  if (!h) {
    status(out, id, EBADF);
  } else if (type == wire::fstat) {
    Stat st;
    int e = h->file ? h->file->stat(st) : h->directory->stat(st);
    reply_attrs(out, id, e, st);
  } else {
    status(out, id, h->file ? h->file->change(c) : h->directory->change(c));
  }
  return true;
}

void Sftp::extended(wire::Reader &in, std::string &out, std::uint32_t id) {
  auto what = in.text();
  if (what == "posix-rename@openssh.com") {
    auto from = place(in), to = place(in);
    if (in.good()) status(out, id, vfs_.rename(from, to, true));
  } else if (what == "hardlink@openssh.com") {
    auto from = place(in), to = place(in);
    if (in.good()) status(out, id, vfs_.make_hard_link(from, to));
  } else if (what == "lsetstat@openssh.com") {
    auto p = place(in);
    auto c = read_change(in);
    if (in.good()) status(out, id, vfs_.change(p, false, c));
  } else if (what == "fsync@openssh.com") {
    auto name = in.text();
    if (!in.good()) return;
    auto *h = find(name);
    status(out, id, h && h->file ? h->file->sync() : EBADF);
  } else if (what == "statvfs@openssh.com" || what == "fstatvfs@openssh.com") {
    auto p = what[0] == 'f' ? in.text() : place(in);
    if (!in.good()) return;
    if (what[0] == 'f') {
      if (!find(p)) return status(out, id, EBADF);
      p = "/";
    }
    Space s;
    if (int e = vfs_.space(p, s)) return status(out, id, e);
    wire::Writer w(out, wire::extended_reply, id);
    for (auto v : {s.block_size, s.fragment_size, s.blocks, s.free, s.available, s.files, s.files_free, s.files_available, s.id,
                   std::uint64_t(s.read_only ? 1 : 0), s.name_max})
      w.u64(v);
  } else if (in.good()) {
    status(out, id, ENOSYS);
  }
}

namespace {
bool send_all(int socket, const std::string &bytes) {
  for (std::size_t at = 0; at < bytes.size();) {
    auto n = ::send(socket, bytes.data() + at, bytes.size() - at, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    at += static_cast<std::size_t>(n);
  }
  return true;
}
} // namespace

void serve_sftp(Vfs &vfs, int socket) {
  Sftp session(vfs);
  std::string in(4 + wire::max_packet + 256 * 1024, '\0'), out;
  std::size_t have = 0, used = 0;
  for (;;) {
    // Every whole packet that is here is answered, and the answers leave together.
    while (have - used >= 4) {
      std::uint32_t size = 0;
      for (std::size_t i = 0; i < 4; i++) size = size << 8 | static_cast<unsigned char>(in[used + i]);
      if (size == 0 || size > wire::max_packet) return;
      if (have - used - 4 < size) break;
      if (!session.answer(std::string_view(in).substr(used + 4, size), out)) return;
      used += 4 + size;
      if (out.size() > 512 * 1024) {
        if (!send_all(socket, out)) return;
        out.clear();
      }
    }
    if (!send_all(socket, out)) return;
    out.clear();
    if (used > 0) {
      std::memmove(in.data(), in.data() + used, have - used);
      have -= used;
      used = 0;
    }
    auto n = ::recv(socket, in.data() + have, in.size() - have, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;
    have += static_cast<std::size_t>(n);
  }
}

} // namespace incus::files
