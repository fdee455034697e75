// SPDX-License-Identifier: Apache-2.0
// Files that instances have from templates of their image.
#include <fcntl.h>
#include <set>
#include <unistd.h>

#include "suite.hpp"

using namespace suite;
namespace json = boost::json;

namespace {

void set_template(Host &h, const std::string &instance, const std::string &file, const std::string &content) {
  auto path = scratch() + "/template";
  if (FILE *f = std::fopen(path.c_str(), "w")) {
    std::fwrite(content.data(), 1, content.size(), f);
    std::fclose(f);
  }
  int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  RawCall c;
  c.method = "POST";
  c.path = "/1.0/instances/" + instance + "/metadata/templates?path=" + file;
  c.streams = {{"body", fd}};
  h.call(c);
  ::close(fd);
}

void set_templates(Host &h, const std::string &instance, const std::string &templates) {
  h.request("PATCH", "/1.0/instances/" + instance + "/metadata", R"({"templates":)" + templates + "}");
}

} // namespace

TEST_CASE("templates: written at the first start, at each, and for copies") {
  World w;
  InstanceCreate r;
  r.config["user.color"] = "blue";
  auto c = w.make("c1", r);
  set_template(w.host, "c1", "name.tpl", "name: {{ instance.name }} {{ container.name }} {{ trigger }} {{ path }} {{ properties.says }}\n");
  set_template(w.host, "c1", "color.tpl", "{% if config_get(\"user.color\", \"\") == \"\" %}none{% else %}{{ config_get(\"user.color\", \"\") }}{% endif %} {{ config_get('user.gone', 'gone') }}\n");
  set_templates(w.host, "c1", R"({"/etc/by create":{"when":["create"],"template":"name.tpl","properties":{"says":"hi"}},
                                  "/made/for/this":{"when":["create","start"],"template":"color.tpl"},
                                  "/etc/by-copy":{"when":["copy"],"template":"name.tpl"},
                                  "/etc/kept":{"when":["start"],"create_only":true,"template":"name.tpl"},
                                  "/etc/never":{"template":"name.tpl"},
                                  "/etc/given":{"when":["start"],"template":"name.tpl","uid":"7","gid":"8","mode":"0640"}})");
  c.write_file("/etc/kept", "mine");
  FileOptions o;
  o.uid = 12;
  o.mode = 0600;
  c.write_file("/etc/by create", "much longer than what comes in its place, whatever the name is of the instance", o);
  CHECK(c.info().config.at("volatile.apply_template") == "create");
  REFUSED(not_found, "", c.read_file("/made/for/this"));

  c.start().wait();
  CHECK(c.info().config.count("volatile.apply_template") == 0);
  CHECK(c.read_file("/etc/by create") == "name: c1 c1 create /etc/by create hi\n");
  CHECK(c.file_info("/etc/by create").uid == 12);
  CHECK(c.file_info("/etc/by create").mode == 0600);
  CHECK(c.read_file("/made/for/this") == "blue gone\n");
  auto i = c.file_info("/made/for/this");
  CHECK(i.uid == 0);
  CHECK(i.gid == 0);
  CHECK(i.mode == 0644);
  CHECK(c.file_info("/made/for").mode == 0755);
  CHECK(c.read_file("/etc/kept") == "mine");
  i = c.file_info("/etc/given");
  CHECK(i.uid == 7);
  CHECK(i.gid == 8);
  CHECK(i.mode == 0640);
  REFUSED(not_found, "", c.read_file("/etc/by-copy"));
  REFUSED(not_found, "", c.read_file("/etc/never"));

  // What a start writes is written by each; what creation wrote is the guest's from then on.
  c.write_file("/etc/by create", "changed");
  c.patch({{"user.color", "red\n"}});
  c.restart(true).wait();
  CHECK(c.read_file("/made/for/this") == "red gone\n");
  CHECK(c.read_file("/etc/by create") == "changed");
  c.stop(true).wait();

  InstanceCreate copy;
  copy.name = "c2";
  copy.source.type = "copy";
  copy.source.source = "c1";
  w.host.create_instance(copy).wait();
  auto d = w.host.instance("c2");
  d.start().wait();
  CHECK(d.read_file("/etc/by-copy").find("name: c2 c2 copy /etc/by-copy ") == 0);
  CHECK(d.read_file("/etc/by create") == "changed");
}

TEST_CASE("templates: one that cannot be rendered keeps its instance from starting") {
  World w;
  auto c = w.make("c1");
  set_template(w.host, "c1", "bad.tpl", "fine\n{% include '/etc/shadow' %}\n");
  set_templates(w.host, "c1", R"({"/etc/bad":{"when":["create"],"template":"bad.tpl"}})");
  REFUSED(invalid_argument, "cannot start instance \"c1\": file \"/etc/bad\" from template \"bad.tpl\": line 2", c.start().wait());
  CHECK(c.state().status == "Stopped");
  CHECK(c.info().config.at("volatile.apply_template") == "create");
  REFUSED(not_found, "", c.read_file("/etc/bad"));
  set_template(w.host, "c1", "bad.tpl", "{% for a in 'aaaaaaaaaa' %}{% for b in 'aaaaaaaaaa' %}{% for c in 'aaaaaaaaaa' %}{% for d in 'aaaaaaaaaa' %}{% for e in 'aaaaaaaaaa' %}"
                                        "{% for f in 'aaaaaaaaaa' %}{{ instance }}{% endfor %}{% endfor %}{% endfor %}{% endfor %}{% endfor %}{% endfor %}");
  REFUSED(too_large, "steps", c.start().wait());
  set_templates(w.host, "c1", R"({"/etc/bad":{"when":["create"],"template":"none.tpl"}})");
  REFUSED(not_found, "none.tpl", c.start().wait());
  c.make_directory("/etc/bad");
  set_template(w.host, "c1", "bad.tpl", "good\n");
  set_templates(w.host, "c1", R"({"/etc/bad":{"when":["create"],"template":"bad.tpl"}})");
  auto refused = attempt([&] { c.start().wait(); });
  CHECK_MESSAGE(refused.text.find("cannot be written") != std::string::npos, refused.text);
  c.remove_file("/etc/bad");
  c.start().wait();
  CHECK(c.read_file("/etc/bad") == "good\n");
  c.stop(true).wait();
}

TEST_CASE("templates: links in the root lead nowhere else") {
  World w;
  auto outside = scratch() + "/beyond-the-root";
  std::filesystem::create_directories(outside);
  auto c = w.make("c1");
  c.make_symlink("/etc/out", outside);
  c.make_symlink("/etc/up", "../../../../../../../../../.." + outside);
  c.make_symlink("/etc/file", outside + "/file");
  set_template(w.host, "c1", "a.tpl", "x");
  set_templates(w.host, "c1", R"({"/etc/out/a":{"when":["create"],"template":"a.tpl"},"/etc/up/b":{"when":["create"],"template":"a.tpl"},
                                  "/etc/file":{"when":["create"],"template":"a.tpl"}})");
  // Whether it makes the directory in the guest or refuses: the host's is not touched.
  attempt([&] { c.start().wait(); });
  CHECK(std::filesystem::is_empty(outside));
  if (c.state().status == "Running") c.stop(true).wait();
}

TEST_CASE("templates: cloud-init has a new id for what it configures anew, and no other") {
  World w;
  std::set<std::string> seen;
  std::string last;
  auto id = [](Instance &i) { return i.info().config.at("volatile.cloud-init.instance-id"); };
  auto c = w.make("c1");
  last = id(c);
  CHECK(seen.insert(last).second);
  auto changes = [&](const char *what, const Config &config) {
    INFO(what);
    c.patch(config);
    CHECK(seen.insert(id(c)).second);
    last = id(c);
  };
  changes("user data", {{"cloud-init.user-data", "#cloud-config\npackages: [vim]\n"}});
  changes("legacy vendor data", {{"user.vendor-data", "x"}});
  changes("network", {{"cloud-init.network-config", "version: 2"}});
  c.patch({{"user.other", "x"}, {"limits.memory", "1GiB"}});
  CHECK(id(c) == last);

  auto profile = w.host.profile("default").info();
  ProfileUpdate u;
  u.config = profile.config;
  u.devices = profile.devices;
  u.config["cloud-init.vendor-data"] = "#cloud-config\n";
  w.host.profile("default").update(u);
  CHECK(seen.insert(id(c)).second);
  last = id(c);
  u.config["user.more"] = "x";
  w.host.profile("default").update(u);
  CHECK(id(c) == last);
  u.config = profile.config;
  w.host.profile("default").update(u);
  CHECK(seen.insert(id(c)).second);

  c.rename("c2").wait();
  auto d = w.host.instance("c2");
  CHECK(seen.insert(id(d)).second);
  InstanceCreate copy;
  copy.name = "c1";
  copy.source.type = "copy";
  copy.source.source = "c2";
  w.host.create_instance(copy).wait();
  auto e = w.host.instance("c1");
  CHECK(seen.insert(id(e)).second);
}
