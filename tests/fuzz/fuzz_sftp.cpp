// SPDX-License-Identifier: Apache-2.0
// The SFTP server: no crash, every packet gets exactly one whole answer, and what it answers fits the client's limit. The input is a row of packets,
// each after two bytes of length.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "helper/files/sftp.hpp"
#include "mock/mock.hpp"

namespace {
void must(bool ok) {
  if (!ok) std::abort();
}
} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size) {
  using namespace incus;
  auto tree = mock::make_tree(true);
  files::Sftp session(*tree);
  std::string out;
  must(session.answer(std::string("\x01\0\0\0\x03", 5), out));
  while (size >= 2) {
    std::size_t n = static_cast<std::size_t>(data[0]) << 8 | data[1];
    data += 2;
    size -= 2;
    if (n > size) n = size;
    out.clear();
    bool go_on = session.answer(std::string_view(reinterpret_cast<const char *>(data), n), out);
    data += n;
    size -= n;
    if (!go_on) break;
    must(out.size() >= 9);
    std::size_t length = 0;
    for (int i = 0; i < 4; i++) length = length << 8 | static_cast<unsigned char>(out[static_cast<std::size_t>(i)]);
    must(length + 4 == out.size() && length <= files::wire::max_packet);
  }
  return 0;
}
