// SPDX-License-Identifier: Apache-2.0
// What instances have besides their life: lists over projects, sizes, metadata and templates, recorded output, changes of many, rebuilds, consoles.
#include <cerrno>
#include <chrono>
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include "suite.hpp"

using namespace suite;
namespace json = boost::json;

namespace {

/// What a row of bytes answers, all of it.
std::string bytes(Host &h, const std::string &path) {
  RawCall c;
  c.method = "GET";
  c.path = path;
  auto r = h.call(c);
  std::string out;
  for (auto &b : r.bodies) {
    char buf[4096];
    for (ssize_t n; (n = ::read(b.fd, buf, sizeof buf)) > 0;) out.append(buf, static_cast<std::size_t>(n));
    ::close(b.fd);
  }
  return out;
}

/// Sends bytes with a call.
void send(Host &h, const std::string &path, const std::string &content) {
  auto file = scratch() + "/sent";
  if (FILE *f = std::fopen(file.c_str(), "w")) {
    std::fwrite(content.data(), 1, content.size(), f);
    std::fclose(f);
  }
  int fd = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
  RawCall c;
  c.method = "POST";
  c.path = path;
  c.streams = {{"body", fd}};
  try {
    h.call(c);
  } catch (...) {
    ::close(fd);
    throw;
  }
  ::close(fd);
}

InstanceCreate empty() {
  InstanceCreate r;
  r.source.type = "none";
  return r;
}

/// Reads until `wanted` came, or 20 s went by without it.
bool comes(int fd, const std::string &wanted, std::chrono::milliseconds within = 20s) {
  std::string all;
  auto end = std::chrono::steady_clock::now() + within;
  while (all.find(wanted) == std::string::npos) {
    pollfd p{fd, POLLIN, 0};
    auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - std::chrono::steady_clock::now()).count();
    if (left <= 0 || ::poll(&p, 1, static_cast<int>(left)) <= 0) return false;
    char buf[4096];
    auto n = ::read(fd, buf, sizeof buf);
    if (n <= 0) return false;
    all.append(buf, static_cast<std::size_t>(n));
  }
  return true;
}

} // namespace

TEST_CASE("instances: lists at every depth") {
  World w;
  w.make("c1");
  auto names = ask(w.host, "GET", "/1.0/instances").as_array();
  CHECK(names.size() == 1);
  CHECK(text(names[0]) == "/1.0/instances/c1");
  auto all = ask(w.host, "GET", "/1.0/instances?all-projects=true&recursion=1").as_array();
  CHECK(all.size() == 1);
  CHECK(text(all[0].at("project")) == "default");
  CHECK(text(all[0].at("location")) == "none");
  CHECK(text(all[0].at("last_used_at")) == "1970-01-01T00:00:00Z");
  CHECK(all[0].as_object().count("state") == 0);
  auto full = ask(w.host, "GET", "/1.0/instances?recursion=2").as_array();
  CHECK(full[0].at("snapshots").is_null());
  CHECK(full[0].at("backups").is_null());
  CHECK(full[0].at("state").at("network").is_null());
  CHECK(full[0].at("state").at("os_info").is_null());
  CHECK(text(full[0].at("state").at("status")) == "Stopped");
  REFUSED(invalid_argument, "Cannot specify a project when requesting all projects", w.host.request("GET", "/1.0/instances?all-projects=true&project=default"));
  auto config = w.host.instance("c1").info().config;
  CHECK(config.at("volatile.apply_template") == "create");
  CHECK(config.at("volatile.last_state.idmap") == "[]");
  CHECK(config.count("volatile.cloud-init.instance-id") == 1);
  CHECK(config.at("volatile.uuid") == config.at("volatile.uuid.generation"));
  InstanceCreate copy;
  copy.name = "c2";
  copy.source.type = "copy";
  copy.source.source = "c1";
  w.host.create_instance(copy).wait();
  auto other = w.host.instance("c2").info().config;
  CHECK(other.at("volatile.apply_template") == "copy");
  CHECK(other.at("volatile.uuid") != config.at("volatile.uuid"));
  auto moved = w.host.instance("c2");
  moved.rename("c3").wait();
  CHECK(moved.info().config.at("volatile.apply_template") == "copy");
}

TEST_CASE("instances: limits by size") {
  World w;
  auto r = empty();
  r.name = "small";
  r.instance_type = "c0.5-m0.2";
  w.host.create_instance(r).wait();
  auto config = w.host.instance("small").info().config;
  CHECK(config.at("limits.cpu") == "1");
  CHECK(config.at("limits.cpu.allowance") == "50%");
  CHECK(config.at("limits.memory") == "204MiB");
  r.name = "other";
  r.instance_type = "c2";
  r.config["limits.memory"] = "1GiB";
  w.host.create_instance(r).wait();
  config = w.host.instance("other").info().config;
  CHECK(config.at("limits.cpu") == "2");
  CHECK(config.count("limits.cpu.allowance") == 0);
  CHECK(config.at("limits.memory") == "1GiB");
  r.name = "bad";
  for (auto *type : {"x1", "c", "c1-", "cx", "c1m2", "c-1", "cnan", "cinf"}) {
    r.instance_type = type;
    REFUSED(invalid_argument, "instance type", w.host.create_instance(r).wait());
  }
}

TEST_CASE("instances: metadata and templates") {
  World w;
  w.make("c1");
  const std::string url = "/1.0/instances/c1/metadata";
  auto m = ask(w.host, "GET", url);
  CHECK(text(m.at("architecture")) == architecture());
  CHECK(m.at("creation_date").as_int64() == 1700000000);
  CHECK(text(m.at("properties").at("os")) == "busybox");
  CHECK(m.at("templates").is_null());

  ask(w.host, "PATCH", url, R"({"properties":{"release":"2"},"templates":{"/etc/motd":{"when":["create"],"template":"motd.tpl","properties":{"a":"b"}}}})");
  m = ask(w.host, "GET", url);
  CHECK(text(m.at("properties").at("os")) == "busybox");
  CHECK(text(m.at("properties").at("release")) == "2");
  CHECK(text(m.at("templates").at("/etc/motd").at("template")) == "motd.tpl");

  RawCall c;
  c.method = "GET";
  c.path = url;
  auto tag = w.host.call(c).etag;
  c.method = "PUT";
  c.if_match = "another";
  c.body = R"({"architecture":")" + architecture() + R"(","creation_date":1700000001,"properties":{"text":"quote \" colon: #\nline"}})";
  REFUSED(precondition_failed, "metadata", w.host.call(c));
  c.if_match = tag;
  w.host.call(c);
  m = ask(w.host, "GET", url);
  CHECK(m.at("creation_date").as_int64() == 1700000001);
  CHECK(text(m.at("properties").at("text")) == "quote \" colon: #\nline");
  CHECK(m.at("templates").is_null());
  for (auto *bad : {R"({"templates":{"/etc/../x":{"template":"a.tpl"}}})", R"({"templates":{"/etc/x":{"template":"../a"}}})", R"({"templates":{"/etc/x":{}}})",
                    R"({"architecture":"z80"})", R"({"creation_date":-1})", R"([])", R"({"templates":{"/etc/x":{"template":"a","when":["never"]}}})"})
    unchanged([&] { return json::serialize(ask(w.host, "GET", url)); }, [&] { REFUSED(invalid_argument, "", ask(w.host, "PATCH", url, bad)); });

  const std::string templates = url + "/templates";
  CHECK(ask(w.host, "GET", templates).as_array().empty());
  send(w.host, templates + "?path=motd.tpl", "hello {{ name }}\n");
  CHECK(text(ask(w.host, "GET", templates).at(0)) == "motd.tpl");
  CHECK(bytes(w.host, templates + "?path=motd.tpl") == "hello {{ name }}\n");
  send(w.host, templates + "?path=motd.tpl", "");
  CHECK(bytes(w.host, templates + "?path=motd.tpl").empty());
  REFUSED(not_found, "none.tpl", bytes(w.host, templates + "?path=none.tpl"));
  for (auto *bad : {"..%2fmetadata.yaml", "..", "a%2fb", "%2fetc%2fpasswd", "a%0ab"}) {
    REFUSED(invalid_argument, "Invalid template filename", bytes(w.host, templates + "?path=" + bad));
    REFUSED(invalid_argument, "Invalid template filename", send(w.host, templates + "?path=" + bad, "x"));
    REFUSED(invalid_argument, "Invalid template filename", w.host.request("DELETE", templates + "?path=" + bad));
  }
  REFUSED(too_large, "motd.tpl", send(w.host, templates + "?path=motd.tpl", std::string((1 << 20) + 1, 'x')));
  w.host.request("DELETE", templates + "?path=motd.tpl");
  CHECK(ask(w.host, "GET", templates).as_array().empty());
  REFUSED(not_found, "motd.tpl", w.host.request("DELETE", templates + "?path=motd.tpl"));

  auto r = empty();
  r.name = "none";
  w.host.create_instance(r).wait();
  CHECK(text(ask(w.host, "GET", "/1.0/instances/none/metadata").at("architecture")).empty());
  CHECK(ask(w.host, "GET", "/1.0/instances/none/metadata/templates").as_array().empty());
}

TEST_CASE("instances: metadata and templates come back with a snapshot, and with a refresh") {
  World w;
  auto c = w.make("c1");
  const std::string url = "/1.0/instances/c1/metadata", templates = url + "/templates";
  auto edition = [&](const std::string &of) {
    auto properties = ask(w.host, "GET", "/1.0/instances/" + of + "/metadata").at("properties").as_object();
    return properties.contains("edition") ? text(properties.at("edition")) : "none";
  };
  c.create_snapshot({"bare"}).wait();
  ask(w.host, "PATCH", url, R"({"properties":{"edition":"1"}})");
  send(w.host, templates + "?path=a.tpl", "first");
  c.create_snapshot({"s1"}).wait();
  ask(w.host, "PATCH", url, R"({"properties":{"edition":"2"}})");
  send(w.host, templates + "?path=a.tpl", "second");
  send(w.host, templates + "?path=b.tpl", "more");

  c.restore("s1").wait();
  CHECK(edition("c1") == "1");
  CHECK(bytes(w.host, templates + "?path=a.tpl") == "first");
  CHECK(ask(w.host, "GET", templates).as_array().size() == 1);
  c.restore("bare").wait();
  CHECK(edition("c1") == "none");
  CHECK(ask(w.host, "GET", templates).as_array().empty());

  // A copy that is brought up to date, from this pool and from another.
  w.host.create_storage_pool({"p2", "dir", "", {}});
  for (std::string pool : {"default", "p2"}) {
    InstanceCreate r;
    r.name = "of-" + pool;
    r.source.type = "copy";
    r.source.source = "c1";
    r.source.instance_only = true;
    r.devices = {{"root", {{"type", "disk"}, {"path", "/"}, {"pool", pool}}}};
    w.host.create_instance(r).wait();
  }
  c.restore("s1").wait();
  for (std::string copy : {"of-default", "of-p2"}) {
    CHECK(edition(copy) == "none");
    RawCall call;
    call.method = "POST";
    call.path = "/1.0/instances";
    call.body = R"({"name":")" + copy + R"(","source":{"type":"copy","source":"c1","instance_only":true,"refresh":true}})";
    w.host.call(call).operation->wait();
    CHECK(edition(copy) == "1");
    CHECK(bytes(w.host, "/1.0/instances/" + copy + "/metadata/templates?path=a.tpl") == "first");
    w.host.instance(copy).remove().wait();
  }
  w.host.storage_pool("p2").remove();
  if (!official()) CHECK(json::parse(suite::check(w.host)).at("problems").as_array().empty());
}

TEST_CASE("instances: links in the place of metadata and templates") {
  World w;
  namespace fs = std::filesystem;
  w.make("c1");
  // As an image could plant them; the tests run on the machine that holds the pool.
  fs::path volume = pool_directory(w.host, "default") / "containers/c1", outside = scratch() + "/outside";
  auto fill = [&](const fs::path &p, const std::string &content) {
    if (FILE *f = std::fopen(p.c_str(), "w")) {
      std::fwrite(content.data(), 1, content.size(), f);
      std::fclose(f);
    }
  };
  fs::create_directories(outside);
  fill(outside / "secret", "architecture: x86_64\ncreation_date: 1\n");
  const std::string url = "/1.0/instances/c1/metadata", templates = url + "/templates";
  auto refused = [&](auto f) { CHECK(attempt(f).text != "no error"); };

  fs::create_directory(volume / "templates");
  fs::create_symlink(outside / "secret", volume / "templates/evil.tpl");
  CHECK(ask(w.host, "GET", templates).as_array().empty());
  refused([&] { bytes(w.host, templates + "?path=evil.tpl"); });
  send(w.host, templates + "?path=evil.tpl", "mine");
  CHECK(read_file(outside / "secret").starts_with("architecture"));
  CHECK(bytes(w.host, templates + "?path=evil.tpl") == "mine");
  fs::remove_all(volume / "templates");
  fs::create_directory_symlink(outside, volume / "templates");
  refused([&] { ask(w.host, "GET", templates); });
  refused([&] { bytes(w.host, templates + "?path=secret"); });
  refused([&] { send(w.host, templates + "?path=secret", "mine"); });
  refused([&] { send(w.host, templates + "?path=new.tpl", "mine"); });
  refused([&] { w.host.request("DELETE", templates + "?path=secret"); });
  CHECK(read_file(outside / "secret").starts_with("architecture"));
  CHECK_FALSE(fs::exists(outside / "new.tpl"));

  fs::remove(volume / "metadata.yaml");
  fs::create_symlink(outside / "secret", volume / "metadata.yaml");
  refused([&] { ask(w.host, "GET", url); });
  refused([&] { ask(w.host, "PATCH", url, R"({"properties":{"a":"b"}})"); });
  CHECK(read_file(outside / "secret") == "architecture: x86_64\ncreation_date: 1\n");
}

TEST_CASE("exec: nobody listens") {
  World w;
  w.run("c1");
  const std::string logs = "/1.0/instances/c1/logs/exec-output";
  CHECK(ask(w.host, "GET", logs).as_array().empty());
  auto done = finish(w.host, "POST", "/1.0/instances/c1/exec", R"({"command":["sh","-c","echo out; echo err >&2; exit 3"],"record-output":true})");
  auto m = json::parse(done.metadata.text);
  CHECK(m.at("return").as_int64() == 3);
  auto out = text(m.at("output").at("1")), err = text(m.at("output").at("2"));
  CHECK(out == logs + "/exec_" + done.id + ".stdout");
  CHECK(bytes(w.host, out) == "out\n");
  CHECK(bytes(w.host, err) == "err\n");
  CHECK(ask(w.host, "GET", logs).as_array().size() == 2);
  w.host.request("DELETE", err);
  CHECK(ask(w.host, "GET", logs).as_array().size() == 1);
  REFUSED(not_found, "exec_", bytes(w.host, err));
  for (auto *bad : {"passwd", "exec_..%2f..%2flxc.stdout", "exec_a.txt", "..", ".exec_a.stdout", "exec_%00.stdout"}) REFUSED(invalid_argument, "not valid", bytes(w.host, logs + "/" + bad));

  done = finish(w.host, "POST", "/1.0/instances/c1/exec", R"({"command":["sh","-c","exit 7"]})");
  m = json::parse(done.metadata.text);
  CHECK(m.at("return").as_int64() == 7);
  CHECK(m.as_object().count("output") == 0);
  done = finish(w.host, "POST", "/1.0/instances/c1/exec", R"({"command":["no-such-command"]})");
  CHECK(json::parse(done.metadata.text).at("return").as_int64() == 127);

  REFUSED(invalid_argument, "not valid", bytes(w.host, "/1.0/instances/c1/logs/console.log"));
  REFUSED(invalid_argument, "not valid", bytes(w.host, "/1.0/instances/c1/logs/..%2f..%2fdatabase"));
  REFUSED(invalid_argument, "lxc.log", w.host.request("DELETE", "/1.0/instances/c1/logs/lxc.log"));
  if (real()) {
    CHECK(text(ask(w.host, "GET", "/1.0/instances/c1/logs").at(0)) == "/1.0/instances/c1/logs/lxc.log");
    bytes(w.host, "/1.0/instances/c1/logs/lxc.log");
  }
  auto c = w.host.instance("c1");
  c.stop(true).wait();
  REFUSED(conflict, "not running", finish(w.host, "POST", "/1.0/instances/c1/exec", R"({"command":["true"]})"));
  c.rename("c2").wait();
  CHECK(ask(w.host, "GET", "/1.0/instances/c2/logs/exec-output").as_array().size() == 1);
  c.remove().wait();
  w.make("c2");
  CHECK(ask(w.host, "GET", "/1.0/instances/c2/logs/exec-output").as_array().empty());
}

TEST_CASE("instances: the state of many at once") {
  World w;
  for (auto *n : {"c1", "c2", "c3"}) w.make(n);
  auto all = [&](const std::string &state, const std::string &more = {}) {
    return finish(w.host, "PUT", "/1.0/instances", R"({"state":{"action":")" + state + "\"" + more + "}}");
  };
  auto status = [&] {
    std::string out;
    for (auto &i : w.host.instances()) out += i.status + " ";
    return out;
  };
  CHECK(all("start").resources.at("instances").size() == 3);
  CHECK(status() == "Running Running Running ");
  CHECK(all("start").resources.empty());
  w.host.instance("c2").pause().wait();
  CHECK(all("unfreeze").resources.at("instances") == std::vector<std::string>{"/1.0/instances/c2"});
  CHECK(all("stop", ",\"force\":true").resources.at("instances").size() == 3);
  CHECK(status() == "Stopped Stopped Stopped ");
  REFUSED(invalid_argument, "action", all("explode"));
  REFUSED(invalid_argument, "state", finish(w.host, "PUT", "/1.0/instances", "{}"));
}

TEST_CASE("instances: a fresh root") {
  World w;
  InstanceCreate r;
  r.config = {{"user.mine", "stays"}};
  auto c = w.make("c1", r);
  auto before = c.info();
  finish(w.host, "POST", "/1.0/instances/c1/rebuild", R"({"source":{"type":"none"}})");
  auto now = c.info();
  CHECK(now.config.count("image.os") == 0);
  CHECK(now.config.count("volatile.base_image") == 0);
  CHECK(now.config.at("user.mine") == "stays");
  CHECK(now.config.at("volatile.uuid") == before.config.at("volatile.uuid"));
  CHECK(now.config.at("volatile.apply_template") == "create");
  finish(w.host, "POST", "/1.0/instances/c1/rebuild", R"({"source":{"type":"image","alias":"busy"}})");
  CHECK(c.info().config.at("image.os") == "busybox");
  CHECK(c.info().config.at("volatile.base_image") == before.config.at("volatile.base_image"));
  c.start().wait();
  c.wait_ready();
  REFUSED(conflict, "must be stopped", finish(w.host, "POST", "/1.0/instances/c1/rebuild", R"({"source":{"type":"none"}})"));
  if (real()) {
    c.exec({"touch", "/root/mark"});
    CHECK(c.exec({"stat", "/root/mark"}).exit_code == 0);
  }
  c.stop(true).wait();
  finish(w.host, "POST", "/1.0/instances/c1/rebuild", R"({"source":{"type":"image","alias":"busy"}})");
  c.start().wait();
  c.wait_ready();
  if (real()) CHECK(c.exec({"stat", "/root/mark"}).exit_code == 1);
  c.stop(true).wait();
  c.create_snapshot({}).wait();
  REFUSED(conflict, "snapshots", finish(w.host, "POST", "/1.0/instances/c1/rebuild", R"({"source":{"type":"none"}})"));
  REFUSED(not_found, "nope", finish(w.host, "POST", "/1.0/instances/nope/rebuild", R"({"source":{"type":"none"}})"));
  REFUSED(invalid_argument, "source type", finish(w.host, "POST", "/1.0/instances/c1/rebuild", R"({"source":{"type":"copy"}})"));
  CHECK(json::parse(suite::check(w.host)).at("problems").as_array().empty());
}

TEST_CASE("console: who is attached, and who is next") {
  World w;
  auto c = w.run("c1");
  struct Attached {
    int in = -1, out = -1; ///< our ends
    std::optional<Operation> op;
    ~Attached() {
      ::close(in);
      ::close(out);
    }
  };
  auto attach = [&](Attached &a, const std::string &more = {}) {
    int in[2], out[2];
    REQUIRE(::pipe2(in, O_CLOEXEC) == 0);
    REQUIRE(::pipe2(out, O_CLOEXEC) == 0);
    a.in = in[1];
    a.out = out[0];
    RawCall call;
    call.method = "POST";
    call.path = "/1.0/instances/c1/console";
    call.body = R"({"type":"console","width":80,"height":24)" + more + "}";
    call.streams = {{"stdin", in[0]}, {"stdout", out[1]}};
    auto close_ours = [&] {
      ::close(in[0]);
      ::close(out[1]);
    };
    try {
      a.op = w.host.call(call).operation;
    } catch (...) {
      close_ours();
      throw;
    }
    close_ours();
  };
  // What a guest says before somebody is attached is only in its log, and the operation begins before it is attached: said until it comes.
  auto says = [&](const std::string &what, int to) {
    for (int i = 0; i < 60; i++) {
      c.exec({"sh", "-c", "echo " + what + " > /dev/console"});
      if (comes(to, what, 500ms)) return true;
    }
    return false;
  };
  Attached first;
  attach(first);
  if (real()) {
    CHECK(says("to-first", first.out));
  }
  {
    Attached second;
    REFUSED(conflict, "already connected", attach(second));
  }
  Attached third;
  attach(third, R"(,"force":true)");
  CHECK(first.op->wait_for(20s).status_code != 103);
  if (real()) {
    CHECK(says("to-third", third.out));
  } else {
    CHECK(::write(third.in, "echo", 4) == 4);
  }
  // The end of the input is the end of the session, not of the guest.
  ::close(third.in);
  third.in = -1;
  CHECK(third.op->wait_for(20s).status_code != 103);
  if (!real()) CHECK(comes(third.out, "echo"));
  CHECK(c.info().status == "Running");
  Attached fourth;
  attach(fourth);
  c.stop(true).wait();
  if (!real()) fourth.op->cancel();
  // It ends, in one way or the other: the stop may have come before the attachment was complete.
  bool ended = false;
  try {
    ended = fourth.op->wait_for(20s).status_code != 103;
  } catch (const Error &) {
    ended = true;
  }
  CHECK(ended);
  if (real()) CHECK(c.console_log().find("to-third") != std::string::npos);
  Attached fifth;
  REFUSED(conflict, "not running", attach(fifth));
  REFUSED(invalid_argument, "VGA", w.host.request("POST", "/1.0/instances/c1/console", R"({"type":"vga"})"));
}

TEST_CASE("snapshots: an expiry keeps its time zone") {
  World w;
  auto c = w.make("c1");
  c.create_snapshot({"s1", false, {}}).wait();
  const std::string url = "/1.0/instances/c1/snapshots/s1", when = "2050-01-01T10:10:10.753398689-04:00";
  CHECK(text(ask(w.host, "GET", url).at("expires_at")) == "0001-01-01T00:00:00Z");
  finish(w.host, "PATCH", url, R"({"expires_at":")" + when + "\"}");
  CHECK(text(ask(w.host, "GET", url).at("expires_at")) == when);
  CHECK(text(ask(w.host, "GET", "/1.0/instances/c1/snapshots?recursion=1").at(0).at("expires_at")) == when);
  CHECK(w.host.instance("c1").snapshot("s1").info().expires_at > Time{});
  finish(w.host, "PATCH", url, R"({"expires_at":null})");
  CHECK(text(ask(w.host, "GET", url).at("expires_at")) == when);
  finish(w.host, "PUT", url, "{}");
  CHECK(text(ask(w.host, "GET", url).at("expires_at")) == "0001-01-01T00:00:00Z");
  REFUSED(invalid_argument, "time", finish(w.host, "PATCH", url, R"({"expires_at":"tomorrow"})"));
}
