// SPDX-License-Identifier: Apache-2.0
// Disks: the root from a storage pool, and directories or files of the host.
#include <cerrno>
#include <sys/stat.h>

#include "base/error.hpp"
#include "base/names.hpp"
#include "device/types.hpp"

namespace incus::device {

namespace {

/// Components of a path without empty ones, joined by '/'.
std::string normal(std::string_view path) {
  std::string out;
  while (!path.empty()) {
    auto cut = std::min(path.find('/'), path.size());
    if (cut) (out += '/').append(path.substr(0, cut));
    path.remove_prefix(std::min(cut + 1, path.size()));
  }
  return out.empty() ? "/" : out;
}

std::string is_guest_path(std::string_view v) {
  if (auto rule = schema::is_absolute_path(v); !rule.empty()) return rule;
  if (("/" + std::string(v) + "/").find("/./") != std::string::npos) return "must not hold \".\" as a component";
  return v.size() > 4000 ? "must be at most 4000 characters long" : "";
}

constexpr schema::Key keys[] = {
    {"path", "string", is_guest_path, "", false, "Where it appears in the instance; / for the root"},
    {"pool", "string", nullptr, "", false, "Storage pool of the root disk"},
    {"readonly", "bool", schema::is_bool, "false", false, "Whether it can only be read"},
    {"recursive", "bool", schema::is_bool, "false", false, "Whether mounts below the source come with it"},
    {"required", "bool", schema::is_bool, "true", false, "Whether a missing source is an error; else the disk is left out"},
    {"shift", "bool", schema::is_bool, "false", false, "Map owners of the source to the instance's ids"},
    {"source", "string", schema::is_absolute_path, "", false, "A directory or file of the host"},
};

bool is_root(const Config &c) { return normal(get(c, "path")) == "/"; }

/// What the source is; throws when it is missing and required, or is nothing that can be mounted so.
std::optional<struct stat> look(const Context &ctx) {
  auto &source = get(ctx.config, "source");
  struct stat st;
  if (::stat(source.c_str(), &st) != 0) {
    bool missing = errno == ENOENT || errno == ENOTDIR;
    if (missing && !schema::truthy(schema::value(keys, ctx.config, "required"))) return std::nullopt;
    auto code = missing ? ErrorCode::invalid_argument : base::errno_code(errno);
    base::fail(code, "source {} of {}: {}; make it, or set required=false", base::quoted(source), describe(ctx), missing ? "does not exist on this host" : base::errno_text(errno));
  }
  if (S_ISBLK(st.st_mode) || S_ISCHR(st.st_mode))
    base::fail(ErrorCode::not_supported, "source {} of {}: is a device node; only directories and files can be mounted", base::quoted(source), describe(ctx));
  return st;
}

void validate_disk(const Context &ctx) {
  auto &c = ctx.config;
  auto refuse = [&](const std::string &why) { base::fail(ErrorCode::invalid_argument, "invalid {}: {}", describe(ctx), why); };
  if (get(c, "path").empty()) refuse("path is missing; set it to where the disk appears in the instance");
  if (is_root(c)) {
    if (get(c, "pool").empty()) refuse("the root disk (path=/) needs pool");
    for (auto *k : {"source", "readonly", "recursive", "required", "shift"})
      if (!get(c, k).empty()) refuse(fmt::format("the root disk (path=/) cannot have {}", k));
    base::PoolName::parse(get(c, "pool"));
    if (ctx.pool_exists && !ctx.pool_exists(get(c, "pool"))) base::fail(ErrorCode::not_found, "storage pool {} of {} does not exist", base::quoted(get(c, "pool")), describe(ctx));
    return;
  }
  if (!get(c, "pool").empty()) refuse("volumes of a storage pool cannot be attached yet, only the root disk (path=/) has pool; use source with a path of the host");
  if (get(c, "source").empty()) refuse("source is missing; set it to a directory or file of the host");
  if (!ctx.in_profile) look(ctx);
}

void render_disk(const Context &ctx, RunItems &items) {
  if (is_root(ctx.config)) return; // the instance's volume; storage plans it
  auto st = look(ctx);
  if (!st) return;
  auto on = [&](const char *key) { return schema::truthy(get(ctx.config, key)); };
  MountItem m;
  m.device = ctx.name;
  m.source = get(ctx.config, "source");
  m.target = normal(get(ctx.config, "path")).substr(1);
  m.options.push_back(on("recursive") ? "rbind" : "bind");
  if (on("readonly")) m.options.push_back("ro");
  m.is_file = !S_ISDIR(st->st_mode);
  m.shift = on("shift");
  m.optional = !schema::truthy(schema::value(keys, ctx.config, "required"));
  items.mounts.push_back(std::move(m));
}

} // namespace

const DeviceType disk_type = {"disk", "The root file system, or a directory or file of the host", keys, validate_disk, nullptr, render_disk};

std::string root_disk(const Devices &devices) {
  std::string found;
  for (auto &[name, c] : devices) {
    if (get(c, "type") != "disk" || get(c, "path").empty() || !is_root(c)) continue;
    if (!found.empty()) base::fail(ErrorCode::invalid_argument, "devices {} and {} are both root disks (path=/); there can be only one", base::quoted(found), base::quoted(name));
    found = name;
  }
  return found;
}

} // namespace incus::device
