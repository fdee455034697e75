// SPDX-License-Identifier: Apache-2.0
// The storage drivers on real file systems, with everything that only root can make.
#include <doctest/doctest.h>

#include <atomic>
#include <linux/fs.h>
#include <sched.h>
#include <set>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <thread>

#include "../support/pools.hpp"
#include "../support/trees.hpp"
#include "base/error.hpp"
#include "storage/driver.hpp"
#include "sys/copy.hpp"
#include "sys/fs.hpp"
#include "sys/idmap.hpp"

using namespace incus;
using namespace incus::test;
using storage::IdMap;
using storage::RootfsPlan;
using storage::VolumeRef;
using storage::VolumeType;

namespace {

const std::string print_a(64, 'a'), print_b(64, 'b');
VolumeRef instance(const std::string &name) { return {VolumeType::container, name}; }
VolumeRef image(const std::string &name) { return {VolumeType::image, name}; }
const base::Log silent;

struct Pool {
  TempDir tmp;
  std::string path;
  std::unique_ptr<storage::Driver> driver;
  bool mounts = false;
  explicit Pool(const std::string &name) : path(tmp.path + "/pool") {
    ::chmod(tmp.path.c_str(), 0711);
    auto &row = storage::driver(name);
    mounts = row.mounts;
    driver = row.open(pool_context(row, "p1", path, &silent));
    driver->create();
  }
  ~Pool() {
    if (driver && mounts) driver->abandon();
  }
  storage::Driver *operator->() { return driver.get(); }
};

void fill_image(int dirfd, unsigned seed) {
  std::string at = "/proc/self/fd/" + std::to_string(dirfd);
  must(::mkdirat(dirfd, "rootfs", 0755) == 0 && ::mkdirat(dirfd, "templates", 0755) == 0, "mkdirat");
  write_file(at + "/metadata.yaml", "architecture: x86_64\n");
  write_file(at + "/templates/hostname.tpl", "{{ name }}\n");
  random_tree(at + "/rootfs", seed, true, 250, false);
  for (auto d : {"etc", "etc/deep"}) must(::mkdir((at + "/rootfs/" + d).c_str(), 0755) == 0, d);
  write_file(at + "/rootfs/etc/motd", "hello\n");
  write_file(at + "/rootfs/etc/deep/old", "old\n");
}

/// An instance's root as a container would see it (owners as on disk).
struct View {
  std::string path;
  bool mounted = false;
  TempDir tmp;
  View(Pool &p, const std::string &name) {
    auto plan = p->rootfs(instance(name));
    path = plan.path;
    if (plan.kind != RootfsPlan::Kind::overlay) return;
    own_mounts();
    path = tmp.path;
    std::string o = "lowerdir=" + plan.lower + ",upperdir=" + plan.upper + ",workdir=" + plan.work;
    must(::mount("overlay", path.c_str(), "overlay", 0, o.c_str()) == 0, "mount " + o);
    mounted = true;
  }
  ~View() {
    if (mounted) ::umount2(path.c_str(), MNT_DETACH);
  }
};
/// The manifest without what overlayfs says of its own.
Manifest seen(Pool &p, const std::string &name) { return manifest(View(p, name).path); }

/// What a guest does to its root.
void work_in(Pool &p, const std::string &name, const std::string &mark) {
  View v(p, name);
  write_file(v.path + "/etc/motd", mark);
  write_file(v.path + "/etc/" + mark, mark, 04755);
  must(::chown((v.path + "/etc/" + mark).c_str(), 1234, 4321) == 0, "chown");
  must(::chmod((v.path + "/etc/" + mark).c_str(), 04755) == 0, "chmod");
  std::filesystem::remove_all(v.path + "/etc/deep");
  must(::mkdir((v.path + "/etc/deep").c_str(), 0700) == 0, "mkdir"); // opaque
  write_file(v.path + "/etc/deep/new-" + mark, mark);
  ::unlink((v.path + "/etc/motd-link").c_str());
  must(::link((v.path + "/etc/motd").c_str(), (v.path + "/etc/motd-link").c_str()) == 0, "link");
}

/// A program by argv; its exit code.
int program(std::vector<std::string> words) {
  std::vector<char *> argv;
  for (auto &w : words) argv.push_back(w.data());
  argv.push_back(nullptr);
  pid_t pid = ::fork();
  if (pid == 0) {
    ::execvp(argv[0], argv.data());
    _exit(127);
  }
  int status = 0;
  must(pid > 0 && ::waitpid(pid, &status, 0) == pid, words[0]);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

/// A file system of this type on a loop device, where temporary directories are made as long as it lives.
struct FormattedDisk {
  TempDir tmp;
  std::string at, before;
  explicit FormattedDisk(const std::string &type) : at(tmp.path + "/mnt") {
    ::chmod(tmp.path.c_str(), 0711);
    auto file = tmp.path + "/disk";
    write_file(file, "");
    must(::truncate(file.c_str(), 512 << 20) == 0 && ::mkdir(at.c_str(), 0711) == 0, "truncate");
    must(program({"mkfs." + type, "-q", file}) == 0, "mkfs." + type);
    must(program({"mount", "-o", "loop", "-t", type, file, at}) == 0, "mount -t " + type);
    ::chmod(at.c_str(), 0711);
    if (auto *t = std::getenv("TMPDIR")) before = t;
    ::setenv("TMPDIR", at.c_str(), 1);
  }
  ~FormattedDisk() {
    before.empty() ? ::unsetenv("TMPDIR") : ::setenv("TMPDIR", before.c_str(), 1);
    ::umount2(at.c_str(), MNT_DETACH);
  }
  long long used() const {
    base::Fd fd(::open(at.c_str(), O_RDONLY | O_CLOEXEC));
    must(fd && ::syncfs(fd.get()) == 0, "syncfs");
    struct statvfs s;
    must(::statvfs(at.c_str(), &s) == 0, "statvfs");
    return static_cast<long long>(s.f_blocks - s.f_bfree) * static_cast<long long>(s.f_frsize);
  }
};

mode_t mode_of(const std::string &path) {
  struct stat st;
  must(::lstat(path.c_str(), &st) == 0, path);
  return st.st_mode & 07777;
}

std::set<std::string> everything_below(const std::string &path) {
  std::set<std::string> all;
  for (auto &e : std::filesystem::recursive_directory_iterator(path)) all.insert(e.path().string().substr(path.size() + 1));
  return all;
}

ErrorCode code_of(const std::function<void()> &f, std::string *text = nullptr) {
  try {
    f();
  } catch (const Error &e) {
    if (text) *text = e.what();
    return e.code();
  }
  return ErrorCode{};
}

/// Everything that a driver does, once.
void whole_life(const std::string &kind) {
  Pool p(kind);
  p->create(); // again
  auto none = everything_below(p.path);
  p->create_image(image(print_a), [](int fd) { fill_image(fd, 7); });
  CHECK(p->exists(image(print_a)));
  CHECK(p->list(VolumeType::image) == std::vector<std::string>{print_a});
  CHECK(code_of([&] { p->create_image(image(print_a), [](int) {}); }) == ErrorCode::already_exists);
  auto of_image = manifest(p.path + "/images/" + print_a + "/rootfs");
  p->create_from_image(instance("c1"), image(print_a), {});
  CHECK(difference(of_image, seen(p, "c1")) == "");
  CHECK(code_of([&] { p->create_from_image(instance("c1"), image(print_a), {}); }) == ErrorCode::already_exists);
  CHECK(code_of([&] { p->create_from_image(instance("c2"), image(print_b), {}); }) == ErrorCode::not_found);
  base::Fd dir(p->open_volume(instance("c1")));
  CHECK(sys::read_file(dir.get(), "metadata.yaml") == "architecture: x86_64\n");
  CHECK(sys::read_file(sys::open_child(dir.get(), "templates").get(), "hostname.tpl") == "{{ name }}\n");
  sys::atomic_write(dir.get(), "backup.yaml", "x", 0400);

  work_in(p, "c1", "one");
  auto one = seen(p, "c1");
  CHECK(difference(of_image, one) != "");
  CHECK(difference(of_image, manifest(p.path + "/images/" + print_a + "/rootfs")) == ""); // the image is untouched
  auto *s = p->snapshots();
  s->create(instance("c1"), "s1", {});
  CHECK(code_of([&] { s->create(instance("c1"), "s1", {}); }) == ErrorCode::already_exists);
  work_in(p, "c1", "two");
  auto two = seen(p, "c1");
  s->create(instance("c1"), "s2", {});
  CHECK(s->list(instance("c1")) == std::vector<std::string>{"s1", "s2"});
  CHECK(s->usage(instance("c1"), "s1") > 0);
  p->create_copy(instance("c2"), instance("c1"), std::nullopt, {});
  p->create_copy(instance("c3"), instance("c1"), "s1", {});
  CHECK(difference(two, seen(p, "c2")) == "");
  CHECK(difference(one, seen(p, "c3")) == "");
  CHECK(!std::filesystem::exists(p.path + "/containers/c2/backup.yaml"));
  CHECK(code_of([&] { p->create_copy(instance("c4"), instance("c1"), "s9", {}); }) == ErrorCode::not_found);
  CHECK(code_of([&] { p->create_copy(instance("c4"), instance("c9"), std::nullopt, {}); }) == ErrorCode::not_found);
  CHECK(!p->exists(instance("c4")));

  s->restore_prepare(instance("c1"), "s1", {});
  CHECK(difference(two, seen(p, "c1")) == "");
  s->restore_prepare(instance("c1"), "s1", {});
  s->restore_abandon(instance("c1"));
  s->restore_abandon(instance("c1"));
  CHECK(difference(two, seen(p, "c1")) == "");
  s->restore_prepare(instance("c1"), "s1", {});
  s->restore_commit(instance("c1"));
  s->restore_commit(instance("c1"));
  CHECK(difference(one, seen(p, "c1")) == "");
  for (auto &n : everything_below(p.path + "/containers/c1"))
    if (n.find('/') == std::string::npos) CHECK_MESSAGE((n.find(".old") == std::string::npos && n.find(".restore") == std::string::npos), n);

  s->rename(instance("c1"), "s2", "s3");
  s->rename(instance("c1"), "s2", "s3"); // again
  CHECK(code_of([&] { s->rename(instance("c1"), "s9", "s8"); }) == ErrorCode::not_found);
  CHECK(code_of([&] { s->rename(instance("c1"), "s1", "s3"); }) == ErrorCode::already_exists);
  p->rename(instance("c1"), "d1");
  p->rename(instance("c1"), "d1"); // again
  CHECK(code_of([&] { p->rename(instance("c2"), "d1"); }) == ErrorCode::already_exists);
  CHECK(code_of([&] { p->rename(instance("c9"), "d9"); }) == ErrorCode::not_found);
  CHECK(s->list(instance("d1")) == std::vector<std::string>{"s1", "s3"});
  CHECK(difference(one, seen(p, "d1")) == "");
  s->remove(instance("d1"), "s1");
  s->remove(instance("d1"), "s1");
  CHECK(s->list(instance("d1")) == std::vector<std::string>{"s3"});
  CHECK(p->list(VolumeType::container) == std::vector<std::string>{"c2", "c3", "d1"});
  CHECK(code_of([&] { p->remove(); }) == ErrorCode::conflict);

  p->create_empty(instance("e1"));
  CHECK(seen(p, "e1").size() == 1);
  CHECK(mode_of(View(p, "e1").path) == 0755);
  for (auto &n : p->list(VolumeType::container)) {
    p->remove_volume(instance(n));
    p->remove_volume(instance(n));
  }
  p->remove_volume(image(print_a));
  p->remove_volume(image(print_a));
  CHECK(everything_below(p.path) == none);
  p->create_image(image(print_b), [](int fd) { fill_image(fd, 8); });
  p->remove(); // images alone do not keep it
  p->remove();
  CHECK(!std::filesystem::exists(p.path));
  CHECK(p->list(VolumeType::container).empty());
  p->remove_volume(instance("d1"));
}

} // namespace

TEST_CASE("a random tree with everything that root can make is copied whole") {
#ifdef __SANITIZE_ADDRESS__
  constexpr unsigned trees = 2; // ten seconds each there
#else
  constexpr unsigned trees = 10;
#endif
  for (unsigned seed = 100; seed < 100 + trees; seed++) {
    CAPTURE(seed);
    TempDir tmp;
    std::string from = tmp.path + "/from", to = tmp.path + "/to";
    must(::mkdir(from.c_str(), 0755) == 0 && ::mkdir(to.c_str(), 0755) == 0, "mkdir");
    random_tree(from, seed, true, 400);
    auto before = manifest(from);
    auto r = sys::copy_tree(sys::open_directory(from).get(), sys::open_directory(to).get(), {.threads = seed % 4 + 1});
    CHECK(difference(before, manifest(to)) == "");
    CHECK(r.files + 1 == before.size());
  }
}

TEST_CASE("a volume's whole life") {
  own_mounts();
  for (auto *row : storage::drivers()) {
    std::string kind = row->name;
    CAPTURE(kind);
    whole_life(kind);
  }
}

TEST_CASE("on ext4 each instance begins in a block group of its own") {
  own_mounts();
  FormattedDisk disk("ext4");
  for (auto *row : storage::drivers()) {
    CAPTURE(row->name);
    if (row->mounts) continue; // has a file system of its own
    Pool p(row->name);
    int flags = 0;
    auto containers = sys::open_child(sys::open_directory(p.path).get(), "containers");
    REQUIRE(::ioctl(containers.get(), FS_IOC_GETFLAGS, &flags) == 0);
    CHECK((flags & FS_TOPDIR_FL) != 0);
  }
}

TEST_CASE("the same on file systems that share blocks: a copy takes none") {
  own_mounts();
  for (std::string type : {"btrfs", "xfs"}) {
    CAPTURE(type);
    FormattedDisk disk(type);
    for (auto *row : storage::drivers()) {
      CAPTURE(row->name);
      whole_life(row->name);
    }
    Pool p("dir");
    constexpr std::size_t size = 16 << 20;
    std::string content(size, 'x');
    p->create_image(image(print_a), [&](int fd) {
      must(::mkdirat(fd, "rootfs", 0755) == 0, "mkdirat");
      write_file("/proc/self/fd/" + std::to_string(fd) + "/rootfs/big", content);
    });
    auto before = disk.used();
    for (int i = 0; i < 10; i++) p->create_from_image(instance("c" + std::to_string(i)), image(print_a), {});
    p->snapshots()->create(instance("c1"), "s0", {});
    p->create_copy(instance("d1"), instance("c1"), "s0", {});
    CHECK(disk.used() - before < static_cast<long long>(size));
    // Shared, not the same: one that changes leaves the others alone.
    write_file(p->rootfs(instance("c2")).path + "/big", "small");
    CHECK(sys::read_file(sys::open_directory(p->rootfs(instance("c3")).path).get(), "big", size + 1) == content);
    CHECK(sys::read_file(sys::open_directory(p->rootfs(instance("d1")).path).get(), "big", size + 1) == content);
  }
}

TEST_CASE("no user of the host gets at a guest's files") {
  for (auto kind : {"dir", "overlay"}) {
    CAPTURE(kind);
    Pool p(kind);
    mode_t before = ::umask(0);
    p->create();
    p->create_image(image(print_a), [](int fd) { fill_image(fd, 9); });
    p->create_from_image(instance("c1"), image(print_a), {});
    p->create_empty(instance("c2"));
    p->create_copy(instance("c3"), instance("c1"), std::nullopt, {});
    p->snapshots()->create(instance("c1"), "s1", {});
    VolumeRef data{VolumeType::custom, "default_data"};
    p->create_empty(data);
    p->snapshots()->create(data, "s1", {});
    ::umask(before);
    // A guest's root owns what it writes to a volume: on disk that is the host's root.
    write_file(p.path + "/custom/default_data/tool", "x");
    REQUIRE(::chmod((p.path + "/custom/default_data/tool").c_str(), 04755) == 0);
    struct Expected {
      const char *path;
      mode_t mode;
    };
    for (auto e : {Expected{"", 0711}, {"/containers", 0711}, {"/containers-snapshots", 0711}, {"/images", 0700}, {"/custom", 0700}, {"/containers/c1", 0100},
                   {"/containers/c2", 0100}, {"/containers/c3", 0100}, {"/containers-snapshots/c1", 0700}, {"/containers-snapshots/c1/s1", 0100}})
      CHECK_MESSAGE(mode_of(p.path + e.path) == e.mode, e.path);
    CHECK(mode_of(p.path + "/images/" + print_a) == 0700);
    std::string root = std::string(kind) == "dir" ? "rootfs" : "upper";
    pid_t child = ::fork();
    if (child == 0) {
      if (::setresgid(65534, 65534, 65534) || ::setresuid(65534, 65534, 65534)) ::_exit(9);
      for (auto &path : {p.path + "/containers/c1/" + root, p.path + "/containers/c2/" + root, p.path + "/containers-snapshots/c1/s1/" + root,
                         p.path + "/images/" + print_a + "/rootfs", p.path + "/custom/default_data/tool", p.path + "/custom-snapshots/default_data/s1"})
        if (::open(path.c_str(), O_PATH) >= 0 || errno != EACCES) ::_exit(1);
      ::_exit(0);
    }
    int status = -1;
    ::waitpid(child, &status, 0);
    CHECK(status == 0);
  }
}

TEST_CASE("a pool on a source directory leaves that there") {
  TempDir tmp;
  auto d = storage::driver("overlay").open({"p", tmp.path, {{"source", tmp.path}}, &silent});
  d->create();
  d->create_empty(instance("c1"));
  auto r = d->resources();
  struct statvfs fs;
  ::statvfs(tmp.path.c_str(), &fs);
  CHECK(r.space.total == fs.f_blocks * fs.f_frsize);
  CHECK(r.space.used > 0);
  CHECK(r.inodes.total == fs.f_files);
  CHECK(r.inodes.used <= r.inodes.total);
  d->remove_volume(instance("c1"));
  d->remove();
  CHECK(std::filesystem::is_empty(tmp.path));
}

TEST_CASE("what an image plants in place of its parts is refused") {
  for (auto kind : {"dir", "overlay"}) {
    Pool p(kind);
    auto refused = [&](const std::function<void(int)> &plant) {
      CHECK(code_of([&] {
              p->create_image(image(print_a), [&](int fd) {
                fill_image(fd, 3);
                plant(fd);
              });
            }) != ErrorCode{});
      CHECK(p->list(VolumeType::image).empty());
    };
    refused([](int fd) {
      sys::remove_tree(fd, "rootfs");
      must(::symlinkat("/etc", fd, "rootfs") == 0, "symlink");
    });
    refused([](int fd) {
      sys::remove_tree(fd, "templates");
      must(::symlinkat("/etc", fd, "templates") == 0, "symlink");
    });
    refused([](int fd) {
      sys::remove_tree(fd, "metadata.yaml");
      must(::symlinkat("/etc/shadow", fd, "metadata.yaml") == 0, "symlink");
    });
    refused([](int) { throw Error(ErrorCode::corrupt, "bad archive"); });
    CHECK(std::filesystem::exists("/etc/passwd"));
    // Names that the driver uses itself are not taken over from an image.
    p->create_image(image(print_a), [](int fd) {
      fill_image(fd, 3);
      sys::atomic_write(fd, "idmap", R"([{"Isuid":true,"Isgid":true,"Hostid":0,"Nsid":0,"Maprange":65536}])", 0644);
      sys::atomic_write(fd, "lower", "../../etc", 0644);
    });
    p->create_from_image(instance("c1"), image(print_a), {});
    auto plan = p->rootfs(instance("c1"));
    CHECK(plan.idmapped);
    CHECK(plan.lower.find("etc") == std::string::npos);
  }
}

TEST_CASE("an image of overlay instances stays until the last of them has gone") {
  Pool p("overlay");
  p->create_image(image(print_a), [](int fd) { fill_image(fd, 5); });
  p->create_from_image(instance("c1"), image(print_a), {});
  auto before = seen(p, "c1");
  p->remove_volume(image(print_a));
  CHECK(!p->exists(image(print_a)));
  CHECK(p->list(VolumeType::image).empty());
  CHECK(difference(before, seen(p, "c1")) == "");
  CHECK(code_of([&] { p->create_from_image(instance("c2"), image(print_a), {}); }) == ErrorCode::not_found);
  p->remove_volume(image(print_a)); // again
  CHECK(difference(before, seen(p, "c1")) == "");
  p->create_copy(instance("c2"), instance("c1"), std::nullopt, {});
  p->snapshots()->create(instance("c2"), "s", {});
  p->remove_volume(instance("c1"));
  CHECK(difference(before, seen(p, "c2")) == "");
  // Imported again: the same one, not unpacked anew.
  p->create_image(image(print_a), [](int) { FAIL("unpacked though it is there"); });
  CHECK(p->exists(image(print_a)));
  CHECK(p->list(VolumeType::image) == std::vector<std::string>{print_a});
  p->create_from_image(instance("c3"), image(print_a), {});
  p->remove_volume(instance("c3"));
  p->snapshots()->remove(instance("c2"), "s");
  p->remove_volume(instance("c2"));
  CHECK(p->exists(image(print_a))); // the store has it
  // The last user is a snapshot.
  p->create_from_image(instance("c4"), image(print_a), {});
  p->snapshots()->create(instance("c4"), "s", {});
  p->remove_volume(image(print_a));
  p->remove_volume(instance("c4"));
  CHECK(!std::filesystem::exists(p.path + "/images/" + print_a));
  // Killed after the last user went: reported, and removed by name.
  p->create_image(image(print_b), [](int fd) { fill_image(fd, 6); });
  p->create_from_image(instance("c5"), image(print_b), {});
  p->remove_volume(image(print_b));
  std::filesystem::remove_all(p.path + "/containers/c5");
  CHECK(p->list(VolumeType::image) == std::vector<std::string>{print_b});
  p->remove_volume(image(print_b));
  CHECK(std::filesystem::is_empty(p.path + "/images"));
}

TEST_CASE("a hundred overlay instances take little more than one") {
  Pool p("overlay");
  p->create_image(image(print_a), [](int fd) { fill_image(fd, 5); });
  auto parent = sys::open_directory(p.tmp.path);
  auto one = sys::tree_usage(parent.get(), "pool").bytes;
  for (int i = 0; i < 100; i++) p->create_from_image(instance("c" + std::to_string(i)), image(print_a), {});
  auto per_instance = (sys::tree_usage(parent.get(), "pool").bytes - one) / 100;
  CHECK(per_instance <= 32768);
  CHECK(p->usage(instance("c1")) <= 8192);
  work_in(p, "c1", "w");
  CHECK(p->usage(instance("c1")) > p->usage(instance("c2")));
}

TEST_CASE("a full pool: a clear error, nothing left, and it works again with space") {
  own_mounts();
  for (auto kind : {"dir", "overlay"}) {
    CAPTURE(kind);
    TempDir tmp;
    must(::mount("tmpfs", tmp.path.c_str(), "tmpfs", 0, "size=16m,mode=0711") == 0, "mount tmpfs");
    {
      auto d = storage::driver(kind).open({"small", tmp.path + "/pool", {}, &silent});
      d->create();
      auto fill = [](int fd) {
        std::string at = "/proc/self/fd/" + std::to_string(fd);
        must(::mkdirat(fd, "rootfs", 0755) == 0, "mkdir");
        for (int i = 0; i < 30; i++) write_file(at + "/rootfs/f" + std::to_string(i), std::string(100000, 'x'));
      };
      d->create_image(image(print_a), fill);
      d->create_from_image(instance("c1"), image(print_a), {});
      std::string work = d->rootfs(instance("c1")).path;
      if (work.empty()) work = d->rootfs(instance("c1")).upper;
      write_file(work + "/mine", std::string(500000, 'y'));
      d->snapshots()->create(instance("c1"), "s0", {});
      int ballast = ::open((tmp.path + "/ballast").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
      std::string block(4096, 'b');
      while (::write(ballast, block.data(), block.size()) == 4096) {
      }
      // Room for the names, not for the contents.
      must(::ftruncate(ballast, ::lseek(ballast, 0, SEEK_CUR) - 100000) == 0, "ftruncate");
      auto before = everything_below(tmp.path + "/pool");
      auto full = [&](const std::function<void()> &f, const std::string &name) {
        std::string text;
        CHECK(code_of(f, &text) == ErrorCode::no_space);
        CHECK(text.find("\"small\"") != std::string::npos);
        CHECK(text.find(name) != std::string::npos);
        CHECK(everything_below(tmp.path + "/pool") == before);
      };
      full([&] { d->create_copy(instance("c2"), instance("c1"), std::nullopt, {}); }, "\"c2\"");
      full([&] { d->snapshots()->create(instance("c1"), "s1", {}); }, "\"c1\"");
      full([&] { d->snapshots()->restore_prepare(instance("c1"), "s0", {}); }, "\"c1\"");
      full([&] { d->create_image(image(print_b), [&](int fd) {
             must(::mkdirat(fd, "rootfs", 0755) == 0, "mkdir");
             base::Fd from = sys::open_directory(tmp.path + "/pool/images/" + print_a + "/rootfs"), to = sys::open_child(fd, "rootfs");
             sys::copy_tree(from.get(), to.get());
           }); }, print_b.substr(0, 20));
      if (std::string(kind) == "dir") full([&] { d->create_from_image(instance("c2"), image(print_a), {}); }, "\"c2\"");
      else d->create_from_image(instance("c3"), image(print_a), {}); // needs next to nothing
      ::unlink((tmp.path + "/ballast").c_str());
      ::close(ballast);
      d->snapshots()->restore_prepare(instance("c1"), "s0", {});
      d->snapshots()->restore_commit(instance("c1"));
      d->remove_volume(instance("c3"));
      d->remove_volume(instance("c1"));
      d->create_from_image(instance("c1"), image(print_a), {});
    }
    ::umount2(tmp.path.c_str(), MNT_DETACH);
  }
}

TEST_CASE("mounts below a volume are neither copied nor emptied") {
  own_mounts();
  Pool p("dir");
  TempDir other;
  write_file(other.path + "/precious", "p");
  p->create_empty(instance("c1"));
  std::string root = p->rootfs(instance("c1")).path;
  must(::mkdir((root + "/mnt").c_str(), 0755) == 0, "mkdir");
  write_file(root + "/file", "");
  must(::mount(other.path.c_str(), (root + "/mnt").c_str(), nullptr, MS_BIND, nullptr) == 0, "bind");
  must(::mount((other.path + "/precious").c_str(), (root + "/file").c_str(), nullptr, MS_BIND, nullptr) == 0, "bind");
  p->create_copy(instance("c2"), instance("c1"), std::nullopt, {});
  CHECK(std::filesystem::is_empty(p.path + "/containers/c2/rootfs/mnt"));
  CHECK(!std::filesystem::exists(p.path + "/containers/c2/rootfs/file"));
  CHECK(code_of([&] { p->remove_volume(instance("c1")); }) == ErrorCode::busy);
  CHECK(slurp(other.path + "/precious") == "p");
  std::string now = p.path + "/containers/c1~old/rootfs";
  ::umount2((now + "/mnt").c_str(), MNT_DETACH);
  ::umount2((now + "/file").c_str(), MNT_DETACH);
  p->remove_volume(instance("c1"));
  CHECK(p->list(VolumeType::container) == std::vector<std::string>{"c2"});
  CHECK(slurp(other.path + "/precious") == "p");
}

TEST_CASE("half-made volumes are listed and removed by name") {
  for (auto kind : {"dir", "overlay"}) {
    Pool p(kind);
    auto none = everything_below(p.path);
    for (auto d : {"containers/a~new/rootfs/x", "containers/b~old/upper", "containers-snapshots/c/s~new/rootfs", "containers-snapshots/d~old/s",
                   "containers-snapshots/e"})
      std::filesystem::create_directories(p.path + "/" + d);
    std::filesystem::create_directories(p.path + "/images/" + print_a + "~new/rootfs");
    std::filesystem::create_directories(p.path + "/images/" + print_b + "~old/rootfs");
    std::filesystem::create_directories(p.path + "/custom/v~new");
    CHECK(p->list(VolumeType::container) == std::vector<std::string>{"a", "b", "c", "d", "e"});
    CHECK(p->list(VolumeType::image) == std::vector<std::string>{print_a, print_b});
    CHECK(!p->exists(instance("a")));
    CHECK(!p->exists(image(print_a)));
    CHECK(p->snapshots()->list(instance("c")) == std::vector<std::string>{"s"});
    for (auto type : {VolumeType::container, VolumeType::image, VolumeType::custom})
      for (auto &n : p->list(type)) p->remove_volume({type, n});
    CHECK(everything_below(p.path) == none);
  }
}

namespace {
const IdMap high{{true, false, 1000000, 0, 1000000000}, {false, true, 2000000, 0, 1000000000}};
std::string first(const std::string &d, const std::string &key, std::size_t length) {
  auto at = d.find(key);
  return at == std::string::npos ? "" : d.substr(at + key.size(), length);
}
} // namespace

TEST_CASE("owners are shifted and back, with capabilities, ACLs and set-uid bits") {
  Pool p("dir");
  p->create_image(image(print_a), [](int fd) { fill_image(fd, 21); });
  p->create_from_image(instance("c1"), image(print_a), {});
  std::string root = p->rootfs(instance("c1")).path;
  write_file(root + "/su", "s", 06755);
  must(::chown((root + "/su").c_str(), 5, 6) == 0 && ::chmod((root + "/su").c_str(), 06755) == 0, "su");
  // Ids that look as if they were shifted.
  write_file(root + "/nested", "n");
  must(::chown((root + "/nested").c_str(), 1000000, 2000000) == 0, "nested");
  write_file(root + "/ping", "p", 0755);
  unsigned char cap[20] = {1, 0, 0, 2, 0, 0x20};
  must(::setxattr((root + "/ping").c_str(), "security.capability", cap, sizeof cap, 0) == 0, "cap");
  std::string acl = acl_value(33, 44);
  must(::setxattr((root + "/nested").c_str(), "system.posix_acl_access", acl.data(), acl.size(), 0) == 0, "acl");
  auto before = manifest(root);
  p->snapshots()->create(instance("c1"), "unshifted", {});
  for (int times = 0; times < 2; times++) {
    p->shift(instance("c1"), {}, high);
    CHECK(!p->rootfs(instance("c1")).idmapped);
    auto after = manifest(root);
    REQUIRE(after.size() == before.size());
    for (auto &entry : before) {
      const std::string &name = entry.first, &text = entry.second;
      CAPTURE(name);
      unsigned mode, uid, gid, mode2, uid2, gid2;
      REQUIRE(std::sscanf(text.c_str(), "%u %u:%u", &mode, &uid, &gid) == 3);
      REQUIRE(std::sscanf(after.at(name).c_str(), "%u %u:%u", &mode2, &uid2, &gid2) == 3);
      CHECK(mode2 == mode);
      CHECK(uid2 == uid + 1000000);
      CHECK(gid2 == gid + 2000000);
      CHECK((text.find("security.capability=") == std::string::npos) == (after.at(name).find("security.capability=") == std::string::npos));
      CHECK(first(text, "mtime", 1) == first(after.at(name), "mtime", 1));
    }
    CHECK(first(after.at("ping"), "security.capability=", 48) == "010000030020000000000000" "0000000000000000" "40420f00");
    CHECK(after.at("nested").find("posix_acl_access=" "02000000" "01000700ffffffff" "02000500" "61420f00" "04000500ffffffff" "08000600" "ac841e00") != std::string::npos);
  }
  struct stat st;
  ::stat((p.path + "/containers/c1").c_str(), &st);
  CHECK(st.st_uid == 1000000);
  CHECK(st.st_gid == 2000000);
  CHECK((st.st_mode & 07777) == 0100);
  // A copy has the same ids, and knows it; a snapshot made before brings the old ones back.
  p->create_copy(instance("c2"), instance("c1"), std::nullopt, {});
  CHECK(!p->rootfs(instance("c2")).idmapped);
  p->shift(instance("c2"), high, {});
  CHECK(p->rootfs(instance("c2")).idmapped);
  CHECK(difference(before, manifest(p.path + "/containers/c2/rootfs")) == "");
  p->snapshots()->create(instance("c1"), "shifted", {});
  p->snapshots()->restore_prepare(instance("c1"), "unshifted", {});
  p->snapshots()->restore_commit(instance("c1"));
  CHECK(p->rootfs(instance("c1")).idmapped);
  CHECK(difference(before, manifest(root)) == "");
  p->snapshots()->restore_prepare(instance("c1"), "shifted", {});
  p->snapshots()->restore_commit(instance("c1"));
  CHECK(!p->rootfs(instance("c1")).idmapped);
  // To another map, whatever the caller believes that there is.
  IdMap other{{true, true, 3000000, 0, 1000000000}};
  p->shift(instance("c1"), {}, other);
  ::stat((root + "/su").c_str(), &st);
  CHECK(st.st_uid == 3000005);
  p->shift(instance("c1"), other, {});
  CHECK(difference(before, manifest(root)) == "");
  for (auto &n : everything_below(p.path + "/containers/c1")) CHECK(n.rfind("shift", 0) != 0);

  Pool o("overlay");
  o->create_empty(instance("c1"));
  CHECK(code_of([&] { o->shift(instance("c1"), {}, high); }) == ErrorCode::not_supported);
  CHECK(code_of([&] { o->shift(instance("c1"), high, high); }) == ErrorCode{});
}

TEST_CASE("idmapped mounts are probed by many at once") {
  TempDir tmp;
  base::Fd dir = sys::open_directory(tmp.path);
  std::vector<std::thread> all;
  std::atomic<int> wrong{0};
  for (int t = 0; t < 8; t++)
    all.emplace_back([&] {
      for (int i = 0; i < 50; i++) wrong += storage::idmapped_mounts_work(dir.get()) ? 0 : 1;
    });
  for (auto &t : all) t.join();
  CHECK(wrong == 0);
}

TEST_CASE("idmapped mounts are probed without a trace") {
  TempDir tmp;
  CHECK(storage::idmapped_mounts_work(sys::open_directory(tmp.path).get()));
  CHECK(!storage::idmapped_mounts_work(sys::open_directory("/proc").get()));
  CHECK(!storage::idmapped_mounts_work(-1));
  CHECK(::waitpid(-1, nullptr, WNOHANG | __WALL) == -1);
  CHECK(errno == ECHILD);
  CHECK(std::filesystem::is_empty(tmp.path));
}

TEST_CASE("custom volumes") {
  Pool p("dir");
  VolumeRef v{VolumeType::custom, "default_data"};
  p->create_empty(v);
  CHECK(p->exists(v));
  CHECK(mode_of(p.path + "/custom/default_data") == 0711);
  CHECK(code_of([&] { p->remove(); }) == ErrorCode::conflict);
  p->rename(v, "default_other");
  p->remove_volume({VolumeType::custom, "default_other"});
  CHECK(p->list(VolumeType::custom).empty());
}

TEST_CASE("a refresh writes what differs, and nothing else") {
  VolumeRef from{VolumeType::custom, "default_from"}, to{VolumeType::custom, "default_to"};
  Pool p("dir");
  auto inode = [&](const std::string &file) {
    struct stat st;
    must(::stat((p.path + "/custom/" + file).c_str(), &st) == 0, file);
    return st.st_ino;
  };
  p->create_empty(from);
  std::string source = p.path + "/custom/default_from/", target = p.path + "/custom/default_to/";
  for (auto *f : {"same", "changed", "owner", "longer", "mode", "attribute"}) write_file(source + f, "one");
  write_file(source + "linked", "one");
  must(::link((source + "linked").c_str(), (source + "linked2").c_str()) == 0, "link");
  p->create_copy(to, from, std::nullopt, {});
  std::map<std::string, ino_t> was;
  for (auto *f : {"same", "changed", "owner", "longer", "mode", "attribute", "linked"}) was[f] = inode("default_to/" + std::string(f));
  write_file(target + "goes", "x");
  write_file(source + "changed", "two");
  write_file(source + "longer", "longer");
  write_file(source + "comes", "new");
  timespec old[2] = {{0, UTIME_OMIT}, {1000000000, 7}};
  must(::utimensat(AT_FDCWD, (source + "changed").c_str(), old, 0) == 0, "time");
  must(::chown((source + "owner").c_str(), 5, 6) == 0 && ::chmod((source + "mode").c_str(), 0711) == 0, "owner");
  must(::setxattr((source + "attribute").c_str(), "user.a", "b", 1, 0) == 0, "xattr");
  // Nothing changes before the commit.
  p->snapshots()->refresh_prepare(to, from, std::nullopt, {});
  CHECK(slurp(target + "changed") == "one");
  p->snapshots()->restore_commit(to);
  CHECK(inode("default_to/same") == was["same"]);
  for (auto *f : {"changed", "owner", "longer", "mode", "attribute", "linked"}) {
    CAPTURE(f);
    CHECK(inode("default_to/" + std::string(f)) != was[f]);
  }
  CHECK(inode("default_to/linked") == inode("default_to/linked2"));
  CHECK(difference(manifest(source), manifest(target)) == "");
  CHECK(p->list(VolumeType::custom) == std::vector<std::string>{"default_from", "default_to"});
}
