// SPDX-License-Identifier: Apache-2.0
// Where image files stay.
#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <mutex>
#include <set>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/error.hpp"
#include "base/names.hpp"
#include "image/image.hpp"
#include "sys/copy.hpp"
#include "sys/fault.hpp"
#include "sys/fs.hpp"

namespace incus::image {

namespace {

using base::Fd;

class Directory final : public Files {
public:
  explicit Directory(const std::string &path) : dir_(sys::open_directory(path)) {}

  void put(const std::string &fingerprint, int image, int rootfs) override {
    std::string name = base::Fingerprint::parse(fingerprint);
    // The rootfs first: a file FINGERPRINT alone must never stand for half of a split image.
    if (rootfs >= 0)
      store(name + ".rootfs", rootfs);
    else
      drop(name + ".rootfs");
    store(name, image);
    sys::sync_directory(dir_.get());
  }

  std::pair<Fd, Fd> open(const std::string &fingerprint) override {
    std::string name = base::Fingerprint::parse(fingerprint);
    Fd image = sys::try_open_beneath(dir_.get(), name, O_RDONLY | O_NOFOLLOW);
    if (!image && errno == ENOENT) base::fail(ErrorCode::not_found, "the file of image {} is missing; import the image again", name);
    if (!image) base::fail_errno(errno, fmt::format("cannot open the file of image {}", name));
    Fd rootfs = sys::try_open_beneath(dir_.get(), name + ".rootfs", O_RDONLY | O_NOFOLLOW);
    if (!rootfs && errno != ENOENT) base::fail_errno(errno, fmt::format("cannot open the rootfs file of image {}", name));
    return {std::move(image), std::move(rootfs)};
  }

  void remove(const std::string &fingerprint) override {
    std::string name = base::Fingerprint::parse(fingerprint);
    drop(name);
    drop(name + ".rootfs");
    drop(name + "~tmp");
    drop(name + ".rootfs~tmp");
    sys::sync_directory(dir_.get());
  }

  std::vector<std::string> list() override {
    std::set<std::string> out;
    for (auto &entry : sys::list_directory(dir_.get())) {
      std::string name = entry.substr(0, 64);
      std::string rest = entry.substr(name.size());
      if (rest != "" && rest != ".rootfs" && rest != "~tmp" && rest != ".rootfs~tmp") continue;
      if (name.size() == 64 && name.find_first_not_of("0123456789abcdef") == std::string::npos) out.insert(name);
    }
    return {out.begin(), out.end()};
  }

private:
  void store(const std::string &name, int from) {
    sys::FaultScope fault("store image file");
    std::string temporary = name + "~tmp";
    if (::unlinkat(dir_.get(), temporary.c_str(), 0) < 0 && errno != ENOENT) base::fail_errno(errno, fmt::format("cannot remove {}", temporary));
    Fd to(::openat(dir_.get(), temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!to) base::fail_errno(errno, fmt::format("cannot make image file {}", name));
    try {
      if (::fchmod(to.get(), 0600) < 0) base::fail_errno(errno, fmt::format("cannot set the mode of image file {}", name));
      sys::copy_content(from, to.get(), "image file " + name);
      if (::fsync(to.get()) < 0) base::fail_errno(errno, fmt::format("cannot store image file {}", name));
      if (::renameat(dir_.get(), temporary.c_str(), dir_.get(), name.c_str()) < 0) base::fail_errno(errno, fmt::format("cannot name image file {}", name));
    } catch (...) {
      ::unlinkat(dir_.get(), temporary.c_str(), 0);
      throw;
    }
  }
  void drop(const std::string &name) {
    sys::FaultScope fault("remove image file");
    if (::unlinkat(dir_.get(), name.c_str(), 0) < 0 && errno != ENOENT) base::fail_errno(errno, fmt::format("cannot remove image file {}", name));
  }

  Fd dir_;
};

class Memory final : public Files {
public:
  void put(const std::string &fingerprint, int image, int rootfs) override {
    std::string name = base::Fingerprint::parse(fingerprint);
    Pair p{store(image), rootfs >= 0 ? store(rootfs) : Fd()};
    std::lock_guard lock(mutex_);
    all_.insert_or_assign(name, std::move(p));
  }
  std::pair<Fd, Fd> open(const std::string &fingerprint) override {
    std::string name = base::Fingerprint::parse(fingerprint);
    std::lock_guard lock(mutex_);
    auto it = all_.find(name);
    if (it == all_.end()) base::fail(ErrorCode::not_found, "the file of image {} is missing; import the image again", name);
    // A new open file each time, so that no two readers share a position.
    return {reopen(it->second.image), it->second.rootfs ? reopen(it->second.rootfs) : Fd()};
  }
  void remove(const std::string &fingerprint) override {
    std::string name = base::Fingerprint::parse(fingerprint);
    std::lock_guard lock(mutex_);
    all_.erase(name);
  }
  std::vector<std::string> list() override {
    std::lock_guard lock(mutex_);
    std::vector<std::string> out;
    for (auto &[name, p] : all_) out.push_back(name);
    return out;
  }

private:
  struct Pair {
    Fd image, rootfs;
  };
  static Fd store(int from) {
    Fd to(::memfd_create("incus-image", MFD_CLOEXEC));
    if (!to) base::fail_errno(errno, "cannot keep an image file in memory");
    sys::copy_content(from, to.get(), "image file in memory");
    return to;
  }
  static Fd reopen(const Fd &fd) {
    Fd again(::open(fmt::format("/proc/self/fd/{}", fd.get()).c_str(), O_RDONLY | O_CLOEXEC));
    if (!again) base::fail_errno(errno, "cannot open an image file in memory");
    return again;
  }
  std::mutex mutex_;
  std::map<std::string, Pair> all_;
};

} // namespace

std::unique_ptr<Files> files_in(const std::string &directory) { return std::make_unique<Directory>(directory); }
std::unique_ptr<Files> files_in_memory() { return std::make_unique<Memory>(); }

} // namespace incus::image
