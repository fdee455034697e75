// SPDX-License-Identifier: Apache-2.0
// Tars made byte by byte, so that tests can make those that no tool would; and the four compressions of a buffer.
#pragma once
#include <algorithm>
#include <bzlib.h>
#include <cstdint>
#include <cstring>
#include <lzma.h>
#include <stdexcept>
#include <string>
#include <string_view>
#include <zlib.h>
#include <zstd.h>

namespace incus::testing {

struct TarEntry {
  std::string name;
  char type = '0'; ///< 0 file, 1 hard link, 2 symbolic link, 3 char, 4 block, 5 directory, 6 fifo, x pax, g global pax, L long name
  std::string content = {};
  std::string link = {};
  unsigned mode = 0644;
  unsigned uid = 0, gid = 0, major = 0, minor = 0;
  std::string size_field = {}; ///< instead of the content's size
};

class Tar {
public:
  Tar &add(const TarEntry &e) {
    char h[512] = {};
    auto text = [&](std::size_t at, std::size_t n, std::string_view s) { std::memcpy(h + at, s.data(), std::min(n, s.size())); };
    auto octal = [&](std::size_t at, std::size_t n, unsigned long long v) {
      for (std::size_t i = n - 1; i-- > 0; v >>= 3) h[at + i] = static_cast<char>('0' + (v & 7));
    };
    text(0, 100, e.name);
    octal(100, 8, e.mode);
    octal(108, 8, e.uid);
    octal(116, 8, e.gid);
    octal(124, 12, e.content.size());
    if (!e.size_field.empty()) text(124, 12, e.size_field);
    octal(136, 12, 1700000000);
    h[156] = e.type;
    text(157, 100, e.link);
    std::memcpy(h + 257, "ustar\00000", 8);
    octal(329, 8, e.major);
    octal(337, 8, e.minor);
    std::memset(h + 148, ' ', 8);
    unsigned sum = 0;
    for (unsigned char c : h) sum += c;
    octal(148, 7, sum);
    h[154] = 0;
    bytes_.append(h, 512);
    bytes_ += e.content;
    bytes_.append((512 - e.content.size() % 512) % 512, '\0');
    return *this;
  }
  Tar &dir(const std::string &name, unsigned mode = 0755) { return add({.name = name, .type = '5', .mode = mode}); }
  Tar &file(const std::string &name, const std::string &content = {}, unsigned mode = 0644) {
    return add({.name = name, .content = content, .mode = mode});
  }
  Tar &symlink(const std::string &name, const std::string &to) { return add({.name = name, .type = '2', .link = to, .mode = 0777}); }
  Tar &hardlink(const std::string &name, const std::string &to) { return add({.name = name, .type = '1', .link = to}); }
  /// A pax header with one record, for the entry that follows.
  Tar &pax(const std::string &key, const std::string &value, char type = 'x') {
    std::string rest = " " + key + "=" + value + "\n", line;
    for (std::size_t n = rest.size() + 1;; n++) {
      line = std::to_string(n) + rest;
      if (line.size() == n) break;
    }
    return add({.name = "PaxHeader", .type = type, .content = line});
  }
  /// Without the end marker.
  const std::string &open() const { return bytes_; }
  std::string str() const { return bytes_ + std::string(1024, '\0'); }

private:
  std::string bytes_;
};

inline std::string good_metadata() {
  return "architecture: x86_64\ncreation_date: 1700000000\nproperties:\n  os: test\ntemplates:\n  /etc/hostname:\n    when: [create]\n    template: "
         "hostname.tpl\n";
}

/// A small unified image with one of everything.
inline Tar good_image() {
  Tar t;
  t.file("metadata.yaml", good_metadata()).dir("templates/").file("templates/hostname.tpl", "{{ container.name }}\n").dir("rootfs/");
  t.dir("rootfs/bin").file("rootfs/bin/sh", "#!\n", 04755).symlink("rootfs/bin/bash", "sh").hardlink("rootfs/bin/ash", "rootfs/bin/sh");
  t.dir("rootfs/etc").dir("rootfs/dev").dir("rootfs/run");
  t.add({.name = "rootfs/etc/passwd", .content = std::string(1500, 'p'), .uid = 1000, .gid = 1001});
  t.add({.name = "rootfs/dev/null", .type = '3', .mode = 0666, .major = 1, .minor = 3});
  t.add({.name = "rootfs/run/fifo", .type = '6', .mode = 0600});
  return t;
}

inline std::string gzip(const std::string &in) {
  z_stream z{};
  deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
  std::string out(deflateBound(&z, in.size()) + 64, '\0');
  z.next_in = reinterpret_cast<Bytef *>(const_cast<char *>(in.data()));
  z.avail_in = static_cast<uInt>(in.size());
  z.next_out = reinterpret_cast<Bytef *>(out.data());
  z.avail_out = static_cast<uInt>(out.size());
  if (deflate(&z, Z_FINISH) != Z_STREAM_END) throw std::runtime_error("gzip");
  out.resize(z.total_out);
  deflateEnd(&z);
  return out;
}
inline std::string bzip2(const std::string &in) {
  auto n = static_cast<unsigned>(in.size() + in.size() / 50 + 1000);
  std::string out(n, '\0');
  if (BZ2_bzBuffToBuffCompress(out.data(), &n, const_cast<char *>(in.data()), static_cast<unsigned>(in.size()), 9, 0, 0) != BZ_OK)
    throw std::runtime_error("bzip2");
  out.resize(n);
  return out;
}
inline std::string xz(const std::string &in) {
  std::string out(lzma_stream_buffer_bound(in.size()), '\0');
  std::size_t n = 0;
  if (lzma_easy_buffer_encode(6, LZMA_CHECK_CRC64, nullptr, reinterpret_cast<const std::uint8_t *>(in.data()), in.size(),
                              reinterpret_cast<std::uint8_t *>(out.data()), &n, out.size()) != LZMA_OK)
    throw std::runtime_error("xz");
  out.resize(n);
  return out;
}
inline std::string zstd(const std::string &in) {
  std::string out(ZSTD_compressBound(in.size()), '\0');
  ZSTD_CCtx *c = ZSTD_createCCtx();
  ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, 1);
  std::size_t n = ZSTD_compress2(c, out.data(), out.size(), in.data(), in.size());
  ZSTD_freeCCtx(c);
  if (ZSTD_isError(n)) throw std::runtime_error("zstd");
  out.resize(n);
  return out;
}

} // namespace incus::testing
