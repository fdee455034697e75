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

/// With or without the first '/'.
std::string is_guest_path(std::string_view v) {
  if (auto rule = schema::is_absolute_path("/" + std::string(v)); !rule.empty()) return rule;
  if (("/" + std::string(v) + "/").find("/./") != std::string::npos) return "must not hold \".\" as a component";
  return v.size() > 4000 ? "must be at most 4000 characters long" : "";
}

constexpr schema::Key keys[] = {
    {"path", "string", is_guest_path, "", false, "Where it appears in the instance; / for the root"},
    {"pool", "string", nullptr, "", false, "Storage pool of the root disk, or of the custom volume that source names"},
    {"readonly", "bool", schema::is_bool, "false", false, "Whether it can only be read"},
    {"recursive", "bool", schema::is_bool, "false", false, "Whether mounts below the source come with it"},
    {"required", "bool", schema::is_bool, "true", false, "Whether a missing source is an error; else the disk is left out"},
    {"shift", "bool", schema::is_bool, "false", false, "Map owners of the source to the instance's ids"},
    {"size", "string", schema::is_size, "", true, "How large the root disk may grow, where its pool can limit it"},
    {"source", "string", nullptr, "", false, "A directory or file of the host; with pool, a custom volume"},
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

bool of_pool(const Config &c) { return !get(c, "pool").empty() && !is_root(c); }

/// Nothing when it is not there and need not be.
std::optional<Volume> volume_of(const Context &ctx) {
  if (!ctx.host || !ctx.host->volume) return std::nullopt;
  try {
    return ctx.host->volume(get(ctx.config, "pool"), get(ctx.config, "source"));
  } catch (const Error &e) {
    if (e.code() == ErrorCode::not_found && !schema::truthy(schema::value(keys, ctx.config, "required"))) return std::nullopt;
    throw Error(e.code(), "source of " + describe(ctx), e);
  }
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
    if (ctx.host && ctx.host->pool_exists && !ctx.host->pool_exists(get(c, "pool"))) base::fail(ErrorCode::not_found, "storage pool {} of {} does not exist", base::quoted(get(c, "pool")), describe(ctx));
    return;
  }
  if (!get(c, "size").empty()) refuse("only the root disk (path=/) can have size; a custom volume has one of its own");
  auto &source = get(c, "source");
  if (source.empty()) refuse("source is missing; set it to a directory or file of the host, or to a custom volume of pool");
  if (of_pool(c)) {
    if (source.starts_with('/')) refuse(fmt::format("source {} is a path, but pool is set: name a custom volume, or leave out pool", base::quoted(source)));
    for (auto *k : {"recursive", "shift"})
      if (!get(c, k).empty()) refuse(fmt::format("a custom volume cannot have {}", k));
    base::PoolName::parse(get(c, "pool"));
    if (ctx.host && ctx.host->pool_exists && !ctx.host->pool_exists(get(c, "pool"))) base::fail(ErrorCode::not_found, "storage pool {} of {} does not exist", base::quoted(get(c, "pool")), describe(ctx));
    volume_of(ctx);
    return;
  }
  if (auto rule = schema::is_absolute_path(source); !rule.empty())
    refuse(fmt::format("\"source\" {} {}; for a custom volume set pool, too", base::quoted(source), rule));
  if (!ctx.in_profile) look(ctx);
}

void render_disk(const Context &ctx, RunItems &items) {
  if (is_root(ctx.config)) return; // the instance's volume; storage plans it
  MountItem m;
  if (of_pool(ctx.config)) {
    auto v = volume_of(ctx);
    if (!v) return;
    m.source = v->path;
    m.shift = v->shift;
  } else {
    auto st = look(ctx);
    if (!st) return;
    m.source = get(ctx.config, "source");
    m.is_file = !S_ISDIR(st->st_mode);
    m.shift = schema::truthy(get(ctx.config, "shift"));
  }
  auto on = [&](const char *key) { return schema::truthy(get(ctx.config, key)); };
  m.device = ctx.name;
  m.target = normal(get(ctx.config, "path")).substr(1);
  m.options.push_back(on("recursive") ? "rbind" : "bind");
  if (on("readonly")) m.options.push_back("ro");
  m.optional = !schema::truthy(schema::value(keys, ctx.config, "required"));
  items.mounts.push_back(std::move(m));
}

} // namespace

const DeviceType disk_type = {"disk", "The root file system, or a directory or file of the host", keys, validate_disk, nullptr, render_disk};

namespace {
std::vector<std::string> roots(const Devices &devices) {
  std::vector<std::string> out;
  for (auto &[name, c] : devices)
    if (get(c, "type") == "disk" && !get(c, "path").empty() && is_root(c)) out.push_back(name);
  return out;
}
} // namespace

std::string root_pool(const Devices &devices) {
  auto all = roots(devices);
  return all.size() == 1 ? get(devices.at(all[0]), "pool") : "";
}

std::string root_disk(const Devices &devices) {
  auto all = roots(devices);
  if (all.size() > 1)
    base::fail(ErrorCode::invalid_argument, "devices {} and {} are both root disks (path=/); there can be only one", base::quoted(all[0]), base::quoted(all[1]));
  return all.empty() ? "" : all[0];
}

} // namespace incus::device
