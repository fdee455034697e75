// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include "base/error.hpp"
#include "storage/rootfs.hpp"
#include "sys/idmap.hpp"

using namespace incus;
using namespace incus::sys;
using storage::IdMap;
using storage::IdRange;

namespace {

std::string error_of(const Config &c, std::span<const IdMap> in_use = {}, const IdRanges &r = {}) {
  try {
    choose_idmap(c, in_use, r);
  } catch (const Error &e) {
    return e.what();
  }
  return {};
}

/// Every id of a map once, on both sides.
bool sound(const IdMap &map) {
  for (std::size_t i = 0; i < map.size(); i++)
    for (std::size_t j = 0; j < i; j++) {
      auto &a = map[i], &b = map[j];
      if (!((a.uid && b.uid) || (a.gid && b.gid))) continue;
      if (std::uint64_t(a.host) < std::uint64_t(b.host) + b.count && std::uint64_t(b.host) < std::uint64_t(a.host) + a.count) return false;
      if (std::uint64_t(a.guest) < std::uint64_t(b.guest) + b.count && std::uint64_t(b.guest) < std::uint64_t(a.guest) + a.count) return false;
    }
  return !map.empty();
}

} // namespace

TEST_CASE("subordinate ids of root") {
  CHECK(parse_subids("", "") == IdRanges{1000000, 1000000000, 1000000, 1000000000});
  CHECK(parse_subids("joe:100000:65536\nroot:200000:65536\nroot:1000000:500000\n", "root:300000:70000\n") == IdRanges{1000000, 500000, 300000, 70000});
  CHECK(parse_subids("0:5000:10\n", "") == IdRanges{5000, 10, 5000, 10});
  CHECK(parse_subids("root:x:1\nroot:1\nroot:4294967290:10\nroot:0:5\nroot:7:9:1\n", "garbage") == IdRanges{});
}

TEST_CASE("maps of instances") {
  CHECK(choose_idmap({{"security.privileged", "true"}, {"raw.idmap", "both 1000 1000"}}, {}, {}).empty());
  IdMap shared{{true, false, 1000000, 0, 1000000000}, {false, true, 1000000, 0, 1000000000}};
  CHECK(choose_idmap({}, {}, {}) == shared);
  CHECK(choose_idmap({{"security.idmap.base", "5"}, {"security.idmap.size", "10"}}, {}, {}) == shared); // of no effect without isolated

  std::vector<IdMap> used;
  Config isolated{{"security.idmap.isolated", "true"}};
  for (std::uint32_t i = 0; i < 3; i++) {
    auto m = choose_idmap(isolated, used, {});
    CHECK(m == IdMap{{true, false, 1065536 + i * 65536, 0, 65536}, {false, true, 1065536 + i * 65536, 0, 65536}});
    used.push_back(m);
  }
  // A hole is used again when it is large enough.
  used.erase(used.begin() + 1);
  CHECK(choose_idmap(isolated, used, {})[0].host == 1065536 + 65536);
  CHECK(choose_idmap({{"security.idmap.isolated", "true"}, {"security.idmap.size", "65537"}}, used, {})[0].host == 1065536 + 3 * 65536);
  CHECK(choose_idmap({{"security.idmap.isolated", "1"}, {"security.idmap.base", "2000000"}, {"security.idmap.size", "1000"}}, used, {}) ==
        IdMap{{true, false, 2000000, 0, 1000}, {false, true, 2000000, 0, 1000}});
  CHECK(error_of({{"security.idmap.isolated", "1"}, {"security.idmap.base", "999"}}).find("security.idmap.base") != std::string::npos);
  CHECK(error_of({{"security.idmap.isolated", "1"}, {"security.idmap.base", "1000999990"}}).find("\"1000999990\"") != std::string::npos);
  CHECK(error_of({{"security.idmap.isolated", "1"}, {"security.idmap.size", "0"}}).find("security.idmap.size") != std::string::npos);
  CHECK(error_of(isolated, {}, {100000, 65536, 100000, 65536}).find("/etc/subuid") != std::string::npos);
}

TEST_CASE("raw.idmap is punched into the map") {
  auto m = choose_idmap({{"raw.idmap", "both 1000 1000\nuid 50-60 500-510\n\ngid 7 0"}}, {}, {});
  CHECK(sound(m));
  CHECK(to_host(m, 1000, true) == 1000);
  CHECK(to_host(m, 1000, false) == 1000);
  CHECK(to_host(m, 999, true) == 1000999);
  CHECK(to_host(m, 1001, false) == 1001001);
  CHECK(to_host(m, 510, true) == 60);
  CHECK(to_host(m, 511, true) == 1000511);
  CHECK(to_host(m, 510, false) == 1000510);
  CHECK(to_host(m, 0, false) == 7);
  CHECK(to_guest(m, 7, false) == 0);
  CHECK(to_guest(m, 7, true) == -1);
  CHECK(to_guest(m, 1000000, false) == -1); // its guest id went elsewhere
  CHECK(to_host(m, 4294967294u, true) == -1);
  // The host's root too, for who says so.
  CHECK(to_host(choose_idmap({{"raw.idmap", "both 0 0"}}, {}, {}), 0, true) == 0);
  // Beyond the end of the range, and across it.
  auto beyond = choose_idmap({{"security.idmap.isolated", "true"}, {"raw.idmap", "both 10-29 65526-65545\nboth 100 2000000"}}, {}, {});
  CHECK(sound(beyond));
  CHECK(to_host(beyond, 65525, true) == 1065536 + 65525);
  CHECK(to_host(beyond, 65526, true) == 10);
  CHECK(to_host(beyond, 65545, true) == 29);
  CHECK(to_host(beyond, 2000000, true) == 100);

  for (auto [text, rule] : {std::pair{"1000 1000", "must be"},
                            {"all 1 1", "begin with"},
                            {"both 1-5 1-4", "same length"},
                            {"both 5-1 5-1", "ids are"},
                            {"both -1 1", "ids are"},
                            {"both 4294967295 1", "ids are"},
                            {"both 5 1\nuid 6 1", "guest id is mapped twice"},
                            {"both 5 1\ngid 5 2", "host id is mapped twice"}}) {
    CHECK(check_raw_idmap(text).find(rule) != std::string::npos);
    CHECK(error_of({{"raw.idmap", text}}).find(rule) != std::string::npos);
    CHECK(error_of({{"raw.idmap", text}}).find("raw.idmap") != std::string::npos);
  }
  CHECK(check_raw_idmap("uid 5 1\ngid 5 1") == "");
  CHECK(error_of({{"raw.idmap", "both 1000005 7"}}).find("lies in the range") != std::string::npos);
}

TEST_CASE("text form of maps") {
  IdMap m{{true, false, 1000000, 0, 65536}, {false, true, 1000000, 0, 65536}, {true, true, 5, 70000, 1}};
  std::string text = format_idmap(m);
  CHECK(text == R"([{"Isuid":true,"Isgid":false,"Hostid":1000000,"Nsid":0,"Maprange":65536},{"Isuid":false,"Isgid":true,"Hostid":1000000,"Nsid":0,"Maprange":65536},)"
                R"({"Isuid":true,"Isgid":true,"Hostid":5,"Nsid":70000,"Maprange":1}])");
  CHECK(parse_idmap(text) == m);
  CHECK(format_idmap({}) == "[]");
  CHECK(parse_idmap("[]").empty());
  CHECK(parse_idmap("").empty());
  for (auto bad : {"{", "{}", "[1]", R"([{"Isuid":true}])", R"([{"Isuid":true,"Isgid":true,"Hostid":-1,"Nsid":0,"Maprange":1}])",
                   R"([{"Isuid":true,"Isgid":true,"Hostid":4294967000,"Nsid":0,"Maprange":1000}])"})
    CHECK_THROWS_AS(parse_idmap(bad), Error);
}
