// SPDX-License-Identifier: Apache-2.0
// Compression behind the one who makes the bytes: in threads of its own.
#pragma once
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace incus::unpack {

/// Takes plain bytes and gives compressed ones to the sink it was made with.
class Encoder {
public:
  virtual ~Encoder() = default;
  virtual void write(const void *data, std::size_t size) = 0;
  virtual void finish() = 0;
};
using Out = std::function<void(const void *data, std::size_t size)>;

/// `compression`: "" (none), or a name as libarchive knows it, maybe a level, and for gzip maybe "rsyncable" (what is the same in two inputs is mostly the
/// same in the outputs), as in "gzip", "zstd 7" or "gzip 9 rsyncable".
std::unique_ptr<Encoder> encoder(const std::string &compression, Out out, unsigned threads);

/// An encoder that runs in a thread of its own, a few blocks behind.
class WriteBehind {
public:
  explicit WriteBehind(Encoder &to);
  ~WriteBehind();
  void write(const void *data, std::size_t size);
  /// Everything is encoded and the encoder finished when it returns.
  void finish();

private:
  static constexpr std::size_t block_size = 256 * 1024, depth = 16;
  void run();
  void push(bool last);

  Encoder &to_;
  std::mutex mutex_;
  std::condition_variable filled_, freed_;
  std::deque<std::string> full_;
  std::string current_;
  bool last_ = false, stop_ = false, done_ = false;
  std::exception_ptr error_;
  std::thread thread_;
};

} // namespace incus::unpack
