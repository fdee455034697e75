// SPDX-License-Identifier: Apache-2.0
// Pools of the btrfs driver by a whole host: what they lie on, what is refused, what a guest's own subvolumes become, and disks that are gone.
#include <doctest/doctest.h>

#include <boost/json.hpp>
#include <csignal>
#include <linux/magic.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/vfs.h>
#include <sys/wait.h>

#include <incus/incus.hpp>

#include "../support/pools.hpp"
#include "../support/testing.hpp"
#include "../support/trees.hpp"
#include "storage/pools.hpp"
#include "sys/fs.hpp"
#include "sys/mounts.hpp"
#include "sys/subvolumes.hpp"

using namespace incus;
using namespace incus::test;
using storage::VolumeRef;
using storage::VolumeType;
namespace fs = std::filesystem;

namespace {

const base::Log silent;
const VolumeRef c1{VolumeType::container, "c1"}, c2{VolumeType::container, "c2"};

/// A state directory; its pools go with it.
struct State {
  TempDir tmp;
  std::string path = tmp.path + "/state";
  std::optional<Host> host;
  State() {
    own_mounts();
    ::chmod(tmp.path.c_str(), 0711);
    open();
  }
  ~State() {
    host.reset();
    unmount_all();
  }
  void open() {
    OpenOptions o;
    o.storage_driver = "dir";
    host = Host::open("embed://" + path, o);
  }
  void unmount_all() {
    if (fs::exists(path + "/storage-pools"))
      for (auto &p : fs::directory_iterator(path + "/storage-pools")) sys::unmount(p.path());
  }
  std::string pool(const std::string &name) const { return path + "/storage-pools/" + name; }
  void make(const std::string &name, const Config &config = {}) {
    StoragePoolCreate r;
    r.name = name;
    r.driver = "btrfs";
    r.config = config;
    host->create_storage_pool(r);
  }
  /// What it says when it refuses.
  std::string refused(const std::string &name, const Config &config) {
    try {
      make(name, config);
    } catch (const Error &e) {
      return e.what();
    }
    return "made";
  }
  bool sound() { return host->request("GET", "/internal/check").find("\"problems\":[]") != std::string::npos; }
};

bool has(const std::string &text, const std::string &part) { return text.find(part) != std::string::npos; }

bool on_btrfs(const std::string &path) {
  struct statfs s {};
  return ::statfs(path.c_str(), &s) == 0 && s.f_type == BTRFS_SUPER_MAGIC;
}

/// A Btrfs file system of the administrator's.
struct Disk {
  TempDir tmp;
  storage::DriverContext context{"disk", tmp.path + "/mnt", {{"source", tmp.path + "/disk.img"}, {"size", "300MiB"}}, &silent, tmp.path};
  std::unique_ptr<storage::Driver> driver;
  std::string at = context.directory;
  Disk() : driver((own_mounts(), storage::driver("btrfs").open(context))) {
    driver->create();
    for (auto &e : fs::directory_iterator(at)) fs::remove_all(e.path());
  }
  ~Disk() { driver->abandon(); }
};

base::Fd directory(const std::string &path) { return sys::open_directory(path); }

} // namespace

TEST_CASE("a pool on a loop file is mounted, mounted again, grows and goes") {
  State s;
  s.make("p", {{"size", "200MiB"}});
  auto info = s.host->storage_pool("p").info();
  CHECK(info.status == "Created");
  CHECK(info.config.at("size") == "200MiB");
  auto file = s.path + "/disks/p.img";
  CHECK(info.config.at("source") == file);
  struct stat st;
  REQUIRE(::stat(file.c_str(), &st) == 0);
  CHECK((st.st_mode & 07777) == 0600);
  CHECK(st.st_size == 200 << 20);
  CHECK(on_btrfs(s.pool("p")));
  CHECK(s.sound());
  {
    auto used = directory(s.pool("p"));
    s.host.reset();
    CHECK(on_btrfs(s.pool("p"))); // somebody is in there
  }
  s.open();
  s.host.reset();
  CHECK(!on_btrfs(s.pool("p"))); // what the host has mounted goes with it
  s.open();
  CHECK(on_btrfs(s.pool("p")));
  CHECK(s.host->storage_pool("p").info().status == "Created");

  auto before = s.host->storage_pool("p").resources().space.total;
  StoragePoolUpdate to{info.config, "larger"};
  to.config["size"] = "400MiB";
  to.config["btrfs.mount_options"] = "user_subvol_rm_allowed,noatime";
  s.host->storage_pool("p").update(to);
  CHECK(s.host->storage_pool("p").resources().space.total == before * 2);
  to.config["size"] = "300MiB";
  CHECK_THROWS_WITH_AS(s.host->storage_pool("p").update(to), doctest::Contains("cannot shrink"), Error);
  CHECK(s.host->storage_pool("p").info().config.at("size") == "400MiB");
  // As a process leaves it that is killed between the file and the store: what the file has counts, or the file system would lose its end.
  fs::resize_file(file, 600 << 20);
  to.config["size"] = "500MiB";
  CHECK_THROWS_WITH_AS(s.host->storage_pool("p").update(to), doctest::Contains("cannot shrink"), Error);
  CHECK(fs::file_size(file) == 600 << 20);
  to.config["size"] = "600MiB";
  s.host->storage_pool("p").update(to);
  CHECK(s.host->storage_pool("p").resources().space.total == before * 3);
  // What a change leaves out stays.
  s.host->storage_pool("p").update({{{"user.a", "b"}}, ""});
  CHECK(s.host->storage_pool("p").info().config.at("size") == "600MiB");

  s.host->storage_pool("p").remove();
  CHECK(!fs::exists(file));
  CHECK(!fs::exists(s.pool("p")));
  CHECK(s.sound());
}

TEST_CASE("what cannot be the source of a pool is refused, and nothing of it is touched") {
  State s;
  Disk disk;
  auto untouched = [&] {
    CHECK(s.sound());
    CHECK(!fs::exists(s.pool("p")));
    CHECK(!fs::exists(s.path + "/disks/p.img"));
    CHECK(s.host->storage_pools().empty());
  };
  CHECK(has(s.refused("p", {{"size", "1MiB"}}), "at least"));
  CHECK(has(s.refused("p", {{"size", "many"}}), "size"));
  CHECK(has(s.refused("p", {{"source", "relative"}}), "absolute"));
  CHECK(has(s.refused("p", {{"source", "/"}}), "root directory"));
  if (!on_btrfs(s.tmp.path)) CHECK(has(s.refused("p", {{"source", s.tmp.path + "/nothing"}}), "could only be made on a Btrfs"));
  CHECK(has(s.refused("p", {{"source", s.tmp.path + "/no/such"}}), "nor is the directory"));
  CHECK(has(s.refused("p", {{"source", s.path + "/images/new"}}), "state directory"));
  CHECK(has(s.refused("p", {{"source", s.path + "/storage-pools/q"}}), "state directory"));
  CHECK(has(s.refused("p", {{"source", s.path}}), "state directory"));
  CHECK(has(s.refused("p", {{"source", s.path + "/images"}}), "state directory"));
  CHECK(has(s.refused("p", {{"source", s.tmp.path}}), "state directory"));
  TempDir plain;
  if (!on_btrfs(plain.path)) CHECK(has(s.refused("p", {{"source", plain.path}}), "does not lie on a Btrfs"));
  CHECK(has(s.refused("p", {{"btrfs.mount_options", "nonsense"}, {"size", "200MiB"}}), "options"));
  CHECK(has(s.refused("p", {{"zfs.pool_name", "x"}}), "btrfs.mount_options"));
  untouched();
  // In use, and with something on it.
  auto device = sys::mounted_device(disk.at);
  REQUIRE(!device.empty());
  CHECK(has(s.refused("p", {{"source", device}}), "in use"));
  fs::create_directory(disk.at + "/full");
  write_file(disk.at + "/full/mine", "mine");
  CHECK(has(s.refused("p", {{"source", disk.at + "/full"}}), "must be empty"));
  CHECK(slurp(disk.at + "/full/mine") == "mine");
  auto top = directory(disk.at);
  sys::create_subvolume(top.get(), "sub");
  sys::create_subvolume(directory(disk.at + "/sub").get(), "inner");
  CHECK(has(s.refused("p", {{"source", disk.at + "/sub"}}), "must be empty"));
  CHECK(fs::exists(disk.at + "/sub/inner"));
  fs::create_directories(s.path + "/disks");
  write_file(s.path + "/disks/q.img", "mine");
  CHECK(has(s.refused("q", {}), "there already"));
  CHECK(slurp(s.path + "/disks/q.img") == "mine");
  untouched();
}

TEST_CASE("a pool on a device, and in a directory or subvolume that was there before") {
  State s;
  Disk disk;
  TempDir tmp;
  auto file = tmp.path + "/dev.img";
  write_file(file, "");
  REQUIRE(::truncate(file.c_str(), 200 << 20) == 0);
  {
    auto loop = sys::attach_loop(file);
    s.make("p", {{"source", loop.path}});
    CHECK(on_btrfs(s.pool("p")));
    CHECK(s.host->storage_pool("p").info().config.at("volatile.initial_source") == loop.path);
    s.host->storage_pool("p").remove();
    CHECK(!fs::exists(s.pool("p")));
    CHECK(has(s.refused("p", {{"source", loop.path}}), "source.wipe"));
    s.make("p", {{"source", loop.path}, {"source.wipe", "true"}});
    CHECK(!s.host->storage_pool("p").info().config.contains("source.wipe"));
    s.host->storage_pool("p").remove();
  }
  fs::create_directory(disk.at + "/dir");
  sys::create_subvolume(directory(disk.at).get(), "sub");
  for (std::string name : {"dir", "sub"}) {
    CAPTURE(name);
    s.make("p", {{"source", disk.at + "/" + name}});
    CHECK(fs::exists(disk.at + "/" + name + "/containers"));
    CHECK(sys::is_mount_point(s.pool("p")));
    s.host.reset();
    s.unmount_all();
    s.open();
    CHECK(sys::is_mount_point(s.pool("p")));
    s.host->storage_pool("p").remove();
    CHECK(fs::is_empty(disk.at + "/" + name));
    CHECK(!fs::exists(s.pool("p")));
  }
  // One that is not there is made, and stays when the pool goes, as with the official daemon.
  s.make("p", {{"source", disk.at + "/fresh"}});
  CHECK(sys::is_subvolume(directory(disk.at + "/fresh").get()));
  CHECK(fs::exists(disk.at + "/fresh/containers"));
  CHECK(s.host->storage_pool("p").info().config == Config{{"source", disk.at + "/fresh"}, {"volatile.initial_source", disk.at + "/fresh"}});
  s.host->storage_pool("p").remove();
  CHECK(fs::is_empty(disk.at + "/fresh"));
  // Of a pool that was not to be nothing stays.
  storage::DriverContext c{"q", s.pool("q"), {{"source", disk.at + "/never"}}, &silent, s.path + "/disks"};
  c.config = storage::driver("btrfs").prepare(c);
  storage::driver("btrfs").open(c)->create();
  CHECK(fs::exists(disk.at + "/never/containers"));
  storage::driver("btrfs").open(c)->abandon(); // as after a kill
  CHECK(!fs::exists(disk.at + "/never"));
  CHECK(!fs::exists(s.pool("q")));
  CHECK(s.sound());
}

TEST_CASE("a pool whose disk is gone at start says so, and the rest of the host works") {
  State s;
  s.make("p", {{"size", "200MiB"}});
  StoragePoolCreate other;
  other.name = "other";
  other.driver = "dir";
  s.host->create_storage_pool(other);
  InstanceCreate r;
  r.name = "c1";
  r.source.type = "none";
  r.devices["root"] = {{"type", "disk"}, {"path", "/"}, {"pool", "p"}};
  s.host->create_instance(r).wait();
  CHECK(s.sound());
  s.host.reset();
  s.unmount_all();
  auto file = s.path + "/disks/p.img";
  fs::rename(file, file + ".away");
  s.open();
  CHECK(s.host->storage_pool("p").info().status == "Unavailable");
  CHECK(s.host->storage_pool("other").info().status == "Created");
  CHECK(s.host->instances().size() == 1);
  auto says = [&](auto f) {
    try {
      f();
    } catch (const Error &e) {
      return std::string(e.what());
    }
    return std::string("nothing");
  };
  CHECK(has(says([&] { s.host->instance("c1").start().wait(); }), "not available"));
  CHECK(has(says([&] { SnapshotCreate sc;
          sc.name = "s1";
          s.host->instance("c1").create_snapshot(sc).wait(); }), "not available"));
  CHECK(has(says([&] { s.host->instance("c1").remove().wait(); }), "not available"));
  CHECK(!s.sound());
  CHECK(has(s.host->request("GET", "/internal/check"), "not available"));
  r.name = "c2";
  r.devices["root"]["pool"] = "other";
  s.host->create_instance(r).wait();
  s.host->instance("c2").remove().wait();
  CHECK(fs::is_empty(s.pool("p"))); // nothing was made beside it
  CHECK(has(s.host->request("POST", "/internal/recover/validate", R"({"pools":[]})"), "\"UnknownVolumes\":null")); // looks at the others
  // It is used again as soon as it is there.
  fs::rename(file + ".away", file);
  CHECK(s.host->storage_pool("p").info().status == "Created");
  s.host->instance("c1").remove().wait();
  CHECK_MESSAGE(s.sound(), s.host->request("GET", "/internal/check"));
}

TEST_CASE("a pool stays where it is as long as an instance runs on it") {
  State s;
  s.make("p", {{"size", "300MiB"}});
  incus::testing::make_busybox_image(s.tmp.path + "/image");
  ImageImport how;
  how.alias = "busy";
  s.host->import_image(s.tmp.path + "/image", how).wait();
  InstanceCreate r;
  r.name = "c1";
  r.source.type = "image";
  r.source.alias = "busy";
  r.devices["root"] = {{"type", "disk"}, {"path", "/"}, {"pool", "p"}};
  s.host->create_instance(r).wait();
  s.host->instance("c1").start().wait();
  s.host.reset();
  CHECK(on_btrfs(s.pool("p")));
  s.open();
  CHECK(s.host->instance("c1").info().status == "Running");
  s.host->instance("c1").stop(true).wait();
  s.host.reset();
  CHECK(!on_btrfs(s.pool("p")));
  s.open();
  s.host->instance("c1").remove().wait();
  CHECK_MESSAGE(s.sound(), s.host->request("GET", "/internal/check"));
}

TEST_CASE("recovery looks at a pool that the store has lost, and leaves it as it was unless it is taken in") {
  State s;
  s.make("p", {{"size", "200MiB"}});
  InstanceCreate r;
  r.name = "c1";
  r.source.type = "none";
  r.devices["root"] = {{"type", "disk"}, {"path", "/"}, {"pool", "p"}};
  s.host->create_instance(r).wait();
  s.host.reset();
  s.unmount_all();
  fs::remove_all(s.path + "/database");
  s.open();
  const std::string asked = R"({"pools":[{"name":"p","driver":"btrfs","config":{"source":")" + s.path + R"(/disks/p.img"}}]})";
  CHECK(has(s.host->request("POST", "/internal/recover/validate", asked), "\"c1\""));
  CHECK(!on_btrfs(s.pool("p")));
  CHECK_THROWS_AS(s.host->storage_pool("p").info(), Error);
  s.host->request("POST", "/internal/recover/import", asked);
  CHECK(on_btrfs(s.pool("p")));
  CHECK(s.host->instance("c1").info().status == "Stopped");
  s.host->instance("c1").remove().wait();
  CHECK_MESSAGE(s.sound(), s.host->request("GET", "/internal/check"));
  s.host->storage_pool("p").remove();
}

TEST_CASE("subvolumes that a guest made go along, read-only ones as such") {
  Disk disk;
  auto &row = storage::driver("btrfs");
  auto pool = row.open({"p", disk.at + "/p", {{"source", disk.at + "/p"}}, &silent, disk.at});
  pool->create();
  pool->create_empty(c1);
  auto root = [&](const std::string &volume) { return disk.at + "/p/" + volume + "/rootfs"; };
  auto at = root("containers/c1");
  sys::create_subvolume(directory(at).get(), "a");
  write_file(at + "/a/one", "1");
  fs::create_directory(at + "/a/dir");
  sys::create_subvolume(directory(at + "/a/dir").get(), "b");
  sys::create_subvolume(directory(at + "/a/dir/b").get(), "c");
  write_file(at + "/a/dir/b/c/three", "3");
  sys::set_read_only(directory(at + "/a/dir/b").get(), true);
  auto *snapshots = pool->snapshots();
  auto whole = [&](const std::string &volume) {
    CAPTURE(volume);
    auto r = root(volume);
    CHECK(slurp(r + "/a/one") == "1");
    CHECK(slurp(r + "/a/dir/b/c/three") == "3");
    for (auto *sub : {"/a", "/a/dir/b", "/a/dir/b/c"}) CHECK(sys::is_subvolume(directory(r + sub).get()));
    CHECK(sys::is_read_only(directory(r + "/a/dir/b").get()));
    CHECK(!sys::is_read_only(directory(r + "/a").get()));
  };
  snapshots->create(c1, "s1", {});
  whole("containers-snapshots/c1/s1");
  CHECK(sys::is_read_only(directory(disk.at + "/p/containers-snapshots/c1/s1").get()));
  write_file(at + "/a/two", "2");
  snapshots->restore_prepare(c1, "s1", {});
  snapshots->restore_commit(c1);
  whole("containers/c1");
  CHECK(!fs::exists(at + "/a/two"));
  pool->create_copy(c2, c1, "s1", {});
  whole("containers/c2");
  // A link in the way leads nowhere.
  sys::create_subvolume(directory(disk.at).get(), "outside");
  write_file(disk.at + "/outside/mine", "mine");
  pool->remove_volume(c2);
  CHECK(!fs::exists(disk.at + "/p/containers/c2"));
  snapshots->remove(c1, "s1");
  CHECK(!fs::exists(disk.at + "/p/containers-snapshots/c1"));
  pool->remove_volume(c1);
  CHECK(pool->list(VolumeType::container).empty());
  CHECK(fs::exists(disk.at + "/outside/mine"));
  pool->remove();
  CHECK(!fs::exists(disk.at + "/p"));
}

TEST_CASE("a pool that is killed while it is made or removed leaves nothing, or is there") {
  for (int n = 0; n < 6; n++) {
    CAPTURE(n);
    State s;
    s.host.reset();
    bool make = n % 2 == 0;
    if (!make) {
      s.open();
      s.make("p", {{"size", "200MiB"}});
      s.host.reset();
    }
    pid_t child = ::fork();
    if (child == 0) {
      try {
        s.open();
        make ? s.make("p", {{"size", "200MiB"}}) : s.host->storage_pool("p").remove();
        ::_exit(0);
      } catch (const std::exception &) {
        ::_exit(1);
      }
    }
    ::usleep(static_cast<useconds_t>(10000 + 15000 * n));
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    s.open();
    CHECK(s.sound());
    bool there = !s.host->storage_pools().empty();
    CHECK(fs::exists(s.path + "/disks/p.img") == there);
    CHECK(fs::exists(s.pool("p")) == there);
    if (there) CHECK(s.host->storage_pool("p").info().status == "Created");
  }
}

TEST_CASE("a transient host leaves no mount and no loop device, killed or closed") {
  for (bool kill : {false, true}) {
    CAPTURE(kill);
    own_mounts();
    TempDir tmp;
    ::chmod(tmp.path.c_str(), 0711);
    auto path = tmp.path + "/state";
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    pid_t child = ::fork();
    if (child == 0) {
      ::close(ends[0]);
      try {
        OpenOptions o;
        o.auto_destroy = o.remove_directory = true;
        auto h = Host::open("embed://" + path, o);
        StoragePoolCreate r;
        r.name = "p";
        r.driver = "btrfs";
        r.config = {{"size", "200MiB"}};
        h.create_storage_pool(r);
        if (::write(ends[1], "x", 1) != 1) ::_exit(2);
        if (kill) ::pause();
      } catch (const std::exception &e) {
        std::fprintf(stderr, "%s\n", e.what());
        ::_exit(1);
      }
      ::_exit(0);
    }
    ::close(ends[1]);
    char c = 0;
    CHECK(::read(ends[0], &c, 1) == 1);
    ::close(ends[0]);
    if (kill) ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    for (int waited = 0; waited < 30000 && fs::exists(path); waited += 10) ::usleep(10000);
    CHECK(!fs::exists(path));
    CHECK(sys::mounted_device(path + "/storage-pools/p").empty());
  }
}
