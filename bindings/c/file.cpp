// SPDX-License-Identifier: Apache-2.0
#include <incus/file.h>
#include <incus/instance.hpp>

#include "api/convert.hpp"
#include "base/error.hpp"
#include "common.hpp"

using namespace incus;
using namespace incus::c;

namespace {

Instance one(incus_host *host, const char *project, const char *instance) {
  auto p = optional(project);
  return Instance(session(host), p.empty() ? "default" : p, text(instance, "instance"));
}

std::optional<std::uint32_t> number(const json::object &o, const char *name) {
  auto *v = o.if_contains(name);
  if (!v || v->is_null()) return {};
  boost::system::error_code failed;
  auto n = v->to_number<std::uint32_t>(failed);
  if (failed) base::fail(ErrorCode::invalid_argument, "invalid option {}: must be a number from 0 to 4294967295", name);
  return n;
}

FileOptions options_from(const char *s) {
  FileOptions out;
  auto v = optional_object(s, "options");
  auto &o = v.as_object();
  for (auto &[key, value] : o)
    if (key != "uid" && key != "gid" && key != "mode" && key != "append")
      base::fail(ErrorCode::invalid_argument, "unknown option \"{}\": known ones are uid, gid, mode and append", std::string_view(key));
  out.uid = number(o, "uid");
  out.gid = number(o, "gid");
  out.mode = number(o, "mode");
  if (auto *a = o.if_contains("append"); a && !a->is_null()) {
    if (!a->is_bool()) base::fail(ErrorCode::invalid_argument, "invalid option append: must be true or false");
    out.append = a->get_bool();
  }
  return out;
}

} // namespace

extern "C" {

incus_status incus_file_info(incus_host *host, const char *project, const char *instance, const char *path, char **json, incus_error **err) {
  return guard(err, [&] {
    need(json, "json");
    auto f = one(host, project, instance).file_info(text(path, "path"));
    json::object o{{"type", f.type}, {"uid", f.uid}, {"gid", f.gid}, {"mode", f.mode}, {"size", f.size}, {"modified_at", api::to_json(f.modified_at)}};
    Text(json::serialize(o)).give(json);
  });
}

incus_status incus_file_read(incus_host *host, const char *project, const char *instance, const char *path, char **data, size_t *size, incus_error **err) {
  return guard(err, [&] {
    need(data, "data");
    auto content = one(host, project, instance).read_file(text(path, "path"));
    Text(content).give(data);
    if (size) *size = content.size();
  });
}

incus_status incus_file_pull(incus_host *host, const char *project, const char *instance, const char *path, int to_fd, int64_t *size, incus_error **err) {
  return guard(err, [&] {
    auto n = one(host, project, instance).pull_file(text(path, "path"), to_fd);
    if (size) *size = n;
  });
}

incus_status incus_file_write(incus_host *host, const char *project, const char *instance, const char *path, const char *data, size_t size,
                              const char *options, incus_error **err) {
  return guard(err, [&] {
    if (!data && size > 0) missing("data");
    one(host, project, instance).write_file(text(path, "path"), data ? std::string(data, size) : std::string(), options_from(options));
  });
}

incus_status incus_file_push(incus_host *host, const char *project, const char *instance, const char *path, int from_fd, const char *options,
                             incus_error **err) {
  return guard(err, [&] { one(host, project, instance).push_file(text(path, "path"), from_fd, options_from(options)); });
}

incus_status incus_file_list(incus_host *host, const char *project, const char *instance, const char *path, char **json, incus_error **err) {
  return guard(err, [&] {
    need(json, "json");
    json::array names;
    for (auto &n : one(host, project, instance).list_directory(text(path, "path"))) names.emplace_back(n);
    Text(json::serialize(names)).give(json);
  });
}

incus_status incus_file_make_directory(incus_host *host, const char *project, const char *instance, const char *path, const char *options,
                                       incus_error **err) {
  return guard(err, [&] { one(host, project, instance).make_directory(text(path, "path"), options_from(options)); });
}

incus_status incus_file_make_symlink(incus_host *host, const char *project, const char *instance, const char *path, const char *target, incus_error **err) {
  return guard(err, [&] { one(host, project, instance).make_symlink(text(path, "path"), text(target, "target")); });
}

incus_status incus_file_remove(incus_host *host, const char *project, const char *instance, const char *path, int recursive, incus_error **err) {
  return guard(err, [&] { one(host, project, instance).remove_file(text(path, "path"), recursive != 0); });
}

incus_status incus_file_sftp(incus_host *host, const char *project, const char *instance, int *fd, incus_error **err) {
  return guard(err, [&] {
    need(fd, "fd");
    *fd = one(host, project, instance).open_sftp();
  });
}

} // extern "C"
