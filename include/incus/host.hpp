// SPDX-License-Identifier: Apache-2.0
/// \file
/// The Host: what a program opens (REST: /1.0).
#pragma once
#include <functional>
#include <incus/event.hpp>
#include <incus/image.hpp>
#include <incus/instance.hpp>
#include <incus/profile.hpp>
#include <incus/project.hpp>
#include <incus/storage.hpp>

namespace incus {
namespace api {
class Session;
}
inline namespace v0 {

/// Severity of a log line.
enum class LogLevel { debug, info, warning, error };

/// How to open a Host.
struct OpenOptions {
  /// Instances of this Host die with this process, even when it is killed by SIGKILL; pools made by default
  /// use the overlay driver.
  bool auto_destroy = false;
  /// With auto_destroy: also remove the state directory itself at close or death.
  bool remove_directory = false;
  /// Driver of the `default` pool when one has to be made: "dir" or "overlay"; empty: by auto_destroy.
  std::string storage_driver;
  /// How long to wait for the helpers of a process that died while it held the directory.
  std::chrono::milliseconds takeover_timeout = std::chrono::seconds(10);
  /// https: our certificate and its key, each a PEM text or the path of one. Empty: client.crt and client.key in $INCUS_CONF or
  /// ~/.config/incus, if they are there.
  std::string client_certificate, client_key;
  /// https: how the server is known: the SHA-256 fingerprint of its certificate (64 hexadecimal digits), the certificate as PEM, or the path of
  /// that. Empty: by `trust_token`, or else by the certificate authorities that this machine trusts.
  std::string server_certificate;
  /// https: what the server's administrator handed out. It names the server's fingerprint and addresses (the URI may then be "https://"); our
  /// certificate is added to the server's trust store with it unless it is there already.
  std::string trust_token;
  /// unix and https: how long a connection may take to come up.
  std::chrono::milliseconds connect_timeout = std::chrono::seconds(10);
  /// Receives log lines; called from any thread, must not call back into the Host. Empty: logs are dropped.
  std::function<void(LogLevel, const std::string &)> log;
};

/// GET /1.0: what the host is and can do.
struct ServerInfo {
  Config config;
  std::vector<std::string> api_extensions;
  std::string api_status;  ///< "stable"
  std::string api_version; ///< "1.0"
  std::string auth;        ///< "trusted"
  bool public_ = false;
  std::vector<std::string> auth_methods;
  std::string auth_user_name, auth_user_method;
  Json environment;        ///< kernel, architectures, driver, storage, server name and version
};

/// One call of the REST API with all that belongs to it. Host::request is the short form.
struct RawCall {
  std::string method, path;                   ///< the path with its query
  std::string body;                           ///< a JSON document, or empty
  Etag if_match;
  std::map<std::string, std::string> headers; ///< "X-Incus-type", ...; names in any case
  /// Descriptors by role: "body" (bytes sent instead of JSON), "image", "metadata" and "rootfs" (import), "stdin", "stdout" and "stderr"
  /// (exec, console). They are duplicated; the caller keeps its own.
  std::vector<std::pair<std::string, int>> streams;
};

/// Its answer.
struct RawReply {
  std::string metadata;                       ///< JSON document; of an asynchronous row the operation's
  Etag etag;
  std::optional<Operation> operation;         ///< asynchronous rows
  std::map<std::string, std::string> headers; ///< lower case
  /// Bytes of a row that answers no JSON. The caller reads each `fd` to its end and closes it.
  struct Body {
    std::string name, content_type;
    int fd = -1;
    std::int64_t size = -1;                   ///< -1: not known
  };
  std::vector<Body> bodies;
  std::string location;                       ///< of what was created
};

/// What a test registers with a `test://` host to answer exec: gets the request and stdin, returns the result.
using TestExecHandler = std::function<ExecResult(const std::string &instance, const ExecRequest &, const std::string &input)>;

/// A certificate by which a client makes itself known to servers.
struct ClientCertificate {
  std::string certificate, key; ///< PEM
  std::string fingerprint;      ///< SHA-256, 64 hexadecimal digits
};
/// Makes a key (ECDSA P-384) and a certificate for it, valid for ten years.
INCUS_EXPORT ClientCertificate make_client_certificate(const std::string &name);

/// An engine: `embed:///dir` (in this process; `embed:` is $INCUS_DIR or /var/lib/incus), `test://` (in memory), or one that a daemon serves:
/// `unix:///path/unix.socket` (`unix:` is $INCUS_SOCKET, $INCUS_DIR/unix.socket, /run/incus/unix.socket or /var/lib/incus/unix.socket) and
/// `https://host:8443`, of this project or the official incusd.
/// Move-only, thread-safe. All state hangs off it; several in one process do not know of each other. Closing
/// waits for operations that write and leaves instances running (unless auto_destroy). After fork() every call
/// in the child fails with ErrorCode::unavailable.
class INCUS_EXPORT Host {
public:
  /// Opens it. Errors: invalid_argument (URI), permission_denied (not root, read-only), unavailable (held by another
  /// process: the message names its pid; no server answers), not_supported (newer schema, or a directory of the official daemon), forbidden
  /// (the server's certificate is not the one expected), timeout (connect_timeout).
  static Host open(const std::string &uri, const OpenOptions &options = {});
  ~Host();
  Host(Host &&) noexcept;
  Host &operator=(Host &&) noexcept;
  Host(const Host &) = delete;
  Host &operator=(const Host &) = delete;

  /// Ends the session; idempotent. Handles made from it fail with `unavailable` afterwards.
  void close();
  const std::string &uri() const;
  ServerInfo info() const;

  std::vector<std::string> project_names() const;
  Project project(const std::string &name) const;

  std::vector<InstanceInfo> instances() const;        ///< recursion=1
  std::vector<InstanceFull> instances_full() const;   ///< recursion=2, with state and snapshots
  std::vector<std::string> instance_names() const;    ///< recursion=0
  Instance instance(const std::string &name, const std::string &project = "default") const;
  /// POST /1.0/instances. The operation's resources name the instance, also when its name was left empty.
  Operation create_instance(const InstanceCreate &request, const std::string &project = "default");
  /// Creates, starts and waits until it is ready: `source` and `start` are filled in.
  Instance launch(const std::string &name, const std::string &image, InstanceCreate request = {},
                  ReadyLevel level = ReadyLevel::booted,
                  std::chrono::milliseconds timeout = std::chrono::seconds(60));

  /// Makes an instance of a backup that a descriptor gives until its end; nothing is held in memory. Errors: already_exists, corrupt,
  /// invalid_argument (no backup of an instance), not_found (pool, profile), no_space.
  Operation import_instance(int from_fd, const BackupImport &how = {}, const std::string &project = "default");
  Operation import_instance(const std::string &path, const BackupImport &how = {}, const std::string &project = "default");

  std::vector<ImageInfo> images() const;
  /// By fingerprint, its unique beginning, or alias.
  Image image(const std::string &name) const;
  /// Imports a unified image file, or an unpacked image directory (metadata.yaml and rootfs/).
  Operation import_image(const std::string &path, const ImageImport &how = {});
  /// Imports a split image: metadata tarball and rootfs (tarball or squashfs).
  Operation import_split_image(const std::string &metadata_path, const std::string &rootfs_path, const ImageImport &how = {});
  std::vector<ImageAliasInfo> image_aliases() const;
  ImageAliasInfo image_alias(const std::string &name) const;
  void create_image_alias(const std::string &name, const std::string &fingerprint, const std::string &description = {});
  void rename_image_alias(const std::string &name, const std::string &new_name);
  void delete_image_alias(const std::string &name);

  std::vector<ProfileInfo> profiles() const;
  Profile profile(const std::string &name) const;
  void create_profile(const ProfileCreate &request);

  std::vector<StoragePoolInfo> storage_pools() const;
  StoragePool storage_pool(const std::string &name) const;
  void create_storage_pool(const StoragePoolCreate &request);

  /// Instances and custom volumes on disk that the store does not know (POST /internal/recover/validate), in its pools and those given.
  /// `forbidden` on https: a server answers it on its unix socket alone.
  RecoverReport recover_validate(const std::vector<RecoverPool> &pools = {});
  /// Gives rows to them, and to the pools given; repeatable. `conflict` while something is missing.
  void recover_import(const std::vector<RecoverPool> &pools = {});

  std::vector<OperationInfo> operations() const;
  Operation operation(const std::string &id) const;
  /// `types`: "lifecycle", "operation", "logging"; empty means all. `capacity`: events kept.
  EventListener listen(const std::vector<std::string> &types = {}, std::size_t capacity = 1024) const;

  /// Any row of the REST API: `body` and the result are JSON documents (the reply's `metadata`). Asynchronous rows
  /// return the operation's document and go on in the background.
  std::string request(const std::string &method, const std::string &path_and_query, const std::string &body = {});

  /// As request(), with headers, entity tags and streams in both directions.
  RawReply call(const RawCall &call);

  /// test:// only: answers exec in `instance` ("" means any instance). `not_supported` on other doors.
  void on_exec(const std::string &instance, TestExecHandler handler);

  /// For the library itself.
  const std::shared_ptr<api::Session> &session() const { return session_; }

private:
  friend class api::Session;
  explicit Host(std::shared_ptr<api::Session> session);
  std::shared_ptr<api::Session> session_;
};

} // namespace v0
} // namespace incus
