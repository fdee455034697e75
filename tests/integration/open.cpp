// SPDX-License-Identifier: Apache-2.0
// Opening a state directory: what is refused and how, who holds it, what a dead owner leaves, what outlives an open.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <sqlite3.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include <incus/incus.hpp>

#include "testing.hpp"

using namespace incus;
using namespace incus::testing;

namespace {

struct Refusal {
  ErrorCode code;
  std::string text;
};

Refusal refusal(const std::string &uri, const OpenOptions &options = {}) {
  try {
    auto h = Host::open(uri, options);
  } catch (const Error &e) {
    return {e.code(), e.what()};
  }
  FAIL("opened " << uri);
  return {};
}

bool says(const Refusal &r, const char *part) {
  bool ok = r.text.find(part) != std::string::npos;
  if (!ok) MESSAGE(r.text);
  return ok;
}

void with_image(Host &h, const std::string &dir) {
  make_busybox_image(dir + "/image");
  ImageImport how;
  how.alias = "busy";
  h.import_image(dir + "/image", how).wait();
}

std::string problems(Host &h) { return h.request("GET", "/internal/check"); }

/// Runs `body` in a forked process; its exit status. The parent has no Host open and no threads then.
int in_child(const std::function<int()> &body) {
  pid_t pid = ::fork();
  if (pid == 0) {
    int rc = 99;
    try {
      rc = body();
    } catch (const std::exception &e) {
      std::fprintf(stderr, "    %s\n", e.what());
    }
    ::_exit(rc);
  }
  int status = 0;
  REQUIRE(::waitpid(pid, &status, 0) == pid);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

} // namespace

TEST_CASE("URIs that cannot be opened say why") {
  CHECK(refusal("nonsense").code == ErrorCode::invalid_argument);
  CHECK(refusal("embed:relative/path").code == ErrorCode::invalid_argument);
  CHECK(refusal("embed:///").code == ErrorCode::invalid_argument);
  CHECK(refusal("test://x").code == ErrorCode::invalid_argument);
  OpenOptions o;
  o.remove_directory = true;
  CHECK(refusal("embed:///var/tmp/never-made", o).code == ErrorCode::invalid_argument);
  o.remove_directory = false;
  o.storage_driver = "nonsense";
  CHECK(refusal("test://", o).code == ErrorCode::invalid_argument);
  CHECK(::access("/var/tmp/never-made", F_OK) != 0);
}

TEST_CASE("a directory of another daemon or of anything else is left untouched") {
  Dir d;
  std::filesystem::create_directories(d / "official/database/global");
  write_file(d / "official/database/local.db", "not ours");
  auto r = refusal("embed://" + (d / "official"));
  CHECK(r.code == ErrorCode::not_supported);
  CHECK(says(r, "another Incus daemon"));
  int entries = 0;
  for (auto &e : std::filesystem::recursive_directory_iterator(d / "official")) {
    (void)e;
    entries++;
  }
  CHECK(entries == 3);
  std::filesystem::create_directories(d / "other");
  write_file(d / "other/mail", "x");
  r = refusal("embed://" + (d / "other"));
  CHECK(r.code == ErrorCode::invalid_argument);
  CHECK(says(r, "mail"));
}

TEST_CASE("one process holds a directory, and a second opener learns which") {
  Dir d;
  auto uri = "embed://" + (d / "host");
  auto h = Host::open(uri);
  auto r = refusal(uri);
  CHECK(r.code == ErrorCode::unavailable);
  CHECK(says(r, std::to_string(::getpid()).c_str()));
  CHECK(says(r, "unix.socket"));
  // Another host beside it is no matter.
  auto other = Host::open("embed://" + (d / "other"));
  CHECK(other.instance_names().empty());
  h.close();
  CHECK_THROWS_AS(h.instance_names(), Error);
  auto again = Host::open(uri);
  CHECK(problems(again) == "{\"problems\":[]}");
}

TEST_CASE("a store of a newer library is refused") {
  Dir d;
  auto uri = "embed://" + (d / "host");
  Host::open(uri).close();
  sqlite3 *db = nullptr;
  REQUIRE(sqlite3_open((d / "host/database/global/db.bin").c_str(), &db) == SQLITE_OK);
  REQUIRE(sqlite3_exec(db, "INSERT INTO schema (version, updated_at) VALUES (4711, '')", nullptr, nullptr, nullptr) == SQLITE_OK);
  sqlite3_close(db);
  auto r = refusal(uri);
  CHECK(r.code == ErrorCode::not_supported);
  CHECK(says(r, "4711"));
}

TEST_CASE("without root, and on a read-only file system") {
  Dir d;
  auto uri = "embed://" + (d / "host");
  CHECK(in_child([&] {
          if (::setresuid(65534, 65534, 65534) != 0) return 98;
          try {
            Host::open(uri);
          } catch (const Error &e) {
            return e.code() == ErrorCode::permission_denied && std::string(e.what()).find("root") != std::string::npos ? 0 : 2;
          }
          return 1;
        }) == 0);
  std::filesystem::create_directories(d / "ro");
  REQUIRE(::mount("tmpfs", (d / "ro").c_str(), "tmpfs", MS_RDONLY, nullptr) == 0);
  auto r = refusal("embed://" + (d / "ro"));
  CHECK(r.code == ErrorCode::permission_denied);
  CHECK(says(r, (d / "ro").c_str()));
  r = refusal("embed://" + (d / "ro/below"));
  CHECK(r.code == ErrorCode::permission_denied);
  ::umount((d / "ro").c_str());
}

TEST_CASE("the store is private and current after the process") {
  Dir d;
  {
    auto h = Host::open("embed://" + (d / "host"));
    h.create_profile({"kept", {{"user.x", "y"}}, "", {}});
  }
  for (auto *f : {"database/global/db.bin", "database/local.db"}) {
    struct stat st;
    REQUIRE(::stat((d / "host/" + f).c_str(), &st) == 0);
    CHECK((st.st_mode & 0777) == 0600);
  }
  CHECK(::access((d / "host/database/global/db.bin-wal").c_str(), F_OK) != 0);
  sqlite3 *db = nullptr;
  REQUIRE(sqlite3_open_v2((d / "host/database/global/db.bin").c_str(), &db, SQLITE_OPEN_READONLY, nullptr) == SQLITE_OK);
  std::string name;
  REQUIRE(sqlite3_exec(
              db, "SELECT name FROM profiles WHERE name = 'kept'",
              [](void *out, int, char **v, char **) {
                *static_cast<std::string *>(out) = v[0];
                return 0;
              },
              &name, nullptr) == SQLITE_OK);
  sqlite3_close(db);
  CHECK(name == "kept");
}

TEST_CASE("instances outlive the process that started them, and its death") {
  for (bool killed : {false, true}) {
    CAPTURE(killed);
    Dir d;
    auto uri = "embed://" + (d / "host");
    CHECK(in_child([&] {
            auto h = Host::open(uri);
            with_image(h, d.path());
            h.launch("c1", "busy");
            h.instance("c1").exec({"sh", "-c", "echo here > /root/mark"});
            InstanceCreate r;
            r.ephemeral = true;
            h.launch("gone", "busy", r);
            if (killed) ::kill(::getpid(), SIGKILL);
            return 0;
          }) == (killed ? 128 + SIGKILL : 0));
    auto h = Host::open(uri);
    auto c1 = h.instance("c1");
    CHECK(c1.info().status == "Running");
    CHECK(c1.exec({"cat", "/root/mark"}).stdout_data == "here\n");
    CHECK(problems(h) == "{\"problems\":[]}");
    auto pid = c1.state().pid;
    // One that stops while nobody looks is found stopped; an ephemeral one is removed then.
    auto gone = h.instance("gone").state().pid;
    h.close();
    REQUIRE(::kill(static_cast<pid_t>(pid), SIGKILL) == 0);
    REQUIRE(::kill(static_cast<pid_t>(gone), SIGKILL) == 0);
    for (int i = 0; i < 500 && (::kill(static_cast<pid_t>(pid), 0) == 0 || ::kill(static_cast<pid_t>(gone), 0) == 0); i++) ::usleep(10000);
    auto again = Host::open(uri);
    CHECK(again.instance_names() == std::vector<std::string>{"c1"});
    CHECK(again.instance("c1").info().status == "Stopped");
    CHECK(problems(again) == "{\"problems\":[]}");
    again.instance("c1").start().wait();
    again.instance("c1").stop(true).wait();
    again.instance("c1").remove().wait();
  }
}

TEST_CASE("auto_destroy leaves nothing, whether the host is closed or its process killed") {
  for (bool killed : {false, true}) {
    CAPTURE(killed);
    Dir d;
    auto dir = d / "host";
    int pid_pipe[2];
    REQUIRE(::pipe2(pid_pipe, O_CLOEXEC) == 0);
    CHECK(in_child([&] {
            OpenOptions o;
            o.auto_destroy = o.remove_directory = true;
            auto h = Host::open("embed://" + dir, o);
            with_image(h, d.path());
            h.launch("c1", "busy");
            std::int64_t pid = h.instance("c1").state().pid;
            if (::write(pid_pipe[1], &pid, sizeof pid) != sizeof pid) return 97;
            if (killed) ::kill(::getpid(), SIGKILL);
            return 0;
          }) == (killed ? 128 + SIGKILL : 0));
    std::int64_t pid = 0;
    REQUIRE(::read(pid_pipe[0], &pid, sizeof pid) == sizeof pid);
    ::close(pid_pipe[0]);
    ::close(pid_pipe[1]);
    REQUIRE(pid > 1);
    for (int i = 0; i < 1000 && (::access(dir.c_str(), F_OK) == 0 || ::kill(static_cast<pid_t>(pid), 0) == 0); i++) ::usleep(10000);
    CHECK(::access(dir.c_str(), F_OK) != 0);
    CHECK(::kill(static_cast<pid_t>(pid), 0) != 0);
  }
}

TEST_CASE("auto_destroy removes a directory that never held an instance") {
  for (bool killed : {false, true}) {
    CAPTURE(killed);
    Dir d;
    auto dir = d / "host";
    CHECK(in_child([&] {
            OpenOptions o;
            o.auto_destroy = o.remove_directory = true;
            auto h = Host::open("embed://" + dir, o);
            if (killed) ::kill(::getpid(), SIGKILL);
            return 0;
          }) == (killed ? 128 + SIGKILL : 0));
    for (int i = 0; i < 1000 && ::access(dir.c_str(), F_OK) == 0; i++) ::usleep(10000);
    CHECK(::access(dir.c_str(), F_OK) != 0);
  }
}

TEST_CASE("a forked child cannot use the host, and does not disturb it") {
  Dir d;
  auto h = Host::open("embed://" + (d / "host"));
  CHECK(in_child([&] {
          try {
            h.instance_names();
          } catch (const Error &e) {
            return e.code() == ErrorCode::unavailable ? 0 : 2;
          }
          return 1;
        }) == 0);
  CHECK(h.instance_names().empty());
}

TEST_CASE("children of the library never surface in wait()") {
  Dir d;
  auto h = Host::open("embed://" + (d / "host"));
  with_image(h, d.path());
  h.launch("c1", "busy");
  CHECK(h.instance("c1").exec({"true"}).exit_code == 0);
  h.instance("c1").stop(true).wait();
  CHECK(::waitpid(-1, nullptr, WNOHANG) == -1);
  CHECK(errno == ECHILD);
}

int main(int argc, char **argv) {
  doctest::Context context(argc, argv);
  return context.run();
}
