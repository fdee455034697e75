// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include "base/error.hpp"
#include "device/device.hpp"
#include "network/interface.hpp"

using namespace incus;
using device::Context;

namespace {

std::string refusal(const Config &config, bool profile = false, const std::string &name = "d1", ErrorCode code = ErrorCode::invalid_argument) {
  const device::Host host{[](const std::string &pool) { return pool == "default"; },
                          [](const std::string &pool, const std::string &volume) -> device::Volume {
                            if (volume != "data") throw Error(ErrorCode::not_found, pool + " has no " + volume);
                            return {"/pool/custom/data", true};
                          }};
  try {
    device::validate(Context{"c1", name, config, profile, nullptr, nullptr, &host});
  } catch (const Error &e) {
    CHECK(e.code() == code);
    return e.what();
  }
  return "";
}

template <class F> std::string error_of(F f, ErrorCode code = ErrorCode::invalid_argument) {
  try {
    f();
  } catch (const Error &e) {
    CHECK(e.code() == code);
    return e.what();
  }
  return "";
}

const Config root = {{"type", "disk"}, {"path", "/"}, {"pool", "default"}};
const Config etc = {{"type", "disk"}, {"path", "/mnt"}, {"source", "/etc"}};
const Config p2p = {{"type", "nic"}, {"nictype", "p2p"}};

Config with(Config c, const char *key, const char *value) {
  c[key] = value;
  return c;
}

} // namespace

TEST_CASE("the registry") {
  CHECK(device::types().size() == 3);
  CHECK(refusal({{"type", "gpu"}}) == "unknown type \"gpu\" of device \"d1\" of instance \"c1\"; known are disk, nic, none");
  CHECK(refusal({}) == "device \"d1\" of instance \"c1\" has no type; set it to one of disk, nic, none");
  CHECK(refusal({{"type", "none"}}) == "");
  CHECK(refusal({{"type", "none"}, {"path", "/"}}) == "unknown configuration key \"path\" of device \"d1\" of instance \"c1\"");
  CHECK(refusal(with(p2p, "nicktype", "x"), true) == "unknown configuration key \"nicktype\" of device \"d1\" of profile \"c1\"; did you mean \"nictype\"?");
  CHECK(refusal(root, false, "../x") != "");
  CHECK(refusal(root, false, "a\nb") != "");
  for (auto *t : device::types())
    for (auto &k : t->keys) CHECK_MESSAGE(std::string_view(k.doc) != "", k.name);
}

TEST_CASE("root disks") {
  CHECK(refusal(root) == "");
  CHECK(refusal(with(root, "pool", "fast"), false, "d1", ErrorCode::not_found) == "storage pool \"fast\" of device \"d1\" of instance \"c1\" does not exist");
  CHECK(refusal({{"type", "disk"}, {"path", "/"}}) == "invalid device \"d1\" of instance \"c1\": the root disk (path=/) needs pool");
  for (auto *k : {"source", "readonly", "recursive", "required", "shift"})
    CHECK(refusal(with(root, k, std::string(k) == "source" ? "/etc" : "true")) == fmt::format("invalid device \"d1\" of instance \"c1\": the root disk (path=/) cannot have {}", k));
  CHECK(refusal(with(root, "size", "10GiB")) == "");
  CHECK(refusal(with(root, "size", "much")).find("\"size\"") != std::string::npos);
  CHECK(refusal(with(etc, "size", "10GiB")).find("only the root disk") != std::string::npos);
  CHECK(device::root_disk({}) == "");
  CHECK(device::root_disk({{"root", root}, {"e", etc}, {"n", p2p}}) == "root");
  CHECK(device::root_disk({{"root", {{"type", "none"}, {"path", "/"}}}}) == "");
  CHECK(device::root_disk({{"r", with(root, "path", "//")}}) == "r");
  CHECK(error_of([] { device::root_disk({{"a", root}, {"b", root}}); }) == "devices \"a\" and \"b\" are both root disks (path=/); there can be only one");
}

TEST_CASE("host disks") {
  CHECK(refusal(etc) == "");
  CHECK(refusal(with(etc, "path", "")).find("path is missing") != std::string::npos);
  CHECK(refusal(with(etc, "source", "")).find("source is missing") != std::string::npos);
  CHECK(refusal(with(etc, "pool", "default")).find("is a path, but pool is set") != std::string::npos);
  for (auto *bad : {"/a/../b", "/..", "..", "a/..", ".", "/a/./b", "/a\nb"}) CHECK(refusal(with(etc, "path", bad)) != "");
  CHECK(refusal(with(etc, "path", "mnt")) == "");
  for (auto *bad : {"etc", "/etc/../srv", "/a\nb"}) CHECK(refusal(with(etc, "source", bad)) != "");
  for (auto *k : {"readonly", "recursive", "required", "shift"}) CHECK(refusal(with(etc, k, "maybe")) != "");

  auto gone = with(etc, "source", "/no/such/thing");
  CHECK(refusal(gone) == "source \"/no/such/thing\" of device \"d1\" of instance \"c1\": does not exist on this host; make it, or set required=false");
  CHECK(refusal(gone, true) == "");
  CHECK(refusal(with(gone, "required", "false")) == "");
  CHECK(refusal(with(etc, "source", "/dev/null"), false, "d1", ErrorCode::not_supported) != "");
}

TEST_CASE("custom volumes as disks") {
  const Config volume{{"type", "disk"}, {"path", "/data"}, {"pool", "default"}, {"source", "data"}};
  CHECK(refusal(volume) == "");
  CHECK(refusal(with(volume, "source", "none"), false, "d1", ErrorCode::not_found) == "source of device \"d1\" of instance \"c1\": default has no none");
  CHECK(refusal(with(with(volume, "source", "none"), "required", "false")) == "");
  CHECK(refusal(with(volume, "pool", "other"), false, "d1", ErrorCode::not_found).find("does not exist") != std::string::npos);
  CHECK(refusal(with(volume, "shift", "true")).find("cannot have shift") != std::string::npos);
  CHECK(refusal(with(volume, "pool", "")).find("for a custom volume set pool, too") != std::string::npos);
  Config v;
  device::Host host{nullptr, [](const std::string &, const std::string &name) { return device::Volume{"/pool/custom/" + name, name != "raw"}; }};
  auto items = device::render_all("c1", {{"d", with(volume, "readonly", "true")}, {"r", with(with(volume, "source", "raw"), "path", "/raw")}}, v, host);
  REQUIRE(items.mounts.size() == 2);
  CHECK(items.mounts[0].source == "/pool/custom/data");
  CHECK(items.mounts[0].target == "data");
  CHECK(items.mounts[0].shift);
  CHECK(items.mounts[0].options == std::vector<std::string>{"bind", "ro"});
  CHECK_FALSE(items.mounts[1].shift);
}

TEST_CASE("host disks become mounts, outer ones first") {
  Config v;
  Devices d{{"root", root},
            {"a", {{"type", "disk"}, {"path", "//x///y/"}, {"source", "/etc"}, {"readonly", "true"}, {"recursive", "1"}, {"shift", "yes"}}},
            {"b", {{"type", "disk"}, {"path", "/x"}, {"source", "/etc/passwd"}}},
            {"c", {{"type", "disk"}, {"path", "/gone"}, {"source", "/no/such/thing"}, {"required", "false"}}},
            {"z", {{"type", "none"}}}};
  auto items = device::render_all("c1", d, v);
  CHECK(items.nics.empty());
  REQUIRE(items.mounts.size() == 2);
  auto &b = items.mounts[0], &a = items.mounts[1];
  CHECK(b.device == "b");
  CHECK(b.target == "x");
  CHECK(b.is_file);
  CHECK(b.options == std::vector<std::string>{"bind"});
  CHECK_FALSE(b.shift);
  CHECK_FALSE(b.optional);
  CHECK(a.source == "/etc");
  CHECK(a.target == "x/y");
  CHECK_FALSE(a.is_file);
  CHECK(a.shift);
  CHECK(a.options == std::vector<std::string>{"rbind", "ro"});
  d["c"]["required"] = "true";
  CHECK(error_of([&] { device::render_all("c1", d, v); }).find("/no/such/thing") != std::string::npos);
}

TEST_CASE("nics") {
  CHECK(refusal(p2p) == "");
  CHECK(refusal({{"type", "nic"}, {"nictype", "bridged"}, {"parent", "no-such-bridge"}}) == ""); // looked for at start
  CHECK(refusal({{"type", "nic"}}).find("nictype is missing") != std::string::npos);
  CHECK(refusal({{"type", "nic"}, {"nictype", "bridged"}}).find("needs parent") != std::string::npos);
  CHECK(refusal(with(p2p, "parent", "br0")).find("only a bridged nic") != std::string::npos);
  CHECK(refusal(with(p2p, "nictype", "macvlan")) != "");
  CHECK(refusal({{"type", "nic"}, {"network", "incusbr0"}}).find("managed networks are not supported yet") != std::string::npos);
  struct {
    const char *key, *good;
    std::vector<std::string> bad;
  } cases[] = {{"name", "eth0", {"0123456789abcdef", "a/b", "..", "a b", "a\nb"}},
               {"host_name", "tap-1", {"0123456789abcdef", "a/b", "a\nb"}},
               {"hwaddr", "10:66:6a:00:00:01", {"10:66", "11:66:6a:00:00:01", "00:00:00:00:00:00"}},
               {"mtu", "1400", {"67", "65536", "x", "-1", "1k"}}};
  for (auto &c : cases) {
    CHECK(refusal(with(p2p, c.key, c.good)) == "");
    for (auto &bad : c.bad) CHECK_MESSAGE(refusal(with(p2p, c.key, bad.c_str())) != "", c.key << "=" << bad);
  }
}

TEST_CASE("a nic's volatile values are made once and kept") {
  Devices d{{"a", p2p}, {"b", with(p2p, "name", "eth0")}, {"c", p2p}, {"root", root}};
  Config v;
  device::prepare_all("c1", d, v);
  CHECK(v.size() == 8);
  CHECK(v.at("volatile.a.name") == "eth1");
  CHECK(v.at("volatile.c.name") == "eth2");
  CHECK(v.count("volatile.b.name") == 0);
  CHECK(v.at("volatile.a.hwaddr").starts_with("10:66:6a:"));
  CHECK(v.at("volatile.a.host_name").size() == 12);
  CHECK(v.at("volatile.a.host_name").starts_with("veth"));
  CHECK(v.at("volatile.a.host_name") != v.at("volatile.c.host_name"));
  auto before = v;
  device::prepare_all("c1", d, v);
  CHECK(v == before);

  auto items = device::render_all("c1", d, v);
  REQUIRE(items.nics.size() == 3);
  CHECK(items.nics[0].guest_name == "eth1");
  CHECK(items.nics[1].guest_name == "eth0");
  CHECK(items.nics[2].guest_name == "eth2");
  CHECK(items.nics[2].hwaddr == v.at("volatile.c.hwaddr"));
  CHECK(items.nics[2].host_name == v.at("volatile.c.host_name"));
  CHECK(items.nics[0].bridge == "");
  CHECK(device::host_interfaces(d, v) == std::vector<std::string>{v.at("volatile.a.host_name"), v.at("volatile.b.host_name"), v.at("volatile.c.host_name")});

  // A first nic that comes later gets the next free name; the others keep theirs.
  d["0"] = p2p;
  device::prepare_all("c1", d, v);
  CHECK(v.at("volatile.0.name") == "eth3");
  CHECK(v.at("volatile.a.name") == "eth1");
}

TEST_CASE("chosen values win, and a recorded interface that nobody chose is never handed on for removal") {
  Devices d{{"n", {{"type", "nic"}, {"nictype", "p2p"}, {"host_name", "mine"}, {"hwaddr", "02:00:00:00:00:01"}, {"mtu", "1400"}, {"name", "lan"}}}};
  Config v;
  device::prepare_all("c1", d, v);
  CHECK(v == Config{{"volatile.n.host_name", "mine"}});
  auto n = device::render_all("c1", d, v).nics.at(0);
  CHECK(n.host_name == "mine");
  CHECK(n.hwaddr == "02:00:00:00:00:01");
  CHECK(n.guest_name == "lan");
  CHECK(n.mtu == 1400u);
  CHECK(device::host_interfaces(d, v) == std::vector<std::string>{"mine"});

  d["n"]["host_name"] = "lo";
  CHECK(error_of([&] { device::prepare_all("c1", d, v); }, ErrorCode::conflict).find("has an interface of that name already") != std::string::npos);
  CHECK(v.at("volatile.n.host_name") == "mine");

  Devices plain{{"n", p2p}};
  Config planted{{"volatile.n.host_name", "docker0"}, {"volatile.n.hwaddr", "01:00:00:00:00:01"}};
  CHECK(device::host_interfaces(plain, planted).empty());
  device::prepare_all("c1", plain, planted);
  CHECK(planted.at("volatile.n.host_name") != "docker0");
  CHECK(planted.at("volatile.n.hwaddr").starts_with("10:66:6a:"));
}

TEST_CASE("a bridged nic needs its bridge when it starts") {
  CHECK(network::look_up("lo") == network::Interface::other);
  CHECK(network::look_up("no-such-bridge") == network::Interface::missing);
  CHECK(network::look_up("much-too-long-a-name") == network::Interface::missing);
  Devices d{{"n", {{"type", "nic"}, {"nictype", "bridged"}, {"parent", "no-such-bridge"}}}};
  Config v;
  device::prepare_all("c1", d, v);
  CHECK(error_of([&] { device::render_all("c1", d, v); }) ==
        "parent \"no-such-bridge\" of device \"n\" of instance \"c1\" does not exist on this host; make the bridge or choose another");
  d["n"]["parent"] = "lo";
  CHECK(error_of([&] { device::render_all("c1", d, v); }).find("is not a bridge") != std::string::npos);
}

TEST_CASE("devices that claim the same thing are refused together") {
  auto all = [](const Devices &d) { return error_of([&] { device::validate_all("c1", d, false, {}); }); };
  CHECK(all({{"root", root}, {"a", etc}, {"n", p2p}, {"m", p2p}}) == "");
  CHECK(all({{"a", etc}, {"b", with(etc, "path", "mnt")}}) != "");
  CHECK(all({{"a", etc}, {"b", with(etc, "path", "//mnt/")}}) == "devices \"a\" and \"b\" of instance \"c1\" have the same path \"//mnt/\"; each needs its own");
  CHECK(all({{"a", with(p2p, "name", "x")}, {"b", with(p2p, "name", "x")}}).find("same name \"x\"") != std::string::npos);
  CHECK(all({{"a", with(p2p, "host_name", "x")}, {"b", with(p2p, "host_name", "x")}}).find("same host_name \"x\"") != std::string::npos);
  CHECK(all({{"a", etc}, {"b", {{"type", "zap"}}}}).find("unknown type \"zap\"") != std::string::npos);
}
