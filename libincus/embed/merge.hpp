// SPDX-License-Identifier: Apache-2.0
// What a PATCH leaves of a record: the fields it names change, keys of config and devices one by one, all else stays.
#pragma once
#include <boost/json/fwd.hpp>

#include <incus/instance.hpp>
#include <incus/profile.hpp>

namespace incus::embed {

/// The fields that a body names; throws invalid_argument when it is no object.
const boost::json::object &fields_of(const boost::json::value &body);

/// A body read once and for all its types checked; to() may be asked again when the record changed meanwhile.
class InstancePatch {
public:
  explicit InstancePatch(const boost::json::value &body);
  InstanceUpdate to(const InstanceInfo &now) const;

private:
  InstanceUpdate named_;
  bool architecture_, description_, ephemeral_, profiles_;
};

class ProfilePatch {
public:
  explicit ProfilePatch(const boost::json::value &body);
  ProfileUpdate to(const ProfileInfo &now) const;

private:
  ProfileUpdate named_;
  bool description_;
};

} // namespace incus::embed
