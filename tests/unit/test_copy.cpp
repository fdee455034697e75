// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include "../support/trees.hpp"
#include "base/error.hpp"
#include "sys/copy.hpp"
#include "sys/fs.hpp"
#include "sys/tree.hpp"

using namespace incus;
using namespace incus::test;

TEST_CASE("a random tree is copied with everything, whatever the number of threads") {
  for (unsigned seed = 1; seed <= 12; seed++) {
    TempDir tmp;
    std::string from = tmp.path + "/from", to = tmp.path + "/to";
    must(::mkdir(from.c_str(), 0755) == 0 && ::mkdir(to.c_str(), 0755) == 0, "mkdir");
    random_tree(from, seed, false);
    auto before = manifest(from);
    base::Fd f = sys::open_directory(from), t = sys::open_directory(to);
    sys::CopyOptions options;
    options.threads = seed % 4 + 1;
    options.write_out = seed % 2;
    auto result = sys::copy_tree(f.get(), t.get(), options);
    CHECK(difference(before, manifest(to)) == "");
    CHECK(difference(before, manifest(from)) == "");
    CHECK_NOTHROW(sys::sync_tree(t.get()));
    CHECK(result.files + 1 == before.size());
  }
}

TEST_CASE("a copy is found different when one thing is") {
  TempDir tmp;
  std::string from = tmp.path + "/from", to = tmp.path + "/to";
  must(::mkdir(from.c_str(), 0755) == 0 && ::mkdir(to.c_str(), 0755) == 0, "mkdir");
  write_file(from + "/a", "1");
  must(::link((from + "/a").c_str(), (from + "/b").c_str()) == 0, "link");
  sys::copy_tree(sys::open_directory(from).get(), sys::open_directory(to).get());
  auto good = manifest(from);
  REQUIRE(difference(good, manifest(to)) == "");
  must(::setxattr((to + "/a").c_str(), "user.x", "y", 1, 0) == 0, "setxattr");
  CHECK(difference(good, manifest(to)) != "");
  must(::removexattr((to + "/a").c_str(), "user.x") == 0, "removexattr");
  REQUIRE(difference(good, manifest(to)) == "");
  ::unlink((to + "/b").c_str());
  CHECK(difference(good, manifest(to)) != "");
}

TEST_CASE("holes stay holes, sockets are left out, links are not followed") {
  TempDir tmp;
  std::string from = tmp.path + "/from", to = tmp.path + "/to", outside = tmp.path + "/outside";
  for (auto &d : {from, to, outside}) must(::mkdir(d.c_str(), 0755) == 0, "mkdir");
  write_file(outside + "/secret", "s");
  must(::symlink(outside.c_str(), (from + "/link").c_str()) == 0, "symlink");
  int fd = ::open((from + "/sparse").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  must(::pwrite(fd, "x", 1, 64 << 20) == 1 && ::ftruncate(fd, 128 << 20) == 0, "sparse");
  ::close(fd);
  int s = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un a{};
  a.sun_family = AF_UNIX;
  std::strcpy(a.sun_path, (from + "/sock").c_str());
  must(::bind(s, reinterpret_cast<sockaddr *>(&a), sizeof a) == 0, "bind");
  ::close(s);
  std::uint64_t reported = 0;
  sys::CopyOptions options;
  options.progress = [&](std::uint64_t n) { reported = n; };
  auto r = sys::copy_tree(sys::open_directory(from).get(), sys::open_directory(to).get(), options);
  CHECK(reported == r.bytes);
  struct stat st;
  must(::stat((to + "/sparse").c_str(), &st) == 0, "stat");
  CHECK(st.st_size == 128 << 20);
  CHECK(st.st_blocks * 512 < 1 << 20);
  CHECK(slurp(to + "/sparse").substr(64 << 20, 2) == std::string("x\0", 2));
  CHECK(::access((to + "/sock").c_str(), F_OK) != 0);
  CHECK(std::filesystem::is_symlink(to + "/link"));
  CHECK(std::filesystem::read_symlink(to + "/link") == outside);
}

TEST_CASE("what a progress function throws ends the copy") {
  TempDir tmp;
  std::string from = tmp.path + "/from", to = tmp.path + "/to";
  must(::mkdir(from.c_str(), 0755) == 0 && ::mkdir(to.c_str(), 0755) == 0, "mkdir");
  for (int i = 0; i < 600; i++) {
    if (i % 100 == 0) must(::mkdir((from + "/d" + std::to_string(i / 100)).c_str(), 0755) == 0, "mkdir");
    write_file(from + "/d" + std::to_string(i / 100) + "/f" + std::to_string(i), std::string(20000, 'x'));
  }
  sys::CopyOptions options;
  options.progress = [](std::uint64_t) { throw Error(ErrorCode::cancelled, "enough"); };
  try {
    sys::copy_tree(sys::open_directory(from).get(), sys::open_directory(to).get(), options);
    FAIL("not cancelled");
  } catch (const Error &e) {
    CHECK(e.code() == ErrorCode::cancelled);
  }
}

TEST_CASE("a tree deeper than any path, and with many branches, is copied, measured and removed") {
  TempDir tmp;
  must(::mkdir((tmp.path + "/from").c_str(), 0755) == 0 && ::mkdir((tmp.path + "/to").c_str(), 0755) == 0, "mkdir");
  base::Fd from = sys::open_directory(tmp.path + "/from"), to = sys::open_directory(tmp.path + "/to");
  std::string name(200, 'd');
  constexpr int depth = 600;
  base::Fd at = from.dup();
  for (int i = 0; i < depth; i++) {
    // A second branch at each level would hold a descriptor a level, were they held.
    must(::mkdirat(at.get(), "side", 0755) == 0 && ::mkdirat(at.get(), name.c_str(), 0755) == 0, "mkdirat");
    at = base::Fd(::openat(at.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  }
  must(::mknodat(at.get(), "bottom", S_IFREG | 0600, 0) == 0, "mknodat");
  CHECK(sys::copy_tree(from.get(), to.get()).files == 2 * depth + 1);
  base::Fd parent = sys::open_directory(tmp.path);
  CHECK(sys::tree_usage(parent.get(), "to").files == 2 * depth + 2);
  CHECK(sys::remove_tree(parent.get(), "from"));
  CHECK(sys::remove_tree(parent.get(), "to"));
  CHECK(!sys::remove_tree(parent.get(), "to"));
  CHECK(std::filesystem::is_empty(tmp.path));
}

TEST_CASE("a source that changes meanwhile is no error") {
  TempDir tmp;
  std::string from = tmp.path + "/from";
  must(::mkdir(from.c_str(), 0755) == 0, "mkdir");
  for (int i = 0; i < 40; i++) {
    must(::mkdir((from + "/d" + std::to_string(i)).c_str(), 0755) == 0, "mkdir");
    for (int j = 0; j < 20; j++) write_file(from + "/d" + std::to_string(i) + "/f" + std::to_string(j), std::string(3000, 'x'));
  }
  std::atomic<bool> stop{false};
  std::thread changer([&] {
    std::mt19937 r(1);
    while (!stop) {
      std::string d = from + "/d" + std::to_string(r() % 40), f = d + "/f" + std::to_string(r() % 20);
      switch (r() % 6) {
      case 0: ::unlink(f.c_str()); break;
      case 1: ::rename(f.c_str(), (d + "/g").c_str()); break;
      case 2: ::rename(d.c_str(), (from + "/moved").c_str()); break;
      case 3: ::rename((from + "/moved").c_str(), d.c_str()); break;
      case 4:
        ::unlink(f.c_str());
        if (::symlink("/etc", f.c_str())) {
        }
        break;
      default:
        if (int fd = ::open(f.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600); fd >= 0) {
          if (::write(fd, "new", 3)) {
          }
          ::close(fd);
        }
      }
    }
  });
  for (int i = 0; i < 30; i++) {
    std::string to = tmp.path + "/to" + std::to_string(i);
    must(::mkdir(to.c_str(), 0755) == 0, "mkdir");
    CHECK_NOTHROW(sys::copy_tree(sys::open_directory(from).get(), sys::open_directory(to).get(), {.write_out = false}));
  }
  stop = true;
  changer.join();
}

TEST_CASE("files beneath a directory: links that leave it are refused, writes replace in one step") {
  TempDir tmp;
  base::Fd dir = sys::open_directory(tmp.path);
  must(::symlink("/etc/passwd", (tmp.path + "/absolute").c_str()) == 0 && ::symlink("../..", (tmp.path + "/up").c_str()) == 0, "symlink");
  CHECK_THROWS_AS(sys::open_beneath(dir.get(), "absolute", O_RDONLY), Error);
  CHECK_THROWS_AS(sys::open_beneath(dir.get(), "up", O_RDONLY), Error);
  CHECK_THROWS_AS(sys::open_beneath(dir.get(), "../x", O_RDONLY), Error);
  CHECK_THROWS_AS(sys::open_child(dir.get(), "up"), Error);
  CHECK_THROWS_AS(sys::open_child(dir.get(), ".."), Error);
  mode_t before = ::umask(077);
  sys::atomic_write(dir.get(), "f", "one", 0644);
  sys::atomic_write(dir.get(), "f", "two", 0640);
  base::Fd made = sys::mkdir_p(dir.get(), "a/b//c", 0711);
  ::umask(before);
  CHECK(sys::read_file(dir.get(), "f") == "two");
  struct stat st;
  ::stat((tmp.path + "/f").c_str(), &st);
  CHECK((st.st_mode & 07777) == 0640);
  for (auto p : {"/a", "/a/b", "/a/b/c"}) {
    must(::stat((tmp.path + p).c_str(), &st) == 0, p);
    CHECK((st.st_mode & 07777) == 0711);
  }
  CHECK(sys::list_directory(dir.get()) == std::vector<std::string>{"a", "absolute", "f", "up"});
  CHECK(!sys::read_file_if_exists(dir.get(), "none"));
  CHECK_THROWS_AS(sys::read_file(dir.get(), "absolute"), Error);
  CHECK_THROWS_AS(sys::read_file(dir.get(), "f", 2), Error);
  CHECK_THROWS_AS(sys::mkdir_p(dir.get(), "a/../../x", 0711), Error);
  // Links are removed, not what they point to.
  must(::mkdir((tmp.path + "/keep").c_str(), 0755) == 0, "mkdir");
  write_file(tmp.path + "/keep/it", "");
  must(::symlink("../keep", (tmp.path + "/a/l").c_str()) == 0, "symlink");
  CHECK(sys::remove_tree(dir.get(), "a"));
  CHECK(std::filesystem::exists(tmp.path + "/keep/it"));
}
