// SPDX-License-Identifier: Apache-2.0
// The requests of the engine's own file verbs, one each on a SOCK_SEQPACKET socket of its own (helper/protocol.hpp).
#pragma once
#include "helper/files/vfs.hpp"
#include "helper/protocol.hpp"

namespace incus::files {

/// To the server. Descriptors: [0] is where the answer goes; the last, if named, carries bytes.
enum class Op : std::uint32_t {
  enter = 1, ///< first message of a helper: where to work (see main.cpp)
  sftp,      ///< [0] is a stream socket that gets an SFTP server
  read,      ///< args: path, "data" or ""; with "data" [1] is a pipe that gets the bytes of a regular file
  write,     ///< args: path, type ("file", "directory", "symlink"), uid, gid, mode (decimal, "" for none), "append" or "", target, length ("" unknown); [1]: bytes
  remove,    ///< args: path, "tree" or ""
};
/// From the server.
enum class Answer : std::uint32_t {
  ok = 1,  ///< read: args mode, uid, gid, size, mtime, link target; else none
  error,   ///< args: errno, what failed
  names,   ///< args: names in a directory; before ok
};

/// Names of a directory, at most; a guest may have made more.
inline constexpr std::size_t max_names = 500'000;

/// Answers one request and closes its descriptors.
void serve_verb(Vfs &vfs, const helper::Message &request);

} // namespace incus::files
