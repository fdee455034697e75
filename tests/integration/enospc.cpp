// SPDX-License-Identifier: Apache-2.0
// No space left on the pool or the store: a clear error, nothing lost or half-made, and it works again when there is space.
#include <doctest/doctest.h>

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/statvfs.h>

#include <incus/incus.hpp>

#include "testing.hpp"

using namespace incus;
using namespace incus::testing;

namespace {

struct SmallDisk {
  explicit SmallDisk(const char *size) : dir("incus-enospc") {
    path = dir / "disk";
    std::filesystem::create_directories(path);
    REQUIRE(::mount("tmpfs", path.c_str(), "tmpfs", 0, (std::string("mode=0711,size=") + size).c_str()) == 0);
  }
  ~SmallDisk() { ::umount2(path.c_str(), MNT_DETACH); }
  void fill(std::size_t leave) {
    struct statvfs s;
    REQUIRE(::statvfs(path.c_str(), &s) == 0);
    auto bytes = s.f_bavail * s.f_frsize;
    if (bytes <= leave) return;
    int fd = ::open((path + "/ballast").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    REQUIRE(fd >= 0);
    CHECK(::posix_fallocate(fd, 0, static_cast<off_t>(bytes - leave)) == 0);
    ::close(fd);
  }
  void free() { ::unlink((path + "/ballast").c_str()); }
  Dir dir;
  std::string path;
};

ErrorCode code_of(const std::function<void()> &f, std::string &text) {
  try {
    f();
  } catch (const Error &e) {
    text = e.what();
    return e.code();
  }
  text = "no error";
  return ErrorCode::internal;
}

void create(Host &h, const std::string &name, const std::string &pool) {
  InstanceCreate r;
  r.name = name;
  r.source.type = "image";
  r.source.alias = "busy";
  r.devices["root"] = {{"type", "disk"}, {"path", "/"}, {"pool", pool}};
  h.create_instance(r).wait();
}

void import(Host &h, const std::string &dir) {
  make_busybox_image(dir);
  ImageImport how;
  how.alias = "busy";
  h.import_image(dir, how).wait();
}

std::string problems(Host &h) { return h.request("GET", "/internal/check"); }

} // namespace

TEST_CASE("a full pool refuses an instance and a snapshot, and takes them when there is space") {
  Dir d;
  SmallDisk disk("24M");
  auto h = Host::open("embed://" + (d / "host"));
  import(h, d / "image");
  std::filesystem::create_directories(disk.path + "/pool");
  h.create_storage_pool({"small", "dir", "", {{"source", disk.path + "/pool"}}});
  create(h, "first", "small");
  disk.fill(256 * 1024);
  std::string text;
  CHECK(code_of([&] { create(h, "second", "small"); }, text) == ErrorCode::no_space);
  CAPTURE(text);
  CHECK(text.find("small") != std::string::npos);
  CHECK(h.instance_names() == std::vector<std::string>{"first"});
  CHECK(code_of([&] { h.instance("first").create_snapshot({"s0", false, {}}).wait(); }, text) == ErrorCode::no_space);
  CHECK(h.instance("first").snapshots().empty());
  CHECK(problems(h) == "{\"problems\":[]}");
  disk.free();
  create(h, "second", "small");
  h.instance("first").create_snapshot({"s0", false, {}}).wait();
  // One that runs goes on running when there is no space for what it shall be.
  h.instance("first").start().wait();
  disk.fill(256 * 1024);
  auto pid = h.instance("first").state().pid;
  CHECK(code_of([&] { h.instance("first").restore("s0").wait(); }, text) == ErrorCode::no_space);
  CHECK(h.instance("first").state().pid == pid);
  disk.free();
  h.instance("first").restore("s0").wait();
  CHECK(h.instance("first").state().pid != pid);
  h.instance("first").stop(true).wait();
  CHECK(problems(h) == "{\"problems\":[]}");
  for (auto *n : {"first", "second"}) h.instance(n).remove().wait();
  h.storage_pool("small").remove();
}

TEST_CASE("a full store refuses changes, keeps what it has, and goes on when there is space") {
  Dir d;
  SmallDisk disk("16M");
  // The store alone lies on the small disk.
  std::filesystem::create_directories(d / "host");
  auto uri = "embed://" + (d / "host");
  Host::open(uri).close();
  std::filesystem::copy(d / "host/database", disk.path + "/database", std::filesystem::copy_options::recursive);
  REQUIRE(::mount((disk.path + "/database").c_str(), (d / "host/database").c_str(), nullptr, MS_BIND, nullptr) == 0);
  {
    auto h = Host::open(uri);
    import(h, d / "image");
    h.launch("c1", "busy");
    h.create_profile({"p", {{"user.a", "1"}}, "", {}});
    disk.fill(0);
    std::string text;
    ErrorCode code = ErrorCode::internal;
    for (int i = 0; i < 200 && code != ErrorCode::no_space; i++) code = code_of([&] { h.profile("p").update({{{"user.a", std::string(20000, 'x')}}, "", {}}); }, text);
    CHECK(code == ErrorCode::no_space);
    CHECK(h.profile("p").info().config.count("user.a") == 1);
    // Reads and running instances go on.
    CHECK(h.instance("c1").exec({"echo", "alive"}).stdout_data == "alive\n");
    CHECK(code_of([&] { create(h, "c2", "default"); }, text) == ErrorCode::no_space);
    disk.free();
    h.profile("p").update({{{"user.a", "2"}}, "", {}});
    CHECK(h.profile("p").info().config.at("user.a") == "2");
    create(h, "c2", "default");
    CHECK(problems(h) == "{\"problems\":[]}");
    h.instance("c1").stop(true).wait();
    h.instance("c1").remove().wait();
    h.instance("c2").remove().wait();
  }
  CHECK(::umount((d / "host/database").c_str()) == 0);
}
