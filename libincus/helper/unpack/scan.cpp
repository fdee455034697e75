// SPDX-License-Identifier: Apache-2.0
#include "helper/unpack/scan.hpp"

#include <archive.h>
#include <archive_entry.h>
#include <cstring>
#include <sys/stat.h>

namespace incus::unpack {

// ---- Reader

Reader::Reader(Blocks &from) : from_(from), archive_(archive_read_new()) {
  if (!archive_) fail("internal", "out of memory");
  archive_read_support_format_tar(archive_);
  auto read = [](archive *a, void *self, const void **block) -> la_ssize_t {
    auto *r = static_cast<Reader *>(self);
    try {
      return static_cast<la_ssize_t>(r->from_.next(block));
    } catch (...) {
      r->error_ = std::current_exception(); // no exception may cross the C library
      archive_set_error(a, EIO, "input");
      return -1;
    }
  };
  if (archive_read_open(archive_, this, nullptr, read, nullptr) == ARCHIVE_OK) return;
  struct Free { // the destructor of what was not made does not run
    archive *a;
    ~Free() { archive_read_free(a); }
  } cleanup{archive_};
  broken("");
}

Reader::~Reader() { archive_read_free(archive_); }

void Reader::broken(const std::string &at) {
  if (error_) std::rethrow_exception(error_);
  const char *text = archive_error_string(archive_);
  std::string why = text ? text : "unknown error";
  if (why.find("Unrecognized archive format") != std::string::npos)
    refuse("the file is not a tar archive, plain or compressed with gzip, xz, zstd or bzip2");
  refuse("the tar archive is damaged or truncated" + (at.empty() ? std::string() : " at entry " + quoted(at)) + ": " + why);
}

archive_entry *Reader::next() {
  if (any_ && archive_read_data_skip(archive_) < ARCHIVE_OK) broken(current_);
  std::int64_t header_at = archive_filter_bytes(archive_, 0);
  archive_entry *entry = nullptr;
  int r = archive_read_next_header(archive_, &entry);
  if (r == ARCHIVE_EOF) {
    finish(header_at);
    return nullptr;
  }
  if (r == ARCHIVE_WARN) {
    // A name that is not UTF-8 comes as its bytes, which is what is wanted; every other warning is about something malformed.
    const char *text = archive_error_string(archive_);
    if (!text || !std::strstr(text, "can't be converted")) broken(archive_entry_pathname(entry) ? archive_entry_pathname(entry) : "");
  } else if (r != ARCHIVE_OK) {
    broken(any_ ? "after " + current_ : "");
  }
  any_ = true;
  const char *path = archive_entry_pathname(entry);
  current_ = path ? path : "";
  return entry;
}

void Reader::finish(std::int64_t header_at) {
  // An archive that ends without a block of zeros is one that was cut off between two entries.
  if (archive_filter_bytes(archive_, 0) == header_at) refuse("the tar archive is truncated: its end marker is missing");
  // The decompressor sees the end of its data, its checksum and what follows only when all is read.
  try {
    const void *block;
    while (from_.next(&block)) {
    }
  } catch (...) {
    error_ = std::current_exception();
    broken("");
  }
}

bool Reader::data(const void **piece, std::size_t *size, std::int64_t *offset) {
  la_int64_t at = 0;
  int r = archive_read_data_block(archive_, piece, size, &at);
  *offset = at;
  if (r == ARCHIVE_EOF) return false;
  if (r != ARCHIVE_OK) broken(current_);
  return true;
}

std::string Reader::text(std::uint64_t most) {
  std::string out;
  const void *piece;
  std::size_t size;
  std::int64_t at;
  while (data(&piece, &size, &at)) {
    std::uint64_t begin = static_cast<std::uint64_t>(at);
    if (at < 0 || begin > most || size > most - begin) refuse(quoted(current_) + " is larger than " + std::to_string(most) + " bytes");
    if (out.size() < begin + size) out.resize(begin + size);
    if (size) std::memcpy(out.data() + begin, piece, size);
  }
  return out;
}

// ---- Rules

namespace {
std::uint64_t hash_of(std::string_view text) {
  std::uint64_t h = 14695981039346656037ull;
  for (unsigned char c : text) h = (h ^ c) * 1099511628211ull;
  return h;
}
} // namespace

std::string normal_path(const char *path, const char *what) {
  if (!path) refuse(std::string("an entry has no ") + what);
  std::string_view rest = path;
  if (rest.empty()) refuse(std::string("an entry has an empty ") + what);
  if (rest.size() > 4096) refuse(std::string(what) + " " + quoted(rest) + " is longer than 4096 bytes");
  if (rest[0] == '/') refuse(std::string(what) + " " + quoted(rest) + " is absolute; names must be relative to the image");
  std::string out;
  while (!rest.empty()) {
    auto cut = rest.find('/');
    std::string_view part = rest.substr(0, cut);
    rest.remove_prefix(cut == std::string_view::npos ? rest.size() : cut + 1);
    if (part.empty() || part == ".") continue;
#ifndef INCUS_PLANTED_BUG // the fuzzer must notice when this line is missing
    if (part == "..") refuse(std::string(what) + " " + quoted(path) + " has a component \"..\"");
#endif
    if (part.size() > 255) refuse(std::string(what) + " " + quoted(path) + " has a component longer than 255 bytes");
    if (!out.empty()) out += '/';
    out += part;
  }
  return out;
}

Rules::Verdict Rules::judge(archive_entry *entry) {
  if (++entries_ > limits_.entries) fail("too_large", "the archive holds more than " + std::to_string(limits_.entries) + " entries");
  Verdict v;
  const char *name = archive_entry_pathname(entry);
  // Some tools write the parts of an image with a '/' before them, and every unpacker passes over it. Anything else absolute is refused.
  if (name && shape_ != Shape::rootfs)
    for (std::string_view part : {"/rootfs/", "/templates/", "/metadata.yaml"})
      if (std::string_view(name).starts_with(part)) {
        name++;
        break;
      }
  v.path = normal_path(name, "name");
  std::int64_t size = archive_entry_size_is_set(entry) ? archive_entry_size(entry) : 0;
  if (size < 0) refuse(quoted(v.path) + " has a negative size");
  if (archive_entry_filetype(entry) == AE_IFREG) {
    if (static_cast<std::uint64_t>(size) > limits_.bytes - bytes_)
      fail("too_large", "the archive holds more than " + std::to_string(limits_.bytes) + " bytes of files");
    bytes_ += static_cast<std::uint64_t>(size);
  }
  const char *hard = archive_entry_hardlink(entry);
  if (hard) v.link = normal_path(hard, "hard link target");
  unsigned type = archive_entry_filetype(entry);
  if (!hard && type != AE_IFREG && type != AE_IFDIR && type != AE_IFLNK && type != AE_IFIFO && type != AE_IFCHR && type != AE_IFBLK)
    refuse(quoted(v.path) + " has an unknown type");
  if (shape_ == Shape::rootfs) {
    v.use = Use::rootfs;
    if (v.path.empty() && (hard || type != AE_IFDIR)) refuse("the archive's own directory \".\" is not a directory");
    rootfs_ = true;
  } else {
    top(v.path, entry, v);
  }
  links(v.path, entry, v);
  return v;
}

/// Places and types of what stands at the top of a unified image or a metadata archive.
void Rules::top(const std::string &path, archive_entry *entry, Verdict &v) {
  bool hard = archive_entry_hardlink(entry) != nullptr;
  unsigned type = archive_entry_filetype(entry);
  bool regular = !hard && type == AE_IFREG, directory = !hard && type == AE_IFDIR;
  auto once = [&](bool &seen) {
    if (seen) refuse("top-level entry " + quoted(path) + " comes twice");
    seen = true;
  };
  if (path.empty()) {
    if (!directory) refuse("the archive's own directory \".\" is not a directory");
    return;
  }
  auto cut = path.find('/');
  std::string first = path.substr(0, cut);
  bool below = cut != std::string::npos;
  if (first == "metadata.yaml") {
    if (below || !regular) refuse("top-level entry \"metadata.yaml\" is not a regular file");
    once(metadata_);
    if (archive_entry_size(entry) > static_cast<std::int64_t>(max_metadata))
      refuse("metadata.yaml is larger than " + std::to_string(max_metadata) + " bytes");
    v.use = Use::metadata;
  } else if (first == "rootfs" || first == "rootfs.img") {
    if (first == "rootfs") {
      if (!below && !directory) refuse("top-level entry \"rootfs\" is not a directory");
      if (!below) once(rootfs_entry_);
      rootfs_ = true;
      v.use = Use::rootfs;
    } else {
      if (shape_ == Shape::metadata) refuse("the metadata archive holds " + quoted(first) + " although the rootfs is a file of its own");
      if (below || !regular) refuse("top-level entry \"rootfs.img\" is not a regular file");
      once(rootfs_image_);
    }
    if (rootfs_ && rootfs_image_) refuse("the archive holds both \"rootfs\" and \"rootfs.img\"");
  } else if (first == "templates") {
    if (!below) {
      if (!directory) refuse("top-level entry \"templates\" is not a directory");
      once(templates_entry_);
    } else {
      if (!regular) refuse("template " + quoted(path) + " is not a regular file");
      if (path.find('/', cut + 1) != std::string::npos) refuse("template " + quoted(path) + " is in a directory of its own; templates/ holds only files");
      if (!template_names_.insert(path).second) refuse("template " + quoted(path) + " comes twice");
      if (template_names_.size() > 10'000) refuse("templates/ holds more than 10000 files");
    }
    v.use = Use::templates;
  } else if (!hard && type != AE_IFREG && type != AE_IFDIR && type != AE_IFLNK) {
    refuse("entry " + quoted(path) + " outside rootfs is a device node or fifo");
  }
}

/// Nothing may be written through a symbolic link of the archive, and hard links stay inside what is unpacked.
void Rules::links(const std::string &path, archive_entry *entry, Verdict &v) {
  auto check_parents = [&](const std::string &p) {
    for (auto cut = p.find('/'); cut != std::string::npos; cut = p.find('/', cut + 1))
      if (symlinks_.contains(hash_of(std::string_view(p).substr(0, cut))))
        refuse("entry " + quoted(path) + " goes through the symbolic link " + quoted(p.substr(0, cut)));
  };
  auto cut = path.rfind('/');
  if (cut != std::string::npos && !symlinks_.empty() && path.compare(0, cut, checked_parent_) != 0) {
    check_parents(path);
    checked_parent_ = path.substr(0, cut);
  }
  if (v.use != Use::rootfs) return;
  std::uint64_t h = hash_of(path);
  if (archive_entry_hardlink(entry)) {
    if (shape_ != Shape::rootfs && v.link.rfind("rootfs/", 0) != 0)
      refuse("hard link " + quoted(path) + " points to " + quoted(v.link) + ", outside rootfs");
    check_parents(v.link);
    if (!files_.contains(hash_of(v.link))) refuse("hard link " + quoted(path) + " points to " + quoted(v.link) + ", which does not come before it");
    if (symlinks_.contains(hash_of(v.link)))
      symlinks_.insert(h);
    else
      symlinks_.erase(h);
    checked_parent_.clear();
    files_.insert(h);
    return;
  }
  if (archive_entry_filetype(entry) == AE_IFLNK) {
    if (!archive_entry_symlink(entry) || !*archive_entry_symlink(entry)) refuse("symbolic link " + quoted(path) + " has an empty target");
    symlinks_.insert(h);
    checked_parent_.clear();
  } else {
    symlinks_.erase(h);
  }
  if (archive_entry_filetype(entry) == AE_IFDIR)
    files_.erase(h);
  else
    files_.insert(h);
}

void Rules::finish() const {
  if (shape_ != Shape::rootfs && shape_ != Shape::backup && !metadata_) refuse("the archive holds no metadata.yaml at its top");
  if (shape_ == Shape::unified && !rootfs_ && !rootfs_image_) refuse("the archive holds neither rootfs nor rootfs.img at its top");
  if (shape_ == Shape::backup && !rootfs_) refuse("the backup holds no rootfs");
  if (shape_ == Shape::rootfs && !rootfs_) refuse("the rootfs archive is empty");
}

Report scan(Blocks &from, Shape shape, const Limits &limits, const std::function<void()> &step) {
  Reader reader(from);
  Rules rules(shape, limits);
  Report out;
  while (archive_entry *entry = reader.next()) {
    if (rules.judge(entry).use == Rules::Use::metadata) out.metadata = reader.text(max_metadata);
    if (step) step();
  }
  rules.finish();
  out.rootfs_image = rules.rootfs_image();
  return out;
}

} // namespace incus::unpack
