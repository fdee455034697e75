// SPDX-License-Identifier: Apache-2.0
#include <cstdlib>

#include "base/error.hpp"
#include "base/names.hpp"
#include "embed/engine.hpp"
#include "remote/door.hpp"
#include "remote/image_server.hpp"

namespace incus {
inline namespace v0 {

Host Host::open(const std::string &uri, const OpenOptions &options) {
  auto scheme = uri.substr(0, uri.find(':'));
  auto rest = scheme.size() == uri.size() ? std::string() : uri.substr(scheme.size() + 1);
  std::unique_ptr<api::Door> door;
  if (scheme == "embed") {
    if (rest.starts_with("//")) rest.erase(0, 2);
    if (rest.empty()) {
      const char *dir = std::getenv("INCUS_DIR");
      rest = dir && *dir ? dir : "/var/lib/incus";
    }
    if (rest.find('\0') != std::string::npos || rest[0] != '/')
      base::fail(ErrorCode::invalid_argument, "invalid URI {}: embed:// takes an absolute path, as in embed:///var/lib/incus", base::quoted(uri));
    door = std::make_unique<embed::Engine>(rest, options, remote::image_transfers());
  } else if (uri == "test://" || uri == "test:") {
    door = std::make_unique<embed::Engine>(options, remote::image_transfers());
  } else if (scheme.size() != uri.size() && (scheme == "unix" || scheme == "https")) {
    if (options.auto_destroy || options.remove_directory || !options.storage_driver.empty())
      base::fail(ErrorCode::invalid_argument, "auto_destroy, remove_directory and storage_driver are for embed: and cannot be used with {}", base::quoted(uri));
    door = std::make_unique<remote::RemoteDoor>(uri, options);
  } else {
    base::fail(ErrorCode::invalid_argument,
               "invalid URI {}: must be embed:, embed:///DIRECTORY, test://, unix:, unix:///PATH/unix.socket or https://HOST:8443", base::quoted(uri));
  }
  return Host(std::make_shared<api::Session>(uri, std::move(door)));
}

} // namespace v0
} // namespace incus
