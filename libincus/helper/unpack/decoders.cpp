// SPDX-License-Identifier: Apache-2.0
// The four compressions that images come in.
#include <algorithm>
#include <bzlib.h>
#include <cstring>
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>

#include "helper/unpack/common.hpp"
#include "helper/unpack/stream.hpp"

namespace incus::unpack {

const char *name_of(Compression c) {
  switch (c) {
  case Compression::none: return "";
  case Compression::gzip: return "gzip";
  case Compression::xz: return "xz";
  case Compression::zstd: return "zstd";
  case Compression::bzip2: return "bzip2";
  }
  return "";
}

Compression detect(const unsigned char *h, std::size_t n) {
  auto is = [&](std::string_view magic) { return n >= magic.size() && std::memcmp(h, magic.data(), magic.size()) == 0; };
  using namespace std::string_view_literals;
  if (is("\x1f\x8b"sv)) return Compression::gzip;
  if (is("\xfd"
         "7zXZ\0"sv))
    return Compression::xz;
  if (is("\x28\xb5\x2f\xfd"sv)) return Compression::zstd;
  if (n >= 4 && is("BZh"sv) && h[3] >= '1' && h[3] <= '9') return Compression::bzip2;
  return Compression::none;
}

namespace {

[[noreturn]] void truncated(Compression c) { refuse(std::string("the ") + name_of(c) + " data ends early: the file is truncated"); }
[[noreturn]] void damaged(Compression c, const std::string &why) { refuse(std::string("the ") + name_of(c) + " data is damaged: " + why); }
[[noreturn]] void trailing(Compression c) { refuse(std::string("something else follows the ") + name_of(c) + " data"); }

/// Compressed input, a buffer at a time.
class Input {
public:
  explicit Input(Stream &from) : from_(from), buffer_(256 * 1024) {}
  /// Unread bytes; reads more when there are none. Empty only at the end.
  bool fill() {
    if (at_ == end_ && !eof_) {
      at_ = 0;
      end_ = from_.read(buffer_.data(), buffer_.size());
      eof_ = end_ == 0;
    }
    return at_ != end_;
  }
  char *data() { return buffer_.data() + at_; }
  std::size_t size() const { return end_ - at_; }
  void left(std::size_t n) { at_ = end_ - n; }
  /// Skips zero bytes, which writers to tapes and block devices leave; true when something else follows.
  bool skip_zeros() {
    while (fill()) {
      while (at_ != end_ && buffer_[at_] == 0) at_++;
      if (at_ != end_) return true;
    }
    return false;
  }

private:
  Stream &from_;
  std::vector<char> buffer_;
  std::size_t at_ = 0, end_ = 0;
  bool eof_ = false;
};

class Gzip final : public Stream {
public:
  explicit Gzip(Stream &from) : in_(from) {
    if (inflateInit2(&z_, 15 + 16) != Z_OK) fail("internal", "zlib cannot start");
  }
  ~Gzip() override { inflateEnd(&z_); }
  std::size_t read(char *to, std::size_t n) override {
    z_.next_out = reinterpret_cast<Bytef *>(to);
    z_.avail_out = static_cast<uInt>(n);
    while (z_.avail_out && !ended_) {
      if (!in_.fill()) truncated(Compression::gzip);
      z_.next_in = reinterpret_cast<Bytef *>(in_.data());
      z_.avail_in = static_cast<uInt>(in_.size());
      int r = inflate(&z_, Z_NO_FLUSH);
      in_.left(z_.avail_in);
      if (r == Z_STREAM_END) {
        if (!in_.skip_zeros())
          ended_ = true;
        else if (static_cast<unsigned char>(*in_.data()) != 0x1f)
          trailing(Compression::gzip);
        else
          inflateReset(&z_); // a further member
      } else if (r != Z_OK) {
        damaged(Compression::gzip, z_.msg ? z_.msg : "invalid data");
      }
    }
    return n - z_.avail_out;
  }

private:
  Input in_;
  z_stream z_{};
  bool ended_ = false;
};

class Bzip2 final : public Stream {
public:
  explicit Bzip2(Stream &from) : in_(from) { start(); }
  ~Bzip2() override { BZ2_bzDecompressEnd(&z_); }
  std::size_t read(char *to, std::size_t n) override {
    z_.next_out = to;
    z_.avail_out = static_cast<unsigned>(n);
    while (z_.avail_out && !ended_) {
      if (!in_.fill()) truncated(Compression::bzip2);
      z_.next_in = in_.data();
      z_.avail_in = static_cast<unsigned>(in_.size());
      int r = BZ2_bzDecompress(&z_);
      in_.left(z_.avail_in);
      if (r == BZ_STREAM_END) {
        if (!in_.skip_zeros()) {
          ended_ = true;
        } else if (*in_.data() != 'B') {
          trailing(Compression::bzip2);
        } else {
          char *out = z_.next_out;
          unsigned room = z_.avail_out;
          BZ2_bzDecompressEnd(&z_);
          start();
          z_.next_out = out;
          z_.avail_out = room;
        }
      } else if (r != BZ_OK) {
        damaged(Compression::bzip2, r == BZ_DATA_ERROR ? "a checksum is wrong" : "invalid data");
      }
    }
    return n - z_.avail_out;
  }

private:
  void start() {
    z_ = {};
    if (BZ2_bzDecompressInit(&z_, 0, 0) != BZ_OK) fail("internal", "bzip2 cannot start");
  }
  Input in_;
  bz_stream z_{};
  bool ended_ = false;
};

class Xz final : public Stream {
public:
  Xz(Stream &from, unsigned threads) : in_(from) {
    constexpr std::uint64_t most = 1536ull << 20; // the largest dictionary that xz itself makes, and its stream
    lzma_ret r;
#if LZMA_VERSION >= UINT32_C(50040002)
    if (threads > 1) {
      lzma_mt mt{};
      mt.flags = LZMA_CONCATENATED;
      mt.threads = threads;
      mt.memlimit_threading = 512ull << 20;
      mt.memlimit_stop = most;
      r = lzma_stream_decoder_mt(&z_, &mt);
    } else
#endif
      r = lzma_stream_decoder(&z_, most, LZMA_CONCATENATED);
    (void)threads;
    if (r != LZMA_OK) fail("internal", "liblzma cannot start");
  }
  ~Xz() override { lzma_end(&z_); }
  std::size_t read(char *to, std::size_t n) override {
    z_.next_out = reinterpret_cast<std::uint8_t *>(to);
    z_.avail_out = n;
    while (z_.avail_out && !ended_) {
      bool more = in_.fill();
      z_.next_in = reinterpret_cast<std::uint8_t *>(in_.data());
      z_.avail_in = in_.size();
      lzma_ret r = lzma_code(&z_, more ? LZMA_RUN : LZMA_FINISH);
      in_.left(z_.avail_in);
      switch (r) {
      case LZMA_OK: break;
      case LZMA_STREAM_END: ended_ = true; break;
      case LZMA_BUF_ERROR:
        if (!more) truncated(Compression::xz);
        break;
      case LZMA_MEMLIMIT_ERROR: damaged(Compression::xz, "it needs more than 1.5 GiB of memory");
      case LZMA_MEM_ERROR: fail("internal", "out of memory");
      case LZMA_OPTIONS_ERROR: damaged(Compression::xz, "options that liblzma does not know");
      case LZMA_FORMAT_ERROR: trailing(Compression::xz);
      default: damaged(Compression::xz, "invalid data");
      }
    }
    return n - z_.avail_out;
  }

private:
  Input in_;
  lzma_stream z_ = LZMA_STREAM_INIT;
  bool ended_ = false;
};

class Zstd final : public Stream {
public:
  explicit Zstd(Stream &from) : in_(from), z_(ZSTD_createDStream()) {
    if (!z_) fail("internal", "zstd cannot start");
    ZSTD_DCtx_setParameter(z_, ZSTD_d_windowLogMax, 30);
  }
  ~Zstd() override { ZSTD_freeDStream(z_); }
  std::size_t read(char *to, std::size_t n) override {
    ZSTD_outBuffer out{to, n, 0};
    while (out.pos < out.size) {
      if (!in_.fill() && !in_frame_) break;
      ZSTD_inBuffer in{in_.data(), in_.size(), 0};
      std::size_t before = out.pos, r = ZSTD_decompressStream(z_, &out, &in);
      if (ZSTD_isError(r)) {
        if (!in_frame_ && any_) trailing(Compression::zstd);
        damaged(Compression::zstd, ZSTD_getErrorName(r));
      }
      in_.left(in.size - in.pos);
      if (in.size == 0 && out.pos == before && r != 0) truncated(Compression::zstd);
      in_frame_ = r != 0;
      any_ = true;
    }
    return out.pos;
  }

private:
  Input in_;
  ZSTD_DStream *z_;
  bool in_frame_ = false, any_ = false;
};

/// Passes through.
class Plain final : public Stream {
public:
  explicit Plain(Stream &from) : from_(from) {}
  std::size_t read(char *to, std::size_t n) override { return from_.read(to, n); }

private:
  Stream &from_;
};

} // namespace

std::unique_ptr<Stream> decoder(Compression c, Stream &from, unsigned threads) {
  switch (c) {
  case Compression::gzip: return std::make_unique<Gzip>(from);
  case Compression::xz: return std::make_unique<Xz>(from, threads);
  case Compression::zstd: return std::make_unique<Zstd>(from);
  case Compression::bzip2: return std::make_unique<Bzip2>(from);
  case Compression::none: break;
  }
  return std::make_unique<Plain>(from);
}

} // namespace incus::unpack
