// SPDX-License-Identifier: Apache-2.0
/// \file
/// Images and aliases (REST: /1.0/images).
#pragma once
#include <incus/operation.hpp>

namespace incus {
namespace api {
class Session;
}
inline namespace v0 {

/// An alias as an image shows it.
struct ImageAlias {
  std::string name;
  std::string description;
  std::string type; ///< "container" or "virtual-machine"
};

/// An alias on its own (GET /1.0/images/aliases/{name}).
struct ImageAliasInfo {
  std::string description;
  std::string target; ///< fingerprint
  std::string name;
  std::string type;
};

/// What can be changed of an image (PUT /1.0/images/{fingerprint}).
struct ImageUpdate {
  bool auto_update = false;
  Config properties;
  bool public_ = false; ///< JSON `public`
  Time expires_at;
  std::vector<std::string> profiles;
};

/// The server an image was fetched from (JSON `update_source`).
struct ImageOrigin {
  std::string alias;       ///< its name there
  std::string certificate; ///< PEM by which the server is known; empty: by certificate authorities
  std::string protocol;    ///< "incus", "direct"
  std::string server;
  std::string image_type;
};

/// An image as the REST API shows it.
struct ImageInfo {
  bool auto_update = false;
  Config properties;    ///< from metadata.yaml; `requirements.*` among them
  bool public_ = false;
  Time expires_at;
  std::vector<std::string> profiles;
  std::vector<ImageAlias> aliases;
  std::string architecture; ///< "x86_64", "aarch64", ...
  bool cached = false;
  std::string filename;
  std::string fingerprint;  ///< SHA-256 of the file, or of metadata and rootfs joined, in hex
  std::int64_t size = 0;    ///< bytes
  std::string type;         ///< "container" or "virtual-machine"
  Time created_at;
  Time last_used_at;
  Time uploaded_at;
  std::string project;
  std::optional<ImageOrigin> update_source; ///< absent: it was imported here
};

/// How to import (POST /1.0/images with a body).
struct ImageImport {
  std::string alias;             ///< also make this alias; empty: none
  std::vector<std::string> aliases; ///< and these
  Config properties;             ///< override those of metadata.yaml
  bool public_ = false;
  std::string filename;          ///< recorded name; empty: the file's own
  bool reuse = false;            ///< move aliases that exist already instead of refusing
  std::optional<std::vector<std::string>> profiles; ///< of instances made from it; absent: {"default"}
  std::optional<Time> expires_at; ///< overrides that of metadata.yaml
  std::string fingerprint;       ///< what it must turn out to be; empty: anything
};

/// An image in the store. A handle: cheap to copy, thread-safe.
class INCUS_EXPORT Image {
public:
  Image(std::shared_ptr<api::Session> session, std::string project, std::string fingerprint);
  /// Fingerprint, its unique beginning, or an alias, as given.
  const std::string &name() const { return name_; }
  ImageInfo info(Etag *etag = nullptr) const;
  void update(const ImageUpdate &to, const Etag &if_match = {});
  /// Writes the image back, byte for byte as it was imported (GET .../export): a unified image is written
  /// to `path`; a split one to `path` (metadata) and `path`.root (rootfs, `.squashfs` when it is one).
  /// Files must not exist yet. Returns the names written.
  std::vector<std::string> export_to(const std::string &path) const;
  /// DELETE; instances made from it stay.
  Operation remove();

private:
  std::shared_ptr<api::Session> session_;
  std::string project_, name_;
};

} // namespace v0
} // namespace incus
