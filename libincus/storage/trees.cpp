// SPDX-License-Identifier: Apache-2.0
// Pools and volumes of the drivers that keep trees; snapshots are in trees_snapshots.cpp.
#include "storage/trees.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "base/error.hpp"
#include "base/names.hpp"
#include "sys/copy.hpp"
#include "sys/fault.hpp"
#include "sys/fs.hpp"

namespace incus::storage {

using base::fail;
using base::fail_errno;
using base::Fd;
using base::quoted;
using sys::FaultScope;

namespace {

struct PoolDirectory {
  const char *name;
  mode_t mode;
};
constexpr PoolDirectory pool_directories[] = {{"containers", 0711}, {"containers-snapshots", 0711}, {"images", 0700}, {"custom", 0700}, {"custom-snapshots", 0700}};

const char *noun(VolumeType type) { return type == VolumeType::container ? "instance" : type == VolumeType::image ? "image" : "volume"; }

/// A directory that may not be there; a link in its place is an error.
Fd open_if_exists(int dirfd, const std::string &name) {
  if (!sys::exists_at(dirfd, name)) return {};
  return sys::open_child(dirfd, name);
}

} // namespace

const char *volume_directory(VolumeType type) noexcept {
  switch (type) {
  case VolumeType::container: return "containers";
  case VolumeType::image: return "images";
  case VolumeType::custom: return "custom";
  }
  return "custom";
}

void check_component(const std::string &name) {
  if (name.empty() || name == "." || name == ".." || name.size() > 240 || name.find_first_of(std::string_view("/~\0", 3)) != std::string::npos)
    fail(ErrorCode::invalid_argument, "{} cannot name a volume: it must be one path component of at most 240 characters without '~'", base::quoted(name));
}

const char *snapshots_directory(VolumeType type) noexcept { return type == VolumeType::custom ? "custom-snapshots" : "containers-snapshots"; }

mode_t mode_of(int fd) {
  struct stat st;
  if (::fstat(fd, &st) != 0) fail_errno(errno, "cannot look at a volume");
  return st.st_mode & 07777;
}

std::string base_name(const std::string &entry) { return entry.substr(0, entry.find('~')); }

Fd TreeDriver::pool() const {
  ready();
  return sys::open_directory(context_.directory);
}

mode_t TreeDriver::volume_mode(VolumeType type) const { return type == VolumeType::container ? 0100 : type == VolumeType::image ? 0700 : 0711; }

Fd TreeDriver::begin(int parent, const std::string &name, mode_t mode) const { return sys::make_directory(parent, name, mode); }

bool TreeDriver::erase(int parent, const std::string &name) const { return sys::remove_tree(parent, name); }

Fd TreeDriver::type_directory(VolumeType type) const { return sys::open_child(pool().get(), volume_directory(type)); }

Fd TreeDriver::type_directory_if_exists(const char *name) const {
  ready();
  struct stat st;
  if (::stat(context_.directory.c_str(), &st) != 0 && errno == ENOENT) return {};
  return open_if_exists(pool().get(), name);
}

std::string TreeDriver::describe(const VolumeRef &vol) const { return fmt::format("{} {} of pool {}", noun(vol.type), base::quoted(vol.name), base::quoted(context_.pool)); }

void TreeDriver::explain(const char *verb, const std::string &what, const std::function<void()> &work) const try {
  work();
} catch (const Error &e) {
  if (e.code() == ErrorCode::no_space)
    throw Error(e.code(), fmt::format("cannot {} {}: no space is left on the pool; delete something on it or give it more", verb, what), e);
  throw Error(e.code(), fmt::format("cannot {} {}", verb, what), e);
}

Fd TreeDriver::volume(const VolumeRef &vol) const {
  check_component(vol.name);
  Fd parent = type_directory_if_exists(volume_directory(vol.type));
  Fd dir = parent ? open_if_exists(parent.get(), vol.name) : Fd();
  if (!dir) fail(ErrorCode::not_found, "{} is not on disk", describe(vol));
  return dir;
}

// Pools.

void TreeDriver::create() {
  FaultScope fault("make pool directories");
  Fd dir = sys::mkdir_p(AT_FDCWD, context_.directory, 0711);
  if (::fchmod(dir.get(), 0711) != 0) fail_errno(errno, fmt::format("cannot set the mode of directory {}", base::quoted(context_.directory)));
  for (auto &d : pool_directories) sys::spread_children(sys::make_directory(dir.get(), d.name, d.mode).get());
  sys::sync_directory(dir.get());
}

void TreeDriver::remove() {
  for (auto type : {VolumeType::container, VolumeType::custom}) {
    auto names = list(type);
    if (!names.empty())
      fail(ErrorCode::conflict, "pool {} cannot be removed: {} {} is on it; delete it first", base::quoted(context_.pool), noun(type), base::quoted(names[0]));
  }
  struct stat st;
  if (::stat(context_.directory.c_str(), &st) != 0 && errno == ENOENT) return;
  Fd dir = pool();
  for (auto &d : pool_directories) {
    FaultScope fault("remove pool directory");
    erase(dir.get(), d.name);
  }
  sys::sync_directory(dir.get());
  if (context_.config.contains("source")) return; // the directory was there before the pool
  FaultScope fault("remove pool");
  if (::rmdir(context_.directory.c_str()) != 0 && errno != ENOENT)
    fail_errno(errno, fmt::format("cannot remove directory {} of pool {}", base::quoted(context_.directory), base::quoted(context_.pool)));
}

StoragePoolResources TreeDriver::resources() {
  struct statvfs fs;
  if (::fstatvfs(pool().get(), &fs) != 0) fail_errno(errno, fmt::format("cannot ask for the space of pool {}", base::quoted(context_.pool)));
  StoragePoolResources r;
  r.space = {(fs.f_blocks - fs.f_bfree) * std::uint64_t(fs.f_frsize), fs.f_blocks * std::uint64_t(fs.f_frsize)};
  r.inodes = {fs.f_files - fs.f_ffree, fs.f_files};
  return r;
}

// Volumes.

bool TreeDriver::exists(const VolumeRef &vol) {
  check_component(vol.name);
  Fd parent = type_directory_if_exists(volume_directory(vol.type));
  if (!parent || !sys::exists_at(parent.get(), vol.name)) return false;
  return vol.type != VolumeType::image || !image_hidden(parent.get(), vol.name);
}

std::vector<std::string> TreeDriver::list(VolumeType type) {
  std::vector<std::string> names;
  auto collect = [&](const char *directory) {
    Fd dir = type_directory_if_exists(directory);
    if (!dir) return;
    for (auto &entry : sys::list_directory(dir.get()))
      if (type != VolumeType::image || entry.find('~') != std::string::npos || !image_hidden(dir.get(), entry)) names.push_back(base_name(entry));
  };
  collect(volume_directory(type));
  if (type != VolumeType::image) collect(snapshots_directory(type)); // those of an instance that is half removed
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  return names;
}

void TreeDriver::make(int parent, const std::string &name, mode_t mode, const Fill &fill, Made what) {
  std::string fresh = name + "~new";
  erase(parent, fresh); // of a process that was killed
  try {
    Fd dir;
    {
      FaultScope fault("make volume directory");
      dir = what == Made::plain ? sys::make_directory(parent, fresh, mode) : begin(parent, fresh, mode);
    }
    fill(dir.get());
    // A copy has taken the mode of its source.
    if (::fchmod(dir.get(), mode) != 0) fail_errno(errno, "cannot set the mode of the volume's directory");
    if (what == Made::sealed) seal(dir.get());
    sys::sync_tree(dir.get());
    FaultScope fault("publish volume");
    sys::rename_at(parent, fresh, parent, name);
  } catch (...) {
    try {
      FaultScope fault("remove half-made volume");
      erase(parent, fresh);
    } catch (...) {
    }
    throw;
  }
  sys::sync_directory(parent);
}

void TreeDriver::drop(int parent, const std::string &name) {
  std::string gone = name + "~old";
  {
    FaultScope fault("remove half-made volume");
    for (auto *half : {"~old", "~new", "~restore", "~restore~new"}) erase(parent, name + half);
  }
  if (!sys::exists_at(parent, name)) return;
  {
    FaultScope fault("unpublish volume");
    sys::rename_at(parent, name, parent, gone);
  }
  // From here on a power loss brings back at most NAME~old. The removal itself is not waited for: with the discard mount option, the
  // commit that frees much takes long.
  sys::sync_directory(parent);
  FaultScope fault("remove volume");
  erase(parent, gone);
}

void TreeDriver::copy_root(int from, int to, From kind, const Progress &progress) {
  auto files = kind == From::volume ? root_files() : std::vector<std::string>();
  sys::CopyOptions options;
  options.only = [&](const char *name) {
    return std::strcmp(name, root_name()) == 0 || std::strcmp(name, "metadata.yaml") == 0 || std::strcmp(name, "templates") == 0 ||
           std::find(files.begin(), files.end(), name) != files.end();
  };
  if (progress) options.progress = [&](std::uint64_t bytes) { progress(bytes, 0); };
  sys::copy_tree(from, to, options);
  sys::open_child(to, root_name()); // a link or a file in its place is refused
}

void TreeDriver::create_empty(const VolumeRef &vol) {
  check_component(vol.name);
  explain("create", describe(vol), [&] {
    Fd parent = type_directory(vol.type);
    // Pools of earlier versions let the host's users through.
    if (vol.type == VolumeType::custom && ::fchmod(parent.get(), 0700) != 0) fail_errno(errno, "cannot close the directory of volumes to the host's users");
    if (sys::exists_at(parent.get(), vol.name)) fail(ErrorCode::already_exists, "it is on disk already");
    make(parent.get(), vol.name, volume_mode(vol.type), [&](int dir) {
      if (vol.type != VolumeType::container) return;
      fill_empty(dir);
      finish_root(dir);
    });
  });
}

void TreeDriver::create_image(const VolumeRef &image, const std::function<void(int)> &fill) {
  check_component(image.name);
  explain("unpack", describe(image), [&] {
    Fd images = type_directory(VolumeType::image);
    if (revive_image(images.get(), image.name)) return;
    if (sys::exists_at(images.get(), image.name)) fail(ErrorCode::already_exists, "it is on disk already");
    make(images.get(), image.name, volume_mode(VolumeType::image), [&](int dir) {
      {
        FaultScope fault("unpack image");
        fill(dir);
      }
      // What came from outside may have planted other things under these names.
      sys::open_child(dir, "rootfs");
      if (sys::exists_at(dir, "templates")) sys::open_child(dir, "templates");
      struct stat st;
      if (::fstatat(dir, "metadata.yaml", &st, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISREG(st.st_mode))
        fail(ErrorCode::corrupt, "metadata.yaml of the image is not a regular file");
    }, Made::sealed);
  });
}

void TreeDriver::create_from_image(const VolumeRef &vol, const VolumeRef &image, const Progress &progress) {
  check_component(vol.name);
  check_component(image.name);
  explain("create", describe(vol), [&] {
    Fd parent = type_directory(vol.type), images = type_directory(VolumeType::image);
    if (sys::exists_at(parent.get(), vol.name)) fail(ErrorCode::already_exists, "it is on disk already");
    if (!sys::exists_at(images.get(), image.name) || image_hidden(images.get(), image.name)) fail(ErrorCode::not_found, "{} is not on disk", describe(image));
    Fd from = sys::open_child(images.get(), image.name);
    if (clone(from.get(), parent.get(), vol.name, volume_mode(vol.type), false)) return;
    make(parent.get(), vol.name, volume_mode(vol.type), [&](int dir) {
      fill_from_image(dir, from.get(), image, progress);
      finish_root(dir);
    });
  });
}

void TreeDriver::create_copy(const VolumeRef &vol, const VolumeRef &source, const std::optional<std::string> &snapshot, const Progress &progress) {
  check_component(vol.name);
  if (vol.type != source.type || vol.type == VolumeType::image) fail(ErrorCode::not_supported, "only instances and custom volumes can be copied");
  explain("copy to", describe(vol), [&] {
    Fd parent = type_directory(vol.type);
    if (sys::exists_at(parent.get(), vol.name)) fail(ErrorCode::already_exists, "it is on disk already");
    Fd from = snapshot ? open_snapshot(source, *snapshot) : volume(source);
    bool custom = vol.type == VolumeType::custom;
    mode_t mode = custom ? mode_of(from.get()) : volume_mode(vol.type);
    if (clone(from.get(), parent.get(), vol.name, mode, false)) return;
    make(parent.get(), vol.name, mode, [&](int dir) {
      if (custom) return copy_custom(from.get(), dir, progress);
      copy_root(from.get(), dir, From::volume, progress);
      finish_root(dir);
    });
  });
}

std::unique_ptr<Content> TreeDriver::open_content(const VolumeRef &vol, const std::optional<std::string> &snapshot) {
  auto c = std::make_unique<TreeContent>();
  c->volume = snapshot ? open_snapshot(vol, *snapshot) : volume(vol);
  c->directory = c->root = c->volume.get();
  if (vol.type == VolumeType::container) open_root(c->directory, *c);
  return c;
}

void TreeDriver::copy_custom(int from, int to, const Progress &progress, int earlier) {
  sys::CopyOptions options;
  options.earlier = earlier;
  if (progress) options.progress = [&](std::uint64_t bytes) { progress(bytes, 0); };
  sys::copy_tree(from, to, options);
}

void TreeDriver::fill_from_content(int dirfd, const Content &content, const Progress &progress) {
  sys::CopyOptions options;
  options.only = [](const char *name) { return std::strcmp(name, "metadata.yaml") == 0 || std::strcmp(name, "templates") == 0; };
  sys::copy_tree(content.directory, dirfd, options);
  for (auto &file : root_files())
    if (auto text = root_file(file, content); !text.empty()) {
      FaultScope fault("write root file");
      sys::write_new_file(dirfd, file, text, 0600);
    }
  Fd root;
  {
    FaultScope fault("make root");
    root = sys::make_directory(dirfd, root_name(), 0700);
  }
  copy_custom(content.root, root.get(), progress);
}

void TreeDriver::create_from_content(const VolumeRef &vol, const Content &content, const Progress &progress) {
  check_component(vol.name);
  if (vol.type == VolumeType::image) fail(ErrorCode::not_supported, "only instances and custom volumes can be copied");
  explain("copy to", describe(vol), [&] {
    Fd parent = type_directory(vol.type);
    if (sys::exists_at(parent.get(), vol.name)) fail(ErrorCode::already_exists, "it is on disk already");
    bool custom = vol.type == VolumeType::custom;
    make(parent.get(), vol.name, custom ? mode_of(content.root) : volume_mode(vol.type), [&](int dir) {
      if (custom) return copy_custom(content.root, dir, progress);
      fill_from_content(dir, content, progress);
      finish_root(dir);
    });
  });
}

void TreeDriver::remove_volume(const VolumeRef &vol) {
  check_component(vol.name);
  Fd parent = type_directory_if_exists(volume_directory(vol.type));
  std::vector<std::string> was;
  explain("delete", describe(vol), [&] {
    if (vol.type == VolumeType::container && parent) {
      for (auto entry : {vol.name, vol.name + "~new", vol.name + "~old"})
        if (Fd dir = open_if_exists(parent.get(), entry)) note_root(dir.get(), was);
    }
    if (vol.type == VolumeType::image && parent && sys::exists_at(parent.get(), vol.name) && !release_image(parent.get(), vol.name)) return;
    if (parent) drop(parent.get(), vol.name);
    if (vol.type == VolumeType::image) return;
    if (Fd snapshots = type_directory_if_exists(snapshots_directory(vol.type))) {
      for (auto entry : {vol.name, vol.name + "~old"}) {
        Fd of = vol.type == VolumeType::container ? open_if_exists(snapshots.get(), entry) : Fd();
        if (!of) continue;
        for (auto &s : sys::list_directory(of.get()))
          if (Fd dir = open_if_exists(of.get(), s)) note_root(dir.get(), was);
      }
      drop(snapshots.get(), vol.name);
    }
    roots_removed(was);
  });
}

void TreeDriver::rename(const VolumeRef &vol, const std::string &new_name) {
  check_component(vol.name);
  check_component(new_name);
  explain("rename", describe(vol), [&] {
    bool found = false;
    auto step = [&](const char *directory) {
      Fd dir = type_directory_if_exists(directory);
      if (!dir) return;
      bool from = sys::exists_at(dir.get(), vol.name), to = sys::exists_at(dir.get(), new_name);
      if (from && to) fail(ErrorCode::already_exists, "{} is on disk already", base::quoted(new_name));
      if (from) {
        FaultScope fault("rename volume");
        sys::rename_at(dir.get(), vol.name, dir.get(), new_name);
      }
      if (from || to) sys::sync_directory(dir.get());
      found |= from || to;
    };
    step(volume_directory(vol.type));
    if (!found) fail(ErrorCode::not_found, "it is not on disk");
    if (vol.type != VolumeType::image) step(snapshots_directory(vol.type));
  });
}

std::uint64_t TreeDriver::usage(const VolumeRef &vol) {
  if (vol.type == VolumeType::container) return sys::tree_usage(volume(vol).get(), root_name()).bytes;
  volume(vol);
  return sys::tree_usage(type_directory(vol.type).get(), vol.name).bytes;
}

std::string TreeDriver::directory(const VolumeRef &vol) {
  check_component(vol.name);
  ready();
  return fmt::format("{}/{}/{}", context_.directory, volume_directory(vol.type), vol.name);
}
int TreeDriver::open_volume(const VolumeRef &vol) { return volume(vol).release(); }

} // namespace incus::storage
