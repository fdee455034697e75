// SPDX-License-Identifier: Apache-2.0
// The embedding door: the policy of the rooms below wired to mechanisms, and every row of api/ answered by it. test:// is the same
// engine over mechanisms in memory.
#pragma once
#include <atomic>
#include <memory>
#include <set>
#include <span>
#include <string>

#include "api/door.hpp"
#include "backup/files.hpp"
#include "embed/events.hpp"
#include "embed/image_secrets.hpp"
#include "embed/operations.hpp"
#include "embed/state_dir.hpp"
#include "embed/tokens.hpp"
#include "image/store.hpp"
#include "image/transfer.hpp"
#include "instance/manager.hpp"
#include "mock/mock.hpp"
#include "storage/custom.hpp"
#include "storage/pools.hpp"

namespace incus::api {
struct CertificateUpdate;
}

namespace incus::embed {

struct MetricsCache;
struct Sample;

class Engine final : public api::Door {
public:
  /// embed:
  Engine(const std::string &directory, const OpenOptions &options, image::Transfers transfers = {});
  /// test://
  explicit Engine(const OpenOptions &options, image::Transfers transfers = {});
  ~Engine() override;

  api::Reply perform(const api::Row &row, api::Request request) override;
  std::shared_ptr<api::ListenerBackend> listen(const std::vector<std::string> &types, std::size_t capacity) override;
  void on_exec(const std::string &instance, TestExecHandler handler) override;
  void on_server_config(ConfigHook hook) override;
  void start_instances() override;
  void stop_instances(std::optional<std::chrono::milliseconds> limit) override;
  std::uint64_t trust_generation() override { return trust_generation_; }
  void close() override;

private:
  using Handler = api::Reply (Engine::*)(api::Request &);
  static Handler handler(api::RowId id);
  void wire(const std::string &directory, std::span<const storage::DriverInfo *const> drivers);
  void fill_store();
  void background(const std::string &description, std::function<void()> task);
  api::Reply async(OperationSpec spec, Operations::Body body);
  instance::Report report_to(TaskOperation &op);

  // A handler a row, by the row's name. server.cpp, trust.cpp (certificates, server configuration), projects.cpp, instances.cpp, instance_extras.cpp (console,
  // logs, metadata, rebuild), files.cpp, objects.cpp (images, profiles, pools), image_sharing.cpp, volumes.cpp, volume_snapshots.cpp, volume_copy.cpp, networks.cpp, warnings.cpp, resources.cpp,
  // metrics.cpp, configuration.cpp, sql.cpp.
#define X(name) api::Reply name(api::Request &);
  INCUS_ROW_IDS(X)
#undef X
  void run_minutes();
  api::Reply exec_alone(api::Request &q, ExecRequest request);
  api::Reply change_volume(api::Request &q, bool patch);
  api::Reply change_volume_snapshot(api::Request &q, bool patch);
  std::vector<std::shared_ptr<void>> hold_users(const db::VolumeFull &v, const char *doing);
  api::Reply copy_volume(api::Request &q, const storage::VolumeName &to, const boost::json::object &source, const std::optional<Config> &config, const std::string &description);
  Config with_defaults(const std::string &pool, Config config, db::VolumeContent content);
  void expire_volume_snapshots(Time now);
  void run_volume_schedules(Time now);
  api::Reply change_snapshot(api::Request &q, bool patch);
  std::optional<api::Reply> refresh_instance(api::Request &q, const InstanceCreate &request);
  // images.cpp, image_sharing.cpp
  std::vector<ImageInfo> public_images(const std::string &project);
  ImageInfo visible_image(const api::Request &q, const std::string &name);
  // backups.cpp, backup_import.cpp
  struct BackupSubject;
  BackupSubject backup_subject(const api::Request &q);
  api::Reply list_backups(api::Request &q);
  api::Reply make_backup(api::Request &q);
  api::Reply get_backup(api::Request &q, const std::string &name);
  api::Reply rename_backup(api::Request &q, const std::string &name);
  api::Reply remove_backup(api::Request &q, const std::string &name);
  api::Reply export_backup(api::Request &q, const std::string &name);
  void expire_backups(Time now);
  std::vector<boost::json::value> instance_backups(const std::string &project, const std::string &name);
  api::Reply import_instance(api::Request &q);
  api::Reply import_volume(api::Request &q);
  api::Reply import_medium(api::Request &q);
  base::Fd backup_body(api::Request &q);
  bool open_with_secret(const std::string &project, const std::string &fingerprint, const std::string &secret);
  api::Reply image_from_source(api::Request &q, const boost::json::object &source);
  api::Reply publish_image(api::Request &q, bool snapshot, const std::string &source);
  // image_download.cpp
  struct Wanted;
  Wanted wanted_from(const api::Request &q, const boost::json::object &source);
  void check_source(const std::string &server, const std::string &protocol, const std::string &mode);
  std::shared_ptr<image::Transfer> transfer(TaskOperation &op);
  std::string pull_image(TaskOperation &op, const Wanted &w);
  std::string pull_url(TaskOperation &op, const Wanted &w, const std::string &url);
  std::string copy_image(const Wanted &w);
  bool take_image(const Wanted &w, const std::string &fingerprint, const std::function<void()> &download);
  std::string cached_image(const Wanted &w);
  void settle_image(const Wanted &w, const std::string &fingerprint, bool linked);
  bool refresh_image(TaskOperation &op, const std::string &project, const std::shared_ptr<const api::Caller> &caller, const ImageInfo &i);
  api::Reply download_image(api::Request &q, const boost::json::object &source);
  std::string image_for_instance(TaskOperation &op, const std::string &project, const InstanceSource &source, const std::shared_ptr<const api::Caller> &caller);
  // image_tasks.cpp
  std::string project_setting(const std::string &project, const char *key);
  std::int64_t project_number(const std::string &project, const char *key);
  std::shared_ptr<TaskOperation> expire_images();
  void update_images(TaskOperation &op, std::int64_t hour);
  void run_image_tasks(Time now);
  api::Reply push_token(api::Request &q, const boost::json::object &source);
  void image_came(TaskOperation &op, const std::string &project, const std::string &fingerprint, const std::vector<ImageAliasInfo> &aliases);
  void change_project(api::Request &q, const std::function<void(Config &config, std::string &description)> &change);
  void empty_project(const std::string &name);
  void change_certificate(api::Request &q, const std::function<void(api::CertificateUpdate &)> &change);
  api::Reply make_token(const api::Request &q);
  boost::json::value spend_token(const std::string &text);
  void end_token(const std::shared_ptr<TaskOperation> &op);
  static bool may_see_operation(const api::Request &q, TaskOperation &op);
  std::shared_ptr<TaskOperation> visible_operation(const api::Request &q);
  Config server_config();
  boost::json::object environment(const api::Request &q, const Config &config);
  /// PEM and fingerprint, once the host has been served over TLS; else empty.
  std::pair<std::string, std::string> server_certificate();
  api::Reply change_server(api::Request &q, bool patch);
  std::shared_ptr<const std::vector<Sample>> project_samples(const std::string &project); // metrics.cpp
  base::Log::Sink log_sink();
  ProfileInfo profile_info(const std::string &project, const std::string &name);
  void change_profile(const std::string &project, const std::string &name, const std::function<ProfileUpdate(const ProfileInfo &)> &change);

  OpenOptions options_;
  EventHub events_; ///< outlives what logs: log lines are events too
  base::Log log_;
  std::unique_ptr<StateDirectory> directory_;
  std::unique_ptr<db::Connection> global_, local_;
  std::unique_ptr<db::Journal> journal_;
  std::unique_ptr<image::Files> files_;
  std::unique_ptr<storage::Pools> pools_;
  std::unique_ptr<storage::CustomVolumes> volumes_;
  std::unique_ptr<backup::Files> backups_;
  std::unique_ptr<image::Store> images_;
  std::unique_ptr<instance::Runtime> runtime_;
  mock::Runtime *mock_ = nullptr;
  std::unique_ptr<instance::Manager> instances_;
  ImageSecrets image_secrets_, push_secrets_;
  image::Transfers transfers_;
  std::mutex fetch_mutex_;
  std::condition_variable fetch_idle_;
  std::set<std::string> fetching_; ///< fingerprints of images that are on their way here
  std::unique_ptr<Operations> operations_;
  std::mutex background_mutex_;
  std::condition_variable background_idle_;
  int background_ = 0;
  bool closed_ = false;
  std::mutex close_mutex_;
  std::mutex config_mutex_;
  std::thread minutes_; ///< a daemon's: schedules
  Time begun_{}, expired_{}; ///< of the thread above: its start, and when cached images were last expired
  std::int64_t hour_ = -1;   ///< since its start at which images were last updated
  std::shared_ptr<TaskOperation> updating_;
  ConfigHook config_hook_;
  std::atomic<std::uint64_t> trust_generation_{1};
  Tokens tokens_;
  std::mutex certificate_mutex_;
  std::pair<std::string, std::string> certificate_;
  std::shared_ptr<MetricsCache> metrics_;
};

/// A version of an object: a digest of what can be changed of it.
Etag etag_of(const boost::json::value &changeable);
/// The fields that a PATCH names; throws invalid_argument when the body is no object.
const boost::json::object &fields_of(const api::Request &q);
/// Throws precondition_failed when the client asked for another version.
void check_match(const Etag &wanted, const Etag &current, const std::string &what);

} // namespace incus::embed
