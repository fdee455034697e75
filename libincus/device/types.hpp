// SPDX-License-Identifier: Apache-2.0
// The device types, for the registry; and what they share.
#pragma once
#include "device/device.hpp"

namespace incus::device {

extern const DeviceType disk_type, nic_type, none_type;

/// "device \"eth0\" of instance \"c1\"".
std::string describe(const Context &ctx);
/// A key's value; empty when unset.
const std::string &get(const Config &config, const char *key) noexcept;

} // namespace incus::device
