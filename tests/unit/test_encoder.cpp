// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>
#include <random>
#include <zlib.h>

#include <incus/error.hpp>

#include "helper/unpack/encoders.hpp"
#include "image/image.hpp"

using namespace incus;

namespace {
std::string encoded(const std::string &how, const std::string &text, unsigned threads, std::size_t step = 100'000) {
  std::string out;
  auto e = unpack::encoder(how, [&](const void *data, std::size_t n) { out.append(static_cast<const char *>(data), n); }, threads);
  for (std::size_t at = 0; at < text.size(); at += step) e->write(text.data() + at, std::min(step, text.size() - at));
  e->finish();
  return out;
}

std::string gunzip(const std::string &bytes) {
  z_stream z{};
  REQUIRE(::inflateInit2(&z, 15 + 16) == Z_OK);
  z.next_in = reinterpret_cast<Bytef *>(const_cast<char *>(bytes.data()));
  z.avail_in = static_cast<uInt>(bytes.size());
  std::string out, b(1 << 16, '\0');
  int r = Z_OK;
  while (r == Z_OK) {
    z.next_out = reinterpret_cast<Bytef *>(b.data());
    z.avail_out = static_cast<uInt>(b.size());
    r = ::inflate(&z, Z_NO_FLUSH);
    out.append(b.data(), b.size() - z.avail_out);
  }
  CHECK(r == Z_STREAM_END);
  CHECK(z.avail_in == 0);
  ::inflateEnd(&z);
  return out;
}

/// Words: something that compresses.
std::string prose(std::size_t size) {
  std::mt19937 random(4711);
  std::string out;
  while (out.size() < size) out += "word" + std::to_string(random() % 5000) + ' ';
  out.resize(size);
  return out;
}

std::size_t same_end(const std::string &a, const std::string &b) {
  std::size_t n = 0;
  while (n < a.size() && n < b.size() && a[a.size() - 1 - n] == b[b.size() - 1 - n]) n++;
  return n;
}
} // namespace

TEST_CASE("gzip of several threads is read back the same") {
  for (std::string how : {"gzip", "gzip 1", "gzip 9", "gzip rsyncable", "gzip 9 rsyncable"})
    for (std::size_t size : {0u, 1u, 65'535u, 65'536u, 524'288u, 3'000'001u})
      for (unsigned threads : {1u, 3u}) {
        CAPTURE(how);
        CAPTURE(size);
        auto text = prose(size);
        CHECK(gunzip(encoded(how, text, threads)) == text);
        // The threads change nothing, nor do the pieces that the text comes in.
        CHECK(encoded(how, text, threads) == encoded(how, text, 2, 777));
      }
  std::string zeros(2'000'000, '\0');
  CHECK(gunzip(encoded("gzip rsyncable", zeros, 2)) == zeros);
}

TEST_CASE("gzip --rsyncable: what follows a change is what it was before") {
  auto text = prose(4'000'000), other = "a change" + text;
  auto a = encoded("gzip rsyncable", text, 2), b = encoded("gzip rsyncable", other, 2);
  CHECK(same_end(a.substr(0, a.size() - 8), b.substr(0, b.size() - 8)) > a.size() * 3 / 4);
  auto c = encoded("gzip", text, 2), d = encoded("gzip", other, 2);
  CHECK(same_end(c.substr(0, c.size() - 8), d.substr(0, d.size() - 8)) < c.size() / 4);
  CHECK(a.size() < c.size() + c.size() / 10);
}

TEST_CASE("compressions by name and option") {
  CHECK(image::check_compression("") == "gzip");
  CHECK(image::check_compression("none") == "");
  CHECK(image::check_compression("pigz -3") == "gzip 3");
  CHECK(image::check_compression("gzip --rsyncable") == "gzip rsyncable");
  CHECK(image::check_compression("gzip  --rsyncable -9") == "gzip 9 rsyncable");
  CHECK(image::check_compression("xz -0") == "xz 0");
  for (auto *bad : {"gzip -10", "gzip -1 -2", "gzip --rsyncable --rsyncable", "xz --rsyncable", "zstd -3 -T0", "gzip; reboot", "squeeze", "none -3", " ", "gzip -"}) {
    CAPTURE(bad);
    CHECK_THROWS_AS(image::check_compression(bad), Error);
  }
}
