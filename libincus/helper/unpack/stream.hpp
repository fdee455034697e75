// SPDX-License-Identifier: Apache-2.0
// Bytes of an image file, decompressed. The decoders check what libarchive's filters do not (gzip checksums, garbage after the end).
#pragma once
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace incus::unpack {

class Stream {
public:
  virtual ~Stream() = default;
  /// Fills up to `n` bytes; 0 only at the end.
  virtual std::size_t read(char *to, std::size_t n) = 0;
};

/// A regular file from its beginning, by pread: others read the same descriptor.
class FileStream final : public Stream {
public:
  explicit FileStream(int fd);
  std::size_t read(char *to, std::size_t n) override;
  std::uint64_t size() const { return size_; }
  std::uint64_t done() const { return at_.load(std::memory_order_relaxed); }

private:
  int fd_;
  std::uint64_t size_ = 0;
  std::atomic<std::uint64_t> at_ = 0;
};

class MemoryStream final : public Stream {
public:
  MemoryStream(const void *data, std::size_t size) : data_(static_cast<const char *>(data)), left_(size) {}
  std::size_t read(char *to, std::size_t n) override;

private:
  const char *data_;
  std::size_t left_;
};

enum class Compression { none, gzip, xz, zstd, bzip2 };
/// "" for none.
const char *name_of(Compression c);
/// By the first bytes (at least 6 where the file has them).
Compression detect(const unsigned char *head, std::size_t n);

/// Decompresses `from`, which must outlive it. Refuses data that ends early, fails its checksum or is followed by something else.
std::unique_ptr<Stream> decoder(Compression c, Stream &from, unsigned threads = 1);

/// Blocks of a stream for a consumer that wants pointers.
class Blocks {
public:
  virtual ~Blocks() = default;
  /// Size of the next block, valid until the following call; 0 at the end.
  virtual std::size_t next(const void **block) = 0;
};

/// Reads in the caller's thread.
class DirectBlocks final : public Blocks {
public:
  explicit DirectBlocks(Stream &from) : from_(from), buffer_(64 * 1024) {}
  std::size_t next(const void **block) override;

private:
  Stream &from_;
  std::vector<char> buffer_;
};

/// Reads ahead in a thread of its own, a few blocks deep.
class ReadAhead final : public Blocks {
public:
  explicit ReadAhead(Stream &from);
  ~ReadAhead() override;
  std::size_t next(const void **block) override;

private:
  static constexpr std::size_t block_size = 256 * 1024, depth = 16;
  struct Block {
    std::unique_ptr<char[]> data{new char[block_size]};
    std::size_t size = 0;
  };
  void run();

  Stream &from_;
  std::mutex mutex_;
  std::condition_variable filled_, freed_;
  std::deque<Block> full_, empty_;
  Block current_;
  bool ended_ = false, stop_ = false, have_current_ = false;
  std::exception_ptr error_;
  std::thread thread_;
};

} // namespace incus::unpack
