// SPDX-License-Identifier: Apache-2.0
// The archive parser as inspect uses it: decompression, tar, the rules for entries. Besides not crashing, nothing may come through the rules that
// names a place outside, and the top-level names must be what they say.
#include <archive_entry.h>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <random>
#include <set>
#include <string>

#include "helper/unpack/scan.hpp"

using namespace incus::unpack;

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t *data, std::size_t size, std::size_t max);

namespace {

/// Bombs are bounded by time in the fuzzer, by space on the target elsewhere.
class Capped final : public Stream {
public:
  explicit Capped(Stream &from) : from_(from) {}
  std::size_t read(char *to, std::size_t n) override {
    std::size_t got = from_.read(to, n);
    if ((total_ += got) > (4u << 20)) refuse("too much for a fuzzer");
    return got;
  }

private:
  Stream &from_;
  std::size_t total_ = 0;
};

void must(bool ok) {
  if (!ok) std::abort();
}

void check_inside(const std::string &path) {
  must(path.empty() || path[0] != '/');
  must(path.find('\0') == std::string::npos);
  std::string with = "/" + path + "/";
  must(with.find("/../") == std::string::npos && with.find("/./") == std::string::npos);
}

void run(const std::uint8_t *data, std::size_t size, Shape shape) {
  MemoryStream in(data, size);
  auto plain = decoder(detect(data, size), in);
  Capped capped(*plain);
  DirectBlocks blocks(capped);
  Reader reader(blocks);
  Rules rules(shape, {.entries = 2000});
  std::set<std::string> tops, links;
  while (archive_entry *e = reader.next()) {
    auto v = rules.judge(e);
    if (v.use == Rules::Use::skip) continue;
    check_inside(v.path);
    check_inside(v.link);
    if (shape != Shape::rootfs) {
      std::string first = v.path.substr(0, v.path.find('/'));
      must(first == "metadata.yaml" || first == "rootfs" || first == "templates");
      if (v.path == first) {
        must(tops.insert(v.path).second);
        must(archive_entry_filetype(e) == (first == "metadata.yaml" ? AE_IFREG : AE_IFDIR));
      }
    }
    // Nothing goes through what is a link at that moment.
    for (auto cut = v.path.find('/'); cut != std::string::npos; cut = v.path.find('/', cut + 1)) must(!links.count(v.path.substr(0, cut)));
    if (!archive_entry_hardlink(e) && archive_entry_filetype(e) == AE_IFLNK)
      links.insert(v.path);
    else
      links.erase(v.path);
    if (v.use == Rules::Use::metadata)
      must(reader.text(max_metadata).size() <= max_metadata);
    else if (archive_entry_filetype(e) == AE_IFREG && !archive_entry_hardlink(e)) {
      const void *piece;
      std::size_t n;
      std::int64_t at;
      while (reader.data(&piece, &n, &at)) {
        volatile char sink = 0;
        if (n) sink = static_cast<const char *>(piece)[n - 1];
        (void)sink;
      }
    }
  }
  rules.finish();
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size) {
  for (Shape s : {Shape::unified, Shape::metadata, Shape::rootfs}) {
    try {
      run(data, size, s);
    } catch (const Failure &) {
    }
  }
  return 0;
}

/// Mutates, mostly headers, and makes their checksums right again, without which no changed header would be read.
extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t *data, std::size_t size, std::size_t max, unsigned seed) {
  std::minstd_rand random(seed);
  auto header = [&](std::size_t at) { return at + 512 <= size && std::memcmp(data + at + 257, "ustar", 5) == 0; };
  if (size >= 512 && header(0) && random() % 2) {
    std::size_t at = random() % (size / 512) * 512;
    static const char *const names[] = {"metadata.yaml", "rootfs", "rootfs/", "templates", "templates/a", "rootfs.img", "..", "rootfs/..", "rootfs/../x", "/x",
                                        "rootfs/a", "rootfs/a/b", "./rootfs", ".", "rootfs//a"};
    static const char types[] = "01234567xgLKSDMV";
    if (header(at)) {
      auto name = [&](std::size_t to) {
        const char *n = names[random() % (sizeof names / sizeof *names)];
        std::memset(data + at + to, 0, 100);
        std::memcpy(data + at + to, n, std::strlen(n));
      };
      switch (random() % 4) {
      case 0: name(0); break;
      case 1: name(157); break;
      case 2: data[at + 156] = static_cast<std::uint8_t>(types[random() % (sizeof types - 1)]); break;
      default: data[at + random() % 512] = static_cast<std::uint8_t>(random()); break;
      }
    }
  } else {
    size = LLVMFuzzerMutate(data, size, max);
  }
  for (std::size_t at = 0; at + 512 <= size; at += 512) {
    if (!header(at)) continue;
    std::memset(data + at + 148, ' ', 8);
    unsigned sum = 0;
    for (std::size_t i = 0; i < 512; i++) sum += data[at + i];
    for (int i = 5; i >= 0; i--, sum >>= 3) data[at + 148 + static_cast<std::size_t>(i)] = static_cast<std::uint8_t>('0' + (sum & 7));
    data[at + 154] = 0;
  }
  return size;
}
