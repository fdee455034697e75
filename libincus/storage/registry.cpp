// SPDX-License-Identifier: Apache-2.0
// All storage drivers. A new one is its file in drivers/ and a line here.
#include "base/error.hpp"
#include "base/names.hpp"
#include "storage/drivers/btrfs.hpp"
#include "storage/drivers/dir.hpp"
#include "storage/drivers/overlay.hpp"

namespace incus::storage {

namespace {
constexpr const DriverInfo *all[] = {&btrfs_driver, &dir_driver, &overlay_driver};
}

std::span<const DriverInfo *const> drivers() noexcept { return all; }

const DriverInfo &driver(const std::string &name, std::span<const DriverInfo *const> among) {
  std::string known;
  for (auto *d : among) {
    if (name == d->name) return *d;
    known += known.empty() ? d->name : std::string(", ") + d->name;
  }
  base::fail(ErrorCode::invalid_argument, "unknown storage driver {}: known ones are {}", base::quoted(name), known);
}

} // namespace incus::storage
