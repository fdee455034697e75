// SPDX-License-Identifier: Apache-2.0
// Names of architectures as Incus has them, and who runs what.
#include <sys/utsname.h>

#include "image/image.hpp"

namespace incus::image {

namespace {
struct Row {
  const char *name;
  std::vector<const char *> synonyms;
  const char *also; ///< what the same machine runs besides
};
const std::vector<Row> &rows() {
  static const std::vector<Row> all = {
      {"x86_64", {"amd64", "generic_64"}, "i686"},
      {"i686", {"i386", "i586", "386", "x86", "generic_32"}, ""},
      {"armv7l", {"armhf", "armv7", "armv8l", "arm", "armhfp", "armv7a_hardfp", "armv7a_vfpv3_hardfp"}, "armv6l"},
      {"armv6l", {"armv6", "armel", "armv6hl"}, ""},
      {"aarch64", {"arm64", "arm64_generic"}, "armv7l"},
      {"ppc", {"powerpc"}, ""},
      {"ppc64", {"powerpc64"}, "ppc"},
      {"ppc64le", {"ppc64el", "powerpc64_le"}, ""},
      {"s390x", {"mainframe"}, ""},
      {"mips", {"mipsel"}, ""},
      {"mips64", {"mips64el"}, "mips"},
      {"riscv32", {"rv32", "riscv32gc"}, ""},
      {"riscv64", {"rv64", "riscv64gc"}, ""},
      {"loongarch64", {"loong64"}, ""},
  };
  return all;
}
} // namespace

std::string canonical_architecture(const std::string &name) {
  for (auto &r : rows()) {
    if (name == r.name) return name;
    for (auto *s : r.synonyms)
      if (name == s) return r.name;
  }
  return "";
}

std::string host_architecture() {
  utsname u{};
  ::uname(&u);
  std::string name = canonical_architecture(u.machine);
  return name.empty() ? u.machine : name;
}

bool architecture_runs(const std::string &host, const std::string &image) {
  if (host == image) return true;
  for (auto &r : rows())
    if (host == r.name) return *r.also && architecture_runs(r.also, image);
  return false;
}

} // namespace incus::image
