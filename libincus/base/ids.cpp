// SPDX-License-Identifier: Apache-2.0
#include "base/ids.hpp"

#include <cerrno>
#include <sys/random.h>

#include "base/error.hpp"

namespace incus::base {

namespace {
template <std::size_t N> void fill(unsigned char (&b)[N]) {
  std::size_t have = 0;
  while (have < N) {
    ssize_t n = ::getrandom(b + have, N - have, 0);
    if (n < 0 && errno != EINTR) fail_errno(errno, "cannot get random bytes");
    if (n > 0) have += static_cast<std::size_t>(n);
  }
}
constexpr const char *first_words[] = {"amber", "brave", "calm", "clear", "crisp", "eager", "fair", "fresh", "gentle", "golden", "happy", "keen",
                                       "kind", "light", "lively", "lucky", "merry", "mild", "noble", "plain", "proud", "quick", "quiet", "rapid",
                                       "sharp", "silver", "smart", "solid", "steady", "sunny", "swift", "warm"};
constexpr const char *second_words[] = {"badger", "beaver", "bison", "crane", "cricket", "dolphin", "eagle", "falcon", "finch", "fox", "gecko", "hare",
                                        "heron", "ibex", "jay", "koala", "lark", "lynx", "marten", "moose", "newt", "otter", "owl", "panda",
                                        "puffin", "raven", "robin", "seal", "swan", "tapir", "trout", "wren"};
} // namespace

std::string uuid() {
  unsigned char b[16];
  fill(b);
  b[6] = static_cast<unsigned char>((b[6] & 0x0f) | 0x40);
  b[8] = static_cast<unsigned char>((b[8] & 0x3f) | 0x80);
  std::string out;
  for (int i = 0; i < 16; i++) {
    if (i == 4 || i == 6 || i == 8 || i == 10) out += '-';
    out += fmt::format("{:02x}", b[i]);
  }
  return out;
}

std::string random_hex(std::size_t bytes) {
  std::string out;
  while (out.size() < bytes * 2) {
    unsigned char b[16];
    fill(b);
    for (auto c : b) out += fmt::format("{:02x}", c);
  }
  out.resize(bytes * 2);
  return out;
}

std::string random_mac() {
  unsigned char b[3];
  fill(b);
  return fmt::format("10:66:6a:{:02x}:{:02x}:{:02x}", b[0], b[1], b[2]);
}

std::string random_name() {
  unsigned char b[3];
  fill(b);
  return fmt::format("{}-{}-{}", first_words[b[0] % 32], second_words[b[1] % 32], b[2] % 100);
}

} // namespace incus::base
