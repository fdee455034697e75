// SPDX-License-Identifier: Apache-2.0
// The file verbs: headers to a request of the instance's file server, its answer to headers. What a path means is decided there.
#include <boost/json.hpp>
#include <charconv>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/socket.h>

#include "base/error.hpp"
#include "base/names.hpp"
#include "base/utf8.hpp"
#include "embed/engine.hpp"
#include "embed/file_headers.hpp"
#include "helper/files/verbs.hpp"
#include "sys/process.hpp"

namespace incus::embed {

namespace json = boost::json;
using files::Answer;
using files::Op;

namespace {

constexpr std::size_t longest_target = 4095;

std::string path_of(const api::Request &q) {
  auto it = q.query.find("path");
  if (it == q.query.end() || it->second.empty()) base::fail(ErrorCode::invalid_argument, "no path was given: add ?path=/absolute/path");
  auto &p = it->second;
  if (p.find('\0') != p.npos) base::fail(ErrorCode::invalid_argument, "invalid path {}: must not hold a NUL", base::quoted(p));
  if (p.size() > 4095) base::fail(ErrorCode::invalid_argument, "invalid path {}: longer than 4095 bytes", base::quoted(p));
  return p[0] == '/' ? p : "/" + p;
}

std::string name_of(const std::string &path) {
  auto clean = files::clean_path(path);
  return clean.substr(clean.rfind('/') + 1);
}

struct Found {
  std::uint32_t mode = 0;
  std::string uid, gid, target;
  std::int64_t size = 0, mtime = 0;
  std::vector<std::string> names;
};

[[noreturn]] void refuse(const helper::Message &m, const std::string &what, const std::string &path, const std::string &instance) {
  int err = m.args.empty() ? 0 : std::atoi(m.args[0].c_str());
  auto text = fmt::format("cannot {} {} in instance {}", m.args.size() > 1 && !m.args[1].empty() ? m.args[1] : what, base::quoted(path), base::quoted(instance));
  switch (err) {
  case ENOENT:
  case ENOTDIR: base::fail(ErrorCode::not_found, "{}: {}", text, base::errno_text(err));
  case EEXIST: base::fail(ErrorCode::already_exists, "{}: it exists", text);
  case ENOTEMPTY: base::fail(ErrorCode::conflict, "{}: the directory is not empty", text);
  case EISDIR: base::fail(ErrorCode::invalid_argument, "{}: it is a directory", text);
  case EINVAL: base::fail(ErrorCode::invalid_argument, "{}: it is neither a regular file nor a directory nor a link", text);
  case ELOOP:
  case ENAMETOOLONG: base::fail(ErrorCode::invalid_argument, "{}: {}", text, base::errno_text(err));
  case EACCES:
  case EPERM:
  case EROFS: base::fail(ErrorCode::forbidden, "{}: {}", text, base::errno_text(err));
  case E2BIG: base::fail(ErrorCode::too_large, "{}: it has more than {} names; use SFTP", text, files::max_names);
  case ECONNABORTED: base::fail(ErrorCode::invalid_argument, "{}: the content ended before its length was reached", text);
  default: base::fail_errno(err ? err : EIO, text);
  }
}

std::int64_t number(const std::string &s) {
  std::int64_t n = 0;
  std::from_chars(s.data(), s.data() + s.size(), n);
  return n;
}

/// One request and its answer. `fd` (may be none) goes along.
Found ask(instance::Manager &instances, const api::Request &q, Op op, std::vector<std::string> args, int fd, const char *what) {
  auto [ours, theirs] = sys::seqpacket_pair();
  helper::Message m;
  m.op = static_cast<std::uint32_t>(op);
  m.args = std::move(args);
  m.fds = {theirs.get()};
  if (fd >= 0) m.fds.push_back(fd);
  auto &path = m.args.at(0);
  instances.send_files(q.project(), q.path[0], m);
  theirs.reset();
  Found f;
  for (;;) {
    helper::Message r;
    int e = helper::receive_message(ours.get(), r);
    for (int extra : r.fds) ::close(extra);
    if (e != 0)
      base::fail(ErrorCode::unavailable, "cannot {} {} in instance {}: its file helper ended; the instance was stopped or started meanwhile, or its file system did not answer",
                 what, base::quoted(path), base::quoted(q.path[0]));
    switch (static_cast<Answer>(r.op)) {
    case Answer::names: std::move(r.args.begin(), r.args.end(), std::back_inserter(f.names)); break;
    case Answer::ok:
      if (r.args.size() < 6) return f;
      f.mode = static_cast<std::uint32_t>(number(r.args[0]));
      f.uid = r.args[1];
      f.gid = r.args[2];
      f.size = number(r.args[3]);
      f.mtime = number(r.args[4]);
      f.target = r.args[5];
      return f;
    default: refuse(r, what, path, q.path[0]);
    }
  }
}

const char *type_of(std::uint32_t mode) { return S_ISDIR(mode) ? "directory" : S_ISLNK(mode) ? "symlink" : "file"; }

void describe(api::Reply &reply, const Found &f) {
  std::time_t t = f.mtime;
  std::tm tm{};
  ::gmtime_r(&t, &tm);
  char when[64] = "";
  std::strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S +0000 UTC", &tm);
  reply.headers["X-Incus-uid"] = f.uid;
  reply.headers["X-Incus-gid"] = f.gid;
  reply.headers["X-Incus-mode"] = fmt::format("{:04o}", f.mode & 0777);
  reply.headers["X-Incus-modified"] = when;
  reply.headers["X-Incus-type"] = type_of(f.mode);
}

/// A pipe with room for much: what is sent through it is large.
std::pair<base::Fd, base::Fd> wide_pipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) < 0) base::fail_errno(errno, "cannot make a pipe");
  ::fcntl(ends[0], F_SETPIPE_SZ, 1 << 20);
  return {base::Fd(ends[0]), base::Fd(ends[1])};
}

/// A small text as a body.
base::Fd body_of(const std::string &text) {
  auto [in, out] = wide_pipe();
  if (::write(out.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size())) base::fail_errno(errno, "cannot write to a pipe");
  return std::move(in);
}

std::string read_target(const api::Request &q) {
  int fd = q.stream("body");
  std::string out(longest_target + 1, '\0');
  std::size_t at = 0;
  while (fd >= 0 && at < out.size()) {
    auto n = ::read(fd, out.data() + at, out.size() - at);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) base::fail_errno(errno, "cannot read the target of the link");
    if (n == 0) break;
    at += static_cast<std::size_t>(n);
  }
  out.resize(at);
  if (out.empty() || out.size() > longest_target || out.find('\0') != out.npos)
    base::fail(ErrorCode::invalid_argument, "invalid target {} of a link: must have from 1 to {} bytes, none of them a NUL", base::quoted(out), longest_target);
  return out;
}

void tell(instance::Manager &instances, const api::Request &q, const char *action, const std::string &path) {
  instances.tell(action, q.project(), q.path[0], {{"path", path}});
}

} // namespace

api::Reply Engine::instance_files_get(api::Request &q) {
  auto path = path_of(q);
  auto [in, out] = wide_pipe();
  auto f = ask(*instances_, q, Op::read, {path, "data"}, out.get(), "read");
  out.reset();
  api::Reply reply;
  describe(reply, f);
  if (S_ISDIR(f.mode)) {
    std::sort(f.names.begin(), f.names.end());
    json::array names;
    for (auto &n : f.names) names.emplace_back(base::utf8(n));
    reply.metadata = std::move(names);
  } else if (S_ISLNK(f.mode)) {
    // As an absolute path: a client has no notion of the link's directory.
    auto target = files::clean_path(f.target.starts_with('/') ? f.target : path.substr(0, path.rfind('/') + 1) + f.target);
    reply.bodies.push_back({name_of(path), body_of(target), static_cast<std::int64_t>(target.size())});
  } else {
    // Files of /proc say that they are empty and are not: such a body goes on to its end.
    char c;
    auto size = f.size == 0 && ::pread(in.get(), &c, 1, 0) != 0 ? -1 : f.size;
    reply.bodies.push_back({name_of(path), std::move(in), size});
  }
  tell(*instances_, q, "instance-file-retrieved", path);
  return reply;
}

api::Reply Engine::instance_files_head(api::Request &q) {
  auto path = path_of(q);
  auto f = ask(*instances_, q, Op::read, {path, ""}, -1, "look at");
  api::Reply reply;
  describe(reply, f);
  // The size of a body that is not sent.
  if (S_ISREG(f.mode)) reply.bodies.push_back({name_of(path), base::Fd(::open("/dev/null", O_RDONLY | O_CLOEXEC)), f.size});
  return reply;
}

api::Reply Engine::instance_files_post(api::Request &q) {
  auto path = path_of(q);
  auto h = parse_file_headers(q.headers);
  auto text = [](auto &v) { return v ? std::to_string(*v) : std::string(); };
  int body = h.type == "file" ? q.stream("body") : -1;
  ask(*instances_, q, Op::write,
      {path, h.type, text(h.uid), text(h.gid), text(h.mode), h.append ? "append" : "", h.type == "symlink" ? read_target(q) : "",
       body >= 0 ? q.header("content-length") : ""},
      body, "write");
  tell(*instances_, q, "instance-file-pushed", path);
  return {};
}

api::Reply Engine::instance_files_delete(api::Request &q) {
  auto path = path_of(q);
  bool tree = q.flag("force") || q.header("x-incus-force") == "true";
  ask(*instances_, q, Op::remove, {path, tree ? "tree" : ""}, -1, "delete");
  tell(*instances_, q, "instance-file-deleted", path);
  return {};
}

api::Reply Engine::instance_sftp_get(api::Request &q) {
  int stream = q.stream("sftp");
  if (stream < 0) base::fail(ErrorCode::invalid_argument, "SFTP needs a stream: send \"Upgrade: sftp\"");
  helper::Message m;
  m.op = static_cast<std::uint32_t>(Op::sftp);
  m.fds = {stream};
  instances_->send_files(q.project(), q.path[0], m);
  return {};
}

} // namespace incus::embed
