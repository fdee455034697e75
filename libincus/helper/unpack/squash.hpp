// SPDX-License-Identifier: Apache-2.0
// Root file systems that come as squashfs.
#pragma once

namespace incus::unpack {

/// Checks the superblock and that the file is as long as it says.
void check_squashfs(int fd);
/// Runs unsquashfs into /target/rootfs, in a pid namespace of its own that dies with this process, and both with the other end of `sock`. Call after
/// enter(..., tools).
void unsquash(int image, unsigned threads, int sock);

} // namespace incus::unpack
