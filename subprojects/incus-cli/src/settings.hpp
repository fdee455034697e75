// SPDX-License-Identifier: Apache-2.0
// The client's own configuration: the official client's files.
#pragma once
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace cli {

struct Remote {
  std::string address, auth_type, project, protocol = "incus";
  int keepalive = 0;
  bool is_public = false;
  bool is_static = false; ///< cannot be removed
  bool is_global = false; ///< from /etc/incus
};

class Settings {
public:
  /// Reads $INCUS_CONF/config.yml (or ~/.config/incus/config.yml) and the system-wide one; defaults when there is none.
  static Settings load();
  void save() const;

  std::string directory; ///< where config.yml stands; empty: none
  bool existed = false;  ///< config.yml was there
  std::string default_remote = "local";
  std::map<std::string, Remote> remotes;
  std::map<std::string, std::string> aliases;

  std::string file(const std::string &name) const { return directory + "/" + name; }
  /// Makes the directory, or the one of that name in it.
  void make_directory(const std::string &below = {}) const;
  std::string server_certificate(const std::string &remote) const;
  const Remote &remote(const std::string &name) const; ///< throws Failure
  /// Makes client.crt and client.key unless they are there.
  void make_client_certificate() const;
};

/// $INCUS_DIR or /var/lib/incus.
std::string state_directory();
/// Where the local daemon listens.
std::string local_socket();
/// SHA-256 of a certificate (PEM), in hex; empty when it is none.
std::string certificate_fingerprint(const std::string &pem);

} // namespace cli
