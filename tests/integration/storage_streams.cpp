// SPDX-License-Identifier: Apache-2.0
// Copies between pools of the btrfs driver as streams, by drivers alone: what goes, what it shares, what a guest made inside, and hostile streams.
#include <doctest/doctest.h>

#include <cerrno>
#include <sched.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <thread>

#include <incus/incus.hpp>

#include "../support/pools.hpp"
#include "../support/trees.hpp"
#include "base/error.hpp"
#include "storage/transfer.hpp"
#include "sys/btrfs_stream.hpp"
#include "sys/fs.hpp"
#include "sys/process.hpp"
#include "sys/subvolumes.hpp"

using namespace incus;
using namespace incus::test;
using storage::VolumeRef;
using storage::VolumeType;
namespace fs = std::filesystem;

namespace {

const base::Log silent;
const VolumeRef c1{VolumeType::container, "c1"}, c2{VolumeType::container, "c2"}, v1{VolumeType::custom, "default_v1"};

struct Pool {
  TempDir tmp;
  std::string at = tmp.path + "/mnt";
  std::shared_ptr<storage::Driver> driver;
  Pool() {
    own_mounts();
    driver = storage::driver("btrfs").open({"disk", at, {{"source", tmp.path + "/disk.img"}, {"size", "400MiB"}}, &silent, tmp.path});
    driver->create();
  }
  ~Pool() { driver->abandon(); }
  bool clean() const { return !fs::exists(at + "/transfers"); }
};

base::Fd directory(const std::string &path) { return sys::open_directory(path); }
sys::SubvolumeInfo info(const std::string &path) { return sys::subvolume_info(directory(path).get()); }

bool same_tree(const std::string &a, const std::string &b) {
  auto d = difference(manifest(a), manifest(b));
  INFO(d);
  CHECK(d == "");
  return d.empty();
}

/// Much of what a tree can hold.
void grow(const std::string &at, int n) {
  auto s = std::to_string(n);
  fs::create_directories(at + "/dir" + s + "/deep");
  write_file(at + "/dir" + s + "/deep/file", std::string(200'000, static_cast<char>('a' + n)));
  fs::create_hard_link(at + "/dir" + s + "/deep/file", at + "/hard" + s);
  fs::create_symlink("dir" + s + "/deep/file", at + "/link" + s);
  must(::mknod((at + "/null" + s).c_str(), S_IFCHR | 0666, makedev(1, 3)) == 0, "mknod");
  must(::mkfifo((at + "/fifo" + s).c_str(), 0640) == 0, "mkfifo");
  must(::chmod((at + "/dir" + s + "/deep/file").c_str(), 04755) == 0 && ::lchown((at + "/link" + s).c_str(), 1000, 1001) == 0, "modes");
  must(::setxattr((at + "/hard" + s).c_str(), "user.x", s.data(), s.size(), 0) == 0, "xattr");
  must(::setxattr((at + "/dir" + s).c_str(), "trusted.t", s.data(), s.size(), 0) == 0, "xattr");
  write_file(at + "/sparse" + s, "x");
  fs::resize_file(at + "/sparse" + s, 5 << 20);
}

} // namespace

TEST_CASE("a volume with snapshots goes to another pool, each snapshot as what came after the one before") {
  Pool a, b;
  a.driver->create_empty(c1);
  auto root = a.at + "/containers/c1/rootfs";
  write_file(root + "/big", std::string(20 << 20, 'b'));
  std::vector<std::string> names;
  for (int i = 1; i <= 3; i++) {
    grow(root, i);
    if (i == 3) {
      fs::remove(root + "/hard1");
      fs::rename(root + "/dir2", root + "/renamed");
      fs::remove_all(root + "/dir1");
      fs::resize_file(root + "/sparse1", 100);
    }
    names.push_back("s" + std::to_string(i));
    a.driver->snapshots()->create(c1, names.back(), {});
  }
  grow(root, 4);
  write_file(a.at + "/containers/c1/backup.yaml", "of the source");
  std::uint64_t most = 0;
  auto progress = [&](std::uint64_t done, std::uint64_t) { most = std::max(most, done); };
  storage::copy_with_snapshots({b.driver, c2}, {a.driver, c1}, names, progress);
  CHECK(most > 20 << 20);
  CHECK(same_tree(root, b.at + "/containers/c2/rootfs"));
  CHECK(!fs::exists(b.at + "/containers/c2/backup.yaml"));
  for (auto &n : names) {
    auto from = a.at + "/containers-snapshots/c1/" + n, to = b.at + "/containers-snapshots/c2/" + n;
    CHECK(same_tree(from + "/rootfs", to + "/rootfs"));
    CHECK(info(to).read_only);
    CHECK(info(to).received == info(from).id); // what a refresh builds on
  }
  CHECK(!info(b.at + "/containers/c2").read_only);
  CHECK(info(b.at + "/containers/c2").received == sys::SubvolumeId{}); // it changes: nothing may build on it
  // The large file is there once.
  CHECK(b.driver->resources().space.used < 60 << 20);
  CHECK(a.clean());
  CHECK(b.clean());

  // A refresh sends what is new alone.
  write_file(root + "/new", "new");
  fs::remove(root + "/big");
  a.driver->snapshots()->create(c1, "s4", {});
  most = 0;
  storage::copy_snapshot({b.driver, c2}, {a.driver, c1}, "s4", progress, "s3");
  CHECK(same_tree(root, b.at + "/containers-snapshots/c2/s4/rootfs"));
  storage::prepare_refresh({b.driver, c2}, {a.driver, c1}, {}, progress, "s4");
  b.driver->snapshots()->restore_commit(c2);
  CHECK(same_tree(root, b.at + "/containers/c2/rootfs"));
  CHECK(most < 2 << 20);
  // A snapshot of the same name that is another one is not built on.
  b.driver->snapshots()->remove(c2, "s4");
  b.driver->snapshots()->create(c2, "s4", {});
  write_file(root + "/newer", "newer");
  storage::prepare_refresh({b.driver, c2}, {a.driver, c1}, {}, {}, "s4");
  b.driver->snapshots()->restore_commit(c2);
  CHECK(same_tree(root, b.at + "/containers/c2/rootfs"));
  CHECK(a.clean());
  CHECK(b.clean());
}

TEST_CASE("subvolumes that a guest made go along between pools") {
  Pool a, b;
  a.driver->create_empty(v1);
  auto at = a.at + "/custom/default_v1";
  sys::create_subvolume(directory(at).get(), "sub");
  write_file(at + "/sub/one", "1");
  fs::create_directory(at + "/sub/dir");
  sys::create_subvolume(directory(at + "/sub/dir").get(), "inner");
  write_file(at + "/sub/dir/inner/two", "2");
  sys::set_read_only(directory(at + "/sub/dir/inner").get(), true);
  a.driver->snapshots()->create(v1, "s1", {});
  write_file(at + "/sub/three", "3");
  a.driver->snapshots()->create(v1, "s2", {});
  fs::rename(at + "/sub/three", at + "/sub/four");
  storage::copy_with_snapshots({b.driver, v1}, {a.driver, v1}, {"s1", "s2"}, {});
  for (std::string place : {"/custom/default_v1", "/custom-snapshots/default_v1/s1", "/custom-snapshots/default_v1/s2"}) {
    CAPTURE(place);
    CHECK(same_tree(a.at + place, b.at + place));
    CHECK(slurp(b.at + place + "/sub/dir/inner/two") == "2");
    CHECK(sys::is_subvolume(directory(b.at + place + "/sub").get()));
    CHECK(!info(b.at + place + "/sub").read_only);
    CHECK(info(b.at + place + "/sub/dir/inner").read_only);
  }
  CHECK(info(b.at + "/custom-snapshots/default_v1/s2").read_only);
  // Again, over what is there.
  sys::set_read_only(directory(at + "/sub/dir/inner").get(), false);
  sys::remove_subvolume(directory(at + "/sub/dir").get(), "inner");
  a.driver->snapshots()->create(v1, "s3", {});
  storage::copy_snapshot({b.driver, v1}, {a.driver, v1}, "s3", {}, "s2");
  CHECK(same_tree(at, b.at + "/custom-snapshots/default_v1/s3"));
  CHECK(!fs::exists(b.at + "/custom-snapshots/default_v1/s3/sub/dir/inner"));
  CHECK(a.clean());
  CHECK(b.clean());
  b.driver->remove_volume(v1);
  CHECK(!fs::exists(b.at + "/custom-snapshots/default_v1"));
}

TEST_CASE("a copy that is cancelled, or for which there is no space, leaves nothing") {
  Pool a, b;
  a.driver->create_empty(v1);
  write_file(a.at + "/custom/default_v1/big", std::string(30 << 20, 'x'));
  a.driver->snapshots()->create(v1, "s1", {});
  int calls = 0;
  auto cancel = [&](std::uint64_t, std::uint64_t) {
    if (++calls > 3) base::fail(ErrorCode::cancelled, "cancelled");
  };
  try {
    storage::copy_with_snapshots({b.driver, v1}, {a.driver, v1}, {"s1"}, cancel);
    FAIL("not cancelled");
  } catch (const Error &e) {
    CHECK(e.code() == ErrorCode::cancelled);
  }
  CHECK(a.clean());
  CHECK(b.clean());
  CHECK(b.driver->list(VolumeType::custom).empty());
  // Data that does not shrink, more than the other pool has.
  {
    std::string noise(1 << 20, '\0');
    std::uint64_t x = 88172645463325252ull;
    for (auto &c : noise) c = static_cast<char>((x ^= x << 13, x ^= x >> 7, x ^= x << 17));
    std::ofstream f(b.at + "/ballast", std::ios::binary);
    while (f.write(noise.data(), static_cast<std::streamsize>(noise.size())).flush()) {}
  }
  try {
    storage::copy_volume({b.driver, v1}, {a.driver, v1}, {}, {});
    FAIL("there was space");
  } catch (const Error &e) {
    CHECK(e.code() == ErrorCode::no_space);
  }
  fs::remove(b.at + "/ballast");
  CHECK(a.clean());
  CHECK(b.clean());
  CHECK(b.driver->list(VolumeType::custom).empty());
  storage::copy_volume({b.driver, v1}, {a.driver, v1}, {}, {});
  CHECK(same_tree(a.at + "/custom/default_v1", b.at + "/custom/default_v1"));
}

TEST_CASE("what a killed process left of transfers goes when the pool is next opened") {
  Pool a;
  fs::create_directories(a.at + "/transfers/deadbeef");
  auto in = directory(a.at + "/transfers/deadbeef");
  sys::create_subvolume(in.get(), "0");
  write_file(a.at + "/transfers/deadbeef/0/x", "x");
  sys::create_subvolume(directory(a.at + "/transfers/deadbeef/0").get(), "nested");
  sys::snapshot_subvolume(directory(a.at + "/transfers/deadbeef/0").get(), in.get(), "copy", true);
  auto again = storage::driver("btrfs").open({"disk", a.at, {{"source", a.tmp.path + "/disk.img"}, {"size", "400MiB"}}, &silent, a.tmp.path});
  again->open();
  CHECK(a.clean());
}

TEST_CASE("the reader makes of any tree what the file system's own program makes of it") {
  Pool a, b;
  auto top = directory(a.at);
  sys::create_subvolume(top.get(), "t");
  std::string at = a.at + "/t";
  std::uint64_t x = 42;
  auto roll = [&](std::uint64_t n) { return (x ^= x << 13, x ^= x >> 7, x ^= x << 17) % n; };
  std::string before;
  auto from_file = [](base::Fd &f) {
    return [&f](void *to, std::size_t n) {
      ssize_t r = ::read(f.get(), to, n);
      return r < 0 ? std::size_t(0) : static_cast<std::size_t>(r);
    };
  };
  for (int round = 0; round < 8; round++) {
    grow(at, round);
    for (int i = 0; i < 60; i++) { // what makes streams difficult: names that change places
      auto name = [&] { return at + "/n" + std::to_string(roll(12)); };
      auto p = name(), q = name();
      std::error_code error;
      switch (roll(8)) {
      case 0: fs::create_directory(p, error); break;
      case 1: fs::rename(p, q, error); break;
      case 2: if (!fs::is_directory(p)) { std::ofstream f(p, std::ios::app); f << std::string(roll(70'000), static_cast<char>('a' + roll(26))); } break;
      case 3: fs::rename(p, q + "/in", error); break;
      case 4: fs::remove(p, error); break;
      case 5: if (fs::is_regular_file(p)) fs::resize_file(p, roll(300'000), error); break;
      case 6: fs::create_hard_link(p, q, error); break;
      default: if (fs::is_regular_file(p) && !fs::exists(q)) sys::output_of({"/bin/cp", "--reflink=always", p, q}, std::chrono::seconds(20)); break;
      }
    }
    auto name = "r" + std::to_string(round);
    sys::snapshot_subvolume(directory(at).get(), top.get(), name, true);
    auto file = a.tmp.path + "/stream";
    {
      base::Fd out(::open(file.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
      auto parent = before.empty() ? base::Fd() : directory(a.at + "/" + before);
      REQUIRE(sys::send_subvolume(directory(a.at + "/" + name).get(), parent.get(), out.get()) == 0);
    }
    sys::StreamOptions o;
    auto into = directory(b.at);
    o.parent = into.get();
    o.name = name;
    o.any_attribute = true;
    base::Fd base;
    if (!before.empty()) {
      base = directory(b.at + "/" + before);
      o.bases.push_back({info(a.at + "/" + before).id, base.get()});
    }
    base::Fd in(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
    CHECK(sys::receive_subvolume(from_file(in), o) == info(a.at + "/" + name).id);
    CHECK(same_tree(a.at + "/" + name, b.at + "/" + name));
    fs::create_directories(b.at + "/theirs");
    auto said = sys::output_of({"/usr/bin/btrfs", "receive", "-q", "-f", file, b.at + "/theirs"}, std::chrono::seconds(60));
    CHECK(said == "");
    CHECK(same_tree(b.at + "/theirs/" + name, b.at + "/" + name));
    before = name;
  }
  for (auto &e : sys::list_directory(top.get()))
    if (e != "containers") sys::remove_subvolume(top.get(), e);
  for (int i = 0; i < 8; i++) {
    sys::remove_subvolume(directory(b.at).get(), "r" + std::to_string(i));
    sys::remove_subvolume(directory(b.at + "/theirs").get(), "r" + std::to_string(i));
  }
}

namespace {

/// A stream as somebody could write it who means harm: well-formed, with right checksums.
class Forged {
public:
  Forged() { raw_ = std::string("btrfs-stream\0\1\0\0\0", 17); }
  static std::string number(std::uint64_t n, int bytes = 8) {
    std::string out;
    for (int i = 0; i < bytes; i++) out += static_cast<char>(n >> (8 * i));
    return out;
  }
  Forged &command(int what, std::initializer_list<std::pair<int, std::string>> attributes) {
    std::string body;
    for (auto &[type, value] : attributes) body += number(static_cast<std::uint64_t>(type), 2) + number(value.size(), 2) + value;
    auto head = number(body.size(), 4) + number(static_cast<std::uint64_t>(what), 2);
    auto all = head + std::string(4, '\0') + body;
    std::uint32_t crc = 0;
    for (unsigned char c : all) {
      crc ^= c;
      for (int k = 0; k < 8; k++) crc = crc & 1 ? crc >> 1 ^ 0x82f63b78u : crc >> 1;
    }
    raw_ += head + number(crc, 4) + body;
    return *this;
  }
  Forged &begin() { return command(1, {{15, "x"}, {1, std::string(16, 'i')}, {2, number(7)}}); }
  Forged &end() { return command(21, {}); }
  const std::string &raw() const { return raw_; }

private:
  std::string raw_;
};

/// Why it is refused; empty when it is not.
std::string received(int into, const std::string &stream, const std::vector<sys::StreamBase> &bases = {}) {
  std::size_t at = 0;
  sys::StreamOptions o;
  o.parent = into;
  o.name = "x";
  o.bases = bases;
  std::string why;
  try {
    sys::receive_subvolume(
        [&](void *to, std::size_t n) {
          n = std::min(n, stream.size() - at);
          std::memcpy(to, stream.data() + at, n);
          at += n;
          return n;
        },
        o);
  } catch (const sys::StreamFailure &f) {
    why = f.what();
    CHECK(why.find('\n') == std::string::npos);
    CHECK(why != "");
  }
  sys::remove_subvolume(into, "x");
  return why;
}

} // namespace

TEST_CASE("streams that would leave their subvolume, or are no streams, are refused") {
  Pool a;
  TempDir outside;
  write_file(outside.path + "/mine", "mine");
  write_file(a.at + "/neighbour", "secret");
  auto into = directory(a.at);
  sys::create_subvolume(into.get(), "other");
  write_file(a.at + "/other/secret", std::string(100'000, 's'));
  auto other = info(a.at + "/other").id;
  std::string id(other.begin(), other.end());
  auto n = [](std::uint64_t v) { return Forged::number(v); };
  const std::string own(16, 'i');
  auto refused = [&](const Forged &f, const char *words) {
    auto why = received(into.get(), f.raw());
    CAPTURE(why);
    CHECK(why.find(words) != std::string::npos);
    CHECK(slurp(outside.path + "/mine") == "mine");
    CHECK(slurp(a.at + "/neighbour") == "secret");
    CHECK(slurp(a.at + "/other/secret") == std::string(100'000, 's'));
  };
  CHECK(received(into.get(), Forged().begin().command(3, {{15, "f"}}).end().raw()) == "");
  for (std::string bad : {"../neighbour", "/etc/passwd", "a/../../neighbour", "..", ".", "a//b", "a/", "x/.."}) {
    CAPTURE(bad);
    for (int what : {3, 4, 6, 7, 11, 12}) {
      auto why = received(into.get(), Forged().begin().command(what, {{15, bad}}).end().raw());
      CHECK(why.find("path") != std::string::npos);
    }
    refused(Forged().begin().command(3, {{15, "f"}}).command(9, {{15, "f"}, {16, bad}}), "path");
    refused(Forged().begin().command(3, {{15, "f"}}).command(10, {{15, "g"}, {17, bad}}), "path");
    refused(Forged().begin().command(15, {{15, bad}, {18, n(0)}, {19, "evil"}}), "path");
  }
  // Through a link.
  auto link = [&](const std::string &to) { return Forged().begin().command(8, {{15, "l"}, {17, to}}); };
  for (auto &to : {outside.path, std::string(".."), std::string("../other")}) {
    CAPTURE(to);
    refused(link(to).command(3, {{15, "l/new"}}), "reach");
    refused(link(to).command(15, {{15, "l/mine"}, {18, n(0)}, {19, "evil"}}), "reach");
    refused(link(to).command(11, {{15, "l/mine"}}), "reach");
    CHECK(!fs::exists(outside.path + "/new"));
  }
  refused(link(outside.path + "/mine").command(15, {{15, "l"}, {18, n(0)}, {19, "evil"}}), "no file");
  refused(link(outside.path + "/mine").command(17, {{15, "l"}, {4, n(0)}}), "no file");
  refused(link(outside.path + "/mine").command(18, {{15, "l"}, {5, n(04777)}}), "link");
  refused(Forged().begin().command(5, {{15, "d"}, {5, n(S_IFBLK)}, {8, n(0x700)}}).command(15, {{15, "d"}, {18, n(0)}, {19, "evil"}}), "no file");
  refused(Forged().begin().command(6, {{15, "p"}}).command(15, {{15, "p"}, {18, n(0)}, {19, "evil"}}), "no file");
  // Other volumes of the pool.
  auto steal = [&](const std::string &whose, const std::string &path) {
    return Forged().begin().command(3, {{15, "f"}}).command(16, {{18, n(0)}, {24, n(4096)}, {15, "f"}, {20, whose}, {21, n(1)}, {22, path}, {23, n(0)}});
  };
  refused(steal(id, "secret"), "did not come before it");
  refused(steal(own, "../other/secret"), "path");
  refused(Forged().command(2, {{15, "x"}, {1, own}, {2, n(7)}, {20, id}, {21, n(1)}}), "did not come before it");
  // Numbers.
  auto file = [] { return Forged().begin().command(3, {{15, "f"}}); };
  refused(file().command(17, {{15, "f"}, {4, n(UINT64_MAX)}}), "size");
  refused(file().command(15, {{15, "f"}, {18, n(INT64_MAX)}, {19, "evil"}}), "offset");
  refused(file().command(20, {{15, "f"}, {11, n(0) + Forged::number(4'000'000'000u, 4)}, {10, n(0) + Forged::number(0, 4)}}), "time");
  refused(file().command(5, {{15, "d"}, {5, n(0)}, {8, n(0)}}), "kind");
  refused(file().command(5, {{15, "d"}, {5, n(S_IFDIR)}, {8, "short"}}), "");
  refused(file().command(19, {{15, "f"}, {6, n(0)}}), "missing");
  refused(file().command(19, {{15, "f"}, {15, "f"}}), "twice");
  refused(file().command(99, {}), "version 1");
  refused(file().command(0, {}), "version 1");
  refused(file().command(25, {{15, "f"}}), "version 1");
  refused(file().command(22, {{15, "f"}, {18, n(0)}, {4, n(9)}}), "no data");
  refused(file(), "ends in the middle");
  refused(Forged(), "empty");
  CHECK(received(into.get(), "").find("does not begin") != std::string::npos);
  CHECK(received(into.get(), file().end().raw() + "x").find("after its end") != std::string::npos);
  // Anything cut off, anything changed.
  auto good = file().command(15, {{15, "f"}, {18, n(0)}, {19, std::string(300, 'g')}}).command(13, {{15, "f"}, {13, "user.x"}, {14, "v"}}).end().raw();
  CHECK(received(into.get(), good) == "");
  for (std::size_t i = 0; i < good.size(); i += 3) {
    CHECK(received(into.get(), good.substr(0, i)) != "");
    auto bent = good;
    bent[i] = static_cast<char>(bent[i] ^ 0x20);
    CHECK(received(into.get(), bent) != "");
  }
  sys::remove_subvolume(into.get(), "other");
  fs::remove(a.at + "/neighbour");
}
