// SPDX-License-Identifier: Apache-2.0
#include "embed/engine.hpp"

#include <boost/json.hpp>
#include <csignal>
#include <openssl/evp.h>
#include <sys/utsname.h>
#include <system_error>
#include <thread>

#include "api/access.hpp"
#include "base/error.hpp"
#include "base/ids.hpp"
#include "base/names.hpp"
#include "base/time.hpp"
#include "db/projects.hpp"
#include "embed/host_conditions.hpp"
#include "embed/metrics.hpp"
#include "embed/patches.hpp"
#include "instance/lxc/runtime.hpp"

namespace incus::embed {

namespace json = boost::json;

Engine::Engine(const std::string &directory, const OpenOptions &options, image::Transfers transfers)
    : options_(options), log_(log_sink()), transfers_(std::move(transfers)) {
  if (options.remove_directory && !options.auto_destroy)
    base::fail(ErrorCode::invalid_argument, "remove_directory needs auto_destroy: instances that outlive the process need their directory");
  directory_ = std::make_unique<StateDirectory>(directory, options.takeover_timeout, log_);
  auto &dir = directory_->path();
  open_stores(dir, log_, global_, local_);
  files_ = image::files_in(dir + "/images");
  instance::lxc::Options o;
  o.directory = dir;
  o.host_id = directory_->host_id();
  o.helper = helper_path("incus-lxc");
  o.lock_fd = directory_->lock_fd();
  o.auto_destroy = options.auto_destroy;
  o.remove_directory = options.remove_directory;
  o.log = &log_;
  runtime_ = instance::lxc::make_runtime(o);
  wire(dir, storage::drivers());
  auto boot = boot_id();
  bool same_boot = db::get_config(*local_, "core.boot_id") == boot;
  if (!same_boot) db::set_config(*local_, "core.boot_id", boot);
  pools_->open_all();
  journal_->recover_all();
  instances_->reconcile(same_boot);
  tell_conditions(*global_, host_conditions());
}

Engine::Engine(const OpenOptions &options, image::Transfers transfers) : options_(options), log_(log_sink()), transfers_(std::move(transfers)) {
  global_ = db::open_sqlite("");
  local_ = db::open_sqlite("");
  files_ = image::files_in_memory();
  auto runtime = mock::make_runtime();
  mock_ = runtime.get();
  runtime_ = std::move(runtime);
  wire("", mock::drivers());
}

/// Lines go to the program's own sink, and to whoever listens to events.
base::Log::Sink Engine::log_sink() {
  return [this](LogLevel level, const std::string &line) {
    if (options_.log) options_.log(level, line);
    events_.publish("logging", "", [&]() -> json::value {
      const char *name = level == LogLevel::debug ? "debug" : level == LogLevel::info ? "info" : level == LogLevel::warning ? "warning" : "error";
      return json::object{{"message", line}, {"level", name}, {"context", json::object()}};
    });
  };
}

void Engine::wire(const std::string &directory, std::span<const storage::DriverInfo *const> drivers) {
  db::upgrade(*global_, db::global_steps(), "the store of " + (directory.empty() ? "test://" : directory));
  db::upgrade(*local_, db::local_steps(), "the local store of " + (directory.empty() ? "test://" : directory));
  fill_store();
  run_once(*global_, *local_, log_);
  journal_ = std::make_unique<db::Journal>(*local_, log_);
  metrics_ = std::make_shared<MetricsCache>();
  operations_ = std::make_unique<Operations>(events_, log_);
  if (!options_.storage_driver.empty()) storage::driver(options_.storage_driver, drivers);
  auto driver = !options_.storage_driver.empty() ? options_.storage_driver : options_.auto_destroy ? "overlay" : "dir";
  pools_ = std::make_unique<storage::Pools>(
      storage::Pools::Context{*global_, *journal_, log_, drivers, directory.empty() ? "" : directory + "/storage-pools", driver});
  volumes_ = std::make_unique<storage::CustomVolumes>(*global_, *journal_, *pools_, directory);
  backups_ = std::make_unique<backup::Files>(*global_, *journal_, directory);
  images_ = std::make_unique<image::Store>(
      image::Store::Context{*global_, *journal_, log_, *pools_, *files_, helper_path("incus-unpack"), directory.empty() ? "" : directory + "/images"});
  instances_ = std::make_unique<instance::Manager>(instance::Manager::Context{
      *global_, *local_, *journal_, log_, *pools_, *images_, *runtime_, directory, options_.auto_destroy,
      [this](const std::string &action, const std::string &source, const std::string &project, json::object context) {
        events_.lifecycle(action, source, project, std::move(context));
      },
      [this](const std::string &description, const std::string &, std::function<void()> task) { background(description, std::move(task)); },
      directory.empty() ? mock::file_servers() : instance::file_helpers(helper_path("incus-files"), directory_->lock_fd())});
}

/// What every host has: its one member, the default project, and that project's default profile.
void Engine::fill_store() {
  global_->transaction([&] {
    bool have = false;
    global_->query("SELECT 1 FROM nodes WHERE id = 1", {}, [&](const db::Row &) { have = true; });
    if (have) return;
    global_->exec("INSERT INTO nodes (id, name, address, schema, heartbeat) VALUES (1, 'none', '0.0.0.0', ?, ?)",
                  {std::int64_t(db::global_steps().back().number), base::format_time(base::now())});
    global_->exec("INSERT INTO projects (name, description) VALUES ('default', 'Default Incus project')");
    for (auto *feature : {"features.images", "features.networks", "features.networks.zones", "features.profiles", "features.storage.buckets", "features.storage.volumes"})
      global_->exec("INSERT INTO projects_config (project_id, key, value) VALUES (1, ?, 'true')", {feature});
    db::ProfileRow p;
    p.project = p.name = "default";
    p.description = "Default Incus profile";
    db::insert_profile(*global_, p);
  });
}

Engine::~Engine() {
  try {
    close();
  } catch (const std::exception &e) {
    log_.error("closing: {}", e.what());
  }
}

void Engine::close() {
  std::lock_guard only_one(close_mutex_);
  std::thread minutes;
  {
    std::lock_guard lock(background_mutex_);
    if (std::exchange(closed_, true)) return;
  }
  instances_->halt();
  {
    std::lock_guard lock(background_mutex_);
    minutes = std::move(minutes_);
  }
  if (minutes.joinable()) minutes.join();
  operations_->close();
  {
    std::unique_lock lock(background_mutex_);
    background_idle_.wait(lock, [&] { return background_ == 0; });
  }
  instances_->close_files();
  if (options_.auto_destroy) {
    instances_->destroy_all();
    pools_->close_all();
  } else if (directory_) {
    try {
      pools_->close_unused(instances_->pools_in_use());
    } catch (const std::exception &e) { // they stay, and the next host finds them
      log_.warning("pools stay mounted: {}", e.what());
    }
  }
  events_.close();
  // The runtime's watchers use the stores until they have ended; a directory that goes with the host may go first.
  runtime_->close();
  global_.reset();
  local_.reset();
  directory_.reset();
}

void Engine::background(const std::string &description, std::function<void()> task) {
  {
    std::lock_guard lock(background_mutex_);
    if (closed_) return;
    background_++;
  }
  sigset_t every, before;
  sigfillset(&every);
  pthread_sigmask(SIG_SETMASK, &every, &before);
  try {
    std::thread([this, description, task = std::move(task)] {
      try {
        task();
      } catch (const std::exception &e) {
        log_.error("{}: {}", description, e.what());
      }
      std::lock_guard lock(background_mutex_);
      background_--;
      background_idle_.notify_all();
    }).detach();
  } catch (const std::system_error &e) {
    log_.error("{}: no thread: {}", description, e.what());
    std::lock_guard lock(background_mutex_);
    background_--;
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

namespace {
/// What a row changes that the project asked for may only have borrowed from "default"; null: nothing of the kind. (Making new ones is no change of
/// those that are there.)
const char *feature_changed(const api::Row &row, const api::Request &q) {
  using R = api::RowId;
  switch (row.id) {
  case R::profile_put:
  case R::profile_patch:
  case R::profile_post:
  case R::profile_delete:
    return "features.profiles";
  case R::image_put:
  case R::image_patch:
  case R::image_delete:
  case R::image_secret_post:
  case R::image_export_post:
  case R::image_refresh_post:
  case R::alias_put:
  case R::alias_patch:
  case R::alias_post:
  case R::alias_delete:
    return "features.images";
  case R::volume_put:
  case R::volume_patch:
  case R::volume_post:
  case R::volume_delete:
  case R::volume_snapshots_post:
  case R::volume_snapshot_put:
  case R::volume_snapshot_patch:
  case R::volume_snapshot_post:
  case R::volume_snapshot_delete:
  case R::volume_backups_post:
  case R::volume_backup_post:
  case R::volume_backup_delete:
    return q.path.at(1) == "custom" ? "features.storage.volumes" : nullptr;
  default:
    return nullptr;
  }
}
} // namespace

api::Reply Engine::perform(const api::Row &row, api::Request request) {
  WorksFor scope(request.caller);
  // What a project borrows may be looked at and used there; changing it is for who may use the project that lends it.
  if (!request.from_admin())
    if (auto *feature = feature_changed(row, request)) api::require_project(request, db::project_of(*global_, request.project(), feature));
  return (this->*handler(row.id))(request);
}

std::shared_ptr<api::ListenerBackend> Engine::listen(const std::vector<std::string> &types, std::size_t capacity) { return events_.listen(types, capacity); }

void Engine::on_exec(const std::string &instance, TestExecHandler h) {
  if (!mock_) return Door::on_exec(instance, std::move(h));
  mock_->on_exec(instance, std::move(h));
}

api::Reply Engine::async(OperationSpec spec, Operations::Body body) {
  api::Reply r;
  r.operation = operations_->start(std::move(spec), std::move(body));
  return r;
}

instance::Report Engine::report_to(TaskOperation &op) {
  return [&op](const std::string &stage, std::uint64_t done, std::uint64_t total) { op.progress(stage, done, total); };
}

Etag etag_of(const json::value &changeable) {
  auto text = json::serialize(changeable);
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  EVP_Digest(text.data(), text.size(), digest, &size, EVP_sha256(), nullptr);
  std::string out;
  for (unsigned i = 0; i < size; i++) out += fmt::format("{:02x}", digest[i]);
  return out;
}

void check_match(const Etag &wanted, const Etag &current, const std::string &what) {
  if (!wanted.empty() && wanted != current)
    base::fail(ErrorCode::precondition_failed, "{} was changed since it was read: read it again and repeat the change", what);
}

Engine::Handler Engine::handler(api::RowId id) {
  using R = api::RowId;
  switch (id) {
#define X(name) \
  case R::name: return &Engine::name;
    INCUS_ROW_IDS(X)
#undef X
  }
  base::fail(ErrorCode::internal, "a row of the API has no handler");
}

} // namespace incus::embed
