// SPDX-License-Identifier: Apache-2.0
#include "storage/drivers/btrfs_pool.hpp"

#include <cerrno>
#include <chrono>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/error.hpp"
#include "base/ids.hpp"
#include "base/names.hpp"
#include "schema/schema.hpp"
#include "sys/fault.hpp"
#include "sys/fs.hpp"
#include "sys/mounts.hpp"
#include "sys/process.hpp"
#include "sys/subvolumes.hpp"

namespace incus::storage {

using base::fail;
using base::fail_errno;
using base::Fd;
using sys::FaultScope;
namespace fs = std::filesystem;

namespace {

constexpr std::int64_t gib = 1ll << 30, smallest = 110ll << 20; // what mkfs.btrfs takes

std::string value(const Config &config, const char *key) {
  auto it = config.find(key);
  return it == config.end() ? "" : it->second;
}

std::string loop_file(const DriverContext &c) { return c.disks + "/" + c.pool + ".img"; }
bool wants_loop(const DriverContext &c) { return value(c.config, "source").empty() || value(c.config, "source") == loop_file(c); }

bool is_block_device(const std::string &path) {
  struct stat st;
  return ::stat(path.c_str(), &st) == 0 && S_ISBLK(st.st_mode);
}

/// Incus' rule: a fifth of what is free, at least 5 GiB of it, at most 30.
std::string default_size(const std::string &state) {
  struct statvfs st;
  if (::statvfs(state.c_str(), &st) != 0) fail_errno(errno, fmt::format("cannot ask for the free space of {}", base::quoted(state)));
  auto free = static_cast<std::int64_t>(st.f_bavail * std::uint64_t(st.f_frsize)) / gib;
  if (free < 5) fail(ErrorCode::no_space, "cannot choose the size of the pool: {} has less than 5 GiB free; say it by the key \"size\"", base::quoted(state));
  return fmt::format("{}GiB", free > 30 ? 30 : free == 5 ? 5 : std::max<std::int64_t>(free / 5, 1));
}

[[noreturn]] void refuse(const std::string &source, const std::string &why) { fail(ErrorCode::invalid_argument, "config key source, value {}: {}", base::quoted(source), why); }

bool below(const fs::path &path, const fs::path &top) {
  auto [a, b] = std::mismatch(top.begin(), top.end(), path.begin(), path.end());
  return a == top.end();
}

void check_device(const std::string &source, bool wipe) {
  Fd fd(::open(source.c_str(), O_RDWR | O_EXCL | O_CLOEXEC));
  if (!fd && errno == EBUSY) refuse(source, "the device is in use; unmount what is on it");
  if (!fd) fail_errno(errno, fmt::format("cannot open device {}", base::quoted(source)));
  char magic[8] = {};
  if (!wipe && ::pread(fd.get(), magic, sizeof magic, 0x10040) == sizeof magic && std::memcmp(magic, "_BHRfS_M", 8) == 0)
    refuse(source, "there is a Btrfs file system on the device; set source.wipe to true to lose what is on it");
}

/// Set as long as a pool is made whose source is a subvolume of its own: that is taken away with a pool that is not to be.
constexpr const char *made_key = "volatile.source_made";

/// A source that is not there becomes a subvolume, where its directory is on a Btrfs file system.
void check_new_directory(const DriverContext &c, const std::string &source) {
  std::error_code error;
  fs::path path(source), parent = fs::canonical(path.parent_path(), error), state = fs::weakly_canonical(fs::path(c.directory).parent_path().parent_path());
  auto name = path.filename().string();
  if (error || name.empty() || name == "." || name == "..") refuse(source, "is not there, nor is the directory in which it could be made");
  if (below(parent, state))
    refuse(source, fmt::format("must not lie in the state directory {}; of what is in there only {} can be a source", base::quoted(state.string()), base::quoted(c.directory)));
  if (!sys::is_btrfs(sys::open_directory(parent).get())) refuse(source, "is not there, and could only be made on a Btrfs file system");
}

void check_directory(const DriverContext &c, const std::string &source) {
  std::error_code error;
  fs::path real = fs::canonical(source, error), state = fs::weakly_canonical(fs::path(c.directory).parent_path().parent_path());
  if (error || !fs::is_directory(real)) refuse(source, "must be a block device or an existing directory; leave it out for a loop file");
  if (real == "/") refuse(source, "must not be the root directory");
  if (below(real, state) || below(state, real))
    refuse(source, fmt::format("must not lie in the state directory {}, nor hold it; of what is in there only {} can be a source", base::quoted(state.string()), base::quoted(c.directory)));
  Fd fd = sys::open_directory(real);
  if (!sys::is_btrfs(fd.get())) refuse(source, "does not lie on a Btrfs file system");
  if (auto names = sys::list_directory(fd.get()); !names.empty()) refuse(source, fmt::format("must be empty, but holds {}", base::quoted(names[0])));
}

/// The file system's id, where there is one.
std::string file_system_id(const std::string &device) {
  Fd fd(::open(device.c_str(), O_RDONLY | O_CLOEXEC));
  unsigned char block[0x48];
  if (!fd || ::pread(fd.get(), block, sizeof block, 0x10000) != sizeof block || std::memcmp(block + 0x40, "_BHRfS_M", 8) != 0) return {};
  std::string out;
  for (int i = 0; i < 16; i++) out += fmt::format("{}{:02x}", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", block[0x20 + i]);
  return out;
}

std::string mount_options(const Config &config) {
  auto options = value(config, "btrfs.mount_options");
  return options.empty() ? "user_subvol_rm_allowed" : options;
}

} // namespace

std::string btrfs_maker() {
  for (auto *path : {"/usr/sbin/mkfs.btrfs", "/sbin/mkfs.btrfs", "/usr/bin/mkfs.btrfs"})
    if (::access(path, X_OK) == 0) return path;
  return {};
}

Config BtrfsPool::prepare(const DriverContext &context) {
  auto c = context;
  auto source = value(c.config, "source");
  bool wipe = schema::truthy(value(c.config, "source.wipe"));
  c.config["volatile.initial_source"] = source;
  if (source.empty()) c.config.erase("volatile.initial_source");
  if (fs::exists(fs::symlink_status(c.directory)) && source != c.directory) {
    auto names = sys::list_directory(sys::open_directory(c.directory).get());
    if (!names.empty() || sys::is_mount_point(c.directory)) fail(ErrorCode::conflict, "directory {} is there already and in use; remove it", base::quoted(c.directory));
  }
  if (wants_loop(c)) {
    c.config["source"] = loop_file(c);
    if (value(c.config, "size").empty()) c.config["size"] = default_size(fs::path(c.disks).parent_path());
    if (schema::parse_size(c.config["size"]) < smallest)
      fail(ErrorCode::invalid_argument, "config key size, value {}: a Btrfs file system needs at least {} MiB", base::quoted(c.config["size"]), smallest >> 20);
    if (fs::exists(fs::symlink_status(loop_file(c)))) fail(ErrorCode::conflict, "the loop file {} is there already; remove it, or give the pool another name", base::quoted(loop_file(c)));
    return c.config;
  }
  if (source[0] != '/' || !base::is_one_line(source)) refuse(source, "must be an absolute path");
  if (!value(c.config, "size").empty()) fail(ErrorCode::invalid_argument, "config key size is for pools on a loop file; {} has a size of its own", base::quoted(source));
  if (source == c.directory) { // on the file system of the state directory
    if (!sys::is_btrfs(sys::open_directory(fs::path(source).parent_path()).get())) refuse(source, "does not lie on a Btrfs file system");
    if (fs::exists(fs::symlink_status(source)) && !fs::is_empty(source)) refuse(source, "must be empty");
  } else if (is_block_device(source)) {
    check_device(source, wipe);
  } else if (!fs::exists(fs::symlink_status(source))) {
    check_new_directory(c, source);
    c.config[made_key] = "true";
  } else {
    check_directory(c, source);
  }
  return c.config;
}

std::string BtrfsPool::source() const { return value(context_.config, "source"); }

BtrfsPool::Kind BtrfsPool::kind() const {
  auto s = source();
  if (wants_loop(context_)) return Kind::loop;
  if (s == context_.directory) return Kind::here;
  if (s[0] != '/' || is_block_device(s)) return Kind::disk; // an id of a file system, or a device
  return Kind::directory;
}

/// The device with the file system; ids are looked up as udev writes them down.
std::string BtrfsPool::disk() const {
  auto s = source();
  return s[0] == '/' ? s : "/dev/disk/by-uuid/" + s;
}

bool BtrfsPool::is_open() const {
  std::lock_guard lock(mutex_);
  if (kind() != Kind::here) return sys::is_mount_point(context_.directory);
  Fd fd(::open(context_.directory.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  return fd && sys::is_btrfs(fd.get());
}

void BtrfsPool::format(const std::string &target, bool force) {
  auto id = base::uuid();
  std::vector<std::string> argv{btrfs_maker(), "-q", "-U", id, "-L", context_.pool};
  if (argv[0].empty()) fail(ErrorCode::not_supported, "cannot make a Btrfs file system: the program mkfs.btrfs is missing; install btrfs-progs");
  if (force) argv.insert(argv.begin() + 1, "-f");
  argv.push_back(target);
  FaultScope fault("make file system");
  auto said = sys::output_of(argv, std::chrono::minutes(2));
  // It tells its end to nobody; what it made is looked at.
  if (file_system_id(target) != id) fail(ErrorCode::invalid_argument, "cannot make a Btrfs file system on {}: {}", base::quoted(target), said.empty() ? "mkfs.btrfs failed" : said);
}

void BtrfsPool::create() {
  std::lock_guard lock(mutex_);
  if (is_open() && kind() != Kind::here) return;
  removed_ = false;
  auto k = kind();
  struct Done { // asked for this once
    Config &config;
    ~Done() {
      config.erase("source.wipe");
      config.erase(made_key);
    }
  } done{context_.config};
  if (k == Kind::here) {
    fs::path at(context_.directory);
    Fd parent = sys::open_directory(at.parent_path());
    Fd there(::open(at.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (there && sys::is_subvolume(there.get())) return;
    if (there) {
      FaultScope fault("remove directory");
      if (::rmdir(at.c_str()) != 0) fail_errno(errno, fmt::format("cannot put a subvolume in place of directory {}", base::quoted(at.string())));
    }
    return sys::create_subvolume(parent.get(), at.filename());
  }
  made_ = context_.config.count(made_key) != 0;
  if (made_ && !fs::exists(fs::symlink_status(source()))) {
    fs::path at(source());
    sys::create_subvolume(sys::open_directory(at.parent_path()).get(), at.filename());
  }
  if (k == Kind::loop) {
    FaultScope fault("make loop file");
    sys::mkdir_p(AT_FDCWD, context_.disks, 0700);
    Fd file(::open(source().c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!file && errno != EEXIST) fail_errno(errno, fmt::format("cannot make loop file {}", base::quoted(source())));
    if (!file) fail(ErrorCode::conflict, "the loop file {} is there already; remove it", base::quoted(source()));
    if (::fchmod(file.get(), 0600) != 0 || ::ftruncate(file.get(), schema::parse_size(value(context_.config, "size"))) != 0)
      fail_errno(errno, fmt::format("cannot give loop file {} its size", base::quoted(source())));
  }
  if (k == Kind::loop) format(source(), true);
  if (k == Kind::disk) format(disk(), schema::truthy(value(context_.config, "source.wipe")));
  mount();
  if (k != Kind::disk) return;
  // Devices are called otherwise after a restart; the file system's id stays, where udev tells of it.
  auto id = file_system_id(source());
  if (fs::exists("/dev/disk/by-uuid/" + id)) context_.config["source"] = id;
}

void BtrfsPool::mount() {
  {
    FaultScope fault("make mount point");
    sys::mkdir_p(AT_FDCWD, context_.directory, 0711);
  }
  auto options = sys::parse_mount_options(mount_options(context_.config));
  if (kind() == Kind::directory) {
    Fd fd = sys::open_directory(source());
    if (!sys::is_btrfs(fd.get())) fail(ErrorCode::unavailable, "{} does not lie on a Btrfs file system; mount what belongs there", base::quoted(source()));
    return sys::mount(source(), context_.directory, "", MS_BIND, "");
  }
  if (kind() == Kind::loop) {
    auto loop = sys::attach_loop(source());
    return sys::mount(loop.path, context_.directory, "btrfs", options.flags, options.data);
  }
  sys::mount(disk(), context_.directory, "btrfs", options.flags, options.data);
}

bool BtrfsPool::open() {
  std::lock_guard lock(mutex_);
  if (removed_ || is_open()) return false;
  try {
    if (kind() == Kind::here) fail(ErrorCode::not_found, "subvolume {} is not there", base::quoted(context_.directory));
    mount();
  } catch (const Error &e) {
    throw Error(ErrorCode::unavailable, fmt::format("storage pool {} is not available", base::quoted(context_.pool)), e);
  }
  return true;
}

void BtrfsPool::close(bool unused) {
  std::lock_guard lock(mutex_);
  if (kind() == Kind::here || !sys::is_mount_point(context_.directory)) return;
  if (unused)
    sys::unmount_unused(context_.directory);
  else
    sys::unmount(context_.directory);
}

void BtrfsPool::remove_storage(bool abandoned) {
  std::lock_guard lock(mutex_);
  removed_ = true;
  if (abandoned && (made_ || context_.config.count(made_key))) {
    fs::path at(source());
    std::error_code error;
    if (fs::is_empty(at, error) && !error) sys::remove_subvolume(sys::open_directory(at.parent_path()).get(), at.filename());
  }
  if (kind() == Kind::here) {
    fs::path at(context_.directory);
    if (fs::exists(at.parent_path())) sys::remove_subvolume(sys::open_directory(at.parent_path()).get(), at.filename());
    return;
  }
  FaultScope fault("remove pool");
  if (kind() == Kind::loop && ::unlink(source().c_str()) != 0 && errno != ENOENT && errno != ENOTDIR) fail_errno(errno, fmt::format("cannot remove loop file {}", base::quoted(source())));
  if (::rmdir(context_.directory.c_str()) != 0 && errno != ENOENT) fail_errno(errno, fmt::format("cannot remove directory {}", base::quoted(context_.directory)));
}

void BtrfsPool::update(const Config &wanted) {
  std::lock_guard lock(mutex_);
  auto to = wanted;
  for (auto *key : {"size", "volatile.initial_source"}) // what the pool has and a change leaves out
    if (context_.config.count(key)) to.emplace(key, context_.config.at(key));
  if (auto size = value(to, "size"); size != value(context_.config, "size")) {
    if (kind() != Kind::loop) fail(ErrorCode::invalid_argument, "config key size: only pools on a loop file can be resized");
    // The file itself says how large the pool is: a process may have been killed before the store knew.
    struct stat st;
    if (::stat(source().c_str(), &st) != 0) fail_errno(errno, fmt::format("cannot look at loop file {}", base::quoted(source())));
    std::int64_t bytes = schema::parse_size(size);
    if (bytes < st.st_size)
      fail(ErrorCode::invalid_argument, "config key size, value {}: the pool cannot shrink from {} bytes", base::quoted(size), st.st_size);
    if (!is_open()) mount();
    FaultScope fault("grow loop file");
    if (::truncate(source().c_str(), bytes) != 0) fail_errno(errno, fmt::format("cannot grow loop file {}", base::quoted(source())));
    sys::refresh_loop_size(sys::mounted_device(context_.directory));
    sys::grow_btrfs(sys::open_directory(context_.directory).get());
  }
  auto before = mount_options(context_.config);
  context_.config = to;
  if (mount_options(to) == before || kind() == Kind::here || kind() == Kind::directory || !is_open()) return;
  auto options = sys::parse_mount_options(mount_options(to));
  sys::mount("none", context_.directory, "", MS_REMOUNT | options.flags, options.data);
}

} // namespace incus::storage
