// SPDX-License-Identifier: Apache-2.0
// Storage operations of a process that is killed: at fault points (build with them; a sample, or all with --all), or after a random time. Afterwards a new process, as
// reconciliation does, undoes or repeats the operation; what is there is whole, the end is the same as without the kill, and removal by name leaves nothing.
#include <doctest/doctest.h>

#include <chrono>
#include <csignal>
#include <sched.h>
#include <set>
#include <sys/mount.h>
#include <sys/wait.h>
#include <thread>

#include "../support/pools.hpp"
#include "../support/testing.hpp"
#include "../support/trees.hpp"
#include "base/error.hpp"
#include "storage/driver.hpp"
#include "sys/fs.hpp"

#ifdef INCUS_FAULT_BUILD
namespace incus::sys {
void fault_arm(bool on) noexcept;
long fault_count() noexcept;
} // namespace incus::sys
#endif

using namespace incus;
using namespace incus::test;
using storage::Driver;
using storage::IdMap;
using storage::VolumeRef;
using storage::VolumeType;

namespace {

const base::Log silent;
const std::string print(64, 'a');
const VolumeRef c1{VolumeType::container, "c1"}, c2{VolumeType::container, "c2"}, img{VolumeType::image, print}, data{VolumeType::custom, "default_data"},
    data2{VolumeType::custom, "default_copy"};
const IdMap high{{true, true, 1000000, 0, 1000000000}};

struct Pool {
  TempDir tmp;
  std::string kind, path = tmp.path + "/pool";
  explicit Pool(const std::string &k) : kind(k) {}
  /// As a new process has it.
  std::unique_ptr<Driver> open() const {
    auto &row = storage::driver(kind);
    return row.open(pool_context(row, "p1", path, &silent));
  }
  ~Pool() {
    if (storage::driver(kind).mounts) open()->abandon();
  }
  Pool(const Pool &) = delete;
  Pool &operator=(const Pool &) = delete;
  std::string root(const std::string &volume) const { return path + "/" + volume + (kind == "overlay" ? "/upper" : "/rootfs"); }
};

/// A Btrfs file system where temporary directories are made as long as it lives.
struct BtrfsDisk {
  TempDir tmp;
  storage::DriverContext context{"disk", tmp.path + "/mnt", {{"source", tmp.path + "/disk.img"}, {"size", "1GiB"}}, &silent, tmp.path};
  std::unique_ptr<Driver> driver;
  std::string before;
  BtrfsDisk() {
    must(::unshare(CLONE_NEWNS) == 0 && ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0, "unshare");
    driver = storage::driver("btrfs").open(context);
    driver->create();
    if (auto *t = std::getenv("TMPDIR")) before = t;
    ::setenv("TMPDIR", context.directory.c_str(), 1);
  }
  ~BtrfsDisk() {
    before.empty() ? ::unsetenv("TMPDIR") : ::setenv("TMPDIR", before.c_str(), 1);
    driver->abandon();
  }
};

/// The same times in every pool.
void fix_times(const std::string &path) {
  timespec t[2] = {{1000000000, 5}, {1000000000, 7}};
  std::vector<std::string> all{path};
  for (auto &e : std::filesystem::recursive_directory_iterator(path)) all.push_back(e.path());
  for (auto it = all.rbegin(); it != all.rend(); ++it) must(::utimensat(AT_FDCWD, it->c_str(), t, AT_SYMLINK_NOFOLLOW) == 0, *it);
}

void fill(int dirfd) {
  std::string at = "/proc/self/fd/" + std::to_string(dirfd), root = at + "/rootfs";
  for (auto d : {"", "/bin", "/etc", "/var", "/var/log", "/var/lib"}) must(::mkdir((root + d).c_str(), 0755) == 0, d);
  write_file(at + "/metadata.yaml", "architecture: x86_64\n");
  for (int i = 0; i < 20; i++) write_file(root + "/var/lib/f" + std::to_string(i), std::string(3000, static_cast<char>('a' + i)));
  for (int i = 0; i < 4; i++) {
    std::string su = root + "/bin/su" + std::to_string(i);
    write_file(su, "su");
    must(::chown(su.c_str(), 0, 42) == 0 && ::chmod(su.c_str(), 06755) == 0, "su");
    unsigned char cap[20] = {1, 0, 0, 2, 0, 0x20};
    write_file(root + "/bin/ping" + std::to_string(i), "ping", 0755);
    must(::setxattr((root + "/bin/ping" + std::to_string(i)).c_str(), "security.capability", cap, sizeof cap, 0) == 0, "capability");
    std::string acl = acl_value(33, 44), log = root + "/var/log/l" + std::to_string(i);
    write_file(log, "log");
    must(::setxattr(log.c_str(), "system.posix_acl_access", acl.data(), acl.size(), 0) == 0, "acl");
  }
  must(::link((root + "/bin/su0").c_str(), (root + "/bin/sudo").c_str()) == 0, "link");
  // Looks as if it was shifted.
  write_file(root + "/etc/nested", "n");
  must(::chown((root + "/etc/nested").c_str(), 1000007, 1000007) == 0, "chown");
  fix_times(root);
}

/// What a guest did.
void work(const Pool &p, const std::string &mark) {
  std::string root = p.root("containers/c1");
  write_file(root + "/work-" + mark, mark, 04711);
  fix_times(root);
}

/// What there is in the pool, without what a copy or a sync may vary.
std::map<std::string, Manifest> state(const Pool &p) {
  std::map<std::string, Manifest> all;
  if (!std::filesystem::exists(p.path)) return all;
  auto &names = all["names"];
  for (auto &e : std::filesystem::recursive_directory_iterator(p.path)) {
    struct stat st;
    ::lstat(e.path().c_str(), &st);
    std::string name = e.path().string().substr(p.path.size() + 1);
    names[name] = std::to_string(st.st_mode);
    auto leaf = e.path().filename();
    if (leaf == (p.kind == "overlay" ? "upper" : "rootfs") && name.find("images/") != 0) {
      auto m = manifest(e.path());
      if (m.size() == 1) m[""] = "empty " + std::to_string(st.st_mode); // made now
      all[name] = m;
    }
    auto parent = e.path().parent_path();
    if (name.find('~') == std::string::npos && (parent == p.path + "/custom" || parent.parent_path() == p.path + "/custom-snapshots")) all[name] = manifest(e.path());
    if (leaf == "lower" || leaf == "idmap") names[name] += slurp(e.path());
  }
  return all;
}

std::string changed(const std::map<std::string, Manifest> &a, const std::map<std::string, Manifest> &b) {
  for (auto &[k, m] : a) {
    auto it = b.find(k);
    if (it == b.end()) return "missing " + k;
    if (auto d = difference(m, it->second); !d.empty()) return k + ": " + d;
  }
  for (auto &[k, m] : b)
    if (!a.contains(k)) return "new " + k;
  return {};
}

struct Case {
  std::string name;
  std::function<void(Pool &)> before;
  std::function<void(Driver &)> op;
  /// What the journal's undo does before the operation is repeated; null: the operation is repeated as it is.
  std::function<void(Driver &)> undo;
};

void base_pool(Pool &p) {
  auto d = p.open();
  d->create();
  d->create_image(img, fill);
}
void base_instance(Pool &p) {
  base_pool(p);
  p.open()->create_from_image(c1, img, {});
  work(p, "one");
}
void base_snapshot(Pool &p) {
  base_instance(p);
  p.open()->snapshots()->create(c1, "s1", {});
  work(p, "two");
}

/// A second pool, whose c1 and custom volume go to the first.
struct Other {
  TempDir tmp;
  std::unique_ptr<Driver> driver;
  explicit Other(const char *kind) : driver(storage::driver(kind).open(pool_context(storage::driver(kind), "p2", tmp.path + "/pool", &silent))) {
    driver->create();
    driver->create_image(img, fill);
    driver->create_from_image(c1, img, {});
    driver->snapshots()->create(c1, "s1", {});
    driver->create_empty(data);
    for (int i = 0; i < 5; i++) write_file(tmp.path + "/pool/custom/default_data/f" + std::to_string(i), std::string(5000, static_cast<char>('a' + i)));
    fix_times(tmp.path + "/pool/custom/default_data");
    driver->snapshots()->create(data, "s1", {});
    if (std::string(kind) != "btrfs") fix_times(tmp.path); // there snapshots are read-only, and keep them
  }
};
Other &other(const char *kind) {
  static Other dir("dir"), overlay("overlay");
  return std::string(kind) == "dir" ? dir : overlay;
}

void base_data(Pool &p) {
  base_instance(p);
  auto d = p.open();
  d->create_empty(data);
  for (int i = 0; i < 5; i++) write_file(p.path + "/custom/default_data/f" + std::to_string(i), std::string(5000, static_cast<char>(i == 3 ? 'x' : 'a' + i)));
  write_file(p.path + "/custom/default_data/goes", "x");
  fix_times(p.path + "/custom/default_data");
  d->snapshots()->create(data, "s1", {});
}

/// Of custom volumes, within the pool and from another; and of instances from another pool. Undone as the journal does.
std::vector<Case> copies() {
  auto from = [](const char *kind, const VolumeRef &v, std::optional<std::string> s, const std::function<void(const storage::Content &)> &use) {
    use(*other(kind).driver->open_content(v, s));
  };
  auto undo = [](Driver &d) { d.remove_volume(data2); };
  auto abandon = [](Driver &d) { d.snapshots()->restore_abandon(data); };
  std::vector<Case> v{
      {"copy a custom volume", base_data, [](Driver &d) { d.create_copy(data2, data, std::nullopt, {}); }, undo},
      {"copy a custom volume's snapshot",
       [](Pool &p) {
         base_data(p);
         p.open()->create_copy(data2, data, std::nullopt, {});
       },
       [](Driver &d) { d.snapshots()->copy(data2, data, "s1", {}); }, [](Driver &d) { d.snapshots()->remove(data2, "s1"); }},
      {"custom volume from another pool", base_data, [=](Driver &d) { from("dir", data, {}, [&](auto &c) { d.create_from_content(data2, c, {}); }); }, undo},
      {"prepare a restore of a custom volume", base_data, [](Driver &d) { d.snapshots()->restore_prepare(data, "s1", {}); }, abandon},
      {"prepare a refresh of a custom volume", base_data, [=](Driver &d) { from("dir", data, {}, [&](auto &c) { d.snapshots()->refresh_prepare(data, c, {}); }); }, abandon},
      {"commit a restore of a custom volume",
       [](Pool &p) {
         base_data(p);
         p.open()->snapshots()->restore_prepare(data, "s1", {});
       },
       [](Driver &d) { d.snapshots()->restore_commit(data); },
       {}},
      {"commit a refresh of a custom volume",
       [=](Pool &p) {
         base_data(p);
         from("dir", data, {}, [&](auto &c) { p.open()->snapshots()->refresh_prepare(data, c, {}); });
       },
       [](Driver &d) { d.snapshots()->restore_commit(data); },
       {}},
      {"remove a custom volume that is half restored",
       [](Pool &p) {
         base_data(p);
         p.open()->snapshots()->restore_prepare(data, "s1", {});
       },
       [](Driver &d) { d.remove_volume(data); },
       {}},
  };
  for (auto *kind : {"dir", "overlay"}) {
    auto name = [&](const char *what) { return std::string(what) + " pool of the " + kind + " driver"; };
    v.push_back({name("instance from another"), base_instance, [=](Driver &d) { from(kind, c1, {}, [&](auto &c) { d.create_from_content(c2, c, {}); }); },
                 [](Driver &d) { d.remove_volume(c2); }});
    v.push_back({name("snapshot from another"), base_instance, [=](Driver &d) { from(kind, c1, "s1", [&](auto &c) { d.snapshots()->create_from_content(c1, "s1", c, {}); }); },
                 [](Driver &d) { d.snapshots()->remove(c1, "s1"); }});
    v.push_back({name("refresh from another"), base_instance,
                 [=](Driver &d) {
                   from(kind, c1, {}, [&](auto &c) { d.snapshots()->refresh_prepare(c1, c, {}); });
                   d.snapshots()->restore_commit(c1);
                 },
                 {}});
  }
  return v;
}

/// From another pool of the btrfs driver. What passes is removed when the pool is opened the next time.
std::vector<Case> streams() {
  static auto *source = new Other("btrfs"); // its file system goes before it would
  auto there = [](Driver &d) -> storage::Replication & {
    d.open();
    return *d.replication();
  };
  auto swept = [](const std::function<void(Driver &)> &undo) {
    return [undo](Driver &d) {
      d.open();
      undo(d);
    };
  };
  auto snapshot = [=](Driver &d) { must(there(d).create_snapshot(c1, "s1", *source->driver, c1, {}, {}), "stream"); };
  return {
      {"instance by a stream", base_instance, [=](Driver &d) { must(there(d).create(c2, *source->driver, c1, {}, {}, {}), "stream"); }, swept([](Driver &d) { d.remove_volume(c2); })},
      {"custom volume by a stream", base_data, [=](Driver &d) { must(there(d).create(data2, *source->driver, data, {}, {}, {}), "stream"); },
       swept([](Driver &d) { d.remove_volume(data2); })},
      {"snapshot by a stream", base_instance, snapshot, swept([](Driver &d) { d.snapshots()->remove(c1, "s1"); })},
      {"refresh by a stream of what is new",
       [=](Pool &p) {
         base_instance(p);
         snapshot(*p.open());
       },
       [=](Driver &d) { must(there(d).refresh_prepare(c1, *source->driver, c1, {}, "s1", {}), "stream"); }, swept([](Driver &d) { d.snapshots()->restore_abandon(c1); })},
  };
}

std::vector<Case> cases(const std::string &kind) {
  auto undo_c2 = [](Driver &d) { d.remove_volume(c2); };
  std::vector<Case> v{
      {"create pool", [](Pool &) {}, [](Driver &d) { d.create(); }, {}},
      {"remove pool", base_pool, [](Driver &d) { d.remove(); }, {}},
      {"create image", [](Pool &p) { p.open()->create(); }, [](Driver &d) { d.create_image(img, fill); }, [](Driver &d) { d.remove_volume(img); }},
      {"remove image", base_pool, [](Driver &d) { d.remove_volume(img); }, {}},
      {"create empty", base_pool, [](Driver &d) { d.create_empty(c2); }, undo_c2},
      {"create from image", base_pool, [](Driver &d) { d.create_from_image(c2, img, {}); }, undo_c2},
      {"copy", base_instance, [](Driver &d) { d.create_copy(c2, c1, std::nullopt, {}); }, undo_c2},
      {"copy of a snapshot", base_snapshot, [](Driver &d) { d.create_copy(c2, c1, "s1", {}); }, undo_c2},
      {"rename", base_snapshot, [](Driver &d) { d.rename(c1, "c2"); }, {}},
      {"remove", base_snapshot, [](Driver &d) { d.remove_volume(c1); }, {}},
      {"snapshot", base_instance, [](Driver &d) { d.snapshots()->create(c1, "s1", {}); }, [](Driver &d) { d.snapshots()->remove(c1, "s1"); }},
      {"rename a snapshot", base_snapshot, [](Driver &d) { d.snapshots()->rename(c1, "s1", "s2"); }, {}},
      {"remove a snapshot", base_snapshot, [](Driver &d) { d.snapshots()->remove(c1, "s1"); }, {}},
      {"prepare a restore", base_snapshot, [](Driver &d) { d.snapshots()->restore_prepare(c1, "s1", {}); }, [](Driver &d) { d.snapshots()->restore_abandon(c1); }},
      {"prepare a restore, again", base_snapshot, [](Driver &d) { d.snapshots()->restore_prepare(c1, "s1", {}); }, {}},
      {"commit a restore",
       [](Pool &p) {
         base_snapshot(p);
         p.open()->snapshots()->restore_prepare(c1, "s1", {});
       },
       [](Driver &d) { d.snapshots()->restore_commit(c1); },
       {}},
      {"abandon a restore",
       [](Pool &p) {
         base_snapshot(p);
         p.open()->snapshots()->restore_prepare(c1, "s1", {});
       },
       [](Driver &d) { d.snapshots()->restore_abandon(c1); },
       {}},
  };
  for (auto &c : copies()) v.push_back(c);
  if (kind == "btrfs")
    for (auto &c : streams()) v.push_back(c);
  if (kind == "overlay") {
    v.push_back({"remove an image in use", base_instance, [](Driver &d) { d.remove_volume(img); }, {}});
    v.push_back({"import an image again",
                 [](Pool &p) {
                   base_instance(p);
                   p.open()->remove_volume(img);
                 },
                 [](Driver &d) { d.create_image(img, fill); }, [](Driver &d) { d.remove_volume(img); }});
    v.push_back({"remove the last user of an image",
                 [](Pool &p) {
                   base_snapshot(p);
                   p.open()->remove_volume(img);
                 },
                 [](Driver &d) {
                   d.remove_volume(c1);
                   for (auto &i : d.list(VolumeType::image)) d.remove_volume({VolumeType::image, i}); // as reconciliation does
                 },
                 {}});
  } else {
    v.push_back({"shift", base_instance, [](Driver &d) { d.shift(c1, {}, high); }, {}});
    v.push_back({"shift back",
                 [](Pool &p) {
                   base_instance(p);
                   p.open()->shift(c1, {}, high);
                 },
                 [](Driver &d) { d.shift(c1, high, {}); }, {}});
    v.push_back({"prepare a restore of another map",
                 [](Pool &p) {
                   base_snapshot(p);
                   p.open()->shift(c1, {}, high);
                 },
                 [](Driver &d) {
                   d.snapshots()->restore_prepare(c1, "s1", {});
                   d.snapshots()->restore_commit(c1);
                 },
                 {}});
  }
  return v;
}

/// Runs the operation in a child that is killed at fault point `n`, or after `n` microseconds. True when it was killed in the middle.
bool killed(const Pool &p, const std::function<void(Driver &)> &op, long n) {
  pid_t child = ::fork();
  if (child == 0) {
    try {
      auto d = p.open();
#ifdef INCUS_FAULT_BUILD
      ::setenv("INCUS_FAULT", ("owner:" + std::to_string(n)).c_str(), 1);
      sys::fault_arm(true);
#endif
      op(*d);
    } catch (const std::exception &e) {
      std::fprintf(stderr, "%s\n", e.what());
      ::_exit(1);
    }
    ::_exit(0);
  }
#ifndef INCUS_FAULT_BUILD
  std::this_thread::sleep_for(std::chrono::microseconds(n));
  ::kill(child, SIGKILL);
#endif
  int status = -1;
  ::waitpid(child, &status, 0);
  if (WIFEXITED(status)) REQUIRE(WEXITSTATUS(status) == 0);
  return WIFSIGNALED(status);
}

/// The points at which to kill: every fault point, or a sample of times.
std::vector<long> points(const Case &c, const std::string &kind) {
  Pool p(kind);
  c.before(p);
  auto d = p.open();
#ifdef INCUS_FAULT_BUILD
  ::unsetenv("INCUS_FAULT");
  sys::fault_arm(true);
  c.op(*d);
  long n = sys::fault_count();
  sys::fault_arm(false);
  REQUIRE(n > 0);
  return testing::sample(n, 5, c.name.c_str());
#else
  auto begin = std::chrono::steady_clock::now();
  c.op(*d);
  long took = std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - begin).count();
  std::mt19937_64 r(testing::seed());
  std::vector<long> all;
  for (int i = 0; i < (testing::all() ? 60 : 4); i++) all.push_back(static_cast<long>(r() % static_cast<unsigned long>(took + 500)));
  return all;
#endif
}

/// Everything goes by its name.
void remove_all(Pool &p, const std::map<std::string, Manifest> &empty) {
  auto d = p.open();
  d->create();
  for (auto type : {VolumeType::container, VolumeType::custom, VolumeType::image})
    for (auto &name : d->list(type)) d->remove_volume({type, name});
  CHECK(changed(empty, state(p)) == "");
}

void run(const std::string &kind) {
  Pool nothing(kind);
  nothing.open()->create();
  auto empty = state(nothing);
  for (auto &c : cases(kind)) {
    CAPTURE(kind);
    std::string what = c.name;
    CAPTURE(what);
    Pool good(kind);
    c.before(good);
    auto before = state(good);
    c.op(*good.open());
    auto after = state(good);
    long middle = 0;
    for (long n : points(c, kind)) {
      CAPTURE(n);
      Pool p(kind);
      c.before(p);
      REQUIRE(changed(before, state(p)) == "");
      middle += killed(p, c.op, n);
      {
        auto d = p.open();
        // What exists is whole.
        if (c.name.find("restore") == std::string::npos && c.name.find("refresh") == std::string::npos && c.name.find("shift") == std::string::npos) {
          auto now = state(p);
          for (auto *name : {"containers/c1", "containers/c2", "containers-snapshots/c1/s1", "containers-snapshots/c1/s2"}) {
            std::string key = p.root(name).substr(p.path.size() + 1);
            if (!now.contains(key)) continue;
            REQUIRE((after.contains(key) || before.contains(key)));
            CHECK(difference((after.contains(key) ? after : before).at(key), now.at(key)) == "");
          }
        }
        if (c.undo) {
          c.undo(*d);
          // An image that was put back in use goes out of it again; all else is as it was.
          CHECK(changed(before, state(p)) == "");
        }
        c.op(*d);
        CHECK(changed(after, state(p)) == "");
      }
      remove_all(p, empty);
    }
    MESSAGE(kind << ": " << what << ": killed in the middle " << middle << " times");
#ifdef INCUS_FAULT_BUILD
    CHECK(middle > 0); // a point that is sampled is one that is reached
#endif
  }
}

} // namespace

TEST_CASE("storage operations of the dir driver, killed") { run("dir"); }
TEST_CASE("storage operations of the overlay driver, killed") { run("overlay"); }
TEST_CASE("storage operations of the btrfs driver, killed") {
  BtrfsDisk disk;
  run("btrfs");
}
