// SPDX-License-Identifier: Apache-2.0
// Intents: what a multi-step operation is about to do, written to local.db before it touches the host. Undoing (or finishing) one
// is the same code whether the operation failed or the process was killed and the next open finds the row.
#pragma once
#include <boost/json/object.hpp>
#include <functional>
#include <map>
#include <string>

#include "base/log.hpp"
#include "db/connection.hpp"

namespace incus::db {

class Journal {
public:
  /// Brings store, disk and kernel to one side of the intent: all done or nothing done, by what the global store says. Repeatable.
  using Recover = std::function<void(const boost::json::object &data)>;

  Journal(Connection &local, const base::Log &log) : local_(local), log_(log) {}
  void on(const std::string &kind, Recover recover) { recover_[kind] = std::move(recover); }
  /// Recovers every intent of an earlier process. One that fails stays and is reported; the others go on. Returns how many stayed.
  int recover_all();
  std::vector<std::string> pending();

private:
  friend class Intent;
  Connection &local_;
  const base::Log &log_;
  std::map<std::string, Recover> recover_;
};

/// One intent for the length of an operation. Destroyed without done(): recovers, and keeps the row if that fails.
class Intent {
public:
  /// `durable`: survives power loss. Intents about processes and other kernel state need not.
  Intent(Journal &journal, std::string kind, boost::json::object data, bool durable = true);
  ~Intent();
  Intent(const Intent &) = delete;
  Intent &operator=(const Intent &) = delete;
  boost::json::object &data() { return data_; }
  /// Stores changed data.
  void save();
  void done();

private:
  Journal &journal_;
  std::string kind_;
  boost::json::object data_;
  std::int64_t id_ = 0;
  bool open_ = true;
};

} // namespace incus::db
