// SPDX-License-Identifier: Apache-2.0
// Files of real instances: how many processes serve them, what a hostile guest can do, and what is left when somebody goes in the middle.
#include <algorithm>
#include <csignal>
#include <cstring>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>
#include <thread>

#include <incus/incus.hpp>

#include "testing.hpp"

using namespace incus;
using namespace incus::testing;
using namespace std::chrono_literals;

namespace {

std::string slurp(const std::string &path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), {}};
}

/// Pids of the processes of a program that are there now.
std::vector<int> processes(const std::string &name) {
  std::vector<int> out;
  for (auto &e : std::filesystem::directory_iterator("/proc")) {
    auto pid = std::atoi(e.path().filename().c_str());
    if (pid <= 0 || slurp(e.path() / "comm") != name + "\n") continue;
    // One that ended is not there any more, whether or not init has reaped it; but its first thread may end before others, which still hold its socket.
    auto status = slurp(e.path() / "status");
    bool ended = status.find("State:\tZ") != std::string::npos && status.find("Threads:\t1\n") != std::string::npos;
    if (!status.empty() && !ended) out.push_back(pid);
  }
  return out;
}

struct World {
  Dir dir{"incus-files"};
  Host host;
  World(const char *driver) : host(open(driver)) {
    make_busybox_image(dir / "image");
    ImageImport how;
    how.alias = "busy";
    host.import_image(dir / "image", how).wait();
  }
  Host open(const char *driver) {
    OpenOptions o;
    o.storage_driver = driver;
    o.auto_destroy = true;
    return Host::open("embed://" + (dir / "host"), o);
  }
  Instance make(const std::string &name, Config config = {}, bool start = true) {
    InstanceCreate r;
    r.name = name;
    r.config = std::move(config);
    r.source.type = "image";
    r.source.alias = "busy";
    r.start = start;
    host.create_instance(r).wait();
    auto i = host.instance(name);
    if (start) i.wait_ready(ReadyLevel::exec);
    return i;
  }
};

ErrorCode code_of(const std::function<void()> &f) {
  try {
    f();
  } catch (const Error &e) {
    MESSAGE(e.what());
    return e.code();
  }
  return ErrorCode{};
}

const char *drivers[] = {"dir", "overlay"};

} // namespace

TEST_CASE("ten thousand small files are one process") {
  if (::geteuid() != 0) INCUS_SKIP("real containers need root");
  World w("dir");
  auto c = w.make("c1");
  c.make_directory("/tmp/many");
  std::vector<int> seen;
  for (int i = 0; i < 10000; i++) {
    c.write_file("/tmp/many/" + std::to_string(i), std::to_string(i));
    if (i % 500 == 0)
      for (int pid : processes("incus-files"))
        if (std::find(seen.begin(), seen.end(), pid) == seen.end()) seen.push_back(pid);
  }
  CHECK(seen.size() == 1);
  CHECK(c.list_directory("/tmp/many").size() == 10000);
  for (int i = 0; i < 10000; i += 97) CHECK(c.read_file("/tmp/many/" + std::to_string(i)) == std::to_string(i));
  CHECK(processes("incus-files") == seen);
  CHECK(c.exec({"sh", "-c", "ls /tmp/many | wc -l"}).stdout_data == "10000\n");
}

TEST_CASE("owners are the guest's, privileged or not, running or stopped, on every pool") {
  if (::geteuid() != 0) INCUS_SKIP("real containers need root");
  for (auto *driver : drivers)
    for (auto *privileged : {"false", "true"}) {
      CAPTURE(driver);
      CAPTURE(privileged);
      World w(driver);
      auto c = w.make("c1", {{"security.privileged", privileged}});
      FileOptions o;
      o.uid = 1000;
      o.gid = 1000;
      c.write_file("/tmp/run", "x", o);
      CHECK(c.exec({"stat", "-c", "%u:%g", "/tmp/run"}).stdout_data == "1000:1000\n");
      c.exec({"touch", "/tmp/root"});
      c.stop(true).wait();
      CHECK(processes("incus-files").empty()); // ended with the guest, whose mounts it held
      CHECK(c.file_info("/tmp/run").uid == 1000);
      CHECK(c.file_info("/tmp/root").uid == 0);
      c.write_file("/tmp/stopped", "y", o);
      CHECK(c.file_info("/tmp/stopped").uid == 1000);
      c.start().wait();
      c.wait_ready(ReadyLevel::exec);
      CHECK(c.exec({"stat", "-c", "%u:%g", "/tmp/stopped"}).stdout_data == "1000:1000\n");
      CHECK(c.exec({"cat", "/tmp/stopped"}).stdout_data == "y");
      CHECK(w.host.request("GET", "/internal/check") == R"({"problems":[]})");
    }
}

TEST_CASE("shifted owners, where idmapped mounts are not to be used") {
  if (::geteuid() != 0) INCUS_SKIP("real containers need root");
  ::setenv("INCUS_IDMAPPED_MOUNTS_DISABLE", "1", 1);
  World w("dir");
  auto c = w.make("c1");
  ::unsetenv("INCUS_IDMAPPED_MOUNTS_DISABLE");
  FileOptions o;
  o.uid = 1000;
  o.gid = 1000;
  c.write_file("/tmp/a", "x", o);
  c.stop(true).wait();
  CHECK(c.file_info("/tmp/a").uid == 1000);
  CHECK(c.file_info("/etc/passwd").uid == 0);
  c.write_file("/tmp/b", "y");
  struct stat st;
  REQUIRE(::stat((w.dir / "host/storage-pools/default/containers/c1/rootfs/tmp/b").c_str(), &st) == 0);
  CHECK(st.st_uid >= 65536);
  CHECK(c.file_info("/tmp/b").uid == 0);
}

TEST_CASE("what a hostile guest plants leads nowhere else") {
  if (::geteuid() != 0) INCUS_SKIP("real containers need root");
  World w("dir");
  auto outside = w.dir / "secret";
  write_file(outside, "of the host");
  auto c = w.make("c1", {{"security.privileged", "true"}});
  for (bool running : {true, false}) {
    CAPTURE(running);
    if (!running) c.stop(true).wait();
    auto suffix = running ? "1" : "2";
    c.make_symlink(std::string("/tmp/abs") + suffix, outside);
    c.make_symlink(std::string("/tmp/rel") + suffix, "../../../../../../../../../.." + outside);
    c.make_symlink(std::string("/tmp/dir") + suffix, "../../../../../../../../../.." + w.dir.path());
    for (auto *l : {"/tmp/abs", "/tmp/rel"}) {
      CHECK(code_of([&] { c.write_file(std::string(l) + suffix + "/x", "x"); }) == ErrorCode::not_found);
      // A link that leads to nothing: the file would be made where it points to, in the guest, where that directory is not.
      CHECK(code_of([&] { c.write_file(std::string(l) + suffix, "x"); }) == ErrorCode::not_found);
    }
    CHECK(code_of([&] { c.list_directory(std::string("/tmp/dir") + suffix + "/"); }) == ErrorCode::not_found);
    CHECK(code_of([&] { c.read_file("/../../../../../../.." + outside); }) == ErrorCode::not_found);
  }
  CHECK(slurp(outside) == "of the host");
  // A device of the host's in the guest's root is not opened, whoever made it.
  auto rootfs = w.dir / "host/storage-pools/default/containers/c1/rootfs";
  REQUIRE(::mknod((rootfs + "/tmp/null").c_str(), S_IFCHR | 0666, makedev(1, 3)) == 0);
  REQUIRE(::mknod((rootfs + "/tmp/zero").c_str(), S_IFCHR | 0666, makedev(1, 5)) == 0);
  REQUIRE(::mkfifo((rootfs + "/tmp/fifo").c_str(), 0666) == 0);
  for (bool running : {false, true}) {
    if (running) {
      c.start().wait();
      c.wait_ready(ReadyLevel::exec);
    }
    for (auto *n : {"/tmp/null", "/tmp/zero", "/tmp/fifo"}) {
      CHECK(code_of([&] { c.read_file(n); }) == ErrorCode::invalid_argument);
      CHECK(code_of([&] { c.write_file(n, "x"); }) == ErrorCode::invalid_argument);
    }
  }
  // Links that change all the time.
  auto racer = std::thread([&] {
    c.exec({"sh", "-c", "for i in $(seq 3000); do ln -sfn /dev/zero /tmp/race; ln -sfn " + outside + " /tmp/race; ln -sfn /etc/passwd /tmp/race; done"});
  });
  for (int i = 0; i < 300; i++) {
    try {
      FileOptions append;
      append.append = true;
      c.write_file("/tmp/race", "", append);
      auto content = c.read_file("/tmp/race");
      CHECK(content.find("of the host") == std::string::npos);
    } catch (const Error &e) {
      CHECK((e.code() == ErrorCode::not_found || e.code() == ErrorCode::invalid_argument));
    }
  }
  racer.join();
  CHECK(slurp(outside) == "of the host");
}

TEST_CASE("clients and helpers that go in the middle leave nothing") {
  if (::geteuid() != 0) INCUS_SKIP("real containers need root");
  World w("overlay");
  auto c = w.make("c1");
  c.write_file("/tmp/large", std::string(20'000'000, 'x'));
  auto descriptors = [] { return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), std::filesystem::directory_iterator()); };
  auto before = descriptors();
  for (int i = 0; i < 20; i++) {
    // A reader that goes after some bytes, an SFTP client after its first packet.
    RawCall get;
    get.method = "GET";
    get.path = "/1.0/instances/c1/files?path=/tmp/large";
    auto r = w.host.call(get);
    REQUIRE(r.bodies.size() == 1);
    CHECK(r.bodies[0].size == 20'000'000);
    char b[10];
    CHECK(::read(r.bodies[0].fd, b, sizeof b) == 10);
    ::close(r.bodies[0].fd);
    int fd = c.open_sftp();
    CHECK(::write(fd, "\0\0\0\5\1\0\0\0\3\0\0\1", 12) == 12);
    ::close(fd);
  }
  CHECK(descriptors() == before);
  auto gone = [] {
    for (int i = 0; i < 3000 && !processes("incus-files").empty(); i++) std::this_thread::sleep_for(10ms);
    return processes("incus-files").empty();
  };
  // The helper killed: the next request gets another.
  auto helpers = processes("incus-files");
  REQUIRE(helpers.size() == 1);
  int held = c.open_sftp();
  ::kill(helpers[0], SIGKILL);
  char b[1];
  CHECK(::read(held, b, 1) == 0);
  ::close(held);
  REQUIRE(gone()); // a dying one still takes requests
  CHECK(c.file_info("/tmp/large").size == 20'000'000);
  // Killed while a file is written: the writer is told.
  int ends[2];
  REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
  std::thread killer([&] {
    (void)!::write(ends[1], "some", 4);
    for (int i = 0; i < 200; i++) {
      std::this_thread::sleep_for(10ms);
      if (!processes("incus-files").empty()) break;
    }
    std::this_thread::sleep_for(200ms);
    for (int pid : processes("incus-files")) ::kill(pid, SIGKILL);
  });
  CHECK(code_of([&] { c.push_file("/tmp/cut", ends[0]); }) == ErrorCode::unavailable);
  killer.join();
  ::close(ends[0]);
  ::close(ends[1]);
  REQUIRE(gone());
  // A stop in the middle of a session, and a start in the middle of one of a stopped instance: the layers are in one pair of hands.
  c.write_file("/tmp/x", "1");
  int running = c.open_sftp();
  c.stop(true).wait();
  CHECK(::read(running, b, 1) == 0);
  ::close(running);
  c.write_file("/tmp/x", "2");
  int stopped = c.open_sftp();
  c.start().wait();
  CHECK(::read(stopped, b, 1) == 0);
  ::close(stopped);
  c.wait_ready(ReadyLevel::exec);
  CHECK(c.exec({"cat", "/tmp/x"}).stdout_data == "2");
  c.stop(true).wait();
  c.read_file("/tmp/x");
  c.remove().wait(); // its session does not hold it
  CHECK(processes("incus-files").empty());
  CHECK(w.host.request("GET", "/internal/check") == R"({"problems":[]})");
}

TEST_CASE("a session that is not used ends") {
  if (::geteuid() != 0) INCUS_SKIP("real containers need root");
  World w("dir");
  auto c = w.make("c1", {}, false);
  c.write_file("/tmp/x", "1");
  CHECK(processes("incus-files").size() == 1);
  bool gone = false;
  for (int i = 0; i < 300 && !gone; i++) {
    std::this_thread::sleep_for(100ms);
    gone = processes("incus-files").empty();
  }
  CHECK(gone);
  CHECK(c.read_file("/tmp/x") == "1");
}
