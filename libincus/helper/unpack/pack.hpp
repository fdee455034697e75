// SPDX-License-Identifier: Apache-2.0
// An image directory as a tar.
#pragma once
#include <cstdint>
#include <functional>
#include <string>

namespace incus::unpack {

/// Writes metadata.yaml, rootfs/ and templates/ below `directory` to `out`, sorted. `compression` is as encoder() has it.
void pack(int directory, int out, const std::function<void(std::uint64_t)> &written, const std::string &compression,
          unsigned threads);

/// Throws Failure.
void write_all(int fd, const void *data, std::size_t size);

} // namespace incus::unpack
