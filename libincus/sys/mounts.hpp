// SPDX-License-Identifier: Apache-2.0
// Mounts of the engine's own process, and loop devices. Paths are the administrator's: links in them are followed.
#pragma once
#include <cstdint>
#include <string>

#include "base/fd.hpp"

namespace incus::sys {

/// Options as mount(8) takes them: those that every file system has become flags, the rest is the file system's.
struct MountOptions {
  unsigned long flags = 0;
  std::string data;
};
MountOptions parse_mount_options(const std::string &text);

void mount(const std::string &source, const std::string &target, const char *type, unsigned long flags, const std::string &data);
/// Lazily: who has a file open there keeps it until he closes it. No mount there is no error.
void unmount(const std::string &target);
/// Unless somebody uses it (then false).
bool unmount_unused(const std::string &target);
bool is_mount_point(const std::string &path);
/// The device that is mounted there, as /proc tells it; empty when there is none.
std::string mounted_device(const std::string &path);
bool kernel_has_filesystem(const std::string &name);

/// A loop device over a file, found or made. A made one goes when nothing uses it any more: once the descriptor is closed and it is mounted nowhere.
struct LoopDevice {
  std::string path;
  base::Fd fd;
};
LoopDevice attach_loop(const std::string &file);
/// After the file has grown.
void refresh_loop_size(const std::string &device);

} // namespace incus::sys
