// SPDX-License-Identifier: Apache-2.0
// Files of an instance, over the rows that REST has for them.
#include <cerrno>
#include <cstdio>
#include <ctime>
#include <fcntl.h>
#include <functional>
#include <sys/mman.h>
#include <sys/socket.h>

#include <incus/instance.hpp>

#include "api/call.hpp"
#include "base/error.hpp"
#include "base/names.hpp"

namespace incus {
inline namespace v0 {

namespace {

using api::Reply;
using api::Request;
using api::RowId;

Request at(const std::string &project, const std::string &instance, const std::string &path) {
  return api::with_query(api::at({instance}, project), "path", path);
}

/// Headers in lower case, whoever answered.
std::map<std::string, std::string> headers_of(const Reply &r) {
  std::map<std::string, std::string> out;
  for (auto &[name, value] : r.headers) {
    auto key = name;
    for (char &c : key)
      if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
    out[key] = value;
  }
  return out;
}

std::int64_t number(const std::string &s, int base = 10) { return s.empty() ? 0 : std::strtoll(s.c_str(), nullptr, base); }

void add(Request &r, const char *type, const FileOptions &o) {
  r.headers["x-incus-type"] = type;
  if (o.uid) r.headers["x-incus-uid"] = std::to_string(*o.uid);
  if (o.gid) r.headers["x-incus-gid"] = std::to_string(*o.gid);
  if (o.mode) r.headers["x-incus-mode"] = fmt::format("{:04o}", *o.mode);
  r.headers["x-incus-write"] = o.append ? "append" : "overwrite";
}

/// Content as a descriptor that needs nobody to feed it.
base::Fd in_memory(const std::string &content) {
  base::Fd fd(::memfd_create("incus-file", MFD_CLOEXEC));
  if (!fd) base::fail_errno(errno, "cannot make a file in memory");
  for (std::size_t at = 0; at < content.size();) {
    auto n = ::write(fd.get(), content.data() + at, content.size() - at);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) base::fail_errno(errno, "cannot write to a file in memory");
    at += static_cast<std::size_t>(n);
  }
  if (::lseek(fd.get(), 0, SEEK_SET) < 0) base::fail_errno(errno, "cannot rewind a file in memory");
  return fd;
}

void post(const api::SessionPtr &session, Request r, base::Fd body) {
  if (body) r.streams.push_back({"body", std::move(body)});
  api::perform(session, RowId::instance_files_post, std::move(r));
}

/// What is not of the kind that is wanted is refused.
std::int64_t drain_file(const Reply &reply, const std::string &path, const char *wanted, const std::function<void(std::string_view)> &take) {
  auto type = headers_of(reply)["x-incus-type"];
  if (type != wanted || reply.bodies.empty()) base::fail(ErrorCode::invalid_argument, "cannot read {}: it is a {}", base::quoted(path), type.empty() ? "directory" : type);
  return api::drain(reply, base::quoted(path), "; the instance was stopped meanwhile, or the file was cut", take);
}

} // namespace

FileInfo Instance::file_info(const std::string &path) const {
  auto reply = api::perform(session_, RowId::instance_files_head, at(project_, name_, path));
  auto h = headers_of(reply);
  FileInfo f;
  f.type = h["x-incus-type"];
  f.uid = static_cast<std::uint32_t>(number(h["x-incus-uid"]));
  f.gid = static_cast<std::uint32_t>(number(h["x-incus-gid"]));
  f.mode = static_cast<std::uint32_t>(number(h["x-incus-mode"], 8));
  // A door in this process tells the size by a body without bytes, one elsewhere by the header.
  f.size = !reply.bodies.empty() && reply.bodies[0].size >= 0 ? reply.bodies[0].size : f.type == "file" ? number(h["content-length"]) : 0;
  std::tm tm{};
  if (std::sscanf(h["x-incus-modified"].c_str(), "%d-%d-%d %d:%d:%d", &tm.tm_year, &tm.tm_mon, &tm.tm_mday, &tm.tm_hour, &tm.tm_min, &tm.tm_sec) == 6) {
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    f.modified_at = Time(std::chrono::seconds(::timegm(&tm)));
  }
  return f;
}

std::string Instance::read_file(const std::string &path) const {
  std::string out;
  drain_file(api::perform(session_, RowId::instance_files_get, at(project_, name_, path)), path, "file", [&](std::string_view piece) { out += piece; });
  return out;
}

std::int64_t Instance::pull_file(const std::string &path, int to) const {
  return drain_file(api::perform(session_, RowId::instance_files_get, at(project_, name_, path)), path, "file", [&](std::string_view piece) {
    while (!piece.empty()) {
      auto n = ::write(to, piece.data(), piece.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) base::fail_errno(errno, fmt::format("cannot write {} to the given descriptor", base::quoted(path)));
      piece.remove_prefix(static_cast<std::size_t>(n));
    }
  });
}

std::string Instance::read_symlink(const std::string &path) const {
  std::string out;
  drain_file(api::perform(session_, RowId::instance_files_get, at(project_, name_, path)), path, "symlink", [&](std::string_view piece) { out += piece; });
  return out;
}

void Instance::write_file(const std::string &path, const std::string &content, const FileOptions &options) {
  auto r = at(project_, name_, path);
  add(r, "file", options);
  post(session_, std::move(r), in_memory(content));
}

void Instance::push_file(const std::string &path, int from, const FileOptions &options) {
  auto r = at(project_, name_, path);
  add(r, "file", options);
  post(session_, std::move(r), base::dup_fd(from));
}

std::vector<std::string> Instance::list_directory(const std::string &path) const {
  auto reply = api::perform(session_, RowId::instance_files_get, at(project_, name_, path));
  if (!reply.metadata.is_array()) base::fail(ErrorCode::invalid_argument, "cannot list {}: it is no directory", base::quoted(path));
  std::vector<std::string> out;
  for (auto &n : reply.metadata.get_array()) out.emplace_back(n.as_string());
  return out;
}

void Instance::make_directory(const std::string &path, const FileOptions &options) {
  auto r = at(project_, name_, path);
  add(r, "directory", options);
  post(session_, std::move(r), {});
}

void Instance::make_symlink(const std::string &path, const std::string &target) {
  auto r = at(project_, name_, path);
  add(r, "symlink", {});
  post(session_, std::move(r), in_memory(target));
}

void Instance::remove_file(const std::string &path, bool recursive) {
  auto r = at(project_, name_, path);
  if (recursive) r = api::with_query(std::move(r), "force", "1");
  api::perform(session_, RowId::instance_files_delete, std::move(r));
}

int Instance::open_sftp() const {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) base::fail_errno(errno, "cannot make a socket pair");
  base::Fd ours(ends[0]), theirs(ends[1]);
  auto r = api::at({name_}, project_);
  r.streams.push_back({"sftp", std::move(theirs)});
  api::perform(session_, RowId::instance_sftp_get, std::move(r));
  return ours.release();
}

} // namespace v0
} // namespace incus
