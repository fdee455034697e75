// SPDX-License-Identifier: Apache-2.0
// A volume put together from subvolumes that were received beside each other.
#pragma once
#include <string>
#include <vector>

#include "base/fd.hpp"

namespace incus::storage {

class BtrfsAssembly {
public:
  /// The received subvolume `top` of directory `in` itself, made writable until finish().
  BtrfsAssembly(int in, const std::string &top);
  /// A writable snapshot `name` of it.
  BtrfsAssembly(int in, const std::string &top, const std::string &name);

  int fd() const { return top_.get(); }
  /// Puts the received subvolume `part` at `path`; parents come first. One that can be written to there is a snapshot of what was received.
  void place(const std::string &part, const std::string &path, bool read_only);
  /// Removes a file at the top; none there is no error.
  void forget(const char *name);
  /// What is to be read-only becomes so.
  void finish(bool read_only);

private:
  int in_;
  base::Fd top_;
  std::vector<base::Fd> protect_;
};

} // namespace incus::storage
