// SPDX-License-Identifier: Apache-2.0
#include <boost/json.hpp>
#include <unistd.h>

#include "suite.hpp"

using namespace suite;
namespace json = boost::json;

namespace {

std::string read_all(int fd) {
  std::string out;
  char buf[65536];
  for (ssize_t n; (n = ::read(fd, buf, sizeof buf)) > 0;) out.append(buf, static_cast<std::size_t>(n));
  ::close(fd);
  return out;
}

RawReply call(Host &h, const std::string &method, const std::string &path, const std::string &body = {}, const Etag &etag = {}) {
  RawCall c;
  c.method = method;
  c.path = path;
  c.body = body;
  c.if_match = etag;
  return h.call(c);
}

} // namespace

TEST_CASE("images: what was imported comes back as bodies, with its name") {
  World w;
  auto file = small_image("body");
  ImageImport how;
  how.profiles = std::vector<std::string>{};
  how.fingerprint = sha256(file);
  w.host.import_image(file, how).wait();
  auto fp = how.fingerprint;
  CHECK(w.host.image(fp).info().profiles.empty());
  auto r = call(w.host, "GET", "/1.0/images/" + fp + "/export");
  REQUIRE(r.bodies.size() == 1);
  CHECK((read_all(r.bodies[0].fd) == read_file(file)));
  how.fingerprint = std::string(64, '0');
  REFUSED(corrupt, "fingerprint", w.host.import_image(small_image("other"), how).wait());
}

TEST_CASE("images: a patch changes what it names") {
  World w;
  auto file = small_image("patch");
  w.host.import_image(file, {}).wait();
  auto path = "/1.0/images/" + sha256(file);
  auto before = call(w.host, "GET", path);
  call(w.host, "PATCH", path, R"({"public":true,"properties":{"mine":"1"}})", before.etag);
  auto i = w.host.image(sha256(file)).info();
  CHECK(i.public_);
  CHECK(i.properties.at("mine") == "1");
  CHECK(i.properties.at("mark") == "patch");
  CHECK(!i.auto_update);
  REFUSED(precondition_failed, "changed", call(w.host, "PATCH", path, R"({"public":false})", before.etag));
  REFUSED(invalid_argument, "public", call(w.host, "PATCH", path, R"({"public":7})"));
}

TEST_CASE("images: secrets are operations of the class token") {
  World w;
  auto file = small_image("secret");
  w.host.import_image(file, {}).wait();
  auto r = call(w.host, "POST", "/1.0/images/" + sha256(file) + "/secret");
  REQUIRE(r.operation);
  auto info = r.operation->info();
  CHECK(info.class_ == "token");
  auto secret = std::string(json::parse(info.metadata.text).at("secret").as_string());
  CHECK(secret.size() == 64);
  r.operation->cancel();
  REFUSED(cancelled, "", r.operation->wait());
  REFUSED(not_found, "nothere", call(w.host, "POST", "/1.0/images/nothere/secret"));
  REFUSED(invalid_argument, "secret", call(w.host, "POST", "/1.0/images/" + sha256(file) + "/export", R"({"target":"https://10.0.0.1:8443"})"));
  REFUSED(invalid_argument, "no source", call(w.host, "POST", "/1.0/images/" + sha256(file) + "/refresh").operation->wait());
}

TEST_CASE("images: published from an instance and from a snapshot") {
  World w;
  auto c = w.make("c1");
  auto publish = [&](const std::string &body) {
    auto op = call(w.host, "POST", "/1.0/images", body).operation;
    op->wait();
    return std::string(json::parse(op->info().metadata.text).at("fingerprint").as_string());
  };
  if (!real()) {
    REFUSED(not_supported, "memory", publish(R"({"source":{"type":"instance","name":"c1"}})"));
    return;
  }
  FileOptions o;
  o.uid = 1000;
  o.gid = 1001;
  o.mode = 0640;
  c.write_file("/root/first", "1", o);
  c.create_snapshot({"s1", false, {}}).wait();
  c.write_file("/root/second", "2");
  auto whole = publish(R"({"source":{"type":"instance","name":"c1"},"public":true,"properties":{"mine":"yes"},"aliases":[{"name":"pub","description":"made here"}]})");
  auto snap = publish(R"({"source":{"type":"snapshot","name":"c1/s1"},"compression_algorithm":"zstd -3","aliases":[{"name":"snap"}]})");
  CHECK(whole != snap);
  auto i = w.host.image("pub").info();
  CHECK(i.fingerprint == whole);
  CHECK(i.public_);
  CHECK(i.properties == Config{{"mine", "yes"}});
  CHECK(i.architecture == architecture());
  CHECK(i.type == "container");
  REQUIRE(i.aliases.size() == 1);
  CHECK(i.aliases[0].description == "made here");
  CHECK(w.host.image("snap").info().properties.at("os") == "busybox");
  for (auto *alias : {"pub", "snap"}) {
    CAPTURE(alias);
    InstanceCreate r;
    r.name = std::string("of-") + alias;
    r.source.type = "image";
    r.source.alias = alias;
    r.start = true;
    w.host.create_instance(r).wait();
    auto n = w.host.instance(r.name);
    n.wait_ready(ReadyLevel::exec);
    CHECK(n.exec({"stat", "-c", "%u:%g:%a", "/root/first"}).stdout_data == "1000:1001:640\n");
    bool second = std::string_view(alias) == "pub";
    CHECK((n.exec({"cat", "/root/second"}).exit_code == 0) == second);
    REFUSED(conflict, "running", publish(R"({"source":{"type":"instance","name":")" + r.name + R"("}})"));
    n.stop(true).wait();
    n.remove().wait();
  }
  REFUSED(invalid_argument, "compression", publish(R"({"source":{"type":"instance","name":"c1"},"compression_algorithm":"gzip; reboot"})"));
  REFUSED(invalid_argument, "level", publish(R"({"source":{"type":"instance","name":"c1"},"compression_algorithm":"gzip -99"})"));
  REFUSED(invalid_argument, "snapshot", publish(R"({"source":{"type":"snapshot","name":"c1"}})"));
  REFUSED(not_found, "none", publish(R"({"source":{"type":"snapshot","name":"c1/none"}})"));
  REFUSED(not_found, "nothere", publish(R"({"source":{"type":"instance","name":"nothere"}})"));
  REFUSED(already_exists, "pub", publish(R"({"source":{"type":"instance","name":"c1"},"aliases":[{"name":"pub"}]})"));
  REFUSED(invalid_argument, "source type", publish(R"({"source":{"type":"floppy","name":"c1"}})"));
  CHECK(suite::check(w.host) == R"({"problems":[]})");
}
