// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "storage/driver.hpp"

namespace incus::storage {
extern const DriverInfo btrfs_driver;
}
