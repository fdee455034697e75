// SPDX-License-Identifier: Apache-2.0
// The pools of one state directory: their rows, their open drivers, and the rules over both.
#pragma once
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <span>
#include <string>

#include <incus/storage.hpp>

#include "db/journal.hpp"
#include "db/records.hpp"
#include "storage/driver.hpp"

namespace incus::storage {

class Pools {
public:
  struct Context {
    db::Connection &global;
    db::Journal &journal;
    const base::Log &log;
    std::span<const DriverInfo *const> drivers;
    std::string directory;       ///< INCUS_DIR/storage-pools; empty in memory
    std::string default_driver;  ///< of a pool made by ensure_default()
  };
  explicit Pools(Context ctx);

  std::vector<StoragePoolInfo> list();
  StoragePoolInfo info(const std::string &name);
  void create(const StoragePoolCreate &request);
  void update(const std::string &name, const StoragePoolUpdate &to);
  void remove(const std::string &name);
  StoragePoolResources resources(const std::string &name);

  /// The open driver; throws not_found.
  std::shared_ptr<Driver> driver(const std::string &pool);
  /// One that has no row: for who looks what lies in it. Throws invalid_argument for a driver or configuration that cannot be.
  std::shared_ptr<Driver> open_unknown(const std::string &name, const std::string &driver, Config config);
  /// Gives such a one a row; `config` as info() shows it.
  void adopt(const std::string &name, const std::string &driver, const std::string &description, Config config);
  /// The pool's directory; empty in memory.
  std::string directory(const std::string &pool);
  /// Bytes a second that are copied from a pool to others at most; 0: as fast as it goes.
  std::uint64_t copy_rate(const std::string &pool);
  /// Of the drivers that can be used on this host, as it was when somebody asked first.
  const std::vector<std::string> &driver_names();
  /// Makes the pool "default" and gives the default profile a root disk on it, when the host has no pool at all.
  void ensure_default();
  /// Whether its storage is there.
  bool available(const std::string &pool);
  /// Puts the storage of all pools where it belongs, as far as it is there; close_all() takes it away.
  void open_all();
  void close_all();
  /// The same at the end of a host: pools of which something is used, by an instance that runs on (`used`) or by anybody else, stay.
  void close_unused(const std::set<std::string> &used);
  /// Differences between rows and disk, as text.
  void check(std::vector<std::string> &problems);

private:
  void close_each(const std::set<std::string> &but, bool unused);
  StoragePoolInfo to_info(const db::PoolRow &row);
  DriverContext context(const std::string &name, const DriverInfo &info, Config config) const;
  std::string directory_of(const std::string &name, const Config &config) const;
  Config without_own_place(const std::string &name, Config config) const;
  void refuse_state_directory(const Config &config) const;
  void recover_create(const boost::json::object &data);
  void recover_remove(const boost::json::object &data);

  Context ctx_;
  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<Driver>> open_;
  std::once_flag looked_;
  std::vector<std::string> names_;
};

/// Where an instance's volume is called in a pool: the plain name in the default project, PROJECT_NAME in others.
std::string store_name(const std::string &project, const std::string &name);

} // namespace incus::storage
