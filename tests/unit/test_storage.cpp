// SPDX-License-Identifier: Apache-2.0
// What of the storage room needs no root: registry, configuration, names. The drivers: tests/integration/storage.cpp.
#include <doctest/doctest.h>

#include "../support/trees.hpp"
#include "base/error.hpp"
#include "storage/config.hpp"
#include "storage/driver.hpp"
#include "storage/transfer.hpp"

using namespace incus;
using namespace incus::test;

namespace {
std::string refusal(const Config &c) {
  try {
    storage::driver("dir").validate(c);
  } catch (const Error &e) {
    CHECK(e.code() == ErrorCode::invalid_argument);
    return e.what();
  }
  return {};
}
} // namespace

TEST_CASE("storage drivers are known by name") {
  CHECK(storage::drivers().size() == 3);
  CHECK(storage::driver("dir").name == std::string("dir"));
  CHECK(storage::driver("overlay").name == std::string("overlay"));
  try {
    storage::driver("zfs\n");
    FAIL("known");
  } catch (const Error &e) {
    CHECK(e.code() == ErrorCode::invalid_argument);
    CHECK(std::string(e.what()).find("dir, overlay") != std::string::npos);
    CHECK(std::string(e.what()).find('\n') == std::string::npos);
  }
}

TEST_CASE("pool configuration") {
  TempDir tmp;
  CHECK(refusal({}) == "");
  CHECK(refusal({{"user.note", "two\nlines"}}) == "");
  CHECK(refusal({{"source", tmp.path}}) == "");
  for (auto key : {"rsync.speed", "size", "user.", "sourc", ""}) CHECK(refusal({{key, "1"}}).find("not known") != std::string::npos);
  CHECK(refusal({{"rsync.speed", "1"}}).find("\"rsync.speed\"") != std::string::npos);
  for (auto *good : {"0", "1024", "10kB", "3MiB", "1GB"}) CHECK(refusal({{"rsync.bwlimit", good}}) == "");
  for (auto *bad : {"-1", "fast", "100m", "1mb", "1 MB", "MB", "9999999999999999"}) CHECK(refusal({{"rsync.bwlimit", bad}}).find("rsync.bwlimit") != std::string::npos);
  CHECK(storage::parse_rate("") == 0);
  CHECK(storage::parse_rate("3") == 3072);
  CHECK(storage::parse_rate("2MiB") == 2u << 20);
  CHECK(refusal({{"source", "relative"}}).find("absolute") != std::string::npos);
  CHECK(refusal({{"source", "/"}}).find("root directory") != std::string::npos);
  CHECK(refusal({{"source", tmp.path + "/../../../../../../../.."}}).find("root directory") != std::string::npos);
  CHECK(refusal({{"source", tmp.path + "/none"}}).find("existing directory") != std::string::npos);
  write_file(tmp.path + "/file", "");
  CHECK(refusal({{"source", tmp.path + "/file"}}).find("existing directory") != std::string::npos);
  CHECK(refusal({{"source", tmp.path}}).find("must be empty") != std::string::npos);
  for (auto d : {"", "/containers", "/containers-snapshots", "/images", "/custom", "/containers/c1"}) ::mkdir((tmp.path + "/pool" + d).c_str(), 0755);
  CHECK(refusal({{"source", tmp.path + "/pool/containers/c1"}}).find("storage pool") != std::string::npos);
  must(::symlink("pool/custom", (tmp.path + "/link").c_str()) == 0, "symlink");
  CHECK(refusal({{"source", tmp.path + "/link"}}).find("storage pool") != std::string::npos);
}

TEST_CASE("copies between pools keep to a rate") {
  using Clock = std::chrono::steady_clock;
  int calls = 0;
  auto at_most = storage::paced([&](std::uint64_t, std::uint64_t) { calls++; }, 1 << 20);
  auto begin = Clock::now();
  at_most(0, 0);
  at_most((1 << 20) / 4, 0);
  CHECK(Clock::now() - begin >= std::chrono::milliseconds(250));
  CHECK(calls >= 3); // also while it waits: it can be cancelled there
  auto cancelled = storage::paced([](std::uint64_t, std::uint64_t) { throw Error(ErrorCode::cancelled, "cancelled"); }, 1);
  CHECK_THROWS_AS(cancelled(std::uint64_t(1) << 40, 0), Error);
}

TEST_CASE("names of volumes are single components") {
  TempDir tmp;
  base::Log log;
  auto d = storage::driver("dir").open({"p", tmp.path + "/pool", {}, &log});
  d->create();
  for (const auto &bad : std::vector<std::string>{"", ".", "..", "a/b", "../x", "a~new", "/", std::string("a\0b", 3), std::string(300, 'x')}) {
    storage::VolumeRef v{storage::VolumeType::container, bad};
    CHECK_THROWS_AS(d->exists(v), Error);
    CHECK_THROWS_AS(d->create_empty(v), Error);
    CHECK_THROWS_AS(d->remove_volume(v), Error);
    CHECK_THROWS_AS(d->rename({storage::VolumeType::container, "good"}, bad), Error);
    CHECK_THROWS_AS(d->snapshots()->create({storage::VolumeType::container, "good"}, bad, {}), Error);
    CHECK_THROWS_AS(d->snapshots()->remove({storage::VolumeType::container, "good"}, bad), Error);
  }
  d->remove();
  CHECK(!std::filesystem::exists(tmp.path + "/pool"));
}
