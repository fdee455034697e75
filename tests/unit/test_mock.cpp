// SPDX-License-Identifier: Apache-2.0
#include <csignal>
#include <cstring>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <future>
#include <sys/mman.h>

#include "base/error.hpp"
#include "mock/mock.hpp"

using namespace incus;
using namespace std::chrono_literals;
using instance::Key;
using instance::Power;

namespace {

template <class F> ErrorCode code_of(F f) {
  try {
    f();
  } catch (const Error &e) {
    return e.code();
  }
  return ErrorCode{};
}

instance::StartSpec spec(std::int64_t id, const std::string &name) {
  instance::StartSpec s;
  s.key = {id, name};
  s.items.nics.push_back({"n", "eth0", "veth00000000", "10:66:6a:00:00:01", "", 1400});
  return s;
}

std::string read_all(int fd) {
  std::string out;
  char buf[4096];
  for (ssize_t n; (n = ::read(fd, buf, sizeof buf)) > 0;) out.append(buf, static_cast<std::size_t>(n));
  return out;
}

struct Pipe {
  base::Fd read, write;
  Pipe() {
    int p[2];
    REQUIRE(::pipe2(p, O_CLOEXEC) == 0);
    read.reset(p[0]);
    write.reset(p[1]);
  }
};

} // namespace

TEST_CASE("mock runtime: power states and events") {
  auto rt = mock::make_runtime();
  std::promise<Key> stopped;
  std::promise<instance::Started> rebooted;
  rt->set_events({[&](const Key &k) { stopped.set_value(k); }, [&](const Key &, const instance::Started &s) { rebooted.set_value(s); }});
  Key k{1, "c1"};
  CHECK(rt->power(k) == Power::stopped);
  CHECK_FALSE(rt->running(k));
  for (auto &f : std::vector<std::function<void()>>{[&] { rt->freeze(k); }, [&] { rt->unfreeze(k); }, [&] { rt->request_shutdown(k); }, [&] { rt->request_reboot(k); },
                                                    [&] { rt->exec({k, {}, {}, {}, {}, {}}); }, [&] { rt->wait_ready(k, ReadyLevel::booted, 1s); }})
    CHECK(code_of(f) == ErrorCode::conflict);
  rt->kill(k); // nothing to do

  auto s = rt->start(spec(1, "c1"));
  CHECK(s.init_pid > 4194304); // no pid of Linux
  CHECK(code_of([&] { rt->start(spec(1, "c1")); }) == ErrorCode::conflict);
  CHECK(rt->adopt(k)->init_pid == s.init_pid);
  CHECK(rt->wait_ready(k, ReadyLevel::network, 0s));
  auto st = rt->state(k);
  CHECK(st.pid == s.init_pid);
  CHECK(st.processes == 1);
  CHECK(st.network.at("eth0").hwaddr == "10:66:6a:00:00:01");
  CHECK(st.network.at("eth0").mtu == 1400);
  CHECK(rt->leftovers({k}).empty());
  CHECK(rt->leftovers({}).size() == 1);

  rt->request_reboot(k);
  auto again = rebooted.get_future().get();
  CHECK(again.init_pid != s.init_pid);
  CHECK(again.monitor_pid == s.monitor_pid);
  CHECK(rt->running(k)->init_pid == again.init_pid);

  // A frozen guest cannot react until it goes on.
  rt->freeze(k);
  CHECK(rt->power(k) == Power::frozen);
  rt->request_shutdown(k);
  CHECK_FALSE(rt->wait_stopped(k, 0ms));
  rt->unfreeze(k);
  CHECK(rt->wait_stopped(k, 0ms));
  CHECK(stopped.get_future().get() == k);
  CHECK(rt->power(k) == Power::stopped);
  CHECK(rt->state(k).pid == 0);
  CHECK(rt->console_log(k) == "");
  CHECK(rt->leftovers({}).empty());
  rt->close();
  rt->close();
}

TEST_CASE("mock runtime: exec is answered by handlers only") {
  auto rt = mock::make_runtime();
  Key k{1, "c1"}, other{2, "c2"};
  rt->start(spec(1, "c1"));
  rt->start(spec(2, "c2"));
  try {
    rt->exec({k, {}, {}, {}, {}, {}});
    FAIL("a command without a handler ran");
  } catch (const Error &e) {
    CHECK(e.code() == ErrorCode::not_supported);
    CHECK(std::string(e.what()).starts_with("exec in \"c1\": no handler is registered on this test host"));
  }

  rt->on_exec("", [](const std::string &, const ExecRequest &, const std::string &) { return ExecResult{3, "", ""}; });
  rt->on_exec("c1", [](const std::string &name, const ExecRequest &r, const std::string &input) {
    return ExecResult{7, name + ":" + r.command.at(0) + ":" + r.environment.at("A") + ":" + r.environment.at("B") + ":" + input, "err"};
  });
  Pipe in, out, err;
  ExecRequest r;
  r.command = {"cmd"};
  r.environment = {{"B", "own"}};
  auto e = rt->exec({k, {{"environment.A", "config"}, {"environment.B", "config"}, {"limits.cpu", "1"}}, r, std::move(in.read), std::move(out.write), std::move(err.write)});
  int code = -1;
  CHECK_FALSE(e->wait(10ms, code)); // stdin has not ended
  REQUIRE(::write(in.write.get(), "hello", 5) == 5);
  in.write.reset();
  CHECK(read_all(out.read.get()) == "c1:cmd:config:own:hello");
  CHECK(read_all(err.read.get()) == "err");
  CHECK(e->wait({}, code));
  CHECK(code == 7);
  CHECK(rt->exec({other, {}, r, {}, {}, {}})->wait({}, code));
  CHECK(code == 3);
  rt->on_exec("c1", {});
  CHECK(rt->exec({k, {}, r, {}, {}, {}})->wait({}, code));
  CHECK(code == 3);

  rt->on_exec("", [](const std::string &, const ExecRequest &, const std::string &) -> ExecResult { throw std::runtime_error("no idea"); });
  auto bad = rt->exec({k, {}, r, {}, {}, {}});
  try {
    bad->wait({}, code);
    FAIL("the handler's failure is lost");
  } catch (const Error &x) {
    CHECK(std::string(x.what()) == "exec in \"c1\": the handler of this test host failed: no idea");
  }
}

TEST_CASE("mock runtime: commands end by signals, by close and with their instance, whatever their handler does") {
  auto rt = mock::make_runtime();
  Key k{1, "c1"};
  std::promise<void> leave;
  auto left = leave.get_future().share();
  rt->on_exec("", [left](const std::string &, const ExecRequest &, const std::string &) {
    left.wait();
    return ExecResult{0, "too late", ""};
  });
  ExecRequest r;
  r.command = {"sleep"};
  int code = -1;
  rt->start(spec(1, "c1"));
  Pipe out;
  auto e = rt->exec({k, {}, r, {}, std::move(out.write), {}});
  e->signal(SIGWINCH);
  CHECK_FALSE(e->wait(0ms, code));
  CHECK(code_of([&] { e->signal(100); }) == ErrorCode::invalid_argument);
  e->signal(SIGTERM);
  CHECK(e->wait({}, code));
  CHECK(code == 143);
  CHECK(read_all(out.read.get()) == "");

  auto closed = rt->exec({k, {}, r, {}, {}, {}});
  closed->close();
  CHECK(closed->wait({}, code));
  CHECK(code == 137);

  Pipe in; // one that still reads
  auto killed = rt->exec({k, {}, r, std::move(in.read), {}, {}}), idle = rt->exec({k, {}, r, {}, {}, {}});
  rt->kill(k);
  for (auto *x : {&killed, &idle}) {
    code = -1;
    CHECK((*x)->wait({}, code));
    CHECK(code == 137);
  }
  leave.set_value();
}

TEST_CASE("mock runtime: a reader that leaves or never reads harms nobody") {
  auto rt = mock::make_runtime();
  Key k{1, "c1"};
  rt->start(spec(1, "c1"));
  rt->on_exec("", [](const std::string &, const ExecRequest &, const std::string &) { return ExecResult{0, std::string(1 << 20, 'x'), ""}; });
  int code = -1;
  {
    Pipe gone;
    gone.read.reset();
    CHECK(rt->exec({k, {}, {}, {}, std::move(gone.write), {}})->wait({}, code)); // no SIGPIPE
    CHECK(code == 0);
  }
  Pipe full;
  auto e = rt->exec({k, {}, {}, {}, std::move(full.write), {}});
  CHECK_FALSE(e->wait(10ms, code));
  e->close();
  CHECK(e->wait({}, code));
  CHECK(code == 137);

  base::Fd file(::memfd_create("in", MFD_CLOEXEC));
  std::string big(300000, 'y');
  REQUIRE(::write(file.get(), big.data(), big.size()) == static_cast<ssize_t>(big.size()));
  ::lseek(file.get(), 0, SEEK_SET);
  std::size_t got = 0;
  rt->on_exec("", [&](const std::string &, const ExecRequest &, const std::string &input) {
    got = input.size();
    return ExecResult{0, "", ""};
  });
  CHECK(rt->exec({k, {}, {}, std::move(file), {}, {}})->wait({}, code));
  CHECK(got == big.size());
}

TEST_CASE("mock storage behaves as a driver") {
  CHECK(mock::drivers().size() == 2);
  for (auto *info : mock::drivers()) {
    CHECK(code_of([&] { info->validate({{"sauce", "/x"}}); }) == ErrorCode::invalid_argument);
    info->validate({{"user.note", "x"}});
    auto d = info->open({"p1", "/nowhere/p1", {}, nullptr}), apart = info->open({"p2", "/nowhere/p2", {}, nullptr});
    using storage::VolumeType;
    storage::VolumeRef image{VolumeType::image, "f00"}, c1{VolumeType::container, "c1"}, c2{VolumeType::container, "c2"}, c3{VolumeType::container, "c3"};
    storage::Progress none;
    d->create();
    d->create();
    CHECK(code_of([&] { d->create_from_image(c1, image, none); }) == ErrorCode::not_found);
    d->create_image(image, [](int) { FAIL("there is nothing to fill"); });
    CHECK(code_of([&] { d->create_image(image, {}); }) == ErrorCode::already_exists);
    d->create_from_image(c1, image, none);
    CHECK(code_of([&] { d->create_from_image(c1, image, none); }) == ErrorCode::already_exists);
    CHECK(code_of([&] { d->create_empty(c1); }) == ErrorCode::already_exists);
    CHECK(d->exists(c1));
    CHECK_FALSE(apart->exists(c1));
    CHECK(d->list(VolumeType::container) == std::vector<std::string>{"c1"});
    CHECK(d->usage(c1) > 0);
    CHECK(code_of([&] { d->usage(c2); }) == ErrorCode::not_found);
    CHECK(code_of([&] { d->open_volume(c1); }) == ErrorCode::not_supported);
    CHECK(d->resources().space.total > d->resources().space.used);

    auto *s = d->snapshots();
    REQUIRE(s != nullptr);
    CHECK(code_of([&] { s->create(c2, "s0", none); }) == ErrorCode::not_found);
    s->create(c1, "s0", none);
    CHECK(code_of([&] { s->create(c1, "s0", none); }) == ErrorCode::already_exists);
    s->create(c1, "s1", none);
    CHECK(s->list(c1) == std::vector<std::string>{"s0", "s1"});
    CHECK(code_of([&] { s->rename(c1, "s0", "s1"); }) == ErrorCode::already_exists);
    CHECK(code_of([&] { s->rename(c1, "zz", "yy"); }) == ErrorCode::not_found);
    s->rename(c1, "s0", "s2");
    s->rename(c1, "s0", "s2"); // again, as after a crash
    CHECK(code_of([&] { s->restore_prepare(c1, "s0", none); }) == ErrorCode::not_found);
    s->restore_prepare(c1, "s2", none);
    s->restore_commit(c1);
    s->restore_commit(c1);
    s->restore_abandon(c1);
    CHECK(code_of([&] { d->create_copy(c2, c1, "s0", none); }) == ErrorCode::not_found);
    CHECK(code_of([&] { d->create_copy(c2, c3, {}, none); }) == ErrorCode::not_found);
    d->create_copy(c2, c1, "s2", none);
    CHECK(s->list(c2).empty());
    s->remove(c1, "s2");
    s->remove(c1, "s2");

    CHECK(code_of([&] { d->rename(c1, "c2"); }) == ErrorCode::already_exists);
    d->rename(c1, "c3");
    d->rename(c1, "c3");
    CHECK(s->list(c3) == std::vector<std::string>{"s1"});
    CHECK(code_of([&] { d->remove(); }) == ErrorCode::conflict);
    for (auto &v : {c1, c2, c3, c3}) d->remove_volume(v);
    CHECK(d->list(VolumeType::container).empty());
    d->remove();
    d->remove();
    CHECK_FALSE(d->exists(image));
  }
}
