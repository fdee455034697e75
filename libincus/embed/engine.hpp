// SPDX-License-Identifier: Apache-2.0
// The embedding door: the policy of the rooms below wired to mechanisms, and every row of api/ answered by it. test:// is the same
// engine over mechanisms in memory.
#pragma once
#include <memory>
#include <span>
#include <string>

#include "api/door.hpp"
#include "embed/events.hpp"
#include "embed/operations.hpp"
#include "embed/state_dir.hpp"
#include "image/store.hpp"
#include "instance/manager.hpp"
#include "mock/mock.hpp"
#include "storage/pools.hpp"

namespace incus::embed {

class Engine final : public api::Door {
public:
  /// embed:
  Engine(const std::string &directory, const OpenOptions &options);
  /// test://
  explicit Engine(const OpenOptions &options);
  ~Engine() override;

  api::Reply perform(const api::Row &row, api::Request request) override;
  std::shared_ptr<api::ListenerBackend> listen(const std::vector<std::string> &types, std::size_t capacity) override;
  void on_exec(const std::string &instance, TestExecHandler handler) override;
  void close() override;

private:
  using Handler = api::Reply (Engine::*)(api::Request &);
  static Handler handler(api::RowId id);
  void wire(const std::string &directory, std::span<const storage::DriverInfo *const> drivers);
  void fill_store();
  void background(const std::string &description, std::function<void()> task);
  api::Reply async(OperationSpec spec, Operations::Body body);
  ServerInfo server_info();
  instance::Report report_to(TaskOperation &op);

  // server.cpp
  api::Reply server_get(api::Request &);
  api::Reply projects_get(api::Request &);
  api::Reply project_get(api::Request &);
  api::Reply operations_get(api::Request &);
  api::Reply operation_get(api::Request &);
  api::Reply operation_wait_get(api::Request &);
  api::Reply operation_delete(api::Request &);
  api::Reply check_get(api::Request &);
  // instances.cpp
  api::Reply instances_get(api::Request &);
  api::Reply instances_post(api::Request &);
  api::Reply instance_get(api::Request &);
  api::Reply instance_put(api::Request &);
  api::Reply instance_patch(api::Request &);
  api::Reply instance_post(api::Request &);
  api::Reply instance_delete(api::Request &);
  api::Reply instance_state_get(api::Request &);
  api::Reply instance_state_put(api::Request &);
  api::Reply instance_exec_post(api::Request &);
  api::Reply instance_console_get(api::Request &);
  api::Reply instance_console_delete(api::Request &);
  api::Reply instance_ready_get(api::Request &);
  api::Reply snapshots_get(api::Request &);
  api::Reply snapshots_post(api::Request &);
  api::Reply snapshot_get(api::Request &);
  api::Reply snapshot_put(api::Request &);
  api::Reply snapshot_post(api::Request &);
  api::Reply snapshot_delete(api::Request &);
  // objects.cpp
  api::Reply images_get(api::Request &);
  api::Reply images_post(api::Request &);
  api::Reply image_get(api::Request &);
  api::Reply image_put(api::Request &);
  api::Reply image_delete(api::Request &);
  api::Reply image_export_get(api::Request &);
  api::Reply aliases_get(api::Request &);
  api::Reply aliases_post(api::Request &);
  api::Reply alias_get(api::Request &);
  api::Reply alias_put(api::Request &);
  api::Reply alias_post(api::Request &);
  api::Reply alias_delete(api::Request &);
  api::Reply profiles_get(api::Request &);
  api::Reply profiles_post(api::Request &);
  api::Reply profile_get(api::Request &);
  api::Reply profile_put(api::Request &);
  api::Reply profile_patch(api::Request &);
  api::Reply profile_post(api::Request &);
  api::Reply profile_delete(api::Request &);
  api::Reply pools_get(api::Request &);
  api::Reply pools_post(api::Request &);
  api::Reply pool_get(api::Request &);
  api::Reply pool_put(api::Request &);
  api::Reply pool_delete(api::Request &);
  api::Reply pool_resources_get(api::Request &);
  api::Reply pool_volumes_get(api::Request &);
  ProfileInfo profile_info(const std::string &project, const std::string &name);
  void change_profile(const std::string &project, const std::string &name, const std::function<ProfileUpdate(const ProfileInfo &)> &change);

  OpenOptions options_;
  base::Log log_;
  std::unique_ptr<StateDirectory> directory_;
  std::unique_ptr<db::Connection> global_, local_;
  std::unique_ptr<db::Journal> journal_;
  std::unique_ptr<image::Files> files_;
  std::unique_ptr<storage::Pools> pools_;
  std::unique_ptr<image::Store> images_;
  std::unique_ptr<instance::Runtime> runtime_;
  mock::Runtime *mock_ = nullptr;
  std::unique_ptr<instance::Manager> instances_;
  EventHub events_;
  std::unique_ptr<Operations> operations_;
  std::mutex background_mutex_;
  std::condition_variable background_idle_;
  int background_ = 0;
  bool closed_ = false;
  std::mutex close_mutex_;
};

/// A version of an object: a digest of what can be changed of it.
Etag etag_of(const boost::json::value &changeable);
/// Throws precondition_failed when the client asked for another version.
void check_match(const Etag &wanted, const Etag &current, const std::string &what);

} // namespace incus::embed
