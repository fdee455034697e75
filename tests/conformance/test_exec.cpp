// SPDX-License-Identifier: Apache-2.0
#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <thread>
#include <unistd.h>

#include "suite.hpp"

using namespace suite;

namespace {
struct Pipe {
  int fd[2] = {-1, -1};
  Pipe() { REQUIRE(::pipe2(fd, O_CLOEXEC) == 0); }
  ~Pipe() {
    for (int &f : fd) shut(f);
  }
  void shut(int &f) {
    if (f >= 0) ::close(f);
    f = -1;
  }
  std::string read_all() {
    shut(fd[1]);
    std::string out;
    char buf[4096];
    for (ssize_t n; (n = ::read(fd[0], buf, sizeof buf)) > 0;) out.append(buf, static_cast<std::size_t>(n));
    return out;
  }
};

ExecRequest command(std::vector<std::string> argv) {
  ExecRequest r;
  r.command = std::move(argv);
  return r;
}
} // namespace

TEST_CASE("exec: exit codes and output") {
  World w;
  auto c = w.run("c1");
  struct {
    std::vector<std::string> argv;
    std::string input;
    int code;
    std::string out, err;
  } cases[] = {
      {{"true"}, "", 0, "", ""},
      {{"false"}, "", 1, "", ""},
      {{"echo", "hello", "you"}, "", 0, "hello you\n", ""},
      {{"sh", "-c", "exit 7"}, "", 7, "", ""},
      {{"sh", "-c", "echo out; echo err >&2; exit 3"}, "", 3, "out\n", "err\n"},
      {{"sh", "-c", "kill -9 $$"}, "", 137, "", ""},
      {{"cat"}, "some\ninput", 0, "some\ninput", ""},
      {{"cat"}, std::string(300000, 'x'), 0, std::string(300000, 'x'), ""},
      {{"cat"}, std::string("\0\n\xff", 3), 0, std::string("\0\n\xff", 3), ""},
      {{"cat"}, "", 0, "", ""},
      {{"head", "-c", "1000000", "/dev/zero"}, "", 0, std::string(1000000, '\0'), ""},
      {{"tty"}, "", 1, "not a tty\n", ""},
      {{"pwd"}, "", 0, "/root\n", ""},
      {{"id", "-u"}, "", 0, "0\n", ""},
      {{"hostname"}, "", 0, "c1\n", ""},
  };
  for (auto &t : cases) {
    CAPTURE(t.argv.front());
    auto r = c.exec(t.argv, t.input);
    CHECK(r.exit_code == t.code);
    CHECK((r.stdout_data == t.out));
    CHECK(r.stderr_data == t.err);
  }
  CHECK(c.exec({"no-such-command"}).exit_code == 127);
  CHECK(c.exec({"/etc/passwd"}).exit_code == 126);
}

TEST_CASE("exec: who, where and with what environment") {
  World w;
  auto c = w.run("c1");
  auto r = command({"id", "-u"});
  r.user = 1000;
  r.group = 1000;
  CHECK(c.exec(r).stdout_data == "1000\n");
  r.command = {"id", "-g"};
  CHECK(c.exec(r).stdout_data == "1000\n");
  r.command = {"pwd"};
  CHECK(c.exec(r).stdout_data == "/\n");
  r = command({"pwd"});
  r.cwd = "/tmp";
  CHECK(c.exec(r).stdout_data == "/tmp\n");
  r = command({"sh", "-c", "echo \"$GREETING\""});
  r.environment = {{"GREETING", "hello = \"you\""}};
  CHECK(c.exec(r).stdout_data == "hello = \"you\"\n");
  c.patch({{"environment.GREETING", "from the configuration"}});
  CHECK(c.exec({"sh", "-c", "echo \"$GREETING\""}).stdout_data == "from the configuration\n");
  CHECK(c.exec(r).stdout_data == "hello = \"you\"\n");
  // The caller's environment stays outside.
  ::setenv("INCUS_SECRET", "leaked", 1);
  CHECK(c.exec({"sh", "-c", "echo \"$INCUS_SECRET\""}).stdout_data == "\n");
}

TEST_CASE("exec: requests that cannot be") {
  World w;
  auto c = w.run("c1");
  REFUSED(invalid_argument, "command", c.exec(std::vector<std::string>{}));
  auto r = command({"true"});
  r.environment = {{"A=B", "x"}};
  REFUSED(invalid_argument, "A=B", c.exec(r));
  r.environment = {{"A", std::string("x\0y", 3)}};
  REFUSED(invalid_argument, "A", c.exec(r));
  r = command({std::string("tr\0ue", 5)});
  REFUSED(invalid_argument, "NUL", c.exec(r));
  r = command({"true"});
  r.cwd = "relative";
  REFUSED(invalid_argument, "relative", c.exec(r));
}

TEST_CASE("exec: on the caller's descriptors") {
  World w;
  auto c = w.run("c1");
  Pipe in, out, err;
  {
    auto s = c.exec_session(command({"cat"}), {in.fd[0], out.fd[1], err.fd[1]});
    REQUIRE(::write(in.fd[1], "through\n", 8) == 8);
    CHECK_FALSE(s.wait_for(10ms));
    in.shut(in.fd[1]);
    CHECK(s.wait() == 0);
    CHECK(s.wait_for(0ms) == 0);
  }
  CHECK(out.read_all() == "through\n");
  CHECK(err.read_all() == "");
  CHECK(c.exec_session(command({"echo", "to nowhere"}), {}).wait() == 0);
  REFUSED(invalid_argument, "", c.exec_session(command({"true"}), {-1, 9999, -1}));
}

TEST_CASE("exec: on a terminal") {
  World w;
  auto c = w.run("c1");
  auto r = command({"tty"});
  r.interactive = true;
  r.width = 100;
  r.height = 30;
  Pipe in, out;
  auto s = c.exec_session(r, {in.fd[0], out.fd[1], -1});
  s.resize(120, 40);
  CHECK(s.wait() == 0);
  CHECK(out.read_all().starts_with("/dev/pts/"));
  if (!real()) return;
  Pipe out2;
  r.command = {"stty", "size"};
  CHECK(c.exec_session(r, {-1, out2.fd[1], -1}).wait() == 0);
  CHECK(out2.read_all() == "30 100\r\n");
  Pipe in3, out3;
  r.command = {"sh", "-c", "read x; echo got $x; exit 5"};
  auto t = c.exec_session(r, {in3.fd[0], out3.fd[1], -1});
  REQUIRE(::write(in3.fd[1], "typed\n", 6) == 6);
  CHECK(t.wait() == 5);
  CHECK(out3.read_all().find("got typed\r\n") != std::string::npos);
}

TEST_CASE("exec: signals, closing, and the end of the instance") {
  World w;
  auto c = w.run("c1");
  auto sleep = [&] { return c.exec_session(command({"sleep", "100"}), {}); };
  auto s = sleep();
  CHECK_FALSE(s.wait_for(20ms));
  s.signal(SIGTERM);
  CHECK(s.wait() == 143);
  auto t = sleep();
  t.signal(SIGKILL);
  CHECK(t.wait() == 137);
  auto n = sleep();
  REFUSED(invalid_argument, "signal", n.signal(4711));
  n.close();
  auto u = sleep();
  CHECK_FALSE(u.wait_for(100ms)); // begun, also where that takes a while
  c.stop(true).wait();
  CHECK(u.wait() == 137);
}

TEST_CASE("exec: fifty at once") {
  World w;
  auto c = w.run("c1");
  std::vector<std::thread> threads;
  std::vector<ExecResult> results(50);
  std::vector<Attempt> errors(50);
  for (std::size_t n = 0; n < results.size(); n++)
    threads.emplace_back([&, n] { errors[n] = attempt([&] { results[n] = c.exec({"cat"}, std::to_string(n)); }); });
  for (auto &t : threads) t.join();
  for (std::size_t n = 0; n < results.size(); n++) {
    CHECK(errors[n].text == "no error");
    CHECK(results[n].exit_code == 0);
    CHECK(results[n].stdout_data == std::to_string(n));
  }
}

TEST_CASE("exec: is an operation while it runs") {
  World w;
  auto c = w.run("c1");
  auto s = c.exec_session(command({"sleep", "100"}), {});
  auto op = s.operation();
  auto i = op.info();
  CHECK(i.status == "Running");
  CHECK(i.status_code == 103);
  // One that nobody talks to has no streams to connect to.
  CHECK((i.class_ == "websocket" || i.class_ == "task"));
  CHECK(i.err == "");
  CHECK(contains(i.resources.at("instances"), "/1.0/instances/c1"));
  CHECK_FALSE(op.done());
  bool listed = false;
  for (auto &o : w.host.operations()) listed = listed || o.id == op.id();
  CHECK(listed);
  REFUSED(timeout, op.id(), op.wait_for(10ms));
  REFUSED(timeout, op.id(), w.host.operation(op.id()).wait_for(10ms));
  if (i.may_cancel) {
    op.cancel();
  } else {
    REFUSED(not_supported, "cancel", op.cancel());
    CHECK_FALSE(op.done());
    s.signal(SIGKILL);
  }
  CHECK(s.wait_for(20s).has_value());
  CHECK(op.done());
}

TEST_CASE("exec: handlers are for test hosts alone") {
  World w;
  auto answer = [](const std::string &, const ExecRequest &, const std::string &) { return ExecResult{0, "own", ""}; };
  if (real()) {
    REFUSED(not_supported, "test://", w.host.on_exec("c1", answer));
    return;
  }
  auto c = w.run("c1"), d = w.run("c2");
  w.host.on_exec("c1", answer);
  CHECK(c.exec({"anything"}).stdout_data == "own");
  CHECK(d.exec({"echo", "hi"}).stdout_data == "hi\n");
  w.host.on_exec("c1", {});
  CHECK(c.exec({"echo", "hi"}).stdout_data == "hi\n");
  auto bare = Host::open("test://");
  ImageImport how;
  how.alias = "busy";
  bare.import_image(guest_image(), how).wait();
  auto e = bare.launch("c1", "busy");
  REFUSED(not_supported, "exec in \"c1\": no handler is registered on this test host", e.exec({"true"}));
}
