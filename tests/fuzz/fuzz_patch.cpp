// SPDX-License-Identifier: Apache-2.0
// The body of a PATCH on an instance and a profile, read as the server reads it: it is refused as a mistake of the client, or what it
// names changes and everything else stays. What it names is looked up in the JSON itself.
#include <boost/json.hpp>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "api/records.hpp"
#include "base/error.hpp"
#include "embed/merge.hpp"

using namespace incus;
namespace json = boost::json;

namespace {

void must(bool ok) {
  if (!ok) std::abort();
}

/// The text of a value that was taken for a string: null stands for the empty one.
std::string text_of(const json::value &v) { return v.is_null() ? std::string() : std::string(v.as_string()); }

const json::object *part(const json::object &body, const char *name) {
  auto *v = body.if_contains(name);
  return v ? v->if_object() : nullptr;
}

void check_config(const json::object &body, const Config &before, const Config &after, bool empty_removes) {
  auto *named = part(body, "config");
  for (auto &[k, v] : before)
    if (!named || !named->contains(k)) must(after.contains(k) && after.at(k) == v);
  for (auto &[k, v] : after) must(before.contains(k) || (named && named->contains(k)));
  if (!named) return;
  for (auto &kv : *named) {
    std::string key(kv.key()), value = text_of(kv.value());
    if (empty_removes && value.empty())
      must(!after.contains(key));
    else
      must(after.contains(key) && after.at(key) == value);
  }
}

void check_devices(const json::object &body, const Devices &before, const Devices &after) {
  auto *named = part(body, "devices");
  for (auto &[n, d] : before)
    if (!named || !named->contains(n)) must(after.contains(n) && after.at(n) == d);
  for (auto &[n, d] : after) must(before.contains(n) || (named && named->contains(n)));
  if (!named) return;
  for (auto &kv : *named) {
    auto it = after.find(std::string(kv.key()));
    must(it != after.end());
    auto *keys = kv.value().if_object();
    must(it->second.size() == (keys ? keys->size() : 0));
    if (keys)
      for (auto &one : *keys) must(it->second.contains(std::string(one.key())) && it->second.at(std::string(one.key())) == text_of(one.value()));
  }
}

std::string printed(const InstanceUpdate &u) { return json::serialize(api::to_json(u)); }
std::string printed(const ProfileUpdate &u) { return json::serialize(api::to_json(u)); }

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size) {
  InstanceInfo now;
  now.architecture = "x86_64";
  now.description = "before";
  now.ephemeral = true;
  now.profiles = {"default", "p"};
  now.config = {{"user.x", "y"}, {"limits.cpu", "2"}};
  now.devices = {{"root", {{"type", "disk"}, {"path", "/"}}}, {"eth0", {{"type", "nic"}}}};
  ProfileInfo profile;
  profile.config = now.config;
  profile.description = now.description;
  profile.devices = now.devices;
  try {
    auto body = api::parse_json(std::string_view(reinterpret_cast<const char *>(data), size), "the request's body");
    {
      auto to = embed::InstancePatch(body).to(now);
      auto &o = body.as_object();
      check_config(o, now.config, to.config, true);
      check_devices(o, now.devices, to.devices);
      must(o.contains("description") ? to.description == text_of(o.at("description")) : to.description == now.description);
      must(o.contains("architecture") ? to.architecture == text_of(o.at("architecture")) : to.architecture == now.architecture);
      must(o.contains("profiles") || to.profiles == now.profiles);
      must(o.contains("ephemeral") || to.ephemeral == now.ephemeral);
      must(to.restore.empty());
      // What is kept is written as JSON and read again.
      must(printed(api::from_json<InstanceUpdate>(api::parse_json(printed(to), "what was kept"))) == printed(to));
    }
    auto to = embed::ProfilePatch(body).to(profile);
    auto &o = body.as_object();
    check_config(o, profile.config, to.config, false);
    check_devices(o, profile.devices, to.devices);
    must(o.contains("description") ? to.description == text_of(o.at("description")) : to.description == profile.description);
    must(printed(api::from_json<ProfileUpdate>(api::parse_json(printed(to), "what was kept"))) == printed(to));
  } catch (const Error &e) {
    must(e.code() == ErrorCode::invalid_argument);
  }
  return 0;
}
