// SPDX-License-Identifier: Apache-2.0
// What lists the streams of an optimised backup: from outside, so anything may stand there.
#include <doctest/doctest.h>

#include <random>

#include "base/error.hpp"
#include "instance/backup_streams.hpp"

using namespace incus;
using instance::parse_streams;
using storage::StreamPart;

namespace {
std::string refused(const std::string &yaml, const std::vector<std::string> &snapshots = {}) {
  try {
    parse_streams(yaml, snapshots);
  } catch (const Error &e) {
    CHECK(e.code() == ErrorCode::corrupt);
    return e.what();
  }
  return "taken";
}
std::string entry(const std::string &path, const std::string &snapshot = "''", const std::string &ro = "false") {
  return "- path: " + path + "\n  snapshot: " + snapshot + "\n  readonly: " + ro + "\n  uuid: x\n";
}
const std::string head = "subvolumes:\n";
} // namespace

TEST_CASE("the list of streams: what is written is read, names of files are Incus'") {
  std::vector<StreamPart> parts{{"s 0", "/", true, "u1"}, {"s 0", "/a-b/c", false, "u2"}, {"", "/", false, "u3"}, {"", "/odd \"name\"\t", true, "u4"}};
  auto back = parse_streams(instance::format_streams(parts), {"s 0"});
  REQUIRE(back.size() == parts.size());
  for (std::size_t i = 0; i < parts.size(); i++) {
    CHECK(back[i].snapshot == parts[i].snapshot);
    CHECK(back[i].path == parts[i].path);
    CHECK(back[i].read_only == parts[i].read_only);
    CHECK(back[i].id == parts[i].id);
  }
  CHECK(instance::stream_files(parts, false) ==
        std::vector<std::string>{"backup/snapshots/s 0.bin", "backup/snapshots/s 0_a--b-c.bin", "backup/container.bin", "backup/container_odd \"name\"\t.bin"});
  CHECK(instance::stream_files(instance::plain_streams({"s"}), true) == std::vector<std::string>{"backup/volume-snapshots/s.bin", "backup/volume.bin"});
  // A snapshot that is called as another's subvolume.
  CHECK_THROWS_WITH_AS(instance::stream_files({{"s", "/", true, ""}, {"s", "/a", true, ""}, {"s_a", "/", true, ""}}, false), doctest::Contains("would have the file"), Error);
  // As the official daemon writes it.
  CHECK(parse_streams("subvolumes:\n- path: /\n  snapshot: snap0\n  readonly: true\n  uuid: 4c1c\n- path: /\n  snapshot: \"\"\n  readonly: false\n  uuid: 77\n", {"snap0"}).size() == 2);
}

TEST_CASE("the list of streams: what cannot be is refused") {
  CHECK(refused(head + entry("/")) == "taken");
  for (std::string path : {"''", "x", "../x", "/..", "/../x", "/a/../..", "/a/./b", "/.", "//", "/a/", "//a", "/a//b", "\"/a\\0b\"", "[1]", "{}"}) {
    CAPTURE(path);
    CHECK(refused(head + entry("/") + entry(path)) != "taken");
    CHECK(refused(head + entry(path)) != "taken");
  }
  CHECK(refused(head + entry("/") + entry("/" + std::string(300, 'x'))) != "taken");
  CHECK(refused("") != "taken");
  CHECK(refused("x") != "taken");
  CHECK(refused("subvolumes: x") != "taken");
  CHECK(refused("subvolumes: [x]") != "taken");
  CHECK(refused("subvolumes: []") != "taken");
  CHECK(refused("other: []") != "taken");
  CHECK(refused("subvolumes: &a [*a]") != "taken");
  CHECK(refused(head + entry("/") + entry("/")) != "taken");
  CHECK(refused(head + entry("/", "''", "perhaps")) != "taken");
  CHECK(refused(head + entry("/a") + entry("/")) != "taken");
  CHECK(refused(head + entry("/") + entry("/a/b") + entry("/a")) != "taken");
  CHECK(refused(head + entry("/", "s0") + entry("/")) != "taken");
  CHECK(refused(head + entry("/"), {"s0"}) != "taken");
  CHECK(refused(head + entry("/", "s0"), {"s0"}) != "taken");
  CHECK(refused(head + entry("/", "../s0") + entry("/"), {"s0"}) != "taken");
  CHECK(refused(head + entry("/") + entry("/", "s0"), {"s0"}) == "taken");
  std::string many = head + entry("/");
  for (int i = 0; i < 10'001; i++) many += "- path: /" + std::to_string(i) + "\n";
  CHECK(refused(many) != "taken");
  // Whatever comes, it is refused or read, and nothing else happens.
  std::mt19937 dice(5);
  auto good = instance::format_streams({{"s0", "/", true, "u1"}, {"", "/", false, "u3"}, {"", "/a/b", true, "u4"}});
  for (int i = 0; i < 3000; i++) {
    auto bent = good;
    for (unsigned k = 0; k < 1 + dice() % 4; k++) bent[dice() % bent.size()] = static_cast<char>(dice());
    if (i % 3 == 0) bent.resize(dice() % bent.size());
    try {
      for (auto &p : parse_streams(bent, {"s0"})) {
        CHECK(p.path.starts_with("/"));
        CHECK((p.path + "/").find("/../") == std::string::npos);
        CHECK((p.snapshot == "" || p.snapshot == "s0"));
      }
    } catch (const Error &e) {
      CHECK(e.code() == ErrorCode::corrupt);
    }
  }
}
