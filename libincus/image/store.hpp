// SPDX-License-Identifier: Apache-2.0
// The images of one state directory: rows, aliases, files, and their unpacked volumes in pools.
#pragma once
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <string>

#include <incus/image.hpp>

#include "api/door.hpp"
#include "db/journal.hpp"
#include "db/records.hpp"
#include "image/image.hpp"
#include "storage/pools.hpp"

namespace incus::image {

class Store {
public:
  struct Context {
    db::Connection &global;
    db::Journal &journal;
    const base::Log &log;
    storage::Pools &pools;
    Files &files;
    std::string helper;     ///< incus-unpack
    std::string scratch;    ///< directory for an image packed from a directory; empty: memory
  };
  using Progress = std::function<void(std::uint64_t, std::uint64_t)>;
  explicit Store(Context ctx);

  std::vector<ImageInfo> list(const std::string &project);
  /// By fingerprint, its unique beginning, or alias.
  ImageInfo info(const std::string &project, const std::string &name);
  db::ImageRow resolve(const std::string &project, const std::string &name);
  /// The newest with all these properties; throws not_found.
  db::ImageRow find(const std::string &project, const Config &properties);
  /// Returns the fingerprint.
  std::string import(const std::string &project, const api::Request &request, const ImageImport &how, const Progress &progress);
  /// The image of another project, also in this one.
  void adopt(const std::string &project, const db::ImageRow &from, const ImageImport &how);
  /// Stores what is said of an image beside its files; `cached`: it was fetched for an instance alone. `last_used`: none leaves it as it is.
  void settle(const db::ImageRow &row, const std::optional<ImageOrigin> &origin, bool cached, Time last_used);
  const std::string &scratch() const { return ctx_.scratch; }
  const std::string &helper() const { return ctx_.helper; }
  void update(const std::string &project, const std::string &name, const ImageUpdate &to);
  void remove(const std::string &project, const std::string &name);
  /// Removes it if it is a cached one that nobody has used since then; false when it is not.
  bool expire(const std::string &project, const std::string &fingerprint, Time unused_since);
  /// Writes the files to the descriptors; returns {"split":bool,"rootfs_squashfs":bool}.
  boost::json::object export_to(const std::string &project, const std::string &name, int metadata, int rootfs);

  /// Packs a root and stores it; returns the fingerprint. `how` as in import().
  std::string publish(const std::string &project, const Publication &p, const ImageImport &how, const Progress &progress);
  /// Its files for reading, with the names they are sent under.
  std::vector<api::Reply::Body> open_files(const std::string &project, const std::string &name);

  std::vector<ImageAliasInfo> aliases(const std::string &project);
  ImageAliasInfo alias(const std::string &project, const std::string &name);
  void create_alias(const std::string &project, const ImageAliasInfo &a);
  void update_alias(const std::string &project, const std::string &name, const ImageAliasInfo &a);
  void rename_alias(const std::string &project, const std::string &name, const std::string &new_name);
  void delete_alias(const std::string &project, const std::string &name);

  /// As long as it lives, the image's files and volumes stay.
  using InUse = std::shared_ptr<void>;
  /// Unpacks the image into the pool unless it is there. One at a time for an image and pool.
  [[nodiscard]] InUse ensure_volume(const db::ImageRow &image, const std::string &pool, const Progress &progress);
  void touch(std::int64_t id);
  void check(std::vector<std::string> &problems);

private:
  void recover_import(const boost::json::object &data);
  void recover_unpack(const boost::json::object &data);
  void drop_unused(const std::string &fingerprint);
  /// Held alone while the image's files or rows come or go (the last row takes the files along), and together while they are used. Not twice by one thread.
  InUse hold(const std::string &key, bool together = false);

  Context ctx_;
  std::mutex mutex_;
  std::map<std::string, std::weak_ptr<std::shared_mutex>> gates_; ///< by fingerprint, or pool and fingerprint; only those that somebody wants
};

ImageInfo to_info(const db::ImageRow &row);

} // namespace incus::image
