// SPDX-License-Identifier: Apache-2.0
// Owners on disk as the guest's: numbers, and those inside of ACLs and file capabilities.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace incus::unpack {

class IdShift {
public:
  IdShift() = default;
  /// Ranges as in userns.hpp: "u HOST GUEST COUNT" or "g HOST GUEST COUNT". None: nothing changes.
  explicit IdShift(const std::vector<std::string> &ranges);
  std::uint32_t user(std::uint32_t host) const { return map('u', host); }
  std::uint32_t group(std::uint32_t host) const { return map('g', host); }
  /// The value of an extended attribute in the kernel's form.
  void attribute(std::string_view name, std::string &value) const;
  bool empty() const { return ranges_.empty(); }

private:
  std::uint32_t map(char kind, std::uint32_t host) const;
  struct Range {
    char kind;
    std::uint32_t host, guest, count;
  };
  std::vector<Range> ranges_;
};

} // namespace incus::unpack
