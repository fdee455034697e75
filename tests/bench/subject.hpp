// SPDX-License-Identifier: Apache-2.0
// What is measured: something that starts, enters and stops one container called c1, and perhaps launches new ones.
#pragma once
#include <chrono>
#include <functional>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include <sys/types.h>

namespace bench {

struct Subject {
  virtual ~Subject() = default;
  virtual void start() = 0;
  virtual void exec_true() = 0;
  virtual void stop() = 0;
  virtual pid_t init() = 0;
  /// Create and start of the busybox image until a command has run; false when it cannot launch.
  virtual bool launch(const std::string &) { return false; }
  virtual void remove(const std::string &) {}
};

struct Sizes {
  std::string work;    ///< directory for everything
  std::string busybox; ///< image file
  std::string rootfs;  ///< the same unpacked, for raw liblxc
};

std::unique_ptr<Subject> make_ours(const Sizes &);
std::unique_ptr<Subject> make_raw(const Sizes &);
std::unique_ptr<Subject> make_official(const std::string &socket);

double milliseconds(const std::function<void()> &work);
double median(std::vector<double> values);
/// Runs a program by argv, quietly; throws when it fails.
void run(const std::vector<std::string> &argv, bool bare_path = false, bool quiet = true);
std::string read_file(const std::string &path);

/// What a running container has on the host; gone() is true once none of it is left.
class Traces {
public:
  /// Before the start: what is there anyway.
  Traces();
  /// While it runs: its processes, cgroups and links.
  void take(pid_t init);
  bool gone() const;
  std::string left() const;

private:
  std::set<std::string> links_before_;
  std::size_t mounts_before_ = 0;
  std::vector<pid_t> pids_;
  std::vector<std::string> cgroups_, links_;
};

} // namespace bench
