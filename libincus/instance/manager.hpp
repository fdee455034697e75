// SPDX-License-Identifier: Apache-2.0
// The instances of one state directory: rules, records, locks and recovery over a storage driver and a runtime.
#pragma once
#include <boost/json/object.hpp>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <incus/instance.hpp>

#include "db/journal.hpp"
#include "db/records.hpp"
#include "db/volumes.hpp"
#include "device/device.hpp"
#include "image/store.hpp"
#include "instance/backup_config.hpp"
#include "instance/files.hpp"
#include "instance/logs.hpp"
#include "instance/runtime.hpp"
#include "storage/pools.hpp"

namespace incus::unpack {
struct BackupPlan;
}

namespace incus::instance {

/// How a long step reports: stage, bytes done, bytes in all. May throw Error(cancelled).
using Report = std::function<void(const std::string &stage, std::uint64_t done, std::uint64_t total)>;

/// A profile merged over another, own keys last.
struct Expanded {
  Config config;
  Devices devices;
};

class Manager {
public:
  struct Context {
    db::Connection &global;
    db::Connection &local;
    db::Journal &journal;
    const base::Log &log;
    storage::Pools &pools;
    image::Store &images;
    Runtime &runtime;
    std::string directory; ///< the state directory; empty in memory
    bool auto_destroy = false;
    /// action, instance URL, project.
    std::function<void(const std::string &, const std::string &, const std::string &, boost::json::object)> lifecycle;
    /// Runs a task on another thread, waited for at close.
    std::function<void(const std::string &description, const std::string &project, std::function<void()>)> background;
    FileServerMaker files; ///< serves the files of an instance
  };
  explicit Manager(Context ctx);

  // Reading (list.cpp).
  std::vector<InstanceInfo> list(const std::string &project);
  std::vector<InstanceFull> list_full(const std::string &project);
  std::vector<std::string> names(const std::string &project);
  InstanceInfo info(const std::string &project, const std::string &name);
  InstanceState state(const std::string &project, const std::string &name);
  db::InstanceRow row(const std::string &project, const std::string &name); ///< throws not_found
  Expanded expand(const db::InstanceRow &row);
  std::string console_log(const std::string &project, const std::string &name);
  void clear_console_log(const std::string &project, const std::string &name);
  /// What it is called in pools, logs and run files.
  std::string store_of(const std::string &project, const std::string &name) { return key_of(row(project, name)).name; }
  Logs &logs() { return logs_; }

  // metadata.yaml and templates (metadata.cpp).
  image::Metadata metadata(const std::string &project, const std::string &name); ///< empty when it has none
  void set_metadata(const std::string &project, const std::string &name, const std::function<image::Metadata(const image::Metadata &)> &change);
  std::vector<std::string> templates(const std::string &project, const std::string &name);
  base::Fd open_template(const std::string &project, const std::string &name, const std::string &file);
  /// `from`: a descriptor that is read to its end; -1: an empty file.
  void write_template(const std::string &project, const std::string &name, const std::string &file, int from);
  void remove_template(const std::string &project, const std::string &name, const std::string &file);

  // Making and removing (create.cpp, copy.cpp).
  /// What can be refused before any work; fills in a name and the default profile.
  void check_create(const std::string &project, InstanceCreate &request);
  void create(const std::string &project, InstanceCreate request, const Report &report);
  void remove(const std::string &project, const std::string &name);
  void rename(const std::string &project, const std::string &name, const std::string &new_name);

  /// What a copy is brought up to date from.
  struct RefreshSource {
    std::string project, name;
    bool instance_only = false, exclude_older = false;
  };
  /// What can be refused before any work.
  void check_refresh(const std::string &project, const std::string &name, const std::string &from_project, const std::string &from_name);
  /// The root and the snapshots become those of the source; what is the same stays.
  void refresh(const std::string &project, const std::string &name, const RefreshSource &source, const Report &report);

  /// Where it is to be, empty: as it is; and what is to change on the way (move.cpp).
  struct InstanceMove {
    std::string name, project, pool;
    bool instance_only = false; ///< snapshots go
    std::optional<Config> config;
    std::optional<Devices> devices;
    std::optional<std::vector<std::string>> profiles;
  };
  void check_move(const std::string &project, const std::string &name, const InstanceMove &to);
  void move(const std::string &project, const std::string &name, const InstanceMove &to, const Report &report);

  // Running (state.cpp).
  void change_state(const std::string &project, const std::string &name, const InstanceStateChange &change);
  std::unique_ptr<Exec> exec(const std::string &project, const std::string &name, ExecSpec spec);
  /// The one who is attached to the console, or about to be, until the returned object goes. Refused with conflict when there is one, unless `force`:
  /// then its `end` is called and waited for.
  std::shared_ptr<void> hold_console(const std::string &project, const std::string &name, bool force, std::function<void()> end);
  std::unique_ptr<Exec> console(const std::string &project, const std::string &name, ConsoleSpec spec);
  void wait_ready(const std::string &project, const std::string &name, ReadyLevel level, std::chrono::milliseconds timeout);

  // A daemon's start and end (lifecycle.cpp).
  /// Starts what boot.autostart says and what ran when stop_all() or the machine ended it, in their order; returns when all were tried or halt() was
  /// called.
  void start_all();
  /// Stops all that run, and remembers which they were. `limit`: the most each may take; zero kills. Nothing starts after it.
  void stop_all(std::optional<std::chrono::milliseconds> limit);
  /// Makes the snapshots whose minute it is, and removes those that have had their time.
  void run_schedules(Time now);
  void expire_snapshots(Time now);
  /// Ends start_all() and every pause().
  void halt();
  /// False when it was halted meanwhile.
  bool pause(std::chrono::milliseconds time);

  // Wiping (rebuild.cpp).
  /// What can be refused before any work.
  void check_rebuild(const std::string &project, const std::string &name, const InstanceSource &source);
  /// A fresh root, from an image or empty; configuration and devices stay.
  void rebuild(const std::string &project, const std::string &name, const InstanceSource &source, const Report &report);

  // Files (files.cpp).
  /// Hands a request of helper/files/verbs.hpp to the instance's file server; its descriptors stay the caller's.
  void send_files(const std::string &project, const std::string &name, const helper::Message &m);
  /// Where the root of a stopped instance, or of a snapshot, can be read; for the time of the call.
  struct RootView {
    db::InstanceRow instance; ///< with the snapshot's configuration
    std::string volume;       ///< directory with metadata.yaml and templates/
    storage::RootfsPlan rootfs;
    storage::IdMap ids;       ///< that owners on disk have; empty: the guest's
  };
  void with_root(const std::string &project, const std::string &name, const std::string &snapshot, const std::function<void(const RootView &)> &use);
  /// Ends every file session: the host closes.
  void close_files() { files_.close(); }
  /// Nothing else is done with a stopped instance until the returned object goes; refused when it runs.
  std::shared_ptr<void> hold_stopped(const std::string &project, const std::string &name, const char *what);
  /// For who tells about files: action, instance URL.
  void tell(const char *action, const std::string &project, const std::string &name, boost::json::object context) {
    event(action, project, name, std::move(context));
  }

  // Changing (update.cpp).
  /// `change` gets the current record and returns what to make of it; it may throw (precondition_failed).
  using Change = std::function<InstanceUpdate(const InstanceInfo &)>;
  void update(const std::string &project, const std::string &name, const Change &change);
  /// After a profile changed: applies it to running users. `before` are their expanded configurations.
  void profile_changed(const std::string &project, const std::vector<std::string> &users, const std::map<std::string, Expanded> &before);
  /// Validates what instances would become with other profile contents; call inside the transaction that changed the profile.
  void validate_users(const std::string &project, const std::vector<std::string> &users);

  // Snapshots (snapshot.cpp).
  std::vector<SnapshotInfo> snapshots(const std::string &project, const std::string &name);
  SnapshotInfo snapshot(const std::string &project, const std::string &name, const std::string &snapshot);
  std::string check_snapshot(const std::string &project, const std::string &name, const SnapshotCreate &request);
  void create_snapshot(const std::string &project, const std::string &name, const SnapshotCreate &request, const Report &report);
  void rename_snapshot(const std::string &project, const std::string &name, const std::string &snapshot, const std::string &new_name);
  /// `expires_at`: RFC 3339, kept with its time zone; empty: never.
  void set_snapshot_expiry(const std::string &project, const std::string &name, const std::string &snapshot, const std::string &expires_at);
  /// As it was given; empty when it has none.
  std::string snapshot_expiry(const std::string &project, const std::string &name, const std::string &snapshot);
  void remove_snapshot(const std::string &project, const std::string &name, const std::string &snapshot);
  void restore(const std::string &project, const std::string &name, const std::string &snapshot, const Report &report);

  /// Pools that instances which run now have something on.
  std::set<std::string> pools_in_use();
  // Backups (backup.cpp, backup_import.cpp).
  struct BackupWish {
    bool alone = false;      ///< without snapshots
    std::string compression; ///< as image::check_compression() gives it
    bool optimized = false;  ///< as streams of the pool's own, where it has such
  };
  /// Whether the pool of an instance has streams of its own.
  bool has_streams(const std::string &project, const std::string &name);
  void write_backup(const std::string &project, const std::string &name, const BackupWish &wish, int out, const Report &report);
  /// `header`: gets backup/optimized_header.yaml where there is one.
  BackupIndex read_index(int archive, std::string *header = nullptr);
  /// What can be refused before any work; makes of the index what the new instance is to be. `name` and `pool` empty: those of the backup.
  void check_import(const std::string &project, BackupIndex &index, const std::string &header, const std::string &name, const std::string &pool);
  void import_backup(const BackupIndex &index, const std::string &header, int archive, const Report &report);
  /// An instance that a pool has and the store has not, as its backup.yaml tells. `snapshots`: those on disk.
  void adopt(const std::string &project, const std::string &pool, BackupConfig config);
  /// What backup.yaml of an instance's volume says; nothing when there is none.
  static std::optional<BackupConfig> backup_file(storage::Driver &pool, const std::string &store);
  /// Writes backup.yaml anew.
  void keep_backup_file(const std::string &project, const std::string &name);

  // Life of the host (reconcile.cpp).
  /// After the journal was recovered: finds what runs. `same_boot`: false when the machine was restarted since.
  void reconcile(bool same_boot);
  /// Kills what runs, for auto_destroy.
  void destroy_all();
  void check(std::vector<std::string> &problems);

private:
  class Claim;
  struct Live {
    Started started;
    std::string project, name;
  };
  struct Root {
    std::string pool;
    std::shared_ptr<storage::Driver> driver;
    storage::VolumeRef volume;
  };

  /// Brings the limits of a running instance to those of a configuration that is to be stored; until done(), who recovers brings them to what is stored.
  class Limits {
  public:
    Limits(Manager &m, const db::InstanceRow &row, const Expanded &before, const Expanded &after);
    void done() {
      if (intent_) intent_->done();
      intent_.reset();
    }

  private:
    std::optional<db::Intent> intent_;
  };
  void update_running(const db::InstanceRow &old, db::InstanceRow &fresh, const Expanded &before, const Expanded &after);
  void recover_limits(const boost::json::object &data);
  /// The devices of a running instance that are stored, after an open or a reboot.
  void plug_as_stored(db::InstanceRow row, bool rebooted);
  /// Of the configuration, what differs from `own`: an operation on the instance may be under way.
  void store_changes(const db::InstanceRow &row, const Config &own);
  /// Brings the devices of a running instance to these.
  void plug(const Key &key, const device::RunItems &items, bool rebooted = false);
  /// What the devices of a project's instances ask of this host.
  device::Host host_of(const std::string &project);
  device::RunItems items_of(const db::InstanceRow &row, const Devices &devices);
  /// Nothing when no device differs; writes the volatile keys of what is new. Throws conflict when one cannot change while it runs.
  std::optional<device::RunItems> plug_of(db::InstanceRow &row, const Expanded &before, const Expanded &after);
  Key key_of(const db::InstanceRow &row) const;
  Root root_of(const db::InstanceRow &row, const Expanded &expanded);
  InstanceInfo to_info(db::InstanceRow row, Expanded expanded);
  SnapshotInfo to_info(const db::SnapshotRow &row, const std::map<std::string, db::ProfileRow> &profiles);
  base::Fd open_volume(const std::string &project, const std::string &name);
  Expanded expand_with(const db::InstanceRow &row, const std::map<std::string, db::ProfileRow> &profiles);
  std::map<std::string, db::ProfileRow> profile_map(const std::string &project);
  /// All instances of all projects by a handful of statements; those whose profiles are damaged are left out.
  void for_all(const std::function<void(const db::InstanceRow &, const Expanded &)> &fn);
  void check_expanded(const db::InstanceRow &row, const Expanded &e, bool creating);
  /// Tells who reads the log that a root disk's size is kept, but is no limit.
  void tell_size(const std::string &name, const Devices &before, const Devices &after);
  void check_requirements(const std::string &what, const Config &expanded);
  void event(const char *action, const std::string &project, const std::string &name, boost::json::object context = {});

  db::InstanceRow row_from(const std::string &project, const InstanceCreate &request);
  /// What the store gets of a new root.
  struct NewVolume {
    std::pair<std::string, Config> like; ///< description and configuration
    std::vector<db::SnapshotRow> snapshots;
    std::vector<db::VolumeSnapshotRow> snapshots_like; ///< for those of `snapshots`
  };
  void store_new(db::InstanceRow &row, const Root &root, const NewVolume &volume, const char *trigger = "create");
  void adapt_snapshot(db::SnapshotRow &snapshot, const db::InstanceRow &to, const Expanded &expanded, const std::map<std::string, db::ProfileRow> &profiles);
  std::optional<db::VolumeFull> volume_row(const db::InstanceRow &row, const std::string &pool);
  db::InstanceRow moved(const db::InstanceRow &row, const InstanceMove &to);
  void remove_snapshot_claimed(const std::string &project, const std::string &name, const std::string &snapshot);
  db::ImageRow image_of(const std::string &project, const InstanceSource &source);
  void create_from_image(db::InstanceRow &row, const InstanceCreate &request, const Report &report);
  void create_empty(db::InstanceRow &row);
  void create_copy(db::InstanceRow &row, const InstanceCreate &request, const Report &report);
  void remove_claimed(const db::InstanceRow &row);
  void remove_traces(const std::string &store_name, std::int64_t id, const std::string &pool);
  void link(const Root &root);
  void unlink(const std::string &store_name);
  void move_traces(const boost::json::object &data, bool forward);

  void start_claimed(const std::string &project, const std::string &name, const char *action = "instance-started");
  /// Refuses interface names that the host has already: what a start records it may remove again.
  void check_interfaces(const db::InstanceRow &row, const device::RunItems &items);
  StartSpec prepare_start(db::InstanceRow &row, const Expanded &e, Config &changes);
  bool can_idmap(int dirfd);
  storage::RootfsPlan prepare_rootfs(const db::InstanceRow &row, const Expanded &e, const Root &root, const storage::IdMap &map, Config &changes);
  FilesPlace files_place(std::int64_t id, const std::string &name);
  storage::IdMap choose_map(const db::InstanceRow &row, const Expanded &e);
  storage::IdMap choose_isolated(const db::InstanceRow &row, const Expanded &e);
  void stop_claimed(const std::string &project, const std::string &name, const InstanceStateChange &change, bool keep_ephemeral);
  /// What becomes of one that stopped: it stays so; a daemon starts it again; it is removed next. The latter two stay marked as running: who opens the
  /// directory after a kill starts, or removes, them.
  enum class After { stopped, started, removed };
  /// `action`: the lifecycle event it is told as; null: none. False when it had been finished before.
  bool finish_stopped(const Key &key, const char *action, After after = After::stopped);
  void shut_down(const Key &key, std::optional<std::chrono::milliseconds> limit);
  void on_stopped(const Key &key);
  void on_rebooted(const Key &key, const Started &started);
  /// Whether boot.autorestart has it started again now that it ended by itself; counts it as a try.
  bool may_restart(const db::InstanceRow &row);
  void restart_ended(const db::InstanceRow &row);
  bool is_live(std::int64_t id);
  bool is_kept(std::int64_t id);
  bool any_schedule();
  bool stop_live(std::optional<std::chrono::milliseconds> limit, bool again);
  /// Refuses one whose snapshots the store tells differently as an instance's and as a volume's.
  void check_snapshot_rows(const db::InstanceRow &row);
  void snapshot_at_start(const db::InstanceRow &row, const Expanded &expanded);
  /// Writes what templates of the image make of it now: what waits since its creation, copy or rename, and what each start writes.
  void apply_templates(const db::InstanceRow &row, const Expanded &expanded);
  int ask_files(const db::InstanceRow &row, std::vector<std::string> args, int fd, bool write);
  void write_rendered(const db::InstanceRow &row, const std::string &target, const image::Template &t, const std::string &text);
  void snapshot_claimed(const std::string &project, const std::string &name, const SnapshotCreate &request, const Report &report);
  BackupConfig backup_config(const db::InstanceRow &row, const Root &root, bool snapshots);
  void write_streams(const db::InstanceRow &row, const Root &root, const BackupWish &wish, int out, const Report &report);
  void pack(const unpack::BackupPlan &plan, int out, const Report &report);
  void insert_imported(db::InstanceRow &row, const std::string &pool, const BackupConfig &config);
  void must_run(const db::InstanceRow &row, const char *what);
  void must_not_run(const db::InstanceRow &row, const char *what);
  std::string next_snapshot_name(const db::InstanceRow &row, const Config &expanded);
  void recover_create(const boost::json::object &data);
  void recover_remove(const boost::json::object &data);
  void recover_rename(const boost::json::object &data);
  void recover_start(const boost::json::object &data);
  void recover_snapshot(const boost::json::object &data);
  void recover_snapshot_rename(const boost::json::object &data);
  void recover_publish(const boost::json::object &data);
  void recover_restore(const boost::json::object &data);
  void recover_rebuild(const boost::json::object &data);
  void recover_refresh(const boost::json::object &data);
  void drop_stray_snapshots(std::int64_t id, const Root &root);
  void recover_move(const boost::json::object &data);

  Context ctx_;
  Logs logs_;
  Files files_;
  std::mutex mutex_;
  std::mutex idmap_mutex_; ///< held while an isolated instance is given ids
  std::condition_variable released_;
  std::map<std::string, std::string> claims_; ///< PROJECT/NAME -> what is being done
  std::map<std::int64_t, Live> live_;
  std::map<std::int64_t, std::function<void()>> consoles_; ///< how to end who is attached
  std::set<std::int64_t> kept_; ///< marked as running although they do not: a daemon starts them
  std::map<std::int64_t, std::deque<std::chrono::steady_clock::time_point>> restarts_; ///< of boot.autorestart
  bool halted_ = false, ending_ = false;
  std::set<std::uint64_t> idmappable_; ///< devices of file systems that can do idmapped mounts
};

/// Holds an instance for one operation at a time.
class Manager::Claim {
public:
  /// Refused with `busy` when another operation holds it.
  Claim(Manager &m, const std::string &project, const std::string &name, const char *what);
  /// For the engine's own work after an instance stopped: waits for operations, and holds nothing when one of them has seen to it.
  Claim(Manager &m, const std::string &project, const std::string &name, std::int64_t while_live);
  ~Claim();
  Claim(const Claim &) = delete;
  Claim &operator=(const Claim &) = delete;
  bool held() const { return held_; }

private:
  Manager &m_;
  std::string key_;
  bool held_ = false;
};

} // namespace incus::instance
