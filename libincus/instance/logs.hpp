// SPDX-License-Identifier: Apache-2.0
// Log files and recorded output of instances: logs/INSTANCE/ and logs/INSTANCE/exec-output/ below the state directory, or memory.
#pragma once
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "base/fd.hpp"

namespace incus::instance {

class Logs {
public:
  /// `directory`: INCUS_DIR/logs; empty: in memory.
  explicit Logs(std::string directory) : directory_(std::move(directory)) {}

  /// Which log files clients may see, and which recorded output. Throws invalid_argument naming the file.
  static void check_log(const std::string &file);
  static void check_output(const std::string &file);

  /// Names of what is there, sorted. `store`: the instance's name in the store.
  std::vector<std::string> logs(const std::string &store);
  std::vector<std::string> outputs(const std::string &store);
  /// For reading, from its beginning; throws not_found.
  base::Fd open_log(const std::string &store, const std::string &file);
  base::Fd open_output(const std::string &store, const std::string &file);
  void remove_log(const std::string &store, const std::string &file);
  void remove_output(const std::string &store, const std::string &file);

  /// A file for a command's output that has no name yet.
  base::Fd new_output(const std::string &store);
  void publish_output(const std::string &store, const std::string &file, const base::Fd &fd);

  /// In memory; on disk the runtime moves the directory. Idempotent.
  void rename(const std::string &from, const std::string &to);
  void forget(const std::string &store);

private:
  base::Fd directory(const std::string &store, bool output, bool make) const;
  std::vector<std::string> list(const std::string &store, bool output);
  base::Fd open(const std::string &store, const std::string &file, bool output);
  void remove(const std::string &store, const std::string &file, bool output);

  std::string directory_;
  std::mutex mutex_;
  std::map<std::string, std::map<std::string, base::Fd>> memory_; ///< store name -> recorded output by name
};

} // namespace incus::instance
