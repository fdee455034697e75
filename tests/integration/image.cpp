// SPDX-License-Identifier: Apache-2.0
// Images through the helper, as root: everything a tree can hold goes round, nothing hostile gets out, nothing is left running.
#include <doctest/doctest.h>

#include <csignal>
#include <cstring>
#include <dirent.h>
#include <fcntl.h>
#include <filesystem>
#include <functional>
#include <map>
#include <openssl/evp.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <thread>

#include "base/error.hpp"
#include "image/image.hpp"
#include "tar.hpp"
#include "testing.hpp"

using namespace incus;
using namespace incus::testing;
namespace fs = std::filesystem;

namespace {

/// The helper stands at its place in the build directory.
std::string helper() {
  static const std::string path = [] {
    fs::path exe = fs::read_symlink("/proc/self/exe");
    return (exe.parent_path() / "../../libincus/helper/unpack/incus-unpack").lexically_normal().string();
  }();
  return path;
}

base::Fd open_file(const std::string &path) {
  base::Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  REQUIRE_MESSAGE(fd, path);
  return fd;
}
/// A file that has no name.
base::Fd file_of(const std::string &bytes) {
  base::Fd fd(::memfd_create("image", MFD_CLOEXEC));
  REQUIRE(::write(fd.get(), bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
  return fd;
}
base::Fd open_dir(const std::string &path) {
  base::Fd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  REQUIRE_MESSAGE(fd, path);
  return fd;
}
/// An empty directory, made anew.
base::Fd fresh(const std::string &path) {
  fs::remove_all(path);
  fs::create_directory(path);
  return open_dir(path);
}
std::string read_all(int fd) {
  std::string out;
  std::vector<char> b(1 << 20);
  for (off_t at = 0;;) {
    ssize_t n = ::pread(fd, b.data(), b.size(), at);
    if (n <= 0) return out;
    out.append(b.data(), static_cast<std::size_t>(n));
    at += n;
  }
}
std::string sha256(const std::string &text) {
  unsigned char d[32];
  EVP_Digest(text.data(), text.size(), d, nullptr, EVP_sha256(), nullptr);
  std::string out;
  for (unsigned char c : d) out += fmt::format("{:02x}", c);
  return out;
}
template <class F> std::string refusal(F f, ErrorCode code = ErrorCode::corrupt) {
  try {
    f();
  } catch (const Error &e) {
    CHECK_MESSAGE(e.code() == code, e.what());
    return e.what();
  }
  return "";
}
bool has(const std::string &text, const std::string &part) { return text.find(part) != std::string::npos; }

/// Every name below a directory with all that is to be kept of it.
std::map<std::string, std::string> listing(const std::string &dir) {
  std::map<std::string, std::string> out;
  std::map<std::pair<dev_t, ino_t>, std::string> first;
  std::function<void(const std::string &)> visit = [&](const std::string &rel) {
    std::string path = dir + "/" + rel;
    struct stat st;
    REQUIRE_MESSAGE(::lstat(path.c_str(), &st) == 0, path);
    std::string row = fmt::format("{:o} {}:{} {}.{:09}", st.st_mode, st.st_uid, st.st_gid, st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
    if (S_ISREG(st.st_mode)) {
      row += fmt::format(" {} {} {}", st.st_size, sha256(read_all(open_file(path).get())), st.st_size > (1 << 20) && st.st_blocks * 512 < st.st_size / 2 ? "sparse" : "");
    }
    if (S_ISLNK(st.st_mode)) row += " -> " + fs::read_symlink(path).string();
    if (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode)) row += fmt::format(" {}:{}", ::major(st.st_rdev), ::minor(st.st_rdev));
    if (!S_ISDIR(st.st_mode) && st.st_nlink > 1) row += " = " + first.try_emplace({st.st_dev, st.st_ino}, rel).first->second;
    char names[4096], value[4096];
    ssize_t n = ::llistxattr(path.c_str(), names, sizeof names);
    std::map<std::string, std::string> sorted;
    for (ssize_t at = 0; at < n; at += static_cast<ssize_t>(std::strlen(names + at)) + 1) {
      ssize_t size = ::lgetxattr(path.c_str(), names + at, value, sizeof value);
      REQUIRE(size >= 0);
      sorted[names + at] = sha256(std::string(value, static_cast<std::size_t>(size))).substr(0, 12);
    }
    for (auto &[k, v] : sorted) row += " " + k + "=" + v;
    out[rel] = row;
    if (!S_ISDIR(st.st_mode)) return;
    std::vector<std::string> children;
    for (auto &e : fs::directory_iterator(path)) children.push_back(e.path().filename());
    std::sort(children.begin(), children.end());
    for (auto &c : children) visit(rel + "/" + c);
  };
  visit("rootfs");
  return out;
}
void check_same(const std::map<std::string, std::string> &want, const std::map<std::string, std::string> &got) {
  CHECK(want.size() == got.size());
  for (auto &kv : want) {
    auto &k = kv.first;
    CHECK_MESSAGE((got.count(k) && got.at(k) == kv.second), k, "\n  want ", kv.second, "\n  got  ", got.count(k) ? got.at(k) : "nothing");
  }
}

int run(const std::string &command) { return std::system(command.c_str()); }

/// A tree with everything that is to survive, without the help of what is tested.
void make_tree(const std::string &dir) {
  fs::create_directories(dir + "/rootfs");
  write_file(dir + "/metadata.yaml", good_metadata());
  fs::create_directory(dir + "/templates");
  write_file(dir + "/templates/hostname.tpl", "{{ container.name }}\n");
  std::string r = dir + "/rootfs/";
  for (const char *d : {"bin", "dev", "etc", "empty", "shared", "closed", "deep/er/still"}) fs::create_directories(r + d);
  write_file(r + "bin/su", "suid", 04755);
  write_file(r + "bin/sg", "sgid", 02755);
  write_file(r + "bin/ping", "capable", 0755);
  const unsigned char cap[20] = {1, 0, 0, 2, 0, 0x20, 0, 0}; // version 2, effective, CAP_NET_RAW
  REQUIRE(::setxattr((r + "bin/ping").c_str(), "security.capability", cap, sizeof cap, 0) == 0);
  write_file(r + "etc/shadow", "secret", 0640);
  REQUIRE(::chown((r + "etc/shadow").c_str(), 0, 42) == 0);
  // tar names whom it knows in ACLs, even with --numeric-owner.
  write_file(r + "etc/passwd", "root:x:0:0::/:/bin/sh\ndaemon:x:1:1::/:/bin/sh\n");
  write_file(r + "etc/group", "root:x:0:\nlp:x:7:\n");
  write_file(r + "etc/user", "1000", 0600);
  REQUIRE(::chown((r + "etc/user").c_str(), 1000, 100000000) == 0);
  write_file(r + "etc/xattr", "x");
  REQUIRE(::setxattr((r + "etc/xattr").c_str(), "user.colour", "blue\0green", 10, 0) == 0);
  REQUIRE(::setxattr((r + "etc/xattr").c_str(), "user.empty", "", 0, 0) == 0);
  REQUIRE(run("setfacl -m u:1234:rw,g:4321:r,m:rwx " + r + "etc/xattr") == 0);
  REQUIRE(run("setfacl -m u:1:rwx -d -m g:7:rx,o::- " + r + "shared") == 0);
  write_file(r + "shared/inherits", "", 0600);
  fs::create_hard_link(r + "bin/su", r + "bin/sudo");
  fs::create_hard_link(r + "etc/user", r + "deep/er/user2");
  fs::create_symlink("/etc/user", r + "etc/absolute");
  fs::create_symlink("../../../../..", r + "deep/er/up");
  fs::create_symlink(std::string(300, 'l'), r + "long link");
  fs::create_hard_link(r + "etc/absolute", r + "etc/absolute2");
  REQUIRE(::lchown((r + "etc/absolute").c_str(), 77, 78) == 0);
  REQUIRE(::mknod((r + "dev/null").c_str(), S_IFCHR | 0666, ::makedev(1, 3)) == 0);
  REQUIRE(::mknod((r + "dev/loop").c_str(), S_IFBLK | 0600, ::makedev(7, 300)) == 0);
  REQUIRE(::mkfifo((r + "dev/fifo").c_str(), 0622) == 0);
  REQUIRE(::setxattr((r + "closed").c_str(), "user.dir", "d", 1, 0) == 0);
  write_file(r + "closed/file", "in a closed directory");
  write_file(r + "na\nme \xc3\xbc \xff", "odd name");
  write_file(r + "deep/" + std::string(255, 'n'), "long name");
  std::string big(300 * 1024, '\0');
  for (std::size_t i = 0; i < big.size(); i++) big[i] = static_cast<char>(i * i >> 7);
  write_file(r + "big", big);
  base::Fd sparse(::open((r + "sparse").c_str(), O_RDWR | O_CREAT, 0644));
  REQUIRE(::pwrite(sparse.get(), "begin", 5, 0) == 5);
  REQUIRE(::pwrite(sparse.get(), "middle", 6, 5 << 20) == 6);
  REQUIRE(::ftruncate(sparse.get(), 20 << 20) == 0);
  base::Fd hole(::open((r + "hole").c_str(), O_RDWR | O_CREAT, 0644));
  REQUIRE(::ftruncate(hole.get(), 3 << 20) == 0);
  REQUIRE(::chmod((r + "closed").c_str(), 01500) == 0);
  REQUIRE(::chown((r + "shared").c_str(), 0, 50) == 0);
  REQUIRE(::chmod((r + "shared").c_str(), 02775) == 0);
  timespec t[2] = {{1234567890, 123456789}, {1234567890, 123456789}};
  for (const char *n : {"etc/xattr", "etc/absolute", "dev/fifo", "empty", "deep", "bin", ""}) ::utimensat(AT_FDCWD, (r + n).c_str(), t, AT_SYMLINK_NOFOLLOW);
}

/// What runs the helper's program now.
int helpers_running() {
  int n = 0;
  for (auto &e : fs::directory_iterator("/proc")) {
    std::error_code err;
    std::string exe = fs::read_symlink(e.path() / "exe", err).string();
    if (!err && (exe == helper() || exe.ends_with("/unsquashfs"))) n++;
  }
  return n;
}
template <class F> bool within_seconds(int seconds, F f) {
  for (int i = 0; i < seconds * 50; i++) {
    if (f()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return false;
}

/// A larger image, which takes a while.
std::string heavy_image() {
  Tar t;
  t.file("metadata.yaml", good_metadata()).dir("rootfs");
  std::string noise(1 << 20, '\0');
  unsigned x = 1;
  for (char &c : noise) c = static_cast<char>((x = x * 1664525 + 1013904223) >> 24);
  for (int i = 0; i < 64; i++) t.file("rootfs/f" + std::to_string(i), noise);
  return gzip(t.str());
}

} // namespace

TEST_CASE("everything goes round: pack, inspect, unpack, pack") {
  Dir dir;
  make_tree(dir / "tree");
  auto want = listing(dir / "tree");
  base::Fd tar = file_of("");
  image::pack(helper(), open_dir(dir / "tree").get(), tar.get());
  std::string bytes = read_all(tar.get());
  auto found = image::inspect(helper(), tar.get(), -1);
  CHECK(found.fingerprint == sha256(bytes));
  CHECK(found.size == static_cast<std::int64_t>(bytes.size()));
  CHECK(found.type == "container");
  CHECK(found.compression == "");
  CHECK(found.metadata.architecture == "x86_64");
  CHECK(found.metadata_yaml == good_metadata());
  base::Fd target = fresh(dir / "out");
  image::unpack(helper(), tar.get(), -1, false, target.get());
  check_same(want, listing(dir / "out"));
  CHECK(read_all(open_file(dir / "out/metadata.yaml").get()) == good_metadata());
  CHECK(fs::exists(dir / "out/templates/hostname.tpl"));
  base::Fd again = file_of("");
  image::pack(helper(), target.get(), again.get());
  CHECK(sha256(read_all(again.get())) == sha256(bytes));
  CHECK(helpers_running() == 0);
}

TEST_CASE("images made by tar, in every compression, unified and split") {
  Dir dir;
  make_tree(dir / "tree");
  auto want = listing(dir / "tree");
  const std::string tar = "tar --numeric-owner --xattrs --xattrs-include='*' --acls --sparse -C " + (dir / "tree");
  for (auto &how : std::map<std::string, std::string>{{"", ""}, {"gzip", "-z"}, {"xz", "-I 'xz -1 -T2 --block-size=100000'"}, {"zstd", "-I zstd"}, {"bzip2", "-j"}}) {
    const std::string &name = how.first, &flag = how.second;
    INFO(name);
    std::string file = dir / ("unified" + name);
    REQUIRE(run(tar + " " + flag + " -cf " + file + " metadata.yaml templates rootfs") == 0);
    base::Fd image = open_file(file);
    CHECK(image::inspect(helper(), image.get(), -1).compression == name);
    base::Fd target = fresh(dir / "out");
    image::unpack(helper(), image.get(), -1, false, target.get());
    check_same(want, listing(dir / "out"));
    // Split.
    std::string meta = dir / "meta", root = dir / "root";
    REQUIRE(run(tar + " " + flag + " -cf " + meta + " metadata.yaml templates") == 0);
    REQUIRE(run("tar --numeric-owner --xattrs --xattrs-include='*' --acls --sparse " + flag + " -C " + (dir / "tree/rootfs") + " -cf " + root + " .") == 0);
    base::Fd m = open_file(meta), r = open_file(root);
    auto found = image::inspect(helper(), m.get(), r.get());
    CHECK(found.fingerprint == sha256(read_all(m.get()) + read_all(r.get())));
    CHECK(found.type == "container");
    CHECK_FALSE(found.squashfs);
    base::Fd split = fresh(dir / "out2");
    image::unpack(helper(), m.get(), r.get(), false, split.get());
    check_same(want, listing(dir / "out2"));
    // The rootfs lies over what the metadata archive has of one.
    CHECK(image::inspect(helper(), image.get(), r.get()).type == "container");
    base::Fd twice = fresh(dir / "out3");
    image::unpack(helper(), image.get(), r.get(), false, twice.get());
    check_same(want, listing(dir / "out3"));
  }
}

TEST_CASE("a split image whose metadata archive has files of the rootfs too") {
  Dir dir;
  fs::create_directories(dir / "tree/etc");
  std::ofstream(dir / "tree/etc/both") << "rootfs";
  REQUIRE(run("tar -C " + (dir / "tree") + " -cf " + (dir / "root.tar") + " .") == 0);
  REQUIRE(run("mksquashfs " + (dir / "tree") + " " + (dir / "root.squashfs") + " -quiet -no-progress >/dev/null") == 0);
  Tar t;
  t.file("metadata.yaml", good_metadata()).file("/rootfs/etc/both", "metadata").file("/rootfs/etc/inittab", "\n").symlink("rootfs/link", "/etc");
  base::Fd m = file_of(t.str());
  for (std::string kind : {"tar", "squashfs"}) {
    INFO(kind);
    base::Fd r = open_file(dir / ("root." + kind)), target = fresh(dir / ("out-" + kind));
    CHECK(image::inspect(helper(), m.get(), r.get()).squashfs == (kind == "squashfs"));
    image::unpack(helper(), m.get(), r.get(), kind == "squashfs", target.get());
    CHECK(read_all(open_file(dir / ("out-" + kind) + "/rootfs/etc/both").get()) == "rootfs");
    CHECK(read_all(open_file(dir / ("out-" + kind) + "/rootfs/etc/inittab").get()) == "\n");
    CHECK(fs::is_symlink(dir / ("out-" + kind) + "/rootfs/link"));
  }
  // No way out by a link that one archive has and a path that the other goes.
  Tar evil;
  evil.file("metadata.yaml", good_metadata()).file("rootfs/etc/both", "written");
  base::Fd e = file_of(evil.str()), over = file_of(Tar().symlink("etc", dir / "tree/etc").str()), target = fresh(dir / "out-evil");
  CHECK(has(refusal([&] { image::unpack(helper(), e.get(), over.get(), false, target.get()); }), "cannot open directory \"rootfs/etc\""));
  CHECK(read_all(open_file(dir / "tree/etc/both").get()) == "rootfs");
}

TEST_CASE("a split image with squashfs") {
  Dir dir;
  make_tree(dir / "tree");
  // What squashfs-tools cannot keep: nanoseconds, ACLs, hard links of symbolic links.
  fs::remove(dir / "tree/rootfs/etc/absolute2");
  REQUIRE(run("setfacl -R -b " + (dir / "tree/rootfs")) == 0);
  REQUIRE(run("find " + (dir / "tree/rootfs") + " -exec touch -h -d @1600000000 {} +") == 0);
  REQUIRE(run("mksquashfs " + (dir / "tree/rootfs") + " " + (dir / "root.squashfs") + " -quiet -no-progress -comp zstd >/dev/null") == 0);
  REQUIRE(run("tar -C " + (dir / "tree") + " -cJf " + (dir / "meta") + " metadata.yaml templates") == 0);
  base::Fd m = open_file(dir / "meta"), r = open_file(dir / "root.squashfs");
  auto found = image::inspect(helper(), m.get(), r.get());
  CHECK(found.squashfs);
  CHECK(found.type == "container");
  CHECK(found.compression == "xz");
  base::Fd target = fresh(dir / "out");
  image::unpack(helper(), m.get(), r.get(), true, target.get());
  check_same(listing(dir / "tree"), listing(dir / "out"));
  CHECK(fs::exists(dir / "out/metadata.yaml"));
  CHECK(fs::exists(dir / "out/templates/hostname.tpl"));
  // A file without a name serves as well, one cut short does not.
  std::string bytes = read_all(r.get());
  base::Fd memory = file_of(bytes), target2 = fresh(dir / "out2");
  image::unpack(helper(), m.get(), memory.get(), true, target2.get());
  check_same(listing(dir / "tree"), listing(dir / "out2"));
  for (std::size_t n : {4u, 90u, 96u, 2000u}) {
    base::Fd cut = file_of(bytes.substr(0, n)), target3 = fresh(dir / "out3");
    CHECK(has(refusal([&] { image::inspect(helper(), m.get(), cut.get()); }), "truncated"));
    CHECK(has(refusal([&] { image::unpack(helper(), m.get(), cut.get(), true, target3.get()); }), "truncated"));
    CHECK(fs::is_empty(dir / "out3"));
  }
  std::string bad = bytes;
  for (std::size_t i = 96; i < bad.size(); i++) bad[i] = static_cast<char>(bad[i] ^ 0xa5);
  base::Fd damaged = file_of(bad), target4 = fresh(dir / "out4");
  CHECK(has(refusal([&] { image::unpack(helper(), m.get(), damaged.get(), true, target4.get()); }), "unsquashfs ended with"));
  CHECK(helpers_running() == 0);
}

TEST_CASE("virtual machine images are told apart, and not unpacked yet") {
  Dir dir;
  base::Fd unified = file_of(Tar().file("metadata.yaml", good_metadata()).file("rootfs.img", "disk").str());
  CHECK(image::inspect(helper(), unified.get(), -1).type == "virtual-machine");
  base::Fd target = fresh(dir / "out");
  CHECK(has(refusal([&] { image::unpack(helper(), unified.get(), -1, false, target.get()); }, ErrorCode::not_supported), "virtual machine"));
  base::Fd meta = file_of(Tar().file("metadata.yaml", good_metadata()).str()), disk = file_of("QFI\xfb" + std::string(100, '\0'));
  auto found = image::inspect(helper(), meta.get(), disk.get());
  CHECK(found.type == "virtual-machine");
  CHECK(has(refusal([&] { image::unpack(helper(), meta.get(), disk.get(), false, target.get()); }, ErrorCode::not_supported), "virtual machine"));
}

TEST_CASE("hostile images are refused by both, and touch nothing outside") {
  Dir dir;
  fs::create_directory(dir / "jail");
  write_file(dir / "jail/canary", "untouched", 0600);
  struct Bad {
    const char *rule;
    std::function<void(Tar &)> make;
  };
  const std::string etc = dir / "jail", out = dir / "jail/out";
  const std::vector<Bad> bad = {
      {"absolute", [&](Tar &t) { t.file(etc + "/canary", "x"); }},
      {"component \"..\"", [](Tar &t) { t.file("rootfs/../../canary", "x"); }},
      {"goes through the symbolic link", [&](Tar &t) { t.symlink("rootfs/l", etc).file("rootfs/l/canary", "x"); }},
      {"goes through the symbolic link", [](Tar &t) { t.symlink("rootfs/l", "../..").file("rootfs/l/canary", "x"); }},
      {"goes through the symbolic link", [](Tar &t) { t.symlink("rootfs/l", ".").symlink("rootfs/m", "l").file("rootfs/m/canary", "x"); }},
      {"absolute", [&](Tar &t) { t.hardlink("rootfs/h", etc + "/canary"); }},
      {"component \"..\"", [](Tar &t) { t.hardlink("rootfs/h", "rootfs/../../canary"); }},
      {"outside rootfs", [](Tar &t) { t.hardlink("rootfs/h", "metadata.yaml"); }},
      {"comes twice", [](Tar &t) { t.file("metadata.yaml", "second"); }},
      {"is not a directory", [&](Tar &t) { t.symlink("rootfs", etc); }},
      {"is not a regular file", [&](Tar &t) { t.symlink("metadata.yaml", etc + "/canary"); }},
      {"is not a regular file", [&](Tar &t) { t.symlink("templates/hostname.tpl", etc + "/canary"); }},
      {"is not a directory", [&](Tar &t) { t.symlink("templates", etc); }},
      {"is a device node", [](Tar &t) { t.add({.name = "sda", .type = '4', .major = 8}); }},
      {"component \"..\"", [](Tar &t) { t.pax("path", "rootfs/../../canary").file("rootfs/a", "x"); }},
  };
  for (auto &b : bad) {
    Tar t = good_image();
    b.make(t);
    base::Fd image = file_of(t.str()), target = fresh(out);
    std::string first = refusal([&] { image::inspect(helper(), image.get(), -1); });
    CHECK_MESSAGE(has(first, b.rule), first);
    CHECK(fs::is_empty(out));
    std::string second = refusal([&] { image::unpack(helper(), image.get(), -1, false, target.get()); });
    CHECK_MESSAGE(has(second, b.rule), second);
    CHECK(read_all(open_file(dir / "jail/canary").get()) == "untouched");
    CHECK(std::distance(fs::directory_iterator(dir / "jail"), {}) == 2);
    struct stat st;
    CHECK(::stat((dir / "jail/canary").c_str(), &st) == 0);
    CHECK(st.st_nlink == 1);
  }
  CHECK(helpers_running() == 0);
}

TEST_CASE("a later entry replaces an earlier one, as with tar") {
  Dir dir;
  Tar t = good_image();
  t.symlink("rootfs/x", "/nowhere").dir("rootfs/x").file("rootfs/x/in", "1").file("rootfs/y", "old").file("rootfs/y", "new").dir("rootfs/z").file("rootfs/z", "file");
  t.hardlink("rootfs/y", "rootfs/y").add({.name = "rootfs/x/in", .content = "2", .mode = 0600});
  base::Fd image = file_of(t.str()), target = fresh(dir / "out");
  image::unpack(helper(), image.get(), -1, false, target.get());
  CHECK(read_all(open_file(dir / "out/rootfs/x/in").get()) == "2");
  CHECK(read_all(open_file(dir / "out/rootfs/y").get()) == "new");
  CHECK(read_all(open_file(dir / "out/rootfs/z").get()) == "file");
  // A directory with something in it is not thrown away.
  base::Fd full = file_of(good_image().file("rootfs/bin", "x").str()), target2 = fresh(dir / "out2");
  CHECK(has(refusal([&] { image::unpack(helper(), full.get(), -1, false, target2.get()); }), "cannot replace \"rootfs/bin\""));
}

TEST_CASE("what overlaps, overflows or lies about its size") {
  Dir dir;
  auto both = [&](const Tar &t) {
    base::Fd image = file_of(t.str()), target = fresh(dir / "out");
    std::string a = refusal([&] { image::inspect(helper(), image.get(), -1); });
    std::string b = refusal([&] { image::unpack(helper(), image.get(), -1, false, target.get()); });
    return std::pair(a, b);
  };
  // Overlapping pieces of a sparse file: refused, or a file of its stated size and nothing else.
  Tar overlap = good_image();
  overlap.pax("GNU.sparse.map", "0,1024,512,1024").pax("GNU.sparse.size", "2048").file("rootfs/sparse", std::string(2048, 's'));
  auto [a, b] = both(overlap);
  if (b.empty()) {
    CHECK(fs::file_size(dir / "out/rootfs/sparse") <= 2048);
  } else {
    CHECK(has(b, "rootfs/sparse"));
  }
  Tar outside = good_image();
  outside.pax("GNU.sparse.map", "0,512,1099511627776,512").pax("GNU.sparse.size", "1024").file("rootfs/sparse", std::string(1024, 's'));
  auto [c, d] = both(outside);
  CHECK(!d.empty());
  // Larger than any file may be.
  Tar huge = good_image();
  huge.add({.name = "rootfs/huge", .size_field = "77777777777"});
  auto [e, f] = both(huge);
  CHECK(!e.empty());
  CHECK(!f.empty());
  // A gigabyte of zeros as metadata.yaml, in a megabyte; refused before it is read.
  std::string header = Tar().dir("rootfs").add({.name = "metadata.yaml", .size_field = "10000000000"}).open();
  base::Fd bomb = file_of(gzip(header + std::string(64 << 20, '\0')));
  CHECK(has(refusal([&] { image::inspect(helper(), bomb.get(), -1); }), "metadata.yaml is larger than 1048576 bytes"));
}

TEST_CASE("cut anywhere: refused by both, or whole") {
  Dir dir;
  std::string tar = good_image().str();
  base::Fd all_of_it = fresh(dir / "whole");
  image::unpack(helper(), file_of(tar).get(), -1, false, all_of_it.get());
  auto want = listing(dir / "whole");
  for (auto &made : std::map<std::string, std::string>{{"plain", tar}, {"gzip", gzip(tar)}, {"xz", xz(tar)}, {"zstd", zstd(tar)}, {"bzip2", bzip2(tar)}}) {
    const std::string &name = made.first, &file = made.second;
    long n = static_cast<long>(file.size());
    auto cuts = sample(n - 1, std::max(1L, n / 40), name);
    cuts.push_back(n - 1);
    cuts.push_back(n - 513);
    cuts.push_back(0);
    for (long cut : cuts) {
      if (cut < 0) continue;
      INFO(name, " cut at ", cut, " of ", n);
      base::Fd image = file_of(file.substr(0, static_cast<std::size_t>(cut))), target = fresh(dir / "out");
      std::string a = refusal([&] { image::inspect(helper(), image.get(), -1); });
      CHECK(fs::is_empty(dir / "out"));
      std::string b = refusal([&] { image::unpack(helper(), image.get(), -1, false, target.get()); });
      CHECK(a.empty() == b.empty());
      if (b.empty()) check_same(want, listing(dir / "out"));
    }
  }
}

TEST_CASE("a full target says so") {
  Dir dir;
  fs::create_directory(dir / "small");
  REQUIRE(::mount("none", (dir / "small").c_str(), "tmpfs", 0, "size=4m") == 0);
  {
    base::Fd target = fresh(dir / "small/out"), image = file_of(heavy_image());
    std::string why = refusal([&] { image::unpack(helper(), image.get(), -1, false, target.get()); }, ErrorCode::no_space);
    CHECK(has(why, "cannot write \"rootfs/f"));
    CHECK(has(why, "No space left"));
    base::Fd tree = open_dir("/");
    Dir source;
    make_tree(source / "tree");
    base::Fd full(::open((dir / "small/tar").c_str(), O_RDWR | O_CREAT, 0600));
    CHECK(has(refusal([&] { image::pack(helper(), open_dir(source / "tree").get(), full.get()); }, ErrorCode::no_space), "cannot write the archive"));
  }
  CHECK(::umount((dir / "small").c_str()) == 0);
}

TEST_CASE("cancelling, killing the helper, killing the engine: nothing goes on writing") {
  Dir dir;
  base::Fd image = file_of(heavy_image());
  {
    base::Fd target = fresh(dir / "out");
    int calls = 0;
    CHECK_THROWS_WITH(image::unpack(helper(), image.get(), -1, false, target.get(),
                                    [&](std::uint64_t done, std::uint64_t total) {
                                      CHECK(done <= total);
                                      if (++calls == 2) throw std::runtime_error("enough");
                                    }),
                      "enough");
    CHECK(helpers_running() == 0);
    CHECK(fs::remove_all(dir / "out") > 0);
  }
  {
    // On a busy machine the helper may be through before it is killed: that is no trial.
    std::string why;
    for (int trial = 0; trial < 8 && why.empty(); trial++) {
      base::Fd target = fresh(dir / "out");
      why = refusal(
          [&] {
            image::unpack(helper(), image.get(), -1, false, target.get(), [&](std::uint64_t, std::uint64_t) {
              for (auto &e : fs::directory_iterator("/proc")) {
                std::error_code err;
                if (fs::read_symlink(e.path() / "exe", err) == helper() && !err) ::kill(std::stoi(e.path().filename()), SIGKILL);
              }
            });
          },
          ErrorCode::internal);
    }
    CAPTURE(why);
    CHECK(has(why, "the image helper"));
    CHECK(helpers_running() == 0);
  }
  {
    base::Fd target = fresh(dir / "out");
    pid_t engine = ::fork();
    if (engine == 0) {
      try {
        image::unpack(helper(), image.get(), -1, false, target.get(), [](std::uint64_t, std::uint64_t) { ::pause(); });
      } catch (...) {
      }
      ::_exit(0);
    }
    CHECK(within_seconds(10, [&] { return fs::exists(dir / "out/rootfs/f1"); }));
    ::kill(engine, SIGKILL);
    ::waitpid(engine, nullptr, 0);
    CHECK(within_seconds(10, [] { return helpers_running() == 0; }));
  }
}

TEST_CASE("what is asked for wrongly") {
  Dir dir;
  base::Fd image = file_of(good_image().str()), target = fresh(dir / "out");
  CHECK(has(refusal([&] { image::inspect("/nonexistent/incus-unpack", image.get(), -1); }, ErrorCode::not_found), "/nonexistent/incus-unpack"));
  CHECK(has(refusal([&] { image::inspect("/bin/true", image.get(), -1); }, ErrorCode::internal), "/bin/true"));
  CHECK(has(refusal([&] { image::inspect(helper(), target.get(), -1); }, ErrorCode::invalid_argument), "not a regular file"));
  base::Fd tar = file_of("");
  CHECK(has(refusal([&] { image::pack(helper(), target.get(), tar.get()); }, ErrorCode::invalid_argument), "no regular file metadata.yaml"));
  write_file(dir / "out/metadata.yaml", good_metadata());
  CHECK(has(refusal([&] { image::pack(helper(), target.get(), tar.get()); }, ErrorCode::invalid_argument), "no directory rootfs"));
  fs::create_symlink("/etc", dir / "out/rootfs");
  CHECK(has(refusal([&] { image::pack(helper(), target.get(), tar.get()); }, ErrorCode::invalid_argument), "no directory rootfs"));
  fs::remove(dir / "out/rootfs");
  fs::create_directory(dir / "out/rootfs");
  fs::create_symlink("/etc", dir / "out/templates");
  CHECK(has(refusal([&] { image::pack(helper(), target.get(), tar.get()); }, ErrorCode::invalid_argument), "\"templates\""));
  CHECK(has(refusal([&] { image::inspect(helper(), file_of(Tar().dir("rootfs").file("metadata.yaml", "architecture: vax\n").str()).get(), -1); }), "\"vax\""));
}

TEST_CASE("image files in a directory and in memory") {
  Dir dir;
  for (auto &files : {std::shared_ptr(image::files_in(dir.path())), std::shared_ptr(image::files_in_memory())}) {
    std::string a(64, 'a'), b(64, 'b'), text(3 << 20, 'x');
    CHECK(has(refusal([&] { files->open(a); }, ErrorCode::not_found), a));
    refusal([&] { files->put("../x", -1, -1); }, ErrorCode::invalid_argument);
    files->put(a, file_of(text).get(), -1);
    files->put(b, file_of("meta").get(), file_of("root").get());
    files->put(b, file_of("meta").get(), file_of("root").get());
    CHECK(files->list() == std::vector<std::string>{a, b});
    auto [one, none] = files->open(a);
    CHECK(read_all(one.get()) == text);
    CHECK_FALSE(none);
    auto [meta, root] = files->open(b);
    CHECK(read_all(meta.get()) == "meta");
    CHECK(read_all(root.get()) == "root");
    files->remove(a);
    files->remove(a);
    CHECK(files->list() == std::vector<std::string>{b});
    CHECK(read_all(one.get()) == text); // an open one stays readable
  }
  struct stat st;
  REQUIRE(::stat((dir / std::string(64, 'b')).c_str(), &st) == 0);
  CHECK((st.st_mode & 07777) == 0600);
  write_file(dir / (std::string(64, 'c') + "~tmp"), "left by a crash");
  auto files = image::files_in(dir.path());
  CHECK(files->list().size() == 2);
  files->remove(std::string(64, 'c'));
  CHECK(files->list().size() == 1);
}
