// SPDX-License-Identifier: Apache-2.0
// Files in and out of the image store.
#include <cerrno>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/call.hpp"
#include "api/new_file.hpp"
#include "api/records.hpp"
#include "base/error.hpp"
#include "base/names.hpp"
#include "base/revert.hpp"

namespace incus::api {
namespace {

std::string base_name(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path.substr(path.rfind('/') + 1);
}

void check_path(const std::string &path) {
  if (path.empty() || path.find('\0') != std::string::npos)
    base::fail(ErrorCode::invalid_argument, "invalid image path {}: it must not be empty or hold a NUL", base::quoted(path));
}

base::Fd open_source(const std::string &path, bool &directory) {
  check_path(path);
  // Not blocking: a FIFO is refused below instead of waited for.
  base::Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd) base::fail_errno(errno, fmt::format("cannot open image {}", base::quoted(path)));
  struct stat st;
  if (::fstat(fd.get(), &st) < 0) base::fail_errno(errno, fmt::format("cannot read image {}", base::quoted(path)));
  directory = S_ISDIR(st.st_mode);
  if (!directory && !S_ISREG(st.st_mode))
    base::fail(ErrorCode::invalid_argument, "invalid image {}: must be a regular file or a directory with metadata.yaml and rootfs/",
               base::quoted(path));
  return fd;
}

bool flag(const json::value &v, const char *name) {
  auto *o = v.if_object();
  auto *f = o ? o->if_contains(name) : nullptr;
  return f && f->is_bool() && f->get_bool();
}

} // namespace

Operation begin_import(const SessionPtr &session, const std::string &project, const std::vector<std::string> &paths, json::value how) {
  Request r = at({}, project);
  bool directory = false;
  auto first = open_source(paths.at(0), directory);
  if (paths.size() == 1) {
    r.streams.push_back({directory ? "directory" : "image", std::move(first)});
  } else {
    if (directory)
      base::fail(ErrorCode::invalid_argument, "invalid image metadata {}: must be a tarball when a rootfs is given too", base::quoted(paths[0]));
    auto second = open_source(paths[1], directory);
    if (directory) base::fail(ErrorCode::invalid_argument, "invalid image rootfs {}: must be a tarball or a squashfs file", base::quoted(paths[1]));
    r.streams.push_back({"metadata", std::move(first)});
    r.streams.push_back({"rootfs", std::move(second)});
  }
  if (how.is_null()) how = json::object();
  auto &o = how.as_object();
  auto *name = o.if_contains("filename");
  if (!name || name->is_null() || (name->is_string() && name->get_string().empty())) o["filename"] = base_name(paths[0]);
  return begin(session, RowId::images_post, with_body(std::move(r), std::move(how)));
}

std::vector<std::string> export_image(const SessionPtr &session, const std::string &project, const std::string &image, const std::string &path) {
  check_path(path);
  if (base_name(path).empty() || path.back() == '/')
    base::fail(ErrorCode::invalid_argument, "invalid export path {}: must name a file", base::quoted(path));
  must_not_exist("image", path);
  NewFile metadata("image", path), rootfs("image", path);
  auto r = at({image}, project);
  r.streams.push_back({"metadata", metadata.fd.dup()});
  r.streams.push_back({"rootfs", rootfs.fd.dup()});
  auto reply = perform(session, RowId::image_export_get, std::move(r));
  std::vector<std::string> written{path};
  if (flag(reply.metadata, "split")) written.push_back(path + (flag(reply.metadata, "rootfs_squashfs") ? ".squashfs" : ".root"));
  base::Revert undo;
  for (std::size_t i = 0; i < written.size(); i++) {
    must_not_exist("image", written[i]);
    (i == 0 ? metadata : rootfs).publish(written[i]);
    undo.add([name = written[i]] { ::unlink(name.c_str()); });
  }
  undo.success();
  return written;
}

} // namespace incus::api
