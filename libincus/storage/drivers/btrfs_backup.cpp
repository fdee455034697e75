// SPDX-License-Identifier: Apache-2.0
// Optimised backups: what goes out, and how a volume is put together from what came in.
#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <set>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.hpp"
#include "base/names.hpp"
#include "storage/drivers/btrfs_assembly.hpp"
#include "storage/drivers/btrfs_stream.hpp"
#include "storage/shift.hpp"
#include "storage/trees.hpp"
#include "sys/btrfs_stream.hpp"
#include "sys/fault.hpp"
#include "sys/fs.hpp"
#include "sys/idmap.hpp"
#include "sys/subvolumes.hpp"

namespace incus::storage {

using base::Fd;
using sys::FaultScope;

namespace {

constexpr int directory = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;

class Sending : public Replication::Outgoing {
public:
  explicit Sending(BtrfsStreams &of) : passing(of) {}
  BtrfsStreams::Passing passing;
};

/// Path of a nested subvolume, as parts call it, from the top.
std::string below(const std::string &path) { return path.substr(1); }

/// An instance's volume as it came may hold more than one has. What this server keeps beside a root is not believed.
void clean_instance(int top) {
  for (auto &name : sys::list_directory(top))
    if (name != "rootfs" && name != "templates" && name != "metadata.yaml" && name != "backup.yaml") {
      FaultScope fault("remove what no volume has");
      if (!sys::remove_subvolume(top, name)) sys::remove_tree(top, name);
    }
  sys::open_child(top, "rootfs");
  if (sys::exists_at(top, "templates")) sys::open_child(top, "templates");
  for (auto *name : {"metadata.yaml", "backup.yaml"}) {
    struct stat st;
    if (::fstatat(top, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISREG(st.st_mode)) base::fail(ErrorCode::corrupt, "{} of the backup is not a regular file", name);
  }
}

} // namespace

std::unique_ptr<Replication::Outgoing> BtrfsStreams::open_streams(const VolumeRef &vol, const std::vector<std::string> &snapshots, const std::function<void(int)> &prepare) {
  auto out = std::make_unique<Sending>(*this);
  int in = out->passing.fd();
  std::string volumes = volume_directory(vol.type), before;
  // Of the one before: which paths can be built on.
  std::set<std::string> could;
  auto add = [&](const std::string &snapshot, int from, const std::string &place) {
    std::vector<std::string> paths = sys::nested_subvolumes(from);
    std::sort(paths.begin(), paths.end());
    paths.insert(paths.begin(), "");
    // Only what cannot change is sent; of anything else a copy.
    bool frozen = true;
    std::vector<bool> read_only;
    for (auto &p : paths) {
      Fd fd = p.empty() ? Fd(::fcntl(from, F_DUPFD_CLOEXEC, 3)) : sys::try_open_beneath(from, p, directory);
      read_only.push_back(fd && sys::is_subvolume(fd.get()) && sys::is_read_only(fd.get()));
      frozen = frozen && read_only.back();
    }
    std::string at = place;
    Fd copy;
    if (!frozen || snapshot.empty()) {
      auto name = "send" + std::to_string(out->parts.size());
      sys::snapshot_subvolume(from, in, name, false);
      copy = sys::open_child(in, name);
      if (snapshot.empty() && prepare) prepare(copy.get());
      for (auto &p : sys::nested_subvolumes(copy.get()))
        if (Fd fd = sys::try_open_beneath(copy.get(), p, directory); fd && sys::is_subvolume(fd.get())) sys::set_read_only(fd.get(), true);
      sys::set_read_only(copy.get(), true);
      at = std::string(transfers_name) + "/" + out->passing.name() + "/" + name;
    }
    std::set<std::string> can;
    for (std::size_t i = 0; i < paths.size(); i++) {
      auto &p = paths[i];
      Fd fd = p.empty() ? Fd() : sys::try_open_beneath(copy ? copy.get() : from, p, directory);
      if (!p.empty() && (!fd || !sys::is_subvolume(fd.get()))) continue; // moved or removed meanwhile
      Outgoing::Part part;
      part.snapshot = snapshot;
      part.path = "/" + p;
      part.read_only = read_only[i] && !(snapshot.empty() && p.empty());
      part.id = sys::to_text(sys::subvolume_info(fd ? fd.get() : copy ? copy.get() : from).id);
      part.directory = p.empty() ? at : at + "/" + p;
      if (could.count(p)) part.base = p.empty() ? before : before + "/" + p;
      can.insert(p);
      out->parts.push_back(std::move(part));
    }
    could = std::move(can);
    before = at;
  };
  me_.about("send", vol, [&] {
    for (auto &name : snapshots) {
      Fd from = me_.part(vol, name);
      add(name, from.get(), std::string(snapshots_directory(vol.type)) + "/" + vol.name + "/" + name);
    }
    Fd from = me_.part(vol, {});
    add("", from.get(), volumes + "/" + vol.name);
  });
  return out;
}

void BtrfsStreams::create_from_streams(const VolumeRef &vol, const std::vector<StreamPart> &parts, const std::map<std::string, IdMap> &owners, const std::function<void(int)> &fill) {
  check_component(vol.name);
  bool custom = vol.type == VolumeType::custom;
  // Makes "whole" in the passing directory of what came of a snapshot, or of the volume.
  auto assemble = [&](int in, const std::string &snapshot) {
    std::optional<BtrfsAssembly> whole;
    auto of = [&](const StreamPart &p) { return p.snapshot == snapshot; };
    for (std::size_t i = 0; i < parts.size(); i++)
      if (of(parts[i]) && parts[i].path == "/") whole.emplace(in, std::to_string(i), "whole");
    if (!whole) base::fail(ErrorCode::corrupt, "the backup holds nothing of {}", snapshot.empty() ? "the volume itself" : "snapshot " + base::quoted(snapshot));
    for (std::size_t i = 0; i < parts.size(); i++)
      if (of(parts[i]) && parts[i].path != "/") whole->place(std::to_string(i), below(parts[i].path), parts[i].read_only);
    auto map = owners.find(snapshot);
    bool shifted = map != owners.end() && !map->second.empty();
    if (!custom) {
      clean_instance(whole->fd());
      // No user of the host may own what closes a guest's files to the host's users.
      if (::fchown(whole->fd(), 0, 0) != 0 || ::fchmod(whole->fd(), 0100) != 0) base::fail_errno(errno, "cannot set the mode of the volume's directory");
      // Changed when it is started, as after any other change of ids.
      if (shifted) sys::write_new_file(whole->fd(), shift_map_file, sys::format_idmap(map->second), 0600);
    } else if (shifted) {
      shift_tree(in, "whole", map->second, {});
      for (auto *name : {"idmap", "shift", "shift.log"}) sys::remove_tree(in, name);
    }
    whole->finish(false);
  };
  bool taken = true;
  try {
    me_.about("restore", vol, [&] {
      Fd volumes = me_.volumes(vol.type), all = me_.snapshots_root(vol.type);
      taken = sys::exists_at(volumes.get(), vol.name) || sys::exists_at(all.get(), vol.name);
      if (taken) base::fail(ErrorCode::already_exists, "it is on disk already");
      Passing passing(*this);
      {
        FaultScope fault("receive backup");
        fill(passing.fd());
      }
      std::vector<std::string> snapshots;
      for (auto &p : parts)
        if (!p.snapshot.empty() && p.path == "/") snapshots.push_back(p.snapshot);
      Fd of;
      if (!snapshots.empty()) {
        FaultScope fault("make snapshots directory");
        of = sys::make_directory(all.get(), vol.name, 0700);
      }
      for (auto &name : snapshots) {
        check_component(name);
        assemble(passing.fd(), name);
        FaultScope fault("publish snapshot");
        sys::rename_at(passing.fd(), "whole", of.get(), name + "~new");
        sys::set_read_only(sys::open_child(of.get(), name + "~new").get(), true);
        sys::rename_at(of.get(), name + "~new", of.get(), name);
      }
      assemble(passing.fd(), "");
      FaultScope fault("publish volume");
      sys::rename_at(passing.fd(), "whole", volumes.get(), vol.name);
      sys::sync_filesystem(volumes.get());
    });
  } catch (...) {
    try {
      if (!taken) me_.remove_everything(vol);
    } catch (...) {
    }
    throw;
  }
}

} // namespace incus::storage
