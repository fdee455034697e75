// SPDX-License-Identifier: Apache-2.0
// Writes entries below one directory, which nothing here can leave.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <sys/stat.h>
#include <utility>
#include <vector>

#include "helper/unpack/attributes.hpp"
#include "helper/unpack/id_shift.hpp"
#include "helper/unpack/scan.hpp"

namespace incus::unpack {

class Writer {
public:
  /// Paths are taken below `root`, which must be empty and stays the caller's; `guest` is where the guest's own root is below it, "" or "rootfs/".
  /// `shift`: from the owners that entries have to those they get.
  Writer(int root, std::string guest, IdShift shift = {});
  ~Writer();
  /// What stands where a guest's entry would go is kept instead of replaced; directories may be there whose group new files get.
  void keep(bool yes) { keep_ = yes; }
  Writer(const Writer &) = delete;
  Writer &operator=(const Writer &) = delete;
  /// Writes one entry. `plain`: root's, without special bits and attributes (what the host reads: metadata.yaml and templates).
  void write(const std::string &path, const std::string &link, archive_entry *entry, Reader &reader, bool plain, const std::function<void()> &step);
  void write_text(const std::string &path, const std::string &text, archive_entry *entry);
  /// Owners, modes, attributes and times of directories, which what is put into them changes.
  void finish();

private:
  struct Directory {
    std::string path;
    uid_t uid;
    gid_t gid;
    mode_t mode;
    timespec times[2];
    Attributes attributes;
  };
  /// Splits, and opens (or makes) the parent; the descriptor is kept for the next call.
  int parent_of(const std::string &path, std::string &name);
  int open_directory(const std::string &path);
  void make_way(int parent, const std::string &name, const std::string &path, bool for_directory);
  void regular(int parent, const std::string &name, const std::string &path, archive_entry *entry, Reader &reader, bool plain,
               const std::function<void()> &step);
  void special(int parent, const std::string &name, const std::string &path, archive_entry *entry);
  void directory(int parent, const std::string &name, const std::string &path, archive_entry *entry, bool plain);

  void named_acls();
  std::string text_of(const std::string &path);

  Attributes attributes(archive_entry *entry, const std::string &path);
  uid_t user(archive_entry *entry) const;
  gid_t group(archive_entry *entry) const;

  int root_;
  std::string guest_;
  IdShift shift_;
  bool keep_ = false;
  int parent_ = -1;
  std::string parent_path_;
  std::vector<Directory> directories_;
  std::vector<NamedAcl> named_;
};

/// Unpacks a whole archive: a unified one into `root`, a rootfs into root/rootfs, and after that a metadata one into `root`.
void extract(Blocks &from, Shape shape, const Limits &limits, int root, const std::function<void()> &step);

} // namespace incus::unpack
