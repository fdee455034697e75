// SPDX-License-Identifier: Apache-2.0
// The files of instances: one server an instance (a helper process, or memory), kept while it is used, ended before the root it works on
// changes hands. What it is asked is in helper/files/verbs.hpp.
#pragma once
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/fd.hpp"
#include "helper/protocol.hpp"
#include "instance/runtime.hpp"
#include "storage/driver.hpp"

namespace incus::instance {

/// Where the files of an instance are.
struct FilesPlace {
  Key key;
  bool running = false;
  base::Fd init;             ///< pidfd of a running guest's init
  std::shared_ptr<storage::Driver> driver;
  storage::VolumeRef volume;
  storage::RootfsPlan rootfs; ///< of a stopped one
  storage::IdMap ids;         ///< that its owners on disk have; empty: the guest's
};

/// Serves one instance. The destructor ends it and every session it has; then nothing of it holds the root any more.
class FileServer {
public:
  virtual ~FileServer() = default;
  /// Passes a request on, descriptors too (the caller keeps its own). False: it ended by itself, being idle; make another.
  virtual bool send(const helper::Message &m) = 0;
  /// It does nothing any more.
  virtual bool ended() = 0;
};
using FileServerMaker = std::function<std::unique_ptr<FileServer>(const FilesPlace &)>;

/// The servers in processes. `lock_fd`: the state directory's lock, which helpers inherit; stays the caller's.
FileServerMaker file_helpers(std::string helper, int lock_fd);

class Files {
  struct Slot {
    std::recursive_timed_mutex mutex; ///< recursive: an operation that holds an instance may stop it too
    std::unique_ptr<FileServer> server;
    std::vector<std::unique_ptr<FileServer>> leaving; ///< take nothing new
  };

public:
  explicit Files(FileServerMaker maker) : maker_(std::move(maker)) {}

  /// Hands a request to the instance's server, which is made when there is none.
  void send(std::int64_t id, const std::string &name, const std::function<FilesPlace()> &place, const helper::Message &m);
  /// Ends the instance's sessions.
  void end(std::int64_t id);
  /// Ends all, for good.
  void close();

  /// Ends the instance's sessions and lets none begin while it lives: its root is changing hands.
  class Hold {
  public:
    Hold(Files &files, std::int64_t id);

  private:
    std::shared_ptr<Slot> slot_;
    std::unique_lock<std::recursive_timed_mutex> lock_;
  };

private:
  std::shared_ptr<Slot> slot(std::int64_t id);
  FileServerMaker maker_;
  std::mutex mutex_;
  std::map<std::int64_t, std::shared_ptr<Slot>> slots_;
  bool closed_ = false;
};

} // namespace incus::instance
