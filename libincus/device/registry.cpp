// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "base/error.hpp"
#include "base/names.hpp"
#include "device/types.hpp"

namespace incus::device {

namespace {

constexpr const DeviceType *table[] = {&disk_type, &nic_type, &none_type};

std::string owner(const std::string &name, bool profile) { return fmt::format("{} {}", profile ? "profile" : "instance", base::quoted(name)); }

/// Refuses two devices that claim the same `key`.
void refuse_shared(const std::string &whose, const Devices &devices, const char *type, const char *key, std::string (*form)(const std::string &)) {
  std::map<std::string, std::string> claimed;
  for (auto &[name, c] : devices) {
    if (get(c, "type") != type || get(c, key).empty()) continue;
    auto [it, fresh] = claimed.emplace(form(get(c, key)), name);
    if (!fresh)
      base::fail(ErrorCode::invalid_argument, "devices {} and {} of {} have the same {} {}; each needs its own", base::quoted(it->second), base::quoted(name), whose, key,
                 base::quoted(get(c, key)));
  }
}

std::string as_it_is(const std::string &v) { return v; }
std::string as_path(const std::string &v) {
  std::string out(v.empty() ? "" : "/"); // which may be left out
  for (char c : v)
    if (c != '/' || !out.ends_with('/')) out += c;
  while (out.size() > 1 && out.back() == '/') out.pop_back();
  return out;
}

} // namespace

const std::string &get(const Config &config, const char *key) noexcept {
  static const std::string none;
  auto it = config.find(key);
  return it == config.end() ? none : it->second;
}

std::string describe(const Context &ctx) { return fmt::format("device {} of {}", base::quoted(ctx.name), owner(ctx.instance, ctx.in_profile)); }

std::span<const DeviceType *const> types() noexcept { return table; }

const DeviceType &type(const std::string &instance_or_profile, const std::string &device, const Config &config) {
  auto &wanted = get(config, "type");
  for (auto *t : table)
    if (wanted == t->type) return *t;
  std::string known;
  for (auto *t : table) known += (known.empty() ? "" : ", ") + std::string(t->type);
  if (wanted.empty()) base::fail(ErrorCode::invalid_argument, "device {} of {} has no type; set it to one of {}", base::quoted(device), instance_or_profile, known);
  base::fail(ErrorCode::invalid_argument, "unknown type {} of device {} of {}; known are {}", base::quoted(wanted), base::quoted(device), instance_or_profile, known);
}

void validate(const Context &ctx) {
  base::DeviceName::parse(ctx.name);
  auto &t = type(owner(ctx.instance, ctx.in_profile), ctx.name, ctx.config);
  Config rest = ctx.config;
  rest.erase("type");
  std::erase_if(rest, [](auto &kv) { return kv.first.starts_with("user."); }); // free, as those of instances are
  schema::validate(t.keys, rest, describe(ctx));
  if (t.validate) t.validate(ctx);
}

void validate_all(const std::string &instance, const Devices &devices, bool in_profile, const Host &host) {
  for (auto &[name, config] : devices) validate(Context{instance, name, config, in_profile, nullptr, &devices, &host});
  auto whose = owner(instance, in_profile);
  root_disk(devices);
  refuse_shared(whose, devices, "disk", "path", as_path);
  refuse_shared(whose, devices, "nic", "name", as_it_is);
  refuse_shared(whose, devices, "nic", "host_name", as_it_is);
}

void prepare_all(const std::string &instance, const Devices &devices, Config &volatiles) {
  for (auto &[name, config] : devices) {
    Context ctx{instance, name, config, false, &volatiles, &devices};
    if (auto prepare = type(owner(instance, false), name, config).prepare) prepare(ctx);
  }
}

RunItems render_all(const std::string &instance, const Devices &devices, Config &volatiles, const Host &host) {
  RunItems items;
  for (auto &[name, config] : devices) {
    Context ctx{instance, name, config, false, &volatiles, &devices, &host};
    if (auto render = type(owner(instance, false), name, config).render) render(ctx, items);
  }
  // A mount on /a would hide one on /a/b that was made before it.
  std::stable_sort(items.mounts.begin(), items.mounts.end(), [](const MountItem &a, const MountItem &b) {
    return std::count(a.target.begin(), a.target.end(), '/') < std::count(b.target.begin(), b.target.end(), '/');
  });
  return items;
}

bool same_but_live(const Config &a, const Config &b) {
  auto type_of = [](const Config &c) { return c.count("type") ? c.at("type") : std::string(); };
  if (type_of(a) != type_of(b)) return false;
  auto live = [&](const std::string &name) {
    for (auto *t : types())
      if (type_of(a) == t->type)
        if (auto *key = schema::find(t->keys, name)) return key->live;
    return false;
  };
  auto covered = [&](const Config &one, const Config &other) {
    return std::all_of(one.begin(), one.end(), [&](auto &kv) {
      auto it = other.find(kv.first);
      return (it != other.end() && it->second == kv.second) || live(kv.first);
    });
  };
  return covered(a, b) && covered(b, a);
}

} // namespace incus::device
