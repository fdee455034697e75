// SPDX-License-Identifier: Apache-2.0
// A device that is not there: hides one of the same name that a profile gives.
#include "device/types.hpp"

namespace incus::device {

const DeviceType none_type = {"none", "Hides a device that a profile gives", {}, nullptr, nullptr, nullptr};

} // namespace incus::device
