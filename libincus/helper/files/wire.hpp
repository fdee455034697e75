// SPDX-License-Identifier: Apache-2.0
// Numbers and strings of the SSH file transfer protocol, version 3.
#pragma once
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace incus::files::wire {

enum Type : std::uint8_t {
  init = 1, version = 2, open = 3, close = 4, read = 5, write = 6, lstat = 7, fstat = 8, setstat = 9, fsetstat = 10, opendir = 11, readdir = 12,
  remove = 13, mkdir = 14, rmdir = 15, realpath = 16, stat = 17, rename = 18, readlink = 19, symlink = 20,
  status = 101, handle = 102, data = 103, name = 104, attrs = 105, extended = 200, extended_reply = 201,
};
enum Status : std::uint32_t { ok = 0, eof = 1, no_such_file = 2, permission_denied = 3, failure = 4, bad_message = 5, unsupported = 8 };
enum AttrFlag : std::uint32_t { has_size = 1, has_ids = 2, has_permissions = 4, has_times = 8, has_extended = 0x80000000u };
enum OpenFlag : std::uint32_t { f_read = 1, f_write = 2, f_append = 4, f_creat = 8, f_trunc = 16, f_excl = 32 };

/// A packet, length excluded, at most.
inline constexpr std::size_t max_packet = 256 * 1024;
/// Bytes of a file in one packet, at most.
inline constexpr std::size_t max_data = max_packet - 1024;

/// Reads one packet. After anything that does not fit, good() is false and values are empty.
class Reader {
public:
  explicit Reader(std::string_view bytes) : left_(bytes) {}
  bool good() const { return good_; }
  bool at_end() const { return left_.empty(); }
  std::uint8_t u8() {
    auto p = take(1);
    return p.empty() ? 0 : static_cast<std::uint8_t>(p[0]);
  }
  std::uint32_t u32() {
    std::uint32_t v = 0;
    for (char c : take(4)) v = v << 8 | static_cast<unsigned char>(c);
    return v;
  }
  std::uint64_t u64() {
    std::uint64_t v = 0;
    for (char c : take(8)) v = v << 8 | static_cast<unsigned char>(c);
    return v;
  }
  std::string_view bytes() { return take(u32()); }
  /// A string that must not hold a NUL.
  std::string text() {
    auto b = bytes();
    if (b.find('\0') != b.npos) good_ = false;
    return good_ ? std::string(b) : std::string();
  }

private:
  std::string_view take(std::size_t n) {
    if (!good_ || left_.size() < n) {
      good_ = false;
      return {};
    }
    auto out = left_.substr(0, n);
    left_.remove_prefix(n);
    return out;
  }
  std::string_view left_;
  bool good_ = true;
};

/// Builds one packet at the end of `out`; the length is filled in at the end.
class Writer {
public:
  Writer(std::string &out, Type type, std::uint32_t id) : out_(out), start_(out.size()) {
    u32(0);
    u8(type);
    u32(id);
  }
  ~Writer() {
    std::uint32_t n = static_cast<std::uint32_t>(out_.size() - start_ - 4);
    for (int i = 0; i < 4; i++) out_[start_ + static_cast<std::size_t>(i)] = static_cast<char>(n >> (24 - 8 * i));
  }
  Writer(const Writer &) = delete;
  Writer &operator=(const Writer &) = delete;
  void u8(std::uint8_t v) { out_ += static_cast<char>(v); }
  void u32(std::uint32_t v) {
    for (int i = 24; i >= 0; i -= 8) out_ += static_cast<char>(v >> i);
  }
  void u64(std::uint64_t v) {
    u32(static_cast<std::uint32_t>(v >> 32));
    u32(static_cast<std::uint32_t>(v));
  }
  void text(std::string_view s) {
    u32(static_cast<std::uint32_t>(s.size()));
    out_ += s;
  }

private:
  std::string &out_;
  std::size_t start_;
};

} // namespace incus::files::wire
