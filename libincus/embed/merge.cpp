// SPDX-License-Identifier: Apache-2.0
#include "embed/merge.hpp"

#include <boost/json.hpp>

#include "api/records.hpp"
#include "base/error.hpp"

namespace incus::embed {

namespace json = boost::json;

const json::object &fields_of(const json::value &body) {
  auto *o = body.if_object();
  if (!o) base::fail(ErrorCode::invalid_argument, "the body must be a JSON object with the fields to change");
  return *o;
}

InstancePatch::InstancePatch(const json::value &body) {
  auto &o = fields_of(body);
  named_ = api::from_json<InstanceUpdate>(body);
  architecture_ = o.contains("architecture");
  description_ = o.contains("description");
  ephemeral_ = o.contains("ephemeral");
  profiles_ = o.contains("profiles");
}

InstanceUpdate InstancePatch::to(const InstanceInfo &now) const {
  InstanceUpdate to;
  to.architecture = architecture_ ? named_.architecture : now.architecture;
  to.description = description_ ? named_.description : now.description;
  to.ephemeral = ephemeral_ ? named_.ephemeral : now.ephemeral;
  to.profiles = profiles_ ? named_.profiles : now.profiles;
  to.config = now.config;
  for (auto &[k, v] : named_.config) {
#ifndef INCUS_PLANTED_BUG // the fuzzer must notice when an empty value does not take the key away
    if (v.empty()) {
      to.config.erase(k);
      continue;
    }
#endif
    to.config[k] = v;
  }
  to.devices = now.devices;
  for (auto &[n, d] : named_.devices) to.devices[n] = d;
  return to;
}

ProfilePatch::ProfilePatch(const json::value &body) {
  auto &o = fields_of(body);
  named_ = api::from_json<ProfileUpdate>(body);
  description_ = o.contains("description");
}

ProfileUpdate ProfilePatch::to(const ProfileInfo &now) const {
  ProfileUpdate to{now.config, description_ ? named_.description : now.description, now.devices};
  for (auto &[k, v] : named_.config) to.config[k] = v;
  for (auto &[n, d] : named_.devices) to.devices[n] = d;
  return to;
}

} // namespace incus::embed
