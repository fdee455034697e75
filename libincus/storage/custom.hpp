// SPDX-License-Identifier: Apache-2.0
// Volumes that users make for themselves: rules, records and recovery over a driver.
#pragma once
#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "db/volumes.hpp"
#include "storage/pools.hpp"
#include "storage/transfer.hpp"

namespace incus::storage {

/// A custom volume by where it is in the store.
struct VolumeName {
  std::string pool, project, name;
};

/// What a copy is made of.
struct VolumeSource {
  VolumeName volume;
  std::optional<std::string> snapshot; ///< not its present content
  bool volume_only = false;            ///< without snapshots
  bool exclude_older = false;          ///< of a refresh: no snapshots from before the newest that both have
  std::optional<Config> config;        ///< absent: the source's
  std::string description;             ///< empty: the source's
};

class CustomVolumes {
public:
  /// `state`: the state directory, where backups are; empty in memory.
  CustomVolumes(db::Connection &global, db::Journal &journal, Pools &pools, std::string state = {});

  /// Where a volume is called in a pool: always with its project.
  static std::string store_name(const std::string &project, const std::string &name) { return project + "_" + name; }

  /// Throws when no volume of that name can be made: a wrong name, one that is taken in the store or on the pool.
  void must_be_new(const VolumeName &name, const char *doing);
  /// Throws not_found.
  db::VolumeFull volume(const std::string &pool, const std::string &project, const std::string &name);
  /// An empty one; `medium`: what one of content iso holds, a file that is read from its beginning.
  void create(db::VolumeFull volume, int medium = -1);
  void rename(const std::string &pool, const std::string &project, const std::string &name, const std::string &new_name);
  void remove(const std::string &pool, const std::string &project, const std::string &name);

  // custom_image.cpp
  /// A disk of another size: `commit` stores the volume's new configuration. Only growing is possible.
  void resize(const db::VolumeFull &volume, const std::function<void()> &commit);
  /// What a volume on a pool is, by what lies in it; the size of a disk or medium is put into its configuration.
  static void recognise(int dirfd, db::VolumeFull &volume);
  /// The file that a disk or medium lies in.
  static const char *image_file(db::VolumeContent content) noexcept;
  /// Throws not_supported: what only trees of files can.
  static void only_files(const db::VolumeFull &volume, const char *doing);

  // custom_copy.cpp
  /// What can be refused before any work; `refresh`: of one that is there.
  void check_copy(const VolumeName &to, const VolumeSource &source, bool refresh);
  void copy(const VolumeName &to, const VolumeSource &source, const Progress &progress);
  /// The volume gets the source's content, and its snapshots; what is the same stays. Nobody may have it mounted.
  void refresh(const VolumeName &to, const VolumeSource &source, const Progress &progress);
  /// With its snapshots, to another pool, project or name. `users` is called in the transaction that commits it.
  void move(const VolumeName &from, const VolumeName &to, const std::function<void()> &users, const Progress &progress);

  // custom_snapshots.cpp
  /// Throws not_found.
  db::VolumeSnapshotRow snapshot(const db::VolumeFull &volume, const std::string &name);
  /// The name it gets when `name` is empty, checked.
  std::string snapshot_name(const db::VolumeFull &volume, const std::string &name);
  void create_snapshot(const db::VolumeFull &volume, const std::string &name, const std::string &description, const std::string &expires_at);
  void rename_snapshot(const db::VolumeFull &volume, const std::string &name, const std::string &new_name);
  void remove_snapshot(const db::VolumeFull &volume, const std::string &name);
  /// The content becomes that of the snapshot; configuration stays. Nobody may have it mounted.
  void restore(const db::VolumeFull &volume, const std::string &snapshot, const Progress &progress);

  // Backups (custom_backup.cpp).
  struct Place {
    std::string name;      ///< of the snapshot; empty: the volume
    std::string directory; ///< on this host
  };
  using UsePlaces = std::function<void(const db::VolumeFull &volume, const std::vector<db::VolumeSnapshotRow> &snapshots, const std::vector<Place> &places)>;
  /// Calls `use` with where volume and snapshots are, snapshots first, while nobody changes, moves or removes any of them. Throws not_found.
  void with_places(const VolumeName &volume, bool snapshots, const UsePlaces &use);
  /// `volume` and its snapshots, filled by `fill` (storage/driver.hpp).
  void create_from_backup(const db::VolumeFull &volume, const std::vector<db::VolumeSnapshotRow> &snapshots, const std::function<void(int dirfd, int snapshots)> &fill);
  /// As above, of an optimised backup.
  void create_from_streams(const db::VolumeFull &volume, const std::vector<db::VolumeSnapshotRow> &snapshots, const std::vector<StreamPart> &parts,
                           const std::map<std::string, IdMap> &owners, const std::function<void(int dirfd)> &fill);
  /// Rows for a volume that is on the pool already.
  void adopt(const db::VolumeFull &volume, const std::vector<db::VolumeSnapshotRow> &snapshots);

  /// What may stand in a volume's configuration; throws invalid_argument. `instance`: of an instance's root; without `content`: of any.
  static void validate(const std::string &name, const Config &config, bool instance, std::optional<db::VolumeContent> content = db::VolumeContent::filesystem);
  /// Whether a key means something to volumes of a content.
  static bool has_key(const std::string &key, db::VolumeContent content);

private:
  /// Holds volumes, and with them their snapshots, for one change at a time; waits for them.
  class Hold {
  public:
    Hold(CustomVolumes &v, const std::vector<VolumeName> &volumes);
    ~Hold();
    Hold(const Hold &) = delete;
    Hold &operator=(const Hold &) = delete;

  private:
    CustomVolumes &v_;
    std::set<std::string> keys_;
  };

  storage::Place place(const VolumeName &name);
  void from_backup(db::VolumeFull volume, std::vector<db::VolumeSnapshotRow> snapshots, const std::function<void(Driver &driver)> &make);
  void measure(db::VolumeFull &volume, std::vector<db::VolumeSnapshotRow> &snapshots);
  db::VolumeFull source_of(const VolumeSource &source);
  SnapshotOps &snapshots(const std::string &pool);
  void remove_snapshot_held(const db::VolumeFull &volume, const std::string &name);
  void replace_content(const VolumeName &name, const std::function<void()> &prepare);
  static void prepare_image(db::VolumeFull &volume, int medium);
  void fill_image(const storage::Place &place, const db::VolumeFull &volume, int medium);
  void settle_size(const VolumeName &name);
  bool exists(const boost::json::object &data);
  void recover(const boost::json::object &data);
  void recover_rename(const boost::json::object &data);
  void recover_snapshot(const boost::json::object &data);
  void recover_snapshot_rename(const boost::json::object &data);
  void recover_restore(const boost::json::object &data);

  db::Connection &global_;
  db::Journal &journal_;
  Pools &pools_;
  std::string state_;
  std::mutex mutex_;
  std::condition_variable free_;
  std::set<std::string> held_;
};

/// What the journal keeps of a volume, and back.
boost::json::object journal_entry(const VolumeName &name);
VolumeName journal_name(const boost::json::object &entry);
std::string journal_text(const boost::json::object &data, const char *key);
VolumeRef custom_ref(const std::string &project, const std::string &name);

inline constexpr int custom_volume_type = 2; ///< as the store has it

} // namespace incus::storage
