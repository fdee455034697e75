// SPDX-License-Identifier: Apache-2.0
// What an image archive may hold: names, types and their places. Used alike when an image is looked at and when it is unpacked.
#pragma once
#include <cstdint>
#include <exception>
#include <functional>
#include <string>
#include <unordered_set>

#include "helper/unpack/common.hpp"
#include "helper/unpack/stream.hpp"

struct archive;
struct archive_entry;

namespace incus::unpack {

/// Which of the three kinds of archive.
enum class Shape {
  unified,  ///< metadata.yaml, templates/ and rootfs/
  metadata, ///< metadata.yaml and templates/ of an image whose rootfs is a file of its own; may hold a rootfs/ too, which that file is laid over
  rootfs,   ///< the tree itself
  backup,   ///< of an instance: as a unified one, but metadata.yaml need not be there
};

/// The tar reader over decompressed blocks.
class Reader {
public:
  explicit Reader(Blocks &from);
  ~Reader();
  Reader(const Reader &) = delete;
  Reader &operator=(const Reader &) = delete;
  /// The next entry; null after the end, when the whole stream has been read and found complete.
  archive_entry *next();
  archive *handle() { return archive_; }
  /// A piece of the current entry's content and its place; false at its end.
  bool data(const void **piece, std::size_t *size, std::int64_t *offset);
  /// The whole content, refusing more than `most` bytes.
  std::string text(std::uint64_t most);

private:
  [[noreturn]] void broken(const std::string &at);
  void finish(std::int64_t header_at);

  Blocks &from_;
  archive *archive_;
  std::string current_;
  std::exception_ptr error_;
  bool any_ = false;
};

/// Judges entries in their order.
class Rules {
public:
  enum class Use { skip, metadata, templates, rootfs };
  struct Verdict {
    Use use = Use::skip;
    std::string path; ///< below the archive, without "./" and doubled slashes; empty for the archive's own directory
    std::string link; ///< hard link target, in the same form
  };
  Rules(Shape shape, const Limits &limits) : shape_(shape), limits_(limits) {}
  Verdict judge(archive_entry *entry);
  /// Refuses an archive in which something was missing.
  void finish() const;
  bool rootfs_image() const { return rootfs_image_; }

private:
  void top(const std::string &path, archive_entry *entry, Verdict &v);
  void links(const std::string &path, archive_entry *entry, Verdict &v);

  Shape shape_;
  Limits limits_;
  std::uint64_t entries_ = 0, bytes_ = 0;
  bool metadata_ = false, rootfs_entry_ = false, rootfs_ = false, rootfs_image_ = false, templates_entry_ = false;
  std::unordered_set<std::uint64_t> symlinks_;  ///< hashes of paths that are symbolic links
  std::unordered_set<std::uint64_t> files_;     ///< hashes of what a hard link may name
  std::unordered_set<std::string> template_names_;
  std::string checked_parent_;
};

/// A path as entries have it, checked and in one form. `what` names it in the refusal.
std::string normal_path(const char *path, const char *what);

struct Report {
  std::string metadata; ///< empty for Shape::rootfs
  bool rootfs_image = false;
};
/// Reads an archive to its end. `step` is called for every entry.
Report scan(Blocks &from, Shape shape, const Limits &limits, const std::function<void()> &step = {});

} // namespace incus::unpack
