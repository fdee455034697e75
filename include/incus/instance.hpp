// SPDX-License-Identifier: Apache-2.0
/// \file
/// Instances: system containers (REST: /1.0/instances).
#pragma once
#include <incus/backup.hpp>
#include <incus/snapshot.hpp>

namespace incus {
inline namespace v0 {

/// Where a new instance's root comes from (JSON `source`).
struct InstanceSource {
  std::string type;        ///< "image", "none" or "copy"
  std::string alias;       ///< image: by alias
  std::string fingerprint; ///< image: by fingerprint or its unique beginning
  Config properties;       ///< image: the newest with these properties
  std::string source;      ///< copy: INSTANCE or INSTANCE/SNAPSHOT
  std::string project;     ///< copy: the source's project; empty: the same
  bool instance_only = false; ///< copy: without snapshots
  std::string server;      ///< image: on another server, "https://HOST:8443"; it is kept here as a cached image
  std::string certificate; ///< image: the server's certificate as PEM; empty: known by certificate authorities
  std::string protocol;    ///< image: "incus" (default)
  std::string secret;      ///< image: opens one that is not public
  std::string mode;        ///< "pull" (default)
  bool refresh = false;    ///< copy: brings a stopped copy that is there up to date; its configuration stays
  bool refresh_exclude_older = false; ///< with refresh: without snapshots from before the newest that both have
};

/// POST /1.0/instances.
struct InstanceCreate {
  std::string name;         ///< empty: a random one
  std::string type;         ///< "container" (default)
  std::string architecture; ///< empty: the image's, or the host's
  Config config;
  std::string description;
  Devices devices;
  bool ephemeral = false;
  std::optional<std::vector<std::string>> profiles; ///< absent: {"default"}
  std::string restore;
  bool stateful = false;
  bool start = false;       ///< start it in the same operation
  InstanceSource source;
  std::string instance_type; ///< limits by size: "c2-m4" is 2 CPUs and 4 GiB; what `config` says goes first
};

/// How to copy an instance; what is absent or empty is the source's.
struct InstanceCopy {
  std::string pool;     ///< of its root; empty: the source's
  std::string project;  ///< where to; empty: the same
  std::string snapshot; ///< copies this snapshot of it instead of its present state
  bool instance_only = false, refresh = false, refresh_exclude_older = false; ///< as in InstanceSource
  Config config;        ///< beside the source's
  Devices devices;
  std::optional<std::vector<std::string>> profiles;
};

/// Where to move an instance (POST /1.0/instances/{name}); what is absent or empty stays.
struct InstanceMove {
  std::string name, pool, project;
  bool instance_only = false; ///< its snapshots are lost
  std::optional<Config> config;
  std::optional<Devices> devices;
  std::optional<std::vector<std::string>> profiles;
};

/// PUT /1.0/instances/{name}: what is absent here is removed from the instance.
struct InstanceUpdate {
  std::string architecture;
  Config config;
  std::string description;
  Devices devices;
  bool ephemeral = false;
  std::vector<std::string> profiles;
  std::string restore;      ///< name of a snapshot to restore; the other fields are then ignored
  bool stateful = false;
};

/// An instance as the REST API shows it.
struct InstanceInfo {
  std::string architecture;
  Config config;
  Time created_at;
  std::string description;
  Devices devices;
  bool ephemeral = false;
  Config expanded_config;   ///< profiles merged with its own
  Devices expanded_devices;
  Time last_used_at;
  std::string location;
  std::string name;
  std::vector<std::string> profiles;
  std::string project;
  bool stateful = false;
  std::string status;       ///< "Stopped", "Running", "Frozen", "Error"
  std::int64_t status_code = 0; ///< 102, 103, 110, 112
  std::string type;         ///< "container"
};

struct InstanceStateAddress {
  std::string family;  ///< "inet" or "inet6"
  std::string address;
  std::string netmask; ///< prefix length
  std::string scope;   ///< "global", "link" or "local"
};
struct InstanceStateCounters {
  std::int64_t bytes_received = 0, bytes_sent = 0, packets_received = 0, packets_sent = 0;
  std::int64_t errors_received = 0, errors_sent = 0, packets_dropped_outbound = 0, packets_dropped_inbound = 0;
};
struct InstanceStateNetwork {
  std::vector<InstanceStateAddress> addresses;
  InstanceStateCounters counters;
  std::string hwaddr;
  std::string host_name; ///< the host's end of a veth pair
  std::int64_t mtu = 0;
  std::string state;     ///< "up" or "down"
  std::string type;      ///< "broadcast", "loopback", "point-to-point"
};
struct InstanceStateDisk {
  std::int64_t usage = 0; ///< bytes
  std::int64_t total = 0; ///< bytes; 0: no limit
};
struct InstanceStateMemory {
  std::int64_t usage = 0, usage_peak = 0, total = 0, swap_usage = 0, swap_usage_peak = 0; ///< bytes
};
struct InstanceStateCpu {
  std::int64_t usage = 0;          ///< nanoseconds of CPU time since start
  std::int64_t allocated_time = 0; ///< nanoseconds a second that it may use; 0: not known
};

/// GET /1.0/instances/{name}/state.
struct InstanceState {
  std::string status;
  std::int64_t status_code = 0;
  std::map<std::string, InstanceStateDisk> disk;
  InstanceStateMemory memory;
  std::map<std::string, InstanceStateNetwork> network;
  std::int64_t pid = 0;       ///< of the guest's init on the host; 0 when stopped
  std::int64_t processes = 0; ///< -1: not known
  InstanceStateCpu cpu;
  Time started_at;
};

/// GET /1.0/instances?recursion=2.
struct InstanceFull {
  InstanceInfo info;
  std::optional<InstanceState> state;
  std::vector<SnapshotInfo> snapshots;
};

/// PUT /1.0/instances/{name}/state.
struct InstanceStateChange {
  std::string action;       ///< "start", "stop", "restart", "freeze" or "unfreeze"
  std::int64_t timeout = -1; ///< seconds to wait for a clean stop before giving up; -1: the default of 600
  bool force = false;       ///< stop without asking the guest
  bool stateful = false;
};

/// POST /1.0/instances/{name}/exec.
struct ExecRequest {
  std::vector<std::string> command;
  Config environment;
  std::uint32_t user = 0, group = 0;
  std::string cwd;          ///< empty: /root for user 0, else /
  bool interactive = false; ///< a pty; stdin and stdout then carry its bytes and stderr is not used
  std::int64_t width = 0, height = 0; ///< of the pty
};

/// Descriptors for a command; -1 means /dev/null. The library duplicates them, the caller keeps its own.
struct ExecIo {
  int stdin_fd = -1, stdout_fd = -1, stderr_fd = -1;
};

/// What a captured command left.
struct ExecResult {
  int exit_code = -1; ///< the command's; 126 not executable, 127 not found, 128+n killed by signal n
  std::string stdout_data, stderr_data;
};

/// A running command. Move-only; thread-safe. Closing or destroying it ends the command with SIGKILL.
class INCUS_EXPORT ExecSession {
public:
  explicit ExecSession(Operation op);
  ~ExecSession();
  ExecSession(ExecSession &&) noexcept;
  ExecSession &operator=(ExecSession &&) noexcept;
  /// Blocks until the command ends; its exit code as in ExecResult.
  int wait();
  /// As wait(), or nothing when `timeout` ran out.
  std::optional<int> wait_for(std::chrono::milliseconds timeout);
  /// Sends a signal number of Linux to the command.
  void signal(int number);
  /// New size of the pty in characters; only for interactive sessions.
  void resize(int width, int height);
  void close();
  Operation operation() const { return op_; }

private:
  Operation op_;
  bool open_ = true;
};

/// A file, directory or symbolic link in an instance.
struct FileInfo {
  std::string type;        ///< "file", "directory" or "symlink"
  std::uint32_t uid = 0, gid = 0; ///< as the guest sees them
  std::uint32_t mode = 0;  ///< permissions
  std::int64_t size = 0;   ///< of a regular file
  Time modified_at;
};

/// How a file or directory is made; owner and mode are for new ones.
struct FileOptions {
  std::optional<std::uint32_t> uid, gid; ///< default: the guest's root
  std::optional<std::uint32_t> mode;     ///< default: 0644, directories 0755
  bool append = false;     ///< at the end of a file that is there
};

/// How far a start must have come for wait_ready.
enum class ReadyLevel {
  exec,    ///< a command can be run in it
  booted,  ///< its init said READY=1 on NOTIFY_SOCKET, or an init without that reached its end of start
  network, ///< an interface other than loopback has a global address
};

/// A system container. A handle: cheap to copy, thread-safe, valid while its Host is open; it does not
/// prove that the instance exists.
class INCUS_EXPORT Instance {
public:
  Instance(std::shared_ptr<api::Session> session, std::string project, std::string name);
  const std::string &name() const { return name_; }
  const std::string &project() const { return project_; }

  InstanceInfo info(Etag *etag = nullptr) const;
  InstanceState state() const;

  /// Starts it (PUT .../state). Refused with `conflict` when it runs already.
  Operation start();
  /// Asks the guest to stop and waits `timeout` (default 600 s); `timeout` error when it did not, then it
  /// still runs. With `force` it is killed at once.
  Operation stop(bool force = false, std::optional<std::chrono::seconds> timeout = {});
  Operation restart(bool force = false, std::optional<std::chrono::seconds> timeout = {});
  Operation pause();  ///< freeze every process
  Operation resume();
  /// Any action of PUT .../state.
  Operation change_state(const InstanceStateChange &change);
  /// Blocks until it is ready; `timeout` error when it was not in time, `conflict` when it stopped.
  void wait_ready(ReadyLevel level = ReadyLevel::booted,
                  std::chrono::milliseconds timeout = std::chrono::seconds(60)) const;

  Operation update(const InstanceUpdate &to, const Etag &if_match = {});
  /// Merges: only keys and devices given change; an empty value unsets a key (PATCH).
  void patch(const Config &config, const Devices &devices = {}, const Etag &if_match = {});
  /// POST /1.0/instances/{name}; only when stopped. The handle follows the new name.
  Operation rename(const std::string &new_name);
  /// To another pool, project or name, with its snapshots; only when stopped. The handle follows.
  Operation move(const InstanceMove &to);
  /// Copies it inside the host (POST /1.0/instances with a source of type "copy"). Errors: already_exists (without `refresh`), not_found.
  Operation copy(const std::string &new_name, const InstanceCopy &how = {}) const;
  /// DELETE; refused while it runs ("Instance is running") and when security.protection.delete is set.
  Operation remove();

  /// Runs a command and captures its output; `input` is written to its stdin.
  ExecResult exec(const std::vector<std::string> &argv, const std::string &input = {}) const;
  ExecResult exec(const ExecRequest &request, const std::string &input = {}) const;
  /// Runs a command on the caller's descriptors.
  ExecSession exec_session(const ExecRequest &request, const ExecIo &io) const;

  /// What its console printed since it started, the last 128 KiB at most (GET .../console?type=log).
  std::string console_log() const;
  void clear_console_log();

  /// Files, running or stopped. Paths are the guest's; links are resolved inside it. Errors: not_found, invalid_argument (a device, a
  /// directory where a file is meant), conflict (a directory that is not empty), no_space.
  FileInfo file_info(const std::string &path) const; ///< of a link itself
  std::string read_file(const std::string &path) const;
  /// Writes its content to a descriptor; returns how many bytes.
  std::int64_t pull_file(const std::string &path, int to_fd) const;
  void write_file(const std::string &path, const std::string &content, const FileOptions &options = {});
  /// Writes what a descriptor gives until its end. With a pipe or socket nothing is held in memory.
  void push_file(const std::string &path, int from_fd, const FileOptions &options = {});
  std::vector<std::string> list_directory(const std::string &path) const; ///< names, sorted
  void make_directory(const std::string &path, const FileOptions &options = {}); ///< one that is there stays as it is
  void make_symlink(const std::string &path, const std::string &target);
  std::string read_symlink(const std::string &path) const; ///< where it leads, as an absolute path
  /// A file, a link or an empty directory; with `recursive` a directory with all that is in it.
  void remove_file(const std::string &path, bool recursive = false);
  /// A connected socket with an SFTP server (version 3) of the instance behind it; the caller closes it.
  int open_sftp() const;

  Operation create_snapshot(const SnapshotCreate &request);
  std::vector<SnapshotInfo> snapshots() const;
  Snapshot snapshot(const std::string &snapshot_name) const;
  /// Puts disk and configuration back to a snapshot (PUT with `restore`).
  Operation restore(const std::string &snapshot_name);

  /// POST .../backups: a file that the host keeps. The operation's resources name it, also when its name was left empty.
  Operation create_backup(const BackupCreate &request = {});
  std::vector<BackupInfo> backups() const;
  Backup backup(const std::string &backup_name) const;

private:
  std::shared_ptr<api::Session> session_;
  std::string project_, name_;
};

} // namespace v0
} // namespace incus
