// SPDX-License-Identifier: Apache-2.0
// Where backups lie: DIRECTORY/backups/instances/STORE_NAME/NAME and DIRECTORY/backups/custom/POOL/STORE_NAME/NAME, directories 0700. One that is
// empty is not there.
#pragma once
#include <string>
#include <vector>

#include "base/fd.hpp"

namespace incus::storage {

class BackupPlace {
public:
  /// `state`: the state directory; empty in memory: nothing is ever there. `owner`: "instances/c1", "custom/POOL/default_v1".
  BackupPlace(const std::string &state, std::string owner) : state_(state), owner_(std::move(owner)) {}
  static BackupPlace of_instance(const std::string &state, const std::string &store) { return {state, "instances/" + store}; }
  static BackupPlace of_volume(const std::string &state, const std::string &pool, const std::string &store) { return {state, "custom/" + pool + "/" + store}; }

  const std::string &owner() const { return owner_; }
  /// A new file for writing; throws already_exists.
  base::Fd make(const std::string &name) const;
  base::Fd open(const std::string &name) const; ///< throws not_found
  std::vector<std::string> list() const;
  // All idempotent: done already is no error.
  void rename(const std::string &name, const std::string &to) const;
  void remove(const std::string &name) const;
  void remove_all() const;
  void move_to(const BackupPlace &to) const;

private:
  base::Fd directory() const; ///< empty when it is not there
  std::string state_, owner_;
};

} // namespace incus::storage
