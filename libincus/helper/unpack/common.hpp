// SPDX-License-Identifier: Apache-2.0
// What the parts of incus-unpack share: refusals, limits, the numbers of its messages. Free of dependencies.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

namespace incus::unpack {

/// Requests. Descriptors come with them in the order given here.
enum class Op : std::uint32_t {
  inspect = 1, ///< image[, rootfs]
  unpack = 2,  ///< target directory, image[, rootfs]; argument "squashfs" when the rootfs is one
  pack = 3,    ///< source directory, output file
  publish = 4, ///< output file, metadata.yaml; arguments in main.cpp
  backup = 5,  ///< output file, plan (backup.hpp)[, spool file]
  index = 6,   ///< backup; answers with backup/index.yaml, or the file that its argument names
  restore = 7, ///< backup, shifts, volume[, snapshots]; argument "tree" for a custom volume, "block" or "iso" for one that is a disk or a medium
  receive = 8, ///< backup, names of its streams, target directory
  progress = 100, ///< done, total
  data = 101,     ///< a piece of metadata.yaml
  done = 102,     ///< type, compression, "squashfs" or ""
  error = 103,    ///< code name, message
};

inline constexpr std::uint64_t max_metadata = 1 << 20;
inline constexpr std::uint64_t progress_step = 8 << 20;

struct Limits {
  std::uint64_t entries = 10'000'000;
  std::uint64_t bytes = UINT64_MAX; ///< of file content written
};

/// Thrown by everything here; `code` is the name of an incus::ErrorCode.
struct Failure {
  std::string code;
  std::string text;
};

[[noreturn]] void refuse(std::string text);                   ///< code "corrupt"
[[noreturn]] void fail(const char *code, std::string text);
[[noreturn]] void fail_errno(int err, std::string text);      ///< appends the errno's text
std::string quoted(std::string_view text);

} // namespace incus::unpack
