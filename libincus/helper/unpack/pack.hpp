// SPDX-License-Identifier: Apache-2.0
// An image directory as a tar.
#pragma once
#include <cstdint>
#include <functional>

namespace incus::unpack {

/// Writes metadata.yaml, rootfs/ and templates/ below `directory` to `out`, sorted.
void pack(int directory, int out, const std::function<void(std::uint64_t)> &written);

} // namespace incus::unpack
