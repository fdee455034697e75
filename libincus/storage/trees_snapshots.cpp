// SPDX-License-Identifier: Apache-2.0
// Snapshots of the drivers that keep trees: whole copies of the root (which share blocks where the file system can).
//
// A restore makes ROOT.restore beside ROOT, with FILE.restore for each small file that belongs to the root (empty: the snapshot has none). The
// rename to ROOT.restore comes last, so what is there is whole; metadata.yaml and templates/ wait in beside.restore. The commit renames ROOT to ROOT.old
// and ROOT.restore to ROOT, then the files and what was in beside.restore, then removes ROOT.old: from every state in between, the same steps lead to the end.
#include "storage/trees.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <unistd.h>

#include "base/error.hpp"
#include "base/names.hpp"
#include "sys/copy.hpp"
#include "sys/fault.hpp"
#include "sys/fs.hpp"

namespace incus::storage {

using base::fail;
using base::Fd;
using base::quoted;
using sys::FaultScope;

namespace {

void remove_name(int dirfd, const std::string &name) {
  if (::unlinkat(dirfd, name.c_str(), 0) != 0 && errno != ENOENT) base::fail_errno(errno, fmt::format("cannot remove {}", base::quoted(name)));
}

void has_snapshots(const VolumeRef &vol) {
  check_component(vol.name);
  if (vol.type == VolumeType::image) fail(ErrorCode::not_supported, "images have no snapshots");
}

} // namespace

void TreeDriver::erase_prepared(int parent, const VolumeRef &vol) const {
  FaultScope fault("remove restored content");
  erase(parent, vol.name + "~restore");
  erase(parent, vol.name + "~restore~new");
}

/// Puts NAME~restore in place of NAME; idempotent.
void TreeDriver::commit_whole(const VolumeRef &vol) {
  Fd in = type_directory(vol.type);
  int parent = in.get();
  std::string ready = vol.name + "~restore", old = vol.name + "~old";
  if (sys::exists_at(parent, ready)) {
    if (sys::exists_at(parent, vol.name)) {
      keep_record(parent, vol, ready);
      erase(parent, old); // of an earlier one
      FaultScope fault("put old content aside");
      sys::rename_at(parent, vol.name, parent, old);
    }
    FaultScope fault("put restored content in place");
    sys::rename_at(parent, ready, parent, vol.name);
  }
  sys::sync_directory(parent);
  FaultScope fault("remove old content");
  erase(parent, old);
}

/// What describes an instance is not restored with it: whoever restores it says what it has now.
void TreeDriver::keep_record(int parent, const VolumeRef &vol, const std::string &ready) const {
  if (vol.type != VolumeType::container) return;
  constexpr const char *file = "backup.yaml";
  if (auto text = sys::read_file_if_exists(sys::open_child(parent, vol.name).get(), file, 64 << 20)) {
    FaultScope fault("keep record");
    sys::atomic_write(sys::open_child(parent, ready).get(), file, *text, 0400);
  }
}

void TreeDriver::abandon_whole(const VolumeRef &vol) {
  Fd in = type_directory_if_exists(volume_directory(vol.type));
  if (!in) return;
  int parent = in.get();
  if (!sys::exists_at(parent, vol.name) && sys::exists_at(parent, vol.name + "~old")) {
    FaultScope fault("put old content back");
    sys::rename_at(parent, vol.name + "~old", parent, vol.name);
  }
  erase_prepared(parent, vol);
}

/// Empty when the instance has none.
Fd TreeDriver::snapshot_directory(const VolumeRef &vol) const {
  has_snapshots(vol);
  Fd all = type_directory_if_exists(snapshots_directory(vol.type));
  if (!all || !sys::exists_at(all.get(), vol.name)) return {};
  return sys::open_child(all.get(), vol.name);
}

Fd TreeDriver::open_snapshot(const VolumeRef &vol, const std::string &snapshot) const {
  check_component(snapshot);
  Fd of = snapshot_directory(vol);
  if (!of || !sys::exists_at(of.get(), snapshot)) fail(ErrorCode::not_found, "snapshot {} of {} is not on disk", base::quoted(snapshot), describe(vol));
  return sys::open_child(of.get(), snapshot);
}

void TreeDriver::add_snapshot(const VolumeRef &vol, const std::string &snapshot, mode_t mode, int from, const Fill &fill) {
  place_snapshot(vol, snapshot, [&](int of) {
    if (from < 0 || !clone(from, of, snapshot, mode, true)) make(of, snapshot, mode, fill, Made::sealed);
  });
}

void TreeDriver::place_snapshot(const VolumeRef &vol, const std::string &snapshot, const std::function<void(int)> &put) {
  Fd all;
  if (vol.type == VolumeType::custom) {
    // Pools of earlier versions have none.
    FaultScope fault("make snapshots directory");
    all = sys::make_directory(pool().get(), snapshots_directory(vol.type), 0700);
  } else {
    all = sys::open_child(pool().get(), snapshots_directory(vol.type));
  }
  Fd of;
  {
    FaultScope fault("make snapshot directory");
    bool first = !sys::exists_at(all.get(), vol.name);
    of = sys::make_directory(all.get(), vol.name, 0700);
    if (first) sys::sync_directory(all.get());
  }
  if (sys::exists_at(of.get(), snapshot)) fail(ErrorCode::already_exists, "snapshot {} is on disk already", base::quoted(snapshot));
  try {
    put(of.get());
  } catch (...) {
    ::unlinkat(all.get(), vol.name.c_str(), AT_REMOVEDIR); // unless others are in it
    throw;
  }
}

void TreeDriver::create(const VolumeRef &vol, const std::string &snapshot, const Progress &progress) {
  has_snapshots(vol);
  check_component(snapshot);
  explain("snapshot", describe(vol), [&] {
    Fd from = volume(vol);
    bool custom = vol.type == VolumeType::custom;
    add_snapshot(vol, snapshot, custom ? mode_of(from.get()) : 0100, from.get(),
                 [&](int dir) { custom ? copy_custom(from.get(), dir, progress) : copy_root(from.get(), dir, From::volume, progress); });
  });
}

void TreeDriver::copy(const VolumeRef &vol, const VolumeRef &source, const std::string &snapshot, const Progress &progress) {
  has_snapshots(vol);
  has_snapshots(source);
  check_component(snapshot);
  explain("copy a snapshot to", describe(vol), [&] {
    Fd from = open_snapshot(source, snapshot);
    bool custom = vol.type == VolumeType::custom;
    add_snapshot(vol, snapshot, custom ? mode_of(from.get()) : 0100, from.get(),
                 [&](int dir) { custom ? copy_custom(from.get(), dir, progress) : copy_root(from.get(), dir, From::volume, progress); });
  });
}

void TreeDriver::create_from_content(const VolumeRef &vol, const std::string &snapshot, const Content &content, const Progress &progress) {
  has_snapshots(vol);
  check_component(snapshot);
  explain("copy a snapshot to", describe(vol), [&] {
    bool custom = vol.type == VolumeType::custom;
    add_snapshot(vol, snapshot, custom ? mode_of(content.root) : 0100, -1,
                 [&](int dir) { custom ? copy_custom(content.root, dir, progress) : fill_from_content(dir, content, progress); });
  });
}

void TreeDriver::remove(const VolumeRef &vol, const std::string &snapshot) {
  check_component(snapshot);
  Fd of = snapshot_directory(vol);
  if (!of) return;
  explain("delete a snapshot of", describe(vol), [&] {
    std::vector<std::string> was;
    for (auto entry : {snapshot, snapshot + "~new", snapshot + "~old"})
      if (vol.type == VolumeType::container && sys::exists_at(of.get(), entry)) note_root(sys::open_child(of.get(), entry).get(), was);
    drop(of.get(), snapshot);
    Fd all = sys::open_child(pool().get(), snapshots_directory(vol.type));
    ::unlinkat(all.get(), vol.name.c_str(), AT_REMOVEDIR); // unless others are in it
    roots_removed(was);
  });
}

void TreeDriver::rename(const VolumeRef &vol, const std::string &snapshot, const std::string &new_name) {
  check_component(snapshot);
  check_component(new_name);
  explain("rename a snapshot of", describe(vol), [&] {
    Fd of = snapshot_directory(vol);
    bool from = of && sys::exists_at(of.get(), snapshot), to = of && sys::exists_at(of.get(), new_name);
    if (!from && !to) fail(ErrorCode::not_found, "snapshot {} is not on disk", base::quoted(snapshot));
    if (from && to) fail(ErrorCode::already_exists, "snapshot {} is on disk already", base::quoted(new_name));
    if (from) {
      FaultScope fault("rename snapshot");
      sys::rename_at(of.get(), snapshot, of.get(), new_name);
    }
    sys::sync_directory(of.get());
  });
}

std::vector<std::string> TreeDriver::list(const VolumeRef &vol) {
  std::vector<std::string> names;
  if (Fd of = snapshot_directory(vol))
    for (auto &entry : sys::list_directory(of.get())) names.push_back(base_name(entry));
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  return names;
}

std::uint64_t TreeDriver::usage(const VolumeRef &vol, const std::string &snapshot) {
  if (vol.type == VolumeType::custom) {
    open_snapshot(vol, snapshot);
    return sys::tree_usage(snapshot_directory(vol).get(), snapshot).bytes;
  }
  return sys::tree_usage(open_snapshot(vol, snapshot).get(), root_name()).bytes;
}

namespace {
constexpr const char *beside_ready = "beside.restore", *beside_fresh = "beside.restore~new";
constexpr const char *beside_names[] = {"metadata.yaml", "templates"};

/// What goes with a root and is not its driver's: copied into one directory, which commit_beside() puts in place.
void prepare_beside(int dirfd, int from) {
  {
    FaultScope fault("remove old restore");
    sys::remove_tree(dirfd, beside_ready);
    sys::remove_tree(dirfd, beside_fresh);
  }
  FaultScope fault("prepare what is beside the root");
  Fd target = sys::make_directory(dirfd, beside_fresh, 0700);
  sys::CopyOptions options;
  options.only = [](const char *name) { return std::any_of(std::begin(beside_names), std::end(beside_names), [&](auto *n) { return std::strcmp(n, name) == 0; }); };
  sys::copy_tree(from, target.get(), options);
  // Told apart from what is in place already, when the commit is repeated.
  for (auto *name : beside_names)
    if (!sys::exists_at(target.get(), name)) sys::make_directory(target.get(), std::string(name) + ".none", 0700);
  sys::sync_tree(target.get());
  sys::rename_at(dirfd, beside_fresh, dirfd, beside_ready);
}

/// Idempotent.
void commit_beside(int dirfd) {
  if (!sys::exists_at(dirfd, beside_ready)) return;
  Fd ready = sys::open_child(dirfd, beside_ready);
  for (std::string name : beside_names) {
    bool there = sys::exists_at(ready.get(), name);
    if (!there && !sys::exists_at(ready.get(), name + ".none")) continue;
    FaultScope fault("put what is beside the root in place");
    sys::remove_tree(dirfd, name);
    if (there) sys::rename_at(ready.get(), name, dirfd, name);
  }
  sys::sync_directory(dirfd);
  FaultScope fault("remove restored files");
  sys::remove_tree(dirfd, beside_ready);
}
} // namespace

void TreeDriver::prepare_root(const VolumeRef &vol, int from, int beside, const std::function<std::string(const std::string &file)> &file, const Progress &progress, bool refresh) {
  Fd dir = volume(vol);
  std::string root = root_name(), fresh = root + ".restore~new", ready = root + ".restore";
  {
    FaultScope fault("remove old restore");
    sys::remove_tree(dir.get(), ready);
    sys::remove_tree(dir.get(), fresh);
  }
  try {
    // A commit that was cut off may have put the root aside: nothing can be kept of it then.
    Fd target, earlier = refresh && sys::exists_at(dir.get(), root) ? sys::open_child(dir.get(), root) : Fd();
    {
      FaultScope fault("make restore directory");
      target = sys::make_directory(dir.get(), fresh, 0700);
    }
    copy_custom(from, target.get(), progress, refresh ? earlier.get() : -1);
    for (auto &name : root_files()) {
      FaultScope fault("write restore file");
      sys::atomic_write(dir.get(), name + ".restore", file(name), 0600);
    }
    prepare_beside(dir.get(), beside);
    sys::sync_tree(target.get());
    FaultScope fault("publish restore");
    sys::rename_at(dir.get(), fresh, dir.get(), ready);
  } catch (...) {
    try {
      sys::remove_tree(dir.get(), fresh);
    } catch (...) {
    }
    throw;
  }
  sys::sync_directory(dir.get());
}

void TreeDriver::prepare_whole(const VolumeRef &vol, int from, const Progress &progress, bool refresh) {
  Fd parent = type_directory(vol.type), now;
  // As for a root, above.
  if (sys::exists_at(parent.get(), vol.name) || !sys::exists_at(parent.get(), vol.name + "~old")) now = volume(vol);
  erase_prepared(parent.get(), vol);
  if (clone(from, parent.get(), vol.name + "~restore", mode_of(from), false)) return;
  make(parent.get(), vol.name + "~restore", mode_of(from), [&](int dir) { copy_custom(from, dir, progress, refresh ? now.get() : -1); });
}

void TreeDriver::restore_prepare(const VolumeRef &vol, const std::string &snapshot, const Progress &progress) {
  has_snapshots(vol);
  explain("restore", describe(vol), [&] {
    Fd from = open_snapshot(vol, snapshot);
    if (whole(vol.type)) return prepare_whole(vol, from.get(), progress, false);
    Fd source = sys::open_child(from.get(), root_name());
    prepare_root(vol, source.get(), from.get(), [&](auto &file) { return sys::read_file_if_exists(from.get(), file).value_or(""); }, progress, false);
  });
}

void TreeDriver::refresh_prepare(const VolumeRef &vol, const VolumeRef &source, const std::optional<std::string> &snapshot, const Progress &progress) {
  has_snapshots(vol);
  has_snapshots(source);
  explain("refresh", describe(vol), [&] {
    Fd from = snapshot ? open_snapshot(source, *snapshot) : volume(source);
    if (whole(vol.type)) return prepare_whole(vol, from.get(), progress, true);
    Fd root = sys::open_child(from.get(), root_name());
    prepare_root(vol, root.get(), from.get(), [&](auto &file) { return sys::read_file_if_exists(from.get(), file).value_or(""); }, progress, true);
  });
}

void TreeDriver::refresh_prepare(const VolumeRef &vol, const Content &content, const Progress &progress) {
  has_snapshots(vol);
  explain("refresh", describe(vol), [&] {
    if (vol.type == VolumeType::custom) return prepare_whole(vol, content.root, progress, true);
    if (whole(vol.type)) {
      Fd parent = type_directory(vol.type);
      erase_prepared(parent.get(), vol);
      return make(parent.get(), vol.name + "~restore", 0100, [&](int dir) {
        fill_from_content(dir, content, progress);
        finish_root(dir);
      });
    }
    prepare_root(vol, content.root, content.directory, [&](auto &file) { return root_file(file, content); }, progress, true);
  });
}

void TreeDriver::restore_commit(const VolumeRef &vol) {
  has_snapshots(vol);
  explain("restore", describe(vol), [&] {
    if (whole(vol.type)) return commit_whole(vol);
    Fd dir = volume(vol);
    std::string root = root_name(), ready = root + ".restore", old = root + ".old";
    std::vector<std::string> was;
    note_root(dir.get(), was);
    if (sys::exists_at(dir.get(), ready)) {
      if (sys::exists_at(dir.get(), root)) {
        sys::remove_tree(dir.get(), old); // of an earlier restore
        FaultScope fault("put old root aside");
        sys::rename_at(dir.get(), root, dir.get(), old);
      }
      FaultScope fault("put restored root in place");
      sys::rename_at(dir.get(), ready, dir.get(), root);
    }
    for (auto &file : root_files()) {
      std::string from = file + ".restore";
      auto text = sys::read_file_if_exists(dir.get(), from);
      if (!text) continue;
      FaultScope fault("put restored file in place");
      if (!text->empty()) {
        sys::rename_at(dir.get(), from, dir.get(), file, true);
      } else {
        remove_name(dir.get(), file);
        remove_name(dir.get(), from);
      }
    }
    commit_beside(dir.get());
    finish_root(dir.get());
    sys::sync_directory(dir.get());
    {
      FaultScope fault("remove old root");
      sys::remove_tree(dir.get(), old);
    }
    roots_removed(was);
  });
}

void TreeDriver::restore_abandon(const VolumeRef &vol) {
  has_snapshots(vol);
  if (whole(vol.type)) return abandon_whole(vol);
  if (!exists(vol)) return;
  explain("undo the restore of", describe(vol), [&] {
    Fd dir = volume(vol);
    std::string root = root_name(), old = root + ".old";
    if (!sys::exists_at(dir.get(), root) && sys::exists_at(dir.get(), old)) {
      FaultScope fault("put old root back");
      sys::rename_at(dir.get(), old, dir.get(), root);
    }
    FaultScope fault("remove restored root");
    sys::remove_tree(dir.get(), root + ".restore");
    sys::remove_tree(dir.get(), root + ".restore~new");
    sys::remove_tree(dir.get(), beside_ready);
    sys::remove_tree(dir.get(), beside_fresh);
    for (auto &file : root_files()) {
      remove_name(dir.get(), file + ".restore");
      remove_name(dir.get(), file + ".restore~tmp");
    }
  });
}

} // namespace incus::storage
