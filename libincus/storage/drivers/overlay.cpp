// SPDX-License-Identifier: Apache-2.0
// The `overlay` driver: an instance is an upper layer over its image's unpacked root, which all instances of the image share. Nothing is
// copied at creation, on any file system. The container helper mounts the layers together when the instance starts.
//
// Beside upper/ and work/, `lower` holds the fingerprint of the image (or "empty"). An image that instances or snapshots stand on stays when the store
// removes it: it is marked by a file `unused-by-store`, is then not there for exists() and create_from_image(), comes back when the same fingerprint is
// imported again, and goes with the last volume that stands on it. Killed between these two, it is reported by list() as an image like any other, so that
// reconciliation removes it.
//
// A snapshot copies upper/ alone and never stacks. Files in upper/ carry the guest's ids, as those of the image do, so the layers need idmapped mounts.
#include "storage/drivers/overlay.hpp"

#include <algorithm>
#include <cstring>
#include <fcntl.h>
#include <linux/mount.h>
#include <set>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/error.hpp"
#include "base/names.hpp"
#include "storage/config.hpp"
#include "storage/trees.hpp"
#include "sys/copy.hpp"
#include "sys/fault.hpp"
#include "sys/fs.hpp"

namespace incus::storage {

using base::fail;
using base::Fd;
using base::quoted;
using sys::FaultScope;

namespace {

/// Both read-only, the first over the second, as a mount that has no place and goes with its descriptor. Options as for the mount of an instance.
Fd mount_layers(int upper, int lower) {
  FaultScope fault("put layers together");
  Fd fs(static_cast<int>(::syscall(SYS_fsopen, "overlay", FSOPEN_CLOEXEC)));
  if (!fs) base::fail_errno(errno, "cannot open overlayfs");
  auto set = [&](const char *key, const std::string &value) {
    if (::syscall(SYS_fsconfig, fs.get(), FSCONFIG_SET_STRING, key, value.c_str(), 0) != 0) base::fail_errno(errno, fmt::format("cannot set overlay option {}", key));
  };
  set("lowerdir", fmt::format("/proc/self/fd/{}:/proc/self/fd/{}", upper, lower));
  for (auto *off : {"index", "metacopy", "redirect_dir"}) set(off, "off");
  if (::syscall(SYS_fsconfig, fs.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0) base::fail_errno(errno, "cannot put the layers of an instance together");
  Fd mount(static_cast<int>(::syscall(SYS_fsmount, fs.get(), FSMOUNT_CLOEXEC, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC)));
  if (!mount) base::fail_errno(errno, "cannot mount the layers of an instance");
  return mount;
}

constexpr const char *unused_mark = "unused-by-store", *lower_file = "lower", *no_lower = "empty";

class Overlay final : public TreeDriver {
public:
  using TreeDriver::TreeDriver;

  void create() override {
    TreeDriver::create();
    FaultScope fault("make empty layer");
    sys::make_directory(pool().get(), no_lower, 0755);
  }

  void remove() override {
    if (Fd dir = type_directory_if_exists("containers")) {
      refuse_if_used();
      FaultScope fault("remove empty layer");
      sys::remove_tree(pool().get(), no_lower);
    }
    TreeDriver::remove();
  }
  using TreeDriver::create;
  using TreeDriver::remove;

  RootfsPlan rootfs(const VolumeRef &vol) override {
    Fd dir = volume(vol);
    sys::open_child(dir.get(), "upper");
    sys::open_child(dir.get(), "work");
    std::string lower = read_lower(dir.get());
    if (lower.empty()) fail(ErrorCode::corrupt, "{} has no record of the image that it stands on (file {})", describe(vol), base::quoted(lower_file));
    return layers(context_.directory + "/containers/" + vol.name, lower);
  }

  RootfsPlan snapshot_root(const VolumeRef &vol, const std::string &snapshot) override {
    Fd dir = open_snapshot(vol, snapshot);
    sys::open_child(dir.get(), "upper");
    std::string lower = read_lower(dir.get());
    if (lower.empty()) fail(ErrorCode::corrupt, "a snapshot of {} has no record of the image that it stands on (file {})", describe(vol), base::quoted(lower_file));
    return layers(snapshot_place(vol, snapshot), lower);
  }

  RootfsPlan layers(const std::string &own, const std::string &lower) {
    RootfsPlan plan;
    plan.kind = RootfsPlan::Kind::overlay;
    plan.upper = own + "/upper";
    plan.work = own + "/work";
    if (lower == no_lower) {
      sys::make_directory(pool().get(), no_lower, 0755);
      plan.lower = context_.directory + "/" + no_lower;
    } else {
      sys::open_child(volume({VolumeType::image, lower}).get(), "rootfs");
      plan.lower = context_.directory + "/images/" + lower + "/rootfs";
    }
    return plan;
  }

  void shift(const VolumeRef &vol, const IdMap &from, const IdMap &to) override {
    if (from != to)
      fail(ErrorCode::not_supported,
           "the owners in {} cannot be changed: it shares its image's files. The overlay driver needs idmapped mounts for unprivileged instances; use a pool of the dir driver",
           describe(vol));
  }

protected:
  const char *root_name() const override { return "upper"; }
  std::vector<std::string> root_files() const override { return {lower_file}; }

  void fill_empty(int dirfd) override {
    FaultScope fault("make empty root");
    sys::make_directory(dirfd, "upper", 0755);
    sys::write_new_file(dirfd, lower_file, no_lower, 0600);
  }

  void fill_from_image(int dirfd, int image, const VolumeRef &ref, const Progress &) override {
    sys::CopyOptions options;
    options.only = [](const char *name) { return std::strcmp(name, "metadata.yaml") == 0 || std::strcmp(name, "templates") == 0; };
    sys::copy_tree(image, dirfd, options);
    FaultScope fault("make layers");
    Fd root = sys::open_child(image, "rootfs"), upper = sys::make_directory(dirfd, "upper", 0700);
    // The merged root directory shows the upper layer's attributes.
    sys::copy_attributes(root.get(), upper.get());
    // From here on the image has a user; it may have been removed since it was looked for.
    std::lock_guard lock(lower_mutex_);
    Fd images = type_directory(VolumeType::image);
    if (!sys::exists_at(images.get(), ref.name) || marked(images.get(), ref.name)) fail(ErrorCode::not_found, "{} is not on disk", describe(ref));
    sys::write_new_file(dirfd, lower_file, ref.name, 0600);
  }

  void take_root(int dirfd) override {
    FaultScope fault("make layer");
    sys::rename_at(dirfd, "rootfs", dirfd, "upper");
    sys::write_new_file(dirfd, lower_file, no_lower, 0600);
  }

  /// The layers together, mounted nowhere.
  void open_root(int dirfd, TreeContent &content) override {
    auto lower = read_lower(dirfd);
    if (lower.empty()) fail(ErrorCode::corrupt, "there is no record of the image that it stands on (file {})", base::quoted(lower_file));
    content.files = sys::open_child(dirfd, "upper");
    content.root = content.files.get();
    content.other.push_back(lower == no_lower ? sys::open_child(pool().get(), no_lower) : sys::open_child(volume({VolumeType::image, lower}).get(), "rootfs"));
    content.other.push_back(mount_layers(content.files.get(), content.other[0].get()));
    content.files = sys::open_beneath(content.other.back().get(), ".", O_RDONLY | O_DIRECTORY);
    content.root = content.files.get();
  }

  std::string root_file(const std::string &, const Content &content) override {
    if (content.owners)
      fail(ErrorCode::not_supported, "its files carry the owners of an id map, and the overlay driver cannot change owners; copy it to a pool of the dir driver");
    return no_lower;
  }

  void finish_root(int dirfd) override {
    FaultScope fault("make work directory");
    sys::remove_tree(dirfd, "work");
    sys::make_directory(dirfd, "work", 0700);
  }

  bool image_hidden(int images, const std::string &name) override {
    if (!marked(images, name)) return false;
    std::lock_guard lock(lower_mutex_);
    return users_of({name}).contains(name);
  }

  bool release_image(int images, const std::string &name) override {
    std::lock_guard lock(lower_mutex_);
    if (!users_of({name}).contains(name)) {
      put_aside(images, name);
      return true;
    }
    FaultScope fault("mark image unused");
    sys::atomic_write(sys::open_child(images, name).get(), unused_mark, "", 0600);
    return false;
  }

  bool revive_image(int images, const std::string &name) override {
    std::lock_guard lock(lower_mutex_);
    if (!sys::exists_at(images, name) || !marked(images, name)) return false;
    if (!users_of({name}).contains(name)) { // on its way out: unpacked anew
      drop(images, name);
      return false;
    }
    FaultScope fault("mark image used");
    Fd dir = sys::open_child(images, name);
    sys::remove_tree(dir.get(), unused_mark);
    sys::sync_directory(dir.get());
    return true;
  }

  void note_root(int dirfd, std::vector<std::string> &was) override {
    if (auto l = read_lower(dirfd); !l.empty()) was.push_back(l);
  }

  void roots_removed(const std::vector<std::string> &was) override {
    if (was.empty()) return;
    Fd images = type_directory_if_exists("images");
    if (!images) return;
    std::set<std::string> candidates;
    for (auto &name : was)
      if (name != no_lower && sys::exists_at(images.get(), name) && marked(images.get(), name)) candidates.insert(name);
    if (candidates.empty()) return;
    {
      std::lock_guard lock(lower_mutex_);
      for (auto &name : users_of(candidates)) candidates.erase(name);
      for (auto &name : candidates) put_aside(images.get(), name);
    }
    for (auto &name : candidates) drop(images.get(), name);
  }

private:
  /// Empty when there is none, or not one that could be meant.
  static std::string read_lower(int dirfd) {
    std::string text = sys::read_file_if_exists(dirfd, lower_file, 4096).value_or("");
    try {
      if (!text.empty()) check_component(text);
    } catch (const Error &) {
      return {};
    }
    return text;
  }

  /// The first step of removal, under lower_mutex_: nobody can begin to use the image after it.
  static void put_aside(int images, const std::string &name) {
    FaultScope fault("unpublish image");
    sys::remove_tree(images, name + "~old");
    sys::rename_at(images, name, images, name + "~old");
  }

  static bool marked(int images, const std::string &name) { return sys::exists_at(sys::open_child(images, name).get(), unused_mark); }

  /// Those of `images` that a volume or snapshot stands on, half-made ones counted. Under lower_mutex_.
  std::set<std::string> users_of(const std::set<std::string> &images) const {
    std::set<std::string> used;
    auto look = [&](int parent, const std::string &entry) {
      Fd dir;
      try {
        dir = sys::open_child(parent, entry);
      } catch (const Error &) {
        return; // removed meanwhile, or not a volume
      }
      for (auto *file : {"lower", "lower.restore"})
        if (auto text = sys::read_file_if_exists(dir.get(), file, 4096); text && images.contains(*text)) used.insert(*text);
    };
    if (Fd all = type_directory_if_exists("containers"))
      for (auto &entry : sys::list_directory(all.get())) look(all.get(), entry);
    if (Fd all = type_directory_if_exists("containers-snapshots"))
      for (auto &instance : sys::list_directory(all.get()))
        if (Fd of = sys::try_open_beneath(all.get(), instance, O_RDONLY | O_DIRECTORY | O_NOFOLLOW))
          for (auto &entry : sys::list_directory(of.get())) look(of.get(), entry);
    return used;
  }

  void refuse_if_used() {
    for (auto type : {VolumeType::container, VolumeType::custom})
      if (auto names = TreeDriver::list(type); !names.empty())
        fail(ErrorCode::conflict, "pool {} cannot be removed: {} is on it; delete it first", base::quoted(context_.pool), base::quoted(names[0]));
  }

  /// Held while it is decided whether an image has users, and while it gets one.
  std::mutex lower_mutex_;
};

} // namespace

const DriverInfo overlay_driver = {
    "overlay",
    "Instances are layers over their image, which they share: creation copies nothing. Needs idmapped mounts and overlayfs.",
    [](const DriverContext &context) -> std::unique_ptr<Driver> { return std::make_unique<Overlay>(context); },
    validate_pool,
};

} // namespace incus::storage
