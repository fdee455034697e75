// SPDX-License-Identifier: Apache-2.0
#include "helper/unpack/encoders.hpp"

#include <archive.h>
#include <archive_entry.h>
#include <array>
#include <cerrno>
#include <ctime>
#include <future>
#include <sstream>
#include <zlib.h>

#include "helper/unpack/common.hpp"

namespace incus::unpack {

namespace {

class Plain final : public Encoder {
public:
  explicit Plain(Out out) : out_(std::move(out)) {}
  void write(const void *data, std::size_t size) override { out_(data, size); }
  void finish() override {}

private:
  Out out_;
};

/// A number for each byte, without a pattern (splitmix64).
constexpr auto gear = [] {
  std::array<std::uint64_t, 256> out{};
  std::uint64_t seed = 0;
  for (auto &g : out) {
    auto z = seed += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    g = z ^ (z >> 31);
  }
  return out;
}();

/// gzip with several threads: pieces of the input are compressed at the same time, each with the end of the one before as its dictionary, and make one
/// stream together. Its size is that of gzip within a promille. `rsyncable`: a piece ends where its last bytes say so, and none has a dictionary, so
/// that pieces after a change are what they were before it.
class Gzip final : public Encoder {
public:
  Gzip(Out out, int level, bool rsyncable, unsigned threads) : out_(std::move(out)), level_(level), rsyncable_(rsyncable), threads_(threads) {
    const unsigned char head[10] = {0x1f, 0x8b, 8, 0, 0, 0, 0, 0, static_cast<unsigned char>(level == 9 ? 2 : level == 1 ? 4 : 0), 3};
    out_(head, sizeof head);
  }

  void write(const void *data, std::size_t size) override {
    auto *at = static_cast<const char *>(data);
    while (size) {
      auto n = std::min(size, piece - current_.size());
      bool ends = false;
      if (rsyncable_) n = up_to_end(at, n, ends);
      current_.append(at, n);
      at += n;
      size -= n;
      if (ends || current_.size() == piece) begin(false);
    }
  }

  void finish() override {
    begin(true);
    while (!running_.empty()) take();
    unsigned char tail[8];
    for (int i = 0; i < 4; i++) {
      tail[i] = static_cast<unsigned char>(crc_ >> (8 * i));
      tail[4 + i] = static_cast<unsigned char>(total_ >> (8 * i));
    }
    out_(tail, sizeof tail);
  }

private:
  static constexpr std::size_t piece = 512 * 1024, window = 32 * 1024;
  static constexpr std::size_t least = 64 * 1024;
  struct Done {
    std::string bytes;
    uLong crc = 0;
    std::size_t size = 0;
  };

  static Done deflate_piece(const std::string &text, const std::string &dictionary, int level, bool last) {
    Done d;
    d.size = text.size();
    d.crc = ::crc32(0, reinterpret_cast<const Bytef *>(text.data()), static_cast<uInt>(text.size()));
    z_stream z{};
    if (::deflateInit2(&z, level, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY) != Z_OK) fail("internal", "out of memory");
    if (!dictionary.empty()) ::deflateSetDictionary(&z, reinterpret_cast<const Bytef *>(dictionary.data()), static_cast<uInt>(dictionary.size()));
    d.bytes.resize(::deflateBound(&z, static_cast<uLong>(text.size())) + 64);
    z.next_in = reinterpret_cast<Bytef *>(const_cast<char *>(text.data()));
    z.avail_in = static_cast<uInt>(text.size());
    z.next_out = reinterpret_cast<Bytef *>(d.bytes.data());
    z.avail_out = static_cast<uInt>(d.bytes.size());
    int r = ::deflate(&z, last ? Z_FINISH : Z_SYNC_FLUSH);
    bool ok = last ? r == Z_STREAM_END : r == Z_OK && z.avail_in == 0 && z.avail_out > 0;
    d.bytes.resize(d.bytes.size() - z.avail_out);
    ::deflateEnd(&z);
    if (!ok) fail("internal", "compression failed");
    return d;
  }

  /// How many of the next bytes belong to this piece: it ends where a hash of the last 64 bytes, also those of the piece before, begins with 16 zeros.
  std::size_t up_to_end(const char *data, std::size_t n, bool &ends) {
    for (std::size_t i = 0; i < n; i++) {
      hash_ = (hash_ << 1) + gear[static_cast<unsigned char>(data[i])];
      if (hash_ >> 48 == 0 && current_.size() + i + 1 >= least) {
        ends = true;
        return i + 1;
      }
    }
    return n;
  }

  void begin(bool last) {
    while (running_.size() >= threads_) take();
    auto next = rsyncable_ ? std::string() : current_.size() > window ? current_.substr(current_.size() - window) : current_;
    running_.push_back(std::async(std::launch::async, [text = std::move(current_), dictionary = std::move(dictionary_), level = level_, last] {
      return deflate_piece(text, dictionary, level, last);
    }));
    dictionary_ = std::move(next);
    current_.clear();
    current_.reserve(piece);
  }

  void take() {
    auto d = running_.front().get();
    running_.pop_front();
    crc_ = ::crc32_combine(crc_, d.crc, static_cast<z_off_t>(d.size));
    total_ += d.size;
    out_(d.bytes.data(), d.bytes.size());
  }

  Out out_;
  int level_;
  bool rsyncable_;
  unsigned threads_;
  std::uint64_t hash_ = 0;
  std::string current_, dictionary_;
  std::deque<std::future<Done>> running_;
  uLong crc_ = 0;
  std::uint64_t total_ = 0;
};

/// What libarchive compresses, without an archive around it.
class Library final : public Encoder {
public:
  Library(const std::string &name, const std::string &level, Out out, unsigned threads) : out_(std::move(out)), archive_(archive_write_new()) {
    archive_write_set_format_raw(archive_);
    if (archive_write_add_filter_by_name(archive_, name.c_str()) < ARCHIVE_WARN) {
      archive_write_free(archive_);
      fail("not_supported", "compression by " + quoted(name) + " is not available");
    }
    if (name == "xz" || name == "zstd") archive_write_set_filter_option(archive_, name.c_str(), "threads", std::to_string(threads).c_str()); // where it can
    if (!level.empty() && archive_write_set_filter_option(archive_, name.c_str(), "compression-level", level.c_str()) < ARCHIVE_WARN) {
      archive_write_free(archive_);
      fail("invalid_argument", quoted(name) + " has no compression level " + quoted(level));
    }
    archive_write_set_bytes_per_block(archive_, 64 * 1024);
    archive_write_set_bytes_in_last_block(archive_, 1);
    auto write = [](archive *a, void *self, const void *data, std::size_t n) -> la_ssize_t {
      auto *l = static_cast<Library *>(self);
      try {
        l->out_(data, n);
      } catch (...) {
        l->error_ = std::current_exception(); // no exception may cross the C library
        archive_set_error(a, EIO, "output");
        return -1;
      }
      return static_cast<la_ssize_t>(n);
    };
    entry_ = archive_entry_new();
    archive_entry_set_pathname(entry_, "data");
    archive_entry_set_filetype(entry_, AE_IFREG);
    if (archive_write_open(archive_, this, nullptr, write, nullptr) != ARCHIVE_OK || archive_write_header(archive_, entry_) != ARCHIVE_OK) broken();
  }
  ~Library() override {
    archive_entry_free(entry_);
    archive_write_free(archive_);
  }
  void write(const void *data, std::size_t size) override {
    if (archive_write_data(archive_, data, size) < 0) broken();
  }
  void finish() override {
    if (archive_write_close(archive_) != ARCHIVE_OK) broken();
  }

private:
  [[noreturn]] void broken() {
    if (error_) std::rethrow_exception(error_);
    const char *text = archive_error_string(archive_);
    fail("internal", std::string("cannot compress: ") + (text ? text : "unknown error"));
  }
  Out out_;
  archive *archive_;
  archive_entry *entry_ = nullptr;
  std::exception_ptr error_;
};

} // namespace

std::unique_ptr<Encoder> encoder(const std::string &compression, Out out, unsigned threads) {
  if (compression.empty()) return std::make_unique<Plain>(std::move(out));
  std::istringstream words(compression);
  std::string name, level;
  bool rsyncable = false;
  words >> name;
  for (std::string word; words >> word;)
    if (word == "rsyncable")
      rsyncable = true;
    else
      level = word;
  if (name == "gzip") return std::make_unique<Gzip>(std::move(out), level.empty() ? 6 : std::stoi(level), rsyncable, std::max(1u, threads));
  return std::make_unique<Library>(name, level, std::move(out), threads);
}

WriteBehind::WriteBehind(Encoder &to) : to_(to) { thread_ = std::thread([this] { run(); }); }

WriteBehind::~WriteBehind() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  filled_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void WriteBehind::run() {
  try {
    for (;;) {
      std::string block;
      {
        std::unique_lock lock(mutex_);
        filled_.wait(lock, [&] { return stop_ || last_ || !full_.empty(); });
        if (stop_) return;
        if (full_.empty()) break;
        block = std::move(full_.front());
        full_.pop_front();
      }
      freed_.notify_all();
      to_.write(block.data(), block.size());
    }
    to_.finish();
  } catch (...) {
    std::lock_guard lock(mutex_);
    error_ = std::current_exception();
  }
  std::lock_guard lock(mutex_);
  done_ = true;
  freed_.notify_all();
}

void WriteBehind::write(const void *data, std::size_t size) {
  current_.append(static_cast<const char *>(data), size);
  if (current_.size() >= block_size) push(false);
}

void WriteBehind::push(bool last) {
  std::unique_lock lock(mutex_);
  freed_.wait(lock, [&] { return error_ || full_.size() < depth; });
  if (error_) std::rethrow_exception(error_);
  if (!current_.empty()) full_.push_back(std::move(current_));
  current_.clear();
  last_ = last;
  filled_.notify_all();
}

void WriteBehind::finish() {
  push(true);
  std::unique_lock lock(mutex_);
  freed_.wait(lock, [&] { return done_; });
  if (error_) std::rethrow_exception(error_);
}

} // namespace incus::unpack
