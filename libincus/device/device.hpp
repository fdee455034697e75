// SPDX-License-Identifier: Apache-2.0
// Device types: one file each, one row in the registry. A device's whole life is in its file.
#pragma once
#include <functional>
#include <span>
#include <string>
#include <vector>

#include <incus/types.hpp>

#include "device/items.hpp"
#include "schema/schema.hpp"

namespace incus::device {

/// A custom volume as a disk uses it.
struct Volume {
  std::string path;  ///< its content on this host
  bool shift = true; ///< owners in it are the guest's
};
/// What devices ask of the host that the instance is on.
struct Host {
  std::function<bool(const std::string &pool)> pool_exists;
  /// Throws not_found. Null: not asked (profiles).
  std::function<Volume(const std::string &pool, const std::string &name)> volume;
};

/// What a device sees while it works.
struct Context {
  std::string instance;             ///< its own name (or the profile's), for messages
  std::string name;                 ///< device name
  const Config &config;             ///< the device's keys
  bool in_profile = false;          ///< validation of a profile: parents need not exist, required keys must
  Config *volatiles = nullptr;      ///< the instance's own configuration, for volatile.NAME.*; written ones are stored
  const Devices *devices = nullptr; ///< all devices of the instance (expanded): free interface names are chosen among them
  const Host *host = nullptr;       ///< null: its facts do not matter here
};

struct DeviceType {
  const char *type;
  const char *doc;
  std::span<const schema::Key> keys; ///< beside `type`
  void (*validate)(const Context &);
  /// Fills volatile values (MAC, host name) before the start is recorded; touches nothing else. May be null.
  void (*prepare)(Context &);
  /// What the backend has to do for it; throws when something it needs is missing. Null: nothing.
  void (*render)(const Context &, RunItems &);
};

std::span<const DeviceType *const> types() noexcept;
/// Throws invalid_argument naming the device and the known types. `instance_or_profile` such as "instance \"c1\"".
const DeviceType &type(const std::string &instance_or_profile, const std::string &device, const Config &config);
/// Validates one device completely: type, unknown keys, values, and the type's own rules.
void validate(const Context &ctx);
/// All devices of an instance or profile, and what they must not do to each other (the same path, the same interface name).
void validate_all(const std::string &instance, const Devices &devices, bool in_profile, const Host &host);
/// Before a start is recorded: every device writes its volatile.NAME.* into `volatiles`.
void prepare_all(const std::string &instance, const Devices &devices, Config &volatiles);
/// At the start: what the backend has to do, mounts in an order in which none hides another.
RunItems render_all(const std::string &instance, const Devices &devices, Config &volatiles, const Host &host = {});
/// Host interfaces that devices of an instance may have left: the volatile.NAME.host_name of its nics.
std::vector<std::string> host_interfaces(const Devices &devices, const Config &volatiles);

/// The root disk's device name, or empty. Throws when there are several.
std::string root_disk(const Devices &devices);
/// The pool that the root disk names; empty when there is none or more than one.
std::string root_pool(const Devices &devices);
/// Whether two devices of a type differ only in keys that take effect while the instance runs, and need nothing from it for that.
bool same_but_live(const Config &a, const Config &b);

} // namespace incus::device
